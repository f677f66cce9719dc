"""The options of a method, read off its function's signature."""

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_origin

from pellucid.errors import InvalidValue
from pellucid.options.types import Kind, Option


def keyword_options(function: Callable[..., Any], evidence: Sequence[str] = ()) -> list[inspect.Parameter]:
    """The options of a function of evidence: its keyword-only parameters, their types resolved.

    Args:
        function: `(probe, *, options)`.
        evidence: what else may come before the options.

    Raises:
        InvalidValue: it does not take one positional argument and options, or an option lacks a type or a
            default, or has a type that options cannot have.
    """
    where = f"{function.__module__}.{function.__qualname__}"
    first, *others = inspect.signature(function).parameters.values() or (None,)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise InvalidValue(f"{where} must take its evidence first, as in (probe, *, options).")
    others = [p for p in others if p.name not in evidence or p.kind is p.KEYWORD_ONLY]
    for p in others:
        if p.kind is not p.KEYWORD_ONLY:
            raise InvalidValue(f"{where} must take {p.name} by keyword only, as in (probe, *, {p.name}=...).")
        if p.annotation is p.empty or p.default is p.empty:
            lacks = "a type" if p.annotation is p.empty else "a default"
            raise InvalidValue(
                f"{where}: the option {p.name} must have a type and a default; it lacks {lacks}."
            )
    return [p.replace(annotation=_resolved_type(p, function, where)) for p in others]


def _resolved_type(option: inspect.Parameter, function: Callable[..., Any], where: str) -> Any:
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
            f"in pellucid.options.types and pellucid.options.parts; got {kind}."
        )
    return kind


def documented(doc: str, options: Sequence[Option]) -> str:
    """A method's docstring, in which what an option's type says of it stands in place of "see `ItsType`".

    Example:
        >>> from pellucid.options.types import Tolerance
        >>> print(documented("    tolerance: see `Tolerance`.", [Option("tolerance", Tolerance, 0.1)]))
            tolerance: of samples="auto": the relative standard error of the top decile, and how far from 1
                the rank correlation of the samples' halves may be.
    """
    for option in options:
        if option.about:
            text = textwrap.fill(f"    {option.name}: {option.about}", 102, subsequent_indent=" " * 8)
            reference = re.search(rf"^    {option.name}: see `\w+`\.$", doc, re.MULTILINE)
            doc = doc.replace(reference.group(), text) if reference else doc
    return doc
