"""The probe: evidence that one model gives about one batch and one target, each piece computed once.

Methods read what they need and never run the model themselves; two methods that need the same evidence
share it, and so do two targets where the evidence does not depend on the target.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.baselines import baseline
from pellucid.caching import cached_property
from pellucid.engine.capture import Capture, capture
from pellucid.engine.evidence import Evidence, Ledger
from pellucid.engine.finding import Found
from pellucid.engine.looking import first_nonfinite
from pellucid.engine.mixing import SamplesMix
from pellucid.engine.operations import Operations
from pellucid.engine.perturb import Copies, Scorer, score_copies
from pellucid.engine.resume import Alter, resume
from pellucid.engine.run import Engine, first_line, out_of_memory
from pellucid.engine.taps import Tap
from pellucid.errors import InvalidValue, ModelError, ModelFailed, PellucidError
from pellucid.images import Picture
from pellucid.layers import quantised_layer
from pellucid.outputs import Reading
from pellucid.target import Output, Score, Target, resolve

_BASELINE = 1 << 40  # a draw of its own, apart from those of masks and noise
INDEPENDENT = (
    "The score does not depend on the input through differentiable operations (a detached output, no_grad "
    "inside the model, integer weights): gradients cannot explain it."
)


@dataclass(frozen=True)
class At:
    """The evidence at one call of a layer: activations `A` and gradients `G`, feature maps (N, K, h, w).

    `asked` is the layer as it was asked for, `key` tells its calls apart, `found` says how it was found.
    """

    probe: "Probe"
    tap: Tap
    asked: str
    key: str
    found: Found

    @property
    def A(self) -> Float[Tensor, "N K h w"]:
        """The activations."""
        return self.tap.maps

    @property
    def G(self) -> Float[Tensor, "N K h w"]:
        """The gradients dS/dA of each sample's score."""
        return self.probe.gradients(self.asked)[0][self.key]

    @property
    def name(self) -> str:
        """The layer's dotted name, with its call's number ("conv#2") if several are read or one was named."""
        return self.tap.title if self.key != self.asked or "#" in self.asked else self.tap.name

    def of(self, probe: "Probe") -> "At":
        """The same call of the layer for other inputs, or another target."""
        return next(at for at in probe.at(self.asked) if at.key == self.key)

    def scores(self, image: int, alter: Alter, total: int) -> Float[Tensor, " total"]:
        """The scores of one image with these activations altered in `total` ways: see `engine.resume`.

        `alter(maps, start, stop)` makes versions number start to stop: it is given as many copies of the
        image's activations, (B, K, h, w), and changes them in place.
        """
        probe = self.probe
        score, value = probe.score.pick([image]), probe.value[image]
        scores = resume(
            probe.engine, probe.inputs, self.tap, image, alter, total, score, value, probe.numbers
        )
        if not probe.engine.resumable[self.tap.title, tuple(probe.inputs.shape[1:])]:
            probe.note(
                f"What follows layer {self.name} could not be run alone: every altered copy of its output "
                "took a pass of the whole model.",
                torch.arange(len(probe.inputs), dtype=torch.long, device="cpu") == image,
            )
        return scores


