"""The registry: what a method is, and what its signature says about it.

A method is a plain function `(probe, *, options) -> map`. Its keyword-only options are the command line's
flags, the docs' tables, the report's captions and the stored provenance: all are read off the signature.
Methods come from the folders of this package, from installed packages by the entry-point group
`pellucid.methods`, and from a user's own code by `@pellucid.method`.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pellucid.errors import InvalidValue
from pellucid.methods.definition import (
    FAMILIES,
    Axiom,
    Counting,
    Drawing,
    Method,
    Passes,
    Promising,
    Reads,
    folder_of,
)
from pellucid.methods.foreign import method_named
from pellucid.options.signature import keyword_options
from pellucid.options.types import Option
from pellucid.plugins import Registry, check_name
from pellucid.target import Output

Formula = TypeVar("Formula", bound=Callable[..., Any])
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
        check_name("method", name)
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


def _family(function: Callable[..., Any], given: str | None) -> str:
    """The folder a built-in method lives in, or the family that another was given."""
    family = folder_of(function) or given
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
        here = method_named(name, METHODS)
        close = difflib.get_close_matches(name.lower().replace("_", "-"), METHODS, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        hint = f" It is {here!r} here." if here else hint
        raise InvalidValue(f"There is no method {name!r}.{hint} `pellucid methods` lists them all.")
    return found
