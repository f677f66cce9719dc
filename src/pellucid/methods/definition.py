"""What a registered method is: its name, options, cost, and what its theory promises."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.finding import Finding
from pellucid.methods.foreign import option_named
from pellucid.methods.wrappers import COPIES, Statistic, augment, smooth
from pellucid.options.resolve import resolve
from pellucid.options.signature import documented
from pellucid.options.types import Option
from pellucid.probe import Probe
from pellucid.renamed import Renamed
from pellucid.target import Output

WRAPPERS = (
    Option("smooth", int, 0),
    Option("smooth_noise", float, 0.15),
    Option("smooth_statistic", Statistic, "mean"),
    Option("augment", bool, False),
)
"""What every method takes besides its own options: see `methods.wrappers`."""
Reads = Literal["layers", "input gradient", "perturbed inputs", "replaced operations"]
Needs = Literal["layers", "gradients", "operations", "scores"]
"""What a model must offer, in a word."""
Axiom = Literal["completeness", "sensitivity", "dummy", "implementation invariance", "linearity", "symmetry"]
AXIOMS: tuple[Axiom, ...] = get_args(Axiom)
"""What a method's theory may promise of its maps: see `pellucid.axioms`."""


class Passes(NamedTuple):
    """Samples run per image: forward, backward, and as often for each channel of the layer.

    For a channel the whole model may be run forward, or only the part behind the layer.
    """

    forward: int = 0
    backward: int = 0
    per_channel: int = 0
    behind_per_channel: int = 0

    def __str__(self) -> str:
        """As tables show it: "1+1", "1+0 and 35 per channel"."""
        each = f" and {self.per_channel} per channel" if self.per_channel else ""
        behind = f" and the head {self.behind_per_channel} per channel" if self.behind_per_channel else ""
        return f"{self.forward}+{self.backward}{each}{behind}"


FAMILIES = tuple(folder.name for folder in iter_modules([str(Path(__file__).parent)]) if folder.ispkg)
"""The folders of this package: what a method reads from a model, or how."""
Counting = Callable[[Mapping[str, Any]], Passes]
Promising = Callable[[Mapping[str, Any]], tuple[Axiom, ...]]
Drawing = Callable[[Mapping[str, Any]], bool]
_HERE = f"{__package__}."


@dataclass(frozen=True)
class Method(Renamed):
    """A registered method: call it with a probe and its options, or read what it is.

    `passes` gives the samples run per image by its formula, for its options, and `explains` the output its
    paper explains; `reads` says what evidence it needs, so that it can be planned before anything runs;
    `promises` gives the axioms that its theory proves of the bare method, for its options; `random` tells
    whether the bare method draws random numbers, and `quick_options` are as declared: see `quick`.
    """

    name: str
    family: str
    paper: str
    function: Callable[..., Finding | Tensor]
    options: tuple[Option, ...]
    passes: Counting
    reads: Reads
    explains: Callable[[Mapping[str, Any]], Output]
    promises: Promising
    random: Drawing
    quick_options: Mapping[str, Any]

    @property
    def quick(self) -> dict[str, Any]:
        """Options by which a test or a demonstration is quick; {} where the defaults are.

        Raises:
            InvalidType, InvalidValue: what was declared are no options of this method.
        """
        self.resolve_options(self.quick_options)
        return dict(self.quick_options)

    @property
    def needs(self) -> Needs:
        """What a model must offer: what it reads, and of perturbed inputs the scores or more."""
        if self.reads == "perturbed inputs":
            if self.family == "relevance":
                return "operations"
            return "gradients" if self.cost(self.resolve_options({})).backward else "scores"
        plain: dict[str, Needs] = {
            "layers": "layers",
            "input gradient": "gradients",
            "replaced operations": "operations",
        }
        return plain[self.reads]

    @property
    def built_in(self) -> bool:
        """Whether it comes with Pellucid, and not from an installed package or a user's own code."""
        return folder_of(self.function) is not None

    @property
    def output(self) -> Output:
        """What it explains by default."""
        return self.explains({option.name: option.default for option in self.options})

    @property
    def summary(self) -> str:
        """The first line of its docstring: what it is, or its formula."""
        return self.doc.partition("\n")[0]

    @property
    def doc(self) -> str:
        """Its whole docstring, with what its options' types say of them."""
        return documented(inspect.cleandoc(self.function.__doc__ or ""), self.options)

    _renamed: ClassVar[dict[str, str]] = {"settle": "resolve_options"}

    def resolve_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All its options: those given, checked, and the defaults of the others.

        Raises:
            InvalidType: an option that it does not have; the message names those it has.
            InvalidValue: a value that an option does not take.
        """
        resolved = resolve(self.name, (*self.options, *WRAPPERS), given, option_named)
        if resolved["smooth"] < 0:
            raise InvalidValue(f"smooth must be a number of copies, 0 for none; got {resolved['smooth']}.")
        return resolved

    def shares(self, resolved: Mapping[str, Any]) -> bool:
        """Whether it reads the evidence of the image itself, which others may need too."""
        return not resolved["smooth"] and self.reads != "perturbed inputs"

    def cost(self, resolved: Mapping[str, Any]) -> Passes:
        """Samples run per image, the pass that gives the prediction included."""
        forward, *others = self.passes(resolved)
        times = max(1, resolved["smooth"]) * (len(COPIES) if resolved["augment"] else 1)
        return Passes(times * forward + (not self.shares(resolved)), *(times * other for other in others))

    def is_random(self, resolved: Mapping[str, Any]) -> bool:
        """Whether another seed may give another map: by its own draws, noisy copies or a noisy baseline."""
        given = resolved.get("baseline"), *_listed(resolved.get("references"))
        noisy = any(isinstance(spec, str) and spec == "noise" for spec in given)
        return bool(self.random(resolved) or resolved["smooth"] or noisy)

    def promised(self, resolved: Mapping[str, Any]) -> frozenset[Axiom]:
        """The axioms that its theory proves, for all its options.

        A mean over noisy copies explains other inputs than the picture, so nothing sums to its score; other
        statistics are not linear. A mean over mirrored copies mixes places. A number of samples or steps that
        follows from what they give differs from score to score.
        """
        broken: set[Axiom] = set()
        if "auto" in (resolved.get("samples"), resolved.get("steps")):
            broken |= {"linearity"}
        if resolved["smooth"]:
            broken |= {"completeness", "sensitivity"}
            if resolved["smooth_statistic"] != "mean":
                broken |= {"linearity"}
        if resolved["augment"]:
            broken |= {"completeness", "sensitivity", "dummy"}
        return frozenset(self.promises(resolved)) - broken

    def __call__(self, probe: Probe, **options: Any) -> Finding:
        """Runs the method, inside whatever wrappers its options ask for."""
        resolved = self.resolve_options(options)
        own = {option.name: resolved[option.name] for option in self.options}

        def formula(probe: Probe) -> Finding:
            found = self.function(probe, **own)
            return found if isinstance(found, Finding) else Finding(found)

        if resolved["smooth"]:
            formula = partial(
                smooth,
                formula=formula,
                samples=resolved["smooth"],
                noise=resolved["smooth_noise"],
                statistic=resolved["smooth_statistic"],
            )
        return augment(probe, formula) if resolved["augment"] else formula(probe)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def folder_of(function: Callable[..., Any]) -> str | None:
    """The folder of this package that a function lives in, if it does."""
    module = function.__module__
    folder = module.removeprefix(_HERE).partition(".")[0]
    return folder if module.startswith(_HERE) and folder in FAMILIES else None
