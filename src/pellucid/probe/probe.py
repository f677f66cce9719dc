"""The probe: what methods ask for evidence about a model, a batch and a target."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.engine.chunks import in_chunks, out_of_memory
from pellucid.engine.finding.found import Found
from pellucid.engine.forward_pass import Capture
from pellucid.engine.mixing import SamplesMix
from pellucid.engine.perturb import Copies, Scorer, score_perturbed
from pellucid.errors import InvalidValue, ModelError, PellucidError, first_line
from pellucid.probe.ledger import Evidence
from pellucid.probe.pass_cache import NO_GRADIENT
from pellucid.probe.question import Question
from pellucid.target import Output, Target, TargetFn

Sum = TypeVar("Sum")


class Probe(Question):
    """The evidence that one model gives about one batch, for one target; see `Question` for its arguments."""

    _parent: "tuple[Probe, int] | None"
    _family: "WeakSet[Probe]"
    _scored: "dict[Hashable, Evidence[WeakKeyDictionary[Probe, Tensor]]]"
    _gradients: dict[Capture, Evidence[tuple[dict[str, Tensor], Tensor | None]]]
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
            (scores,) = score_perturbed(
                self.engine, self.inputs, copies, start, stop, own, low=low, number=number
            )
            return self._finite(scores, start)
        parent, image = self._parent
        about = image, key, start, stop, low

        def scored() -> WeakKeyDictionary[Probe, Tensor]:
            asking = [probe for probe in parent._family if probe is parent or probe._answerable]
            scorers = [probe.one(image)._scorer for probe in asking]
            number = self.numbers[0]
            rows = score_perturbed(
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

    def report_layers(self, layers: Sequence[Found]) -> None:
        """Says which layers were found, and how."""
        reports = [found.report() for found in layers]
        if reports:
            self.choose("layer", reports[0] if len(reports) == 1 else reports)

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
