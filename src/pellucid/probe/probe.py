"""A model, a batch and a target: what methods ask for evidence."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pellucid.baselines import baseline
from pellucid.caching import cached_property
from pellucid.engine.capture import Capture
from pellucid.engine.chunks import in_chunks, out_of_memory
from pellucid.engine.finding import Found
from pellucid.engine.looking import first_nonfinite
from pellucid.engine.mixing import SamplesMix
from pellucid.engine.perturb import Copies, Scorer, score_copies
from pellucid.engine.run import Engine
from pellucid.errors import InvalidValue, ModelError, PellucidError, first_line
from pellucid.images import Picture
from pellucid.layers import layer_names
from pellucid.model import Model
from pellucid.outputs import Reading
from pellucid.probe.ledger import Evidence, Ledger
from pellucid.probe.passes import NO_GRADIENT, Passes
from pellucid.renamed import Renamed
from pellucid.target import Output, Target, TargetFn, resolve

Sum = TypeVar("Sum")
_BASELINE = 1 << 40  # a draw of its own, apart from those of masks and noise


class Probe(Ledger, Renamed):
    """One model, one batch, one target.

    Args:
        engine: what runs the model; the batch must be small enough to be run at once.
        inputs: (N, C, H, W), the model's own input.
        target: a target, or a `TargetFn` already resolved.
        output: which number a class target stands for.
        layers: layers whose evidence will be asked for, so that one pass serves them all.
        with_input: whether the input's gradient will be asked for too.
        seed: of everything drawn at random.
        limit: the most perturbed inputs to run together.
        numbers: which of all images these are; by default the first.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Float[Tensor, "N C H W"],
        target: Target | TargetFn = None,
        output: Output = "logit",
        *,
        layers: Sequence[str] = (),
        with_input: bool = False,
        seed: int = 0,
        limit: int = 4,
        numbers: Sequence[int] | None = None,
    ) -> None:
        super().__init__(engine, len(inputs))
        self.inputs, self.seed, self.limit = inputs, seed, limit
        self.target, self.output = target, output
        self.numbers = list(range(len(inputs)) if numbers is None else numbers)
        self.passes = Passes(engine, inputs, self.numbers, planned=(tuple(layers), with_input))
        self._gradients: dict[Capture, Evidence[tuple[dict[str, Tensor], Tensor | None]]] = {}
        # Who asks about the same inputs, each for another target; held weakly, so that no cycle keeps a pass.
        self._family: WeakSet[Probe] = WeakSet([self])
        self._scored: dict[Hashable, Evidence[WeakKeyDictionary[Probe, Tensor]]] = {}
        self.lenient = False  # whether scores that are not finite are given as they are

    _parent: "tuple[Probe, int] | None"
    _renamed: ClassVar[dict[str, str]] = {
        "altered": "perturbed",
        "at": "pellucid.probe.layer_evidence",
        "lower": "mark_bf16",
        "scores": "score_perturbed",
        "under": "pellucid.probe.run_with",
        "value": "score",
    }

    def about(self, target: Target | TargetFn, output: Output) -> "Probe":
        """The same evidence for another target: forward passes are shared, backward passes are not."""
        other = self._like(self.inputs, target, output, self.numbers)
        other.passes, other._scored = self.passes, self._scored
        other._family, other._records = self._family, self._records
        self._family.add(other)
        return other

    def one(self, image: int) -> "Probe":
        """The same question about one image of the batch; what is noted of it is noted of that image."""
        some = self.inputs[image : image + 1]
        alone = self._like(some, self.target_fn.pick([image]), self.output, self.numbers[image : image + 1])
        alone._parent = self, image
        return alone

    def perturbed(self, inputs: Float[Tensor, "B C H W"], images: Int[Tensor, " B"] | None = None) -> "Probe":
        """The same question about perturbed inputs (B, C, H, W), by default as many of each image, adjacent.

        `images` (B,) are the numbers, within the batch, of the images that these were made of.
        """
        if images is None:
            times = len(inputs) // len(self.inputs)
            images = torch.arange(len(self.inputs), dtype=torch.long, device="cpu").repeat_interleave(times)
        whose = images.tolist()
        numbers = [self.numbers[image] for image in whose]
        other = self._like(inputs, self.target_fn.pick(whose), self.output, numbers)
        other._original = self, whose
        # The images' own maps keep the numerics of a plain pass; of many copies speed counts.
        other.passes.channels_last = inputs.device.type == "cpu"
        return other

    def _like(
        self,
        inputs: Float[Tensor, "N C H W"],
        target: Target | TargetFn,
        output: Output,
        numbers: Sequence[int],
    ) -> "Probe":
        seed, limit = self.seed, self.limit
        return Probe(self.engine, inputs, target, output, seed=seed, limit=limit, numbers=numbers)

    # What the model says

    @property
    def raw(self) -> Any:
        """The model's raw output: of a pass the asker has paid for, else of the first, which is billed."""
        return self.passes.output(self)

    @property
    def outputs(self) -> Float[Tensor, "N K"]:
        """The model's outputs, outside the graph."""
        raw = self.raw
        return self.reading.outputs(raw, len(self.inputs)).detach()

    @property
    def reading(self) -> Reading:
        """Where the classes' scores are in the raw output, and on what scale.

        Raises:
            PellucidError: there are none.
        """
        return self.engine.read(self.raw, len(self.inputs))

    @property
    def class_values(self) -> Float[Tensor, "N classes"]:
        """Each class's score on the model's own scale, outside the graph; a single output has two classes."""
        return self.reading.scale.class_values(self.outputs, "logit")

    @cached_property
    def target_fn(self) -> TargetFn:
        """The target, resolved."""
        if isinstance(self.target, TargetFn):
            return self.target
        with torch.no_grad():
            score = resolve(
                self.target,
                self.raw,
                self.engine.model,
                self.output,
                reading=lambda: self.reading,
                numbers=self.numbers,
                images=self.engine.images,
            )
        if len(score.names) != len(self.inputs):
            raise InvalidValue(
                f"There must be one score per image: {len(self.inputs)} images, {len(score.names)} scores."
            )
        return score

    @property
    def score(self) -> Float[Tensor, " N"]:
        """The explained number of each sample, outside the graph."""
        return self.checked(self._score)

    @cached_property
    def _score(self) -> Float[Tensor, " scores"]:
        with torch.no_grad():
            return self.target_fn(self.raw)

    @cached_property
    def pictures(self) -> list[Picture]:
        """What the inputs show, at their own resolution."""
        return self.engine.model.pictures(self.inputs)

    def baseline(self, spec: Any) -> Float[Tensor, "N C H W"]:
        """What stands for hidden parts of each image; see `pellucid.baselines.baseline`."""
        if isinstance(spec, Tensor | np.ndarray) and spec.ndim == 4 and len(spec) > 1:
            if max(self.numbers) >= len(spec):
                raise InvalidValue(
                    f"baseline must be one image, or one for each image; got {len(spec)}, too few."
                )
            spec = spec[self.numbers]
        return baseline(spec, self.inputs, self.engine.model, self.generator(_BASELINE))

    # Evidence

    def score_perturbed(
        self, copies: Copies, start: int, stop: int, *, key: Hashable = None, low: bool = False
    ) -> Float[Tensor, " S"]:
        """The scores of perturbed inputs number `start` to `stop` of a single image, in float64 on the CPU.

        They are made, run and let go chunk by chunk; when memory runs out the chunks become smaller.

        Args:
            copies: makes perturbed inputs `(start, stop) -> (B, C, H, W)`: new tensors, always the same ones.
            start: the first.
            stop: the one behind the last.
            key: what they depend on besides the image, if not on the target: then one run serves all
                targets that are asked about.
            low: whether the model is run in bfloat16.

        Raises:
            InvalidValue: a score that is not finite.
        """
        self.engine.progress.at_least(stop - start)
        if self._parent is None or key is None:
            own, number = [self._scorer], self.numbers[0]
            (scores,) = score_copies(
                self.engine, self.inputs, copies, start, stop, own, low=low, number=number
            )
            return self._finite(scores, start)
        parent, image = self._parent
        about = image, key, start, stop, low

        def scored() -> WeakKeyDictionary[Probe, Tensor]:
            asking = [probe for probe in parent._family if probe is parent or probe._answerable]
            scorers = [probe.one(image)._scorer for probe in asking]
            number = self.numbers[0]
            rows = score_copies(
                self.engine, self.inputs, copies, start, stop, scorers, low=low, number=number
            )
            return WeakKeyDictionary(zip(asking, rows, strict=True))

        if about not in parent._scored or parent not in parent._scored[about].value:
            parent._scored[about] = self.make_evidence(scored)
        return self._finite(self.use_evidence(parent._scored[about])[parent], start)

    def score_perturbed_in_bf16(
        self, copies: Copies, start: int, stop: int, *, key: Hashable
    ) -> Float[Tensor, " S"] | None:
        """The same in bfloat16; None where the model fails so, which is reported as the precision chosen.

        Some operations have no bfloat16 (an FFT), others refuse to mix it with the float32 of a buffer, and
        large numbers overflow.
        """
        try:
            return self.score_perturbed(copies, start, stop, key=key, low=True)
        except SamplesMix:
            raise
        except Exception as error:  # whatever it is, float32 tells whether it is bfloat16's
            if out_of_memory(error):
                raise
            reason = first_line(error).removesuffix(".")
        self.choose("precision", f"float32, as bfloat16 failed: {reason}.")
        return None

    def sum_over(self, count: int, term: Callable[[int, int], Sum], *, size: int | None = None) -> Sum:
        """The sum of `term(start, stop)` over parts of 0, ..., count - 1: the sum of a term over numbers.

        `term` usually makes perturbed inputs number start to stop of each image, (N, B, C, H, W), and asks
        `perturbed` for their evidence. When memory runs out it is called with fewer; a term that fails must
        not have kept anything.

        Args:
            count: at least 1.
            term: gives a tensor, several as a tuple or by name, or whatever knows `+`.
            size: how many inputs are run for each number; by default one of each image.
        """
        total: list[Sum] = []

        def step(start: int, stop: int) -> None:
            more = term(start, stop)
            total[:] = [added(total[0], more) if total else more]

        in_chunks(count, self._at_once(size), step)
        return total[0]

    def concat_over(
        self,
        count: int,
        rows: Callable[[int, int], tuple[Tensor, ...]],
        *,
        dim: int,
        size: int | None = None,
    ) -> tuple[Tensor, ...]:
        """What `rows(start, stop)` gives of 0, ..., count - 1, concatenated along `dim`; see `sum_over`."""
        found: list[tuple[Tensor, ...]] = []
        in_chunks(
            count,
            self._at_once(size),
            lambda start, stop: found.append(rows(start, stop)),
        )
        return tuple(torch.cat(part, dim) for part in zip(*found, strict=True))

    def _at_once(self, size: int | None) -> int:
        """How many numbers of `size` inputs each are run together."""
        return max(1, self.limit // (len(self.inputs) if size is None else size))

    def input_gradient(self) -> Float[Tensor, "N C H W"]:
        """dS/dx, of the same shape as the input."""
        gradient = self.gradients(None)[1]
        if gradient is None:
            raise ModelError(NO_GRADIENT)
        return gradient

    def gradients(self, layer: str | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """The gradients of the pass that kept `layer` (None: the input): one backward for all it kept."""
        taken = self.passes.plain(self, (layer,) if layer else (), with_input=layer is None)
        if taken not in self._gradients:
            if not self.target_fn(taken.raw).requires_grad and taken.leaf is None:
                # The model switches gradients off inside: build the graph from the input on instead.
                self.passes.rerun_from_input(self, taken)
                return self.gradients(layer)
            self._gradients[taken] = self.make_evidence(
                lambda: self.passes.backward(taken, self.checked(self.target_fn(taken.raw)))
            )
        return self.use_evidence(self._gradients[taken])

    def generator(self, draw: int = 0) -> torch.Generator:
        """The source of the numbers of one draw: the same for every image, batch size and device."""
        return torch.Generator(device="cpu").manual_seed((self.seed * 1_000_003 + draw) % 2**63)

    def report_layers(self, layers: Sequence[Found]) -> None:
        """Says which layers were found, and how."""
        reports = [found.report() for found in layers]
        if reports:
            self.choose("layer", reports[0] if len(reports) == 1 else reports)

    # Checks

    @property
    def model(self) -> Model:
        """The model, as the user gave it: what it says of its inputs, outputs and labels."""
        return self.engine.model

    @property
    def network(self) -> nn.Module:
        """The `nn.Module` that runs, to look into and to hook; `model.network` is the user's own."""
        return self.engine.network

    def layer_names(self, layer: Any, layout: Any = None) -> tuple[str, ...]:
        """The layers that `layer=` and `layout=` ask for, as `at` takes them: see `pellucid.layers`."""
        return layer_names(self.model.network, layer, layout)

    @property
    def may_use_bf16(self) -> bool:
        """Whether bfloat16 may stand in for the model's own precision, and is faster on this device."""
        return self.engine.may_lower(self.inputs)

    @property
    def _scorer(self) -> Scorer:
        return lambda raw, times: self.target_fn.repeat(times)(raw)

    @property
    def _answerable(self) -> bool:
        """Whether the target holds for these images; whoever asks for it is told why not."""
        try:
            return bool(self.target_fn)
        except PellucidError:
            return False

    def _finite(self, scores: Float[Tensor, " S"], start: int) -> Float[Tensor, " S"]:
        bad = ~scores.isfinite()
        if bad.any():  # of a single image: whoever asks about several goes on with the others
            first = int(bad.nonzero()[0])
            raise InvalidValue(
                f"Every score must be finite; perturbed input {start + first} has {scores[first].item()}: "
                "the model does not take such an input. Choose another baseline, or run it in float32."
            )
        return scores

    def checked(self, score: Float[Tensor, " scores"]) -> Float[Tensor, " N"]:
        """One finite score per image: images with another one fail, the others go on."""
        if len(score) != len(self.inputs):
            raise InvalidValue(
                f"There must be one score per image: {len(self.inputs)} images, {len(score)} scores."
            )
        self.refuse_nonfinite("The score", score[:, None])
        return score

    def refuse_nonfinite(self, what: str, values: Float[Tensor, "N *rest"]) -> None:
        """Lets images fail that have a NaN or an infinity, and says where it came from; the others go on.

        Raises:
            InvalidValue: naming the image, the value, and the first layer of the model that gave such a one,
                if no image is left.
        """
        if self.lenient:
            return
        bad = ~values.detach().isfinite()
        images = [i for i in bad.flatten(1).any(1).nonzero()[:, 0].tolist() if i not in self.failed]
        if not images:
            return
        layer = self.once("first non-finite", lambda: first_nonfinite(self.engine, self.inputs, self.numbers))
        where = f". The first layer to give such a value is {layer!r}." if layer else "."
        for image in images:
            value = values[image][bad[image]][0].item()
            text = f"{what} must be finite; image {self.numbers[image]} has {value}{where}"
            self.fail(image, InvalidValue(text))


def added(a: Any, b: Any) -> Any:
    """a + b; of tuples and of mappings by name each part by itself.

    Example:
        >>> added((1, {"a": 2}), (10, {"a": 20, "b": 30}))
        (11, {'a': 22, 'b': 30})
    """
    if isinstance(a, tuple):
        return tuple(map(added, a, b))
    if isinstance(a, dict):
        return a | {name: added(a[name], part) if name in a else part for name, part in b.items()}
    return a + b
