"""The registry: what a method is, and what its signature says about it.

A method is a plain function `(probe, *, options) -> map`. Its keyword-only options are the command line's
flags, the docs' tables, the report's captions and the stored provenance: all are read off the signature.
Methods come from the folders of this package, from installed packages by the entry-point group
`pellucid.methods`, and from a user's own code by `@pellucid.method`.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args, get_origin

from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.methods.finding import Finding
from pellucid.methods.option_types import Kind, Option
from pellucid.methods.wrappers import COPIES, Statistic, augment, smooth
from pellucid.plugins import Registry
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

Formula = TypeVar("Formula", bound=Callable[..., Any])
Counting = Callable[[Mapping[str, Any]], Passes]
Promising = Callable[[Mapping[str, Any]], tuple[Axiom, ...]]
Drawing = Callable[[Mapping[str, Any]], bool]

_HERE = f"{__package__}."
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*(\+\+)?")


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
    def built_in(self) -> bool:
        """Whether it comes with Pellucid, and not from an installed package or a user's own code."""
        return _folder(self.function) is not None

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
        """Its whole docstring."""
        return inspect.cleandoc(self.function.__doc__ or "")

    _renamed: ClassVar[dict[str, str]] = {"settle": "resolve_options"}

    def resolve_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All its options: those given, checked, and the defaults of the others.

        Raises:
            InvalidType: an option that it does not have; the message names those it has.
            InvalidValue: a value that an option does not take.
        """
        known = {option.name: option for option in (*self.options, *WRAPPERS)}
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise InvalidType(
                    f"{self.name} has no option {name!r}.{hint} It takes: {', '.join(known) or 'none'}."
                )
        resolved = {
            name: option.check(given[name]) if name in given else option.default
            for name, option in known.items()
        }
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


METHODS: Registry[Method] = Registry("pellucid.methods")
"""All methods by name."""


def method(
    name: str,
    *,
    paper: str,
    passes: tuple[int, ...] | Counting,
    family: str | None = None,
    reads: Reads = "input gradient",
    output: Output | Callable[[Mapping[str, Any]], Output] = "logit",
    promises: tuple[Axiom, ...] | Promising = (),
    random: bool | Drawing = False,
    quick: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[Formula], Formula]:
    """Registers a function `(probe, *, options) -> map`, and gives it back as it is.

    Its options are its keyword-only arguments, each with a type and a default. Registering the same function
    again replaces it, so that a notebook's cell can be run again.

    Args:
        name: the paper's name, in kebab-case.
        paper: authors, year, arXiv number or DOI.
        passes: samples run per image, forward and backward (see `Passes`); or a function of the options.
        family: of built-in methods the folder they live in; of others one of these families.
        reads: the evidence it needs.
        output: what its paper explains, "logit", "probability" or "loss"; or a function of the options.
        promises: the axioms that its theory proves; or a function of the options.
        random: whether it draws random numbers; or a function of the options.
        quick: options by which a test or a demonstration is quick.

    Raises:
        InvalidValue: a name that is not in kebab-case or belongs to another function, an unknown family, an
            option without type or default, `reads` that is no evidence.

    Example:
        >>> @method("bright", family="gradient", paper="Nobody 2026", passes=(1, 0))
        ... def bright(probe, *, power: float = 1.0):
        ...     return (probe.inputs**power).sum(1)
        >>> get_method("bright").options
        (Option(name='power', type=<class 'float'>, default=1.0),)
        >>> del METHODS["bright"]
    """

    def register(function: Formula) -> Formula:
        where = f"{function.__module__}.{function.__qualname__}"
        if not _NAME.fullmatch(name):
            raise InvalidValue(f"The name of a method must be in kebab-case, such as my-cam; got {name!r}.")
        if reads not in get_args(Reads):
            raise InvalidValue(
                f"reads must be one of {', '.join(get_args(Reads))}; got {reads!r} for {where}."
            )
        options = tuple(Option(p.name, p.annotation, p.default) for p in keyword_options(function))
        count = (lambda resolved, fixed=passes: Passes(*fixed)) if isinstance(passes, tuple) else passes
        explains = output if callable(output) else (lambda resolved, fixed=output: fixed)
        proven = promises if callable(promises) else (lambda resolved, fixed=promises: fixed)
        draws = random if callable(random) else (lambda resolved, fixed=random: fixed)
        METHODS.add(
            Method(
                name, _family(function, family), paper, function, options, count, reads, explains, proven,
                draws, quick,
            )
        )  # fmt: skip
        return function

    return register


def keyword_options(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The options of a function of one piece of evidence: its keyword-only parameters, their types resolved.

    Raises:
        InvalidValue: it does not take one positional argument and options, or an option lacks a type or a
            default, or has a type that options cannot have.
    """
    where = f"{function.__module__}.{function.__qualname__}"
    first, *others = inspect.signature(function).parameters.values() or (None,)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise InvalidValue(f"{where} must take its evidence first, as in (probe, *, options).")
    for p in others:
        if p.kind is not p.KEYWORD_ONLY:
            raise InvalidValue(f"{where} must take {p.name} by keyword only, as in (probe, *, {p.name}=...).")
        if p.annotation is p.empty or p.default is p.empty:
            lacks = "a type" if p.annotation is p.empty else "a default"
            raise InvalidValue(
                f"{where}: the option {p.name} must have a type and a default; it lacks {lacks}."
            )
    return [p.replace(annotation=_resolved(p, function, where)) for p in others]


