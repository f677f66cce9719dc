"""`pellucid show`: what a file shows and where it comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pellucid.bundle import SUFFIXES as BUNDLES
from pellucid.bundle import read_bundle
from pellucid.comparison import Comparison
from pellucid.errors import InvalidValue
from pellucid.explanation import Explanation
from pellucid.provenance import provenance_of
from pellucid.render import metadata
from pellucid.render.style import Style
from pellucid.render.text import number
from pellucid.render.words import percent


def read(file: Path) -> dict[str, Any]:
    """What a file of any kind holds of what it shows.

    Raises:
        FileMissing: there is no such file.
        InvalidValue: another suffix, or a file that Pellucid did not save.
    """
    suffix = file.suffix.lower()
    if suffix in BUNDLES:
        _, held = read_bundle(file)
        whole = Comparison.load(file) if "entries" in held else Explanation.load(file)
        return provenance_of(whole.explanations if isinstance(whole, Comparison) else [whole], Style())
    if suffix not in metadata.SUFFIXES:
        known = ", ".join((*metadata.SUFFIXES, *BUNDLES))
        raise InvalidValue(f"FILE must be one that Pellucid saved ({known}); got {file.name!r}.")
    return metadata.read(file)


def facts(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """One explanation, in names and values."""
    yield "method", one["method"] + "".join(f" {name}={value}" for name, value in one["options"].items())
    yield "model", one["model"]
    if one["layer"]:
        yield "layer", ", ".join(one["layer"])
    limits = one.get("limits", [None] * len(one["labels"]))
    rows = zip(one["pictures"], one["labels"], one["score"], one["prediction"], limits, strict=True)
    for picture, label, score, prediction, limit in rows:
        yield "picture", f"{picture['name']}, {picture['size'][0]} x {picture['size'][1]}"
        yield "explained", f"{label}, {one['output']} {number(score)}"
        if prediction:
            yield "predicted", ", ".join(f"{p['label']} {percent(p['probability'])}" for p in prediction[:3])
        if limit:
            yield "colours", f"{number(limit['vmin'])} to {number(limit['vmax'])}"
    yield "paper", one["paper"]
    yield "seed", f"{one['seed']}, precision {one['precision']}"
    for warning in one["warnings"]:
        yield "warning", warning


def about(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How it was drawn, and by what."""
    drawing = {name: value for name, value in told.get("drawing", {}).items() if value is not None}
    if drawing:
        yield "drawn with", ", ".join(f"{name}={value}" for name, value in drawing.items())
    yield "versions", ", ".join(f"{name} {version}" for name, version in told["versions"].items())
