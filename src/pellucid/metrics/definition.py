"""What a registered metric is: its name, options, direction, range, cost, and what it needs."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pellucid.errors import InvalidValue, PellucidError
from pellucid.metrics.measurement import Measurement
from pellucid.options.resolve import resolve
from pellucid.options.signature import documented
from pellucid.options.types import Option
from pellucid.probe import Probe
from pellucid.target import Output

FAMILIES = tuple(folder.name for folder in iter_modules([str(Path(__file__).parent)]) if folder.ispkg)
"""The folders of this package: what a metric asks of a map."""
Needs = Literal["explain", "truth"]
"""What a metric is given besides the map: the method, to explain again, or where the object is."""


class MetricPasses(NamedTuple):
    """Samples run per image and map, and how often the method explains again, each at the method's cost."""

    forward: int = 0
    backward: int = 0
    explanations: int = 0

    def __str__(self) -> str:
        """As tables show it: "29", "10 + 10 explanations"."""
        parts = [f"{self.forward}+{self.backward}" if self.backward else str(self.forward)]
        if self.explanations:
            parts.append(f"{self.explanations} explanation{'s' if self.explanations > 1 else ''}")
        return " and ".join(part for part in parts if part != "0") or "0"


Counting = Callable[[Mapping[str, Any], tuple[int, int]], MetricPasses]
"""The passes for some options and (height, width) of the input."""


@runtime_checkable
class Explain(Protocol):
    """The method that made the maps, with its options, for metrics that explain again."""

    def __call__(self, probe: Probe) -> Float[Tensor, "N D H W"]:
        """Maps of a probe's inputs, at their resolution, as `Explanation.attribution` has them.

        Perturbed inputs: `explain(probe.perturbed(inputs, images))`; another class:
        `explain(probe.about(target, probe.output))`.
        """
        ...

    def with_model(self, probe: Probe, change: Callable[[nn.Module], None]) -> Float[Tensor, "N D H W"]:
        """Maps of the probe's inputs and targets by a copy of the model that `change` has changed."""
        ...


@dataclass(frozen=True)
class Metric:
    """A registered metric: call it with a probe, maps and its options, or read what it is.

    `higher_is_better` is None where neither is better by itself; `range` holds the values it can take.
    `passes` gives the samples run per image and map, for its options and the input's (height, width).
    `output` is what its paper scores, and `needs` what it is given besides the map.
    """

    name: str
    family: str
    paper: str
    function: Callable[..., Measurement | Tensor]
    options: tuple[Option, ...]
    higher_is_better: bool | None
    range: tuple[float, float]
    passes: Counting
    output: Output
    needs: frozenset[Needs]
    quick_options: Mapping[str, Any]

    @property
    def quick(self) -> dict[str, Any]:
        """Options by which a test or a demonstration is quick; {} where the defaults are."""
        return dict(self.quick_options)

    @property
    def summary(self) -> str:
        """The first line of its docstring: what it is, or its formula."""
        return self.doc.partition("\n")[0]

    @property
    def doc(self) -> str:
        """Its whole docstring, with what its options' types say of them."""
        return documented(inspect.cleandoc(self.function.__doc__ or ""), self.options)

    def resolve_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All its options: those given, checked, and the defaults of the others.

        Raises:
            InvalidType: an option that it does not have; the message names those it has.
            InvalidValue: a value that an option does not take.
        """
        return resolve(self.name, self.options, given)

    def __call__(
        self,
        probe: Probe,
        attribution: Float[Tensor, "N D _ _"],
        *,
        explain: Explain | None = None,
        truth: Bool[Tensor, "N H W"] | None = None,
        **options: Any,
    ) -> Measurement:
        """Judges maps of the probe's images; an image that has no value is among `probe.failures`.

        Args:
            probe: the evidence, of N images and their target.
            attribution: (N, 1 or C, H, W), at the input's resolution.
            explain: the method that made them, for metrics that explain again.
            truth: (N, H, W), where the object is, for metrics of localisation.
            **options: the metric's.

        Raises:
            InvalidValue: maps of another size or with a value that is not finite, or something that the
                metric needs is missing.
        """
        resolved = self.resolve_options(options)
        given: dict[Needs, Any] = {"explain": explain, "truth": truth}
        for need in self.needs:
            if given[need] is None:
                what = {"explain": "the method that made the map", "truth": "boxes or masks of the object"}
                raise InvalidValue(f"{self.name} needs {what[need]}, and was given none.")
        n, size = len(probe.inputs), probe.inputs.shape[-2:]
        if attribution.ndim != 4 or len(attribution) != n or attribution.shape[-2:] != size:
            raise InvalidValue(
                f"Maps must be as large as the inputs, ({n}, 1 or C, {size[0]}, {size[1]}); "
                f"got {tuple(attribution.shape)}."
            )
        for image in (~attribution.isfinite()).flatten(1).any(1).nonzero()[:, 0].tolist():
            probe.fail(image, InvalidValue(f"{self.name} cannot judge a map that is not finite."))
        attribution = torch.nan_to_num(attribution, posinf=0.0, neginf=0.0)
        found = self.function(probe, attribution, **{need: given[need] for need in self.needs}, **resolved)
        found = found if isinstance(found, Measurement) else Measurement(found)
        value = found.value.detach().double().cpu()
        if value.shape != (n,):
            raise InvalidValue(f"{self.name} must give one number for each image; got {tuple(value.shape)}.")
        for image in (~value.isfinite()).nonzero()[:, 0].tolist():
            if image not in probe.failures:
                probe.fail(image, undefined(self.name, "the formula divides by 0 for it"))
        return Measurement(value, found.details)


def undefined(name: str, why: str) -> PellucidError:
    """The error of an image for which a metric has no value."""
    return InvalidValue(f"{name} has no value for this map: {why}.")


def folder_of(function: Callable[..., Any]) -> str | None:
    """The folder of this package that a function is written in; None if in another."""
    here, name = f"{__package__}.", function.__module__
    folder = name.removeprefix(here).partition(".")[0]
    return folder if name.startswith(here) and folder in FAMILIES else None