def _resolved(option: inspect.Parameter, function: Callable[..., Any], where: str) -> Any:
    """The type of an option, which is text where a module postpones the evaluation of annotations."""
    kind = option.annotation
    try:
        kind = eval(kind, getattr(function, "__globals__", {})) if isinstance(kind, str) else kind
    except NameError as error:
        raise InvalidValue(f"{where}: the type of the option {option.name} is not known: {error}.") from None
    known = any(isinstance(part, Kind) for part in getattr(kind, "__metadata__", ()))
    if not known and get_origin(kind) is not Literal and kind not in (bool, int, float, str):
        raise InvalidValue(
            f"{where}: the option {option.name} must be a bool, int, float, str, Literal or one of the types "
            f"in pellucid.methods.registry and pellucid.methods.options; got {kind}."
        )
    return kind


def _folder(function: Callable[..., Any]) -> str | None:
    """The folder of this package that a function lives in, if it does."""
    module = function.__module__
    folder = module.removeprefix(_HERE).partition(".")[0]
    return folder if module.startswith(_HERE) and folder in FAMILIES else None


def _family(function: Callable[..., Any], given: str | None) -> str:
    """The folder a built-in method lives in, or the family that another was given."""
    family = _folder(function) or given
    if family not in FAMILIES:
        where = f"{function.__module__}.{function.__qualname__}"
        raise InvalidValue(f"{where}: family must be one of {', '.join(FAMILIES)}; got {family!r}.")
    return family


def get_method(name: str) -> Method:
    """The method registered under a name.

    Raises:
        InvalidValue: there is none; the message names the closest.
    """
    found = METHODS.get(name)
    if found is None:
        close = difflib.get_close_matches(name.lower().replace("_", "-"), METHODS, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise InvalidValue(f"There is no method {name!r}.{hint} `pellucid methods` lists them all.")
    return found


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """A method and its options as written on the command line.

    Example:
        >>> parse("smooth-grad:samples=20,noise=0.1")
        ('smooth-grad', {'samples': '20', 'noise': '0.1'})

    Raises:
        InvalidValue: an option without a value.
    """
    name, _, rest = spec.partition(":")
    options: dict[str, str] = {}
    for part in filter(None, re.split(r",(?=[\w-]+=)", rest)):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise InvalidValue(
                f"Options must be written NAME=VALUE, as in smooth-grad:samples=20; got {part!r}."
            )
        options[key.strip().replace("-", "_")] = value.strip()
    return name.strip(), options