@dataclass(frozen=True)
class Under:
    """One batch run with the model's operations replaced: what came out, and the way back through them."""

    probe: "Probe"
    taken: Capture

    @property
    def operations(self) -> Operations:
        """What stood for the model's own, with what it kept of this run."""
        if self.taken.operations is None:
            raise AssertionError("a run under operations has them")
        return self.taken.operations

    @property
    def score(self) -> Float[Tensor, " N"]:
        """The explained number of each sample, in the graph of this run."""
        return self.probe._checked(self.probe.score(self.taken.raw))

    @property
    def outputs(self) -> Float[Tensor, "N K"]:
        """The model's outputs, in the graph of this run."""
        return self.probe.reading.outputs(self.taken.raw, len(self.probe.inputs))

    def layer(self, layer: str) -> list[Tap]:
        """What the calls gave of one of the layers that were asked for."""
        return [self.taken.taps[key] for key in self.taken.calls[layer]]

    def keys(self, layer: str) -> tuple[str, ...]:
        """The keys of the calls of one of the layers that were asked for, as `back` gives them."""
        return self.taken.calls[layer]

    def back(
        self, outputs: Tensor, start: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Float[Tensor, "N C H W"]]:
        """What comes back at each layer that was asked for, as feature maps, and at the input.

        Args:
            outputs: where the way back begins: the score, outputs, ...
            start: what goes into it there, of the same shape; ones by default.
        """
        at_layers, at_input = self.probe._back(self.taken, outputs, start)
        if at_input is None:
            raise ModelError(INDEPENDENT)
        return at_layers, at_input

    def back_to_layers(self, outputs: Tensor, start: Tensor | None = None) -> dict[str, Tensor]:
        """What comes back at the layers alone; nothing is run back beyond them."""
        return self.probe._back(self.taken, outputs, start, of_input=False)[0]


class Probe(Ledger):
    """One model, one batch, one target.

    Args:
        engine: what runs the model; the batch must be small enough to be run at once.
        inputs: (N, C, H, W), the model's own input.
        target: a target, or a `Score` already resolved.
        output: which number a class target stands for.
        layers: layers whose evidence will be asked for, so that one pass serves them all.
        with_input: whether the input's gradient will be asked for too.
        seed: of everything drawn at random.
        limit: the most altered copies to run together.
        numbers: which of all images these are; by default the first.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Float[Tensor, "N C H W"],
        target: Target | Score = None,
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
        self._planned = (tuple(layers), with_input)
        self._captures: list[Evidence[Capture]] = []
        self._gradients: dict[Capture, Evidence[tuple[dict[str, Tensor], Tensor | None]]] = {}
        self._under: dict[Hashable, list[Evidence[Capture]]] = {}
        # Who asks about the same inputs, each for another target; held weakly, so that no cycle keeps a pass.
        self._family: WeakSet[Probe] = WeakSet([self])
        self._scored: dict[Hashable, Evidence[WeakKeyDictionary[Probe, Tensor]]] = {}
        self._channels_last = False
        self.lenient = False  # whether scores that are not finite are given as they are
        self._broken: list[ModelFailed] = []  # the error of the plain pass, which fails whoever asks

    _parent: "tuple[Probe, int] | None"

    def about(self, target: Target | Score, output: Output) -> "Probe":
        """The same evidence for another target: forward passes are shared, backward passes are not."""
        other = self._like(self.inputs, target, output, self.numbers)
        other._planned, other._captures, other._under = self._planned, self._captures, self._under
        other._scored, other._family, other._records = self._scored, self._family, self._records
        other._broken = self._broken
        self._family.add(other)
        return other

    def one(self, image: int) -> "Probe":
        """The same question about one image of the batch; what is noted of it is noted of that image."""
        some = self.inputs[image : image + 1]
        alone = self._like(some, self.score.pick([image]), self.output, self.numbers[image : image + 1])
        alone._parent = self, image
        return alone

    def altered(self, copies: Float[Tensor, "B C H W"], images: Int[Tensor, " B"] | None = None) -> "Probe":
        """The same question about altered copies, by default as many of each image, adjacent.

        `images` are the numbers, within the batch, of the images that these are copies of.
        """
        if images is None:
            times = len(copies) // len(self.inputs)
            images = torch.arange(len(self.inputs), dtype=torch.long, device="cpu").repeat_interleave(times)
        whose = images.tolist()
        numbers = [self.numbers[image] for image in whose]
        other = self._like(copies, self.score.pick(whose), self.output, numbers)
        other._original = self, whose
        # The images' own maps keep the numerics of a plain pass; of many copies speed counts.
        other._channels_last = copies.device.type == "cpu"
        return other

    def _like(
        self,
        inputs: Float[Tensor, "N C H W"],
        target: Target | Score,
        output: Output,
        numbers: Sequence[int],
    ) -> "Probe":
        seed, limit = self.seed, self.limit
        return Probe(self.engine, inputs, target, output, seed=seed, limit=limit, numbers=numbers)

    # What the model says

    @property
    def raw(self) -> Any:
        """The model's raw output: of a pass the asker has paid for, else of the first, which is billed."""
        runs = [*self._captures, *(run for runs in self._under.values() for run in runs)]
        paid = next((run for run in runs if self.engine.billed(run.value.charge)), None)
        return (self._use(paid) if paid else self._capture((), False)).raw

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
    def score(self) -> Score:
        """The target, resolved."""
        if isinstance(self.target, Score):
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
    def value(self) -> Float[Tensor, " N"]:
        """The explained number of each sample, outside the graph."""
        return self._checked(self._value)

    @cached_property
    def _value(self) -> Float[Tensor, " scores"]:
        with torch.no_grad():
            return self.score(self.raw)

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

    def scores(
        self, copies: Copies, start: int, stop: int, *, key: Hashable = None, low: bool = False
    ) -> Float[Tensor, " S"]:
        """The scores of altered copies number `start` to `stop` of a single image, in float64 on the CPU.

        Args:
            copies: makes copies `(start, stop) -> (B, C, H, W)`, new tensors, always the same ones.
            start: the first.
            stop: the one behind the last.
            key: what the copies depend on besides the image, if not on the target: then one run serves all
                targets that are asked about.
            low: whether the model is run in bfloat16.

        Raises:
            InvalidValue: a score that is not finite.
        """
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
            parent._scored[about] = self._make(scored)
        return self._finite(self._use(parent._scored[about])[parent], start)

    def scores_in_bfloat16(
        self, copies: Copies, start: int, stop: int, *, key: Hashable
    ) -> Float[Tensor, " S"] | None:
        """The same in bfloat16; None where the model fails so, which is reported as the precision chosen.

        Some operations have no bfloat16 (an FFT), others refuse to mix it with the float32 of a buffer, and
        large numbers overflow.
        """
        try:
            return self.scores(copies, start, stop, key=key, low=True)
        except SamplesMix:
            raise
        except Exception as error:  # whatever it is, float32 tells whether it is bfloat16's
            if out_of_memory(error):
                raise
            reason = first_line(error).removesuffix(".")
        self.choose("precision", f"float32, as bfloat16 failed: {reason}.")
        return None

    def at(self, *layers: str) -> list[At]:
        """Evidence at layers, as `layer_names` writes them: at each call that counts, one after another.

        Several cost one pass together.
        """
        taken = self._capture(layers, False)
        self._report([taken.found[layer] for layer in layers])
        return [
            At(self, taken.taps[key], layer, key, taken.found[layer])
            for layer in layers
            for key in taken.calls[layer]
        ]

    def input_gradient(self) -> Float[Tensor, "N C H W"]:
        """dS/dx, of the same shape as the input."""
        gradient = self.gradients(None)[1]
        if gradient is None:
            raise ModelError(INDEPENDENT)
        return gradient

    def gradients(self, layer: str | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """The gradients of the pass that kept `layer` (None: the input): one backward for all it kept."""
        taken = self._capture((layer,) if layer else (), layer is None)
        if taken not in self._gradients:
            if not self.score(taken.raw).requires_grad and taken.leaf is None:
                # The model switches gradients off inside: build the graph from the input on instead.
                self._captures[:] = [run for run in self._captures if run.value is not taken]
                self._captures.append(self._run(tuple(taken.calls), True))
                return self.gradients(layer)
            self._gradients[taken] = self._make(
                lambda: self._back(taken, self._checked(self.score(taken.raw)))
            )
        return self._use(self._gradients[taken])

    def under(self, key: Hashable, make: Callable[[], Operations], *layers: str) -> Under:
        """One pass with the model's operations replaced by what `make` gives, kept for all who give its key.

        Args:
            key: what tells these operations apart from others.
            make: makes them, new each time.
            layers: layers that are kept, by name or "auto".

        Raises:
            ModelError: an operation that cannot be replaced, a layer that is not run or holds no grid.
        """
        for run in self._under.get(key, []):
            if set(layers) <= set(run.value.calls):
                self._report([run.value.found[layer] for layer in layers])
                return Under(self, self._use(run))
        self._refuse_quantised()
        last = self._channels_last
        run = self._make(
            lambda: capture(
                self.engine,
                self.inputs,
                layers,
                True,
                channels_last=last,
                replaced=make,
                numbers=self.numbers,
            )
        )
        self._under.setdefault(key, []).append(run)
        taken = run.value
        self._report([taken.found[layer] for layer in layers])
        if not self._captures and self._planned == ((), False):  # what it says, once
            said = Capture(taken.raw, {}, None, taken.charge)
            self._captures.append(Evidence(said, run.charges, run.remarks))
        return Under(self, taken)

    def generator(self, draw: int = 0) -> torch.Generator:
        """The source of the numbers of one draw: the same for every image, batch size and device."""
        return torch.Generator(device="cpu").manual_seed((self.seed * 1_000_003 + draw) % 2**63)

    def _report(self, layers: Sequence[Found]) -> None:
        """Says which layers were found, and how."""
        reports = [found.report() for found in layers]
        if reports:
            self.choose("layer", reports[0] if len(reports) == 1 else reports)

    # How it is had

    @property
    def _scorer(self) -> Scorer:
        return lambda raw, times: self.score.repeat(times)(raw)

    @property
    def _answerable(self) -> bool:
        """Whether the target holds for these images; whoever asks for it is told why not."""
        try:
            return bool(self.score)
        except PellucidError:
            return False

    def _finite(self, scores: Float[Tensor, " S"], start: int) -> Float[Tensor, " S"]:
        bad = ~scores.isfinite()
        if bad.any():  # of a single image: whoever asks about several goes on with the others
            first = int(bad.nonzero()[0])
            raise InvalidValue(
                f"Every score must be finite; altered copy {start + first} has {scores[first].item()}: the "
                "model does not take such an input. Choose another baseline, or run it in float32."
            )
        return scores

    def _capture(self, layers: Sequence[str], with_input: bool) -> Capture:
        for run in self._captures:
            taken = run.value
            if set(layers) <= set(taken.calls) and (taken.leaf is not None or not with_input):
                return self._use(run)
        if self._broken:
            raise self._broken[0]
        planned, with_planned = self._planned
        if not self._captures and set(layers) <= set(planned) and with_input <= with_planned:
            try:
                self._captures.append(self._run(planned, with_planned))
                return self._captures[-1].value
            except ModelFailed:
                raise
            except ModelError:  # a layer that others asked for: each asks for its own from here on
                self._planned = ((), False)
        self._captures.append(self._run(layers, with_input))
        return self._captures[-1].value

    def _run(self, layers: Sequence[str], whole_graph: bool) -> Evidence[Capture]:
        last = self._channels_last
        try:
            return self._make(
                lambda: capture(
                    self.engine, self.inputs, layers, whole_graph, channels_last=last, numbers=self.numbers
                )
            )
        except ModelFailed as error:
            self._broken.append(error)
            raise

    def _back(
        self, taken: Capture, outputs: Tensor, start: Tensor | None = None, of_input: bool = True
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        self._refuse_quantised()
        if not outputs.requires_grad:
            raise ModelError(INDEPENDENT)
        try:
            with self.engine.making(backward=len(self.inputs)):
                return taken.gradients(outputs, start, of_input=of_input)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise ModelFailed(
                f"The model's gradients cannot be computed{self.engine.in_bfloat16}: {first_line(error)}"
            ) from error

    def _refuse_quantised(self) -> None:
        if quantised := quantised_layer(self.engine.model.module):
            raise ModelError(
                f"The model's layer {quantised!r} is quantised and has no gradient: explain the model it was "
                "made of, or use a method without gradients."
            )

    def _checked(self, score: Float[Tensor, " scores"]) -> Float[Tensor, " N"]:
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
