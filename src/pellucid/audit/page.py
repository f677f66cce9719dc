"""The audit as one page of HTML that needs nothing else."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image

from pellucid.audit.effects import Effect
from pellucid.audit.findings import KINDS, Audited, AuditedClass, Cluster, Example, Odd
from pellucid.audit.regions import Region
from pellucid.render.heat import HEAT, colormap, colours, fading
from pellucid.render.html import data_uri
from pellucid.render.words import percent
from pellucid.report import environment, text_of

CLASSES = 60
"""Classes that are listed."""
CARDS = 24
"""Findings that are shown with their pictures."""
ODD = 24
"""Pictures listed outside their boxes, and mistakes."""
_SHOWN = ("shortcut", "position", "open", "cleared", "object")


@dataclass(frozen=True)
class Tile:
    """A picture, or none, with a map over it, and the region's place on it: all in units of the grid."""

    photo: str
    heat: str
    width: int
    height: int
    region: Region | None
    about: str


@dataclass(frozen=True)
class Bar:
    """An effect as a bar between 0 and 1: its mean, both ends of its interval, and where 0 is."""

    label: str
    text: str
    mean: float
    low: float
    high: float
    zero: float


@dataclass(frozen=True)
class Card:
    """A finding with its pictures."""

    kind: str
    title: str
    anchor: str
    sentence: str
    mean: Tile
    examples: list[Tile]
    bars: list[Bar]
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class Dot:
    """A picture in the map of a class."""

    x: float
    y: float
    cluster: int
    id: str
    map: str


@dataclass(frozen=True)
class Row:
    """A class in the list."""

    name: str
    pictures: str
    suspicion: float
    mean: Tile
    clusters: list[tuple[int, int, str, Tile]]
    note: str
    dots: list[Dot]
    embedding: str


def render(audit: Audited) -> str:
    """The page: every text in it is escaped, and it loads nothing."""
    script = text_of("audit.js")
    kinds = {kind: sum(one.kind == kind for one in audit.findings) for kind in KINDS}
    told = {(one.name, one.number): one for one in audit.clusters}
    found = [(one, told[one.name, one.cluster]) for one in audit.findings if (one.name, one.cluster) in told]
    order = {kind: rank for rank, kind in enumerate(_SHOWN)}
    found.sort(key=lambda pair: (order[pair[0].kind], -pair[0].suspicion))
    return (
        environment()
        .get_template("audit.html.j2")
        .render(
            audit=audit,
            style=text_of("style.css") + text_of("audit.css"),
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode("ascii"),
            kinds=kinds,
            words=KINDS,
            cards=[_card(cluster, number) for number, (_, cluster) in enumerate(found[:CARDS])],
            more=max(0, len(found) - CARDS),
            classes=[_row(one) for one in audit.classes[:CLASSES]],
            more_classes=max(0, len(audit.classes) - CLASSES),
            outside=[(one, _tile(one.grid, None, one.id)) for one in audit.outside[:ODD]],
            mistakes=[(one, _tile(one.grid, None, one.id)) for one in audit.mistakes[:ODD]],
            percent=percent,
            lead=_lead(audit),
            facts=_facts(audit),
            ramp=_ramp(),
            grid=audit.grid,
            data=audit.to_dict(),
            name=_odd_name,
        )
    )


def _lead(audit: Audited) -> str:
    counts = audit.counts
    left = [
        f"{counts[key]:,} {words}"
        for key, words in (
            ("failed", "failed"),
            ("of another target", "explain another class than their own"),
            ("without evidence", "have no evidence for it"),
        )
        if counts.get(key)
    ]
    read = f"{counts['read']:,} of {counts['in the run']:,} pictures of {len(audit.classes):,} classes"
    return f"Maps of {read} were compared{'; ' + ', '.join(left) if left else ''}."


def _card(one: Cluster, number: int) -> Card:
    proof = one.proof
    bars: list[Bar] = []
    facts = [
        ("pictures", f"{len(one.members):,}"),
        ("evidence in it", f"{percent(one.inside)} (other classes {percent(one.inside_others)})"),
        ("near the border", f"{percent(one.border)} (other classes {percent(one.border_others)})"),
    ]
    if one.outside is not None:
        facts.append(("outside boxes", percent(one.outside)))
    if proof is not None:
        bars = _bars(
            [("hidden: its score falls by", proof.hidden), ("put elsewhere: theirs rises by", proof.put)]
        )
        fixed = proof.content.fixed
        facts += [
            ("the same, to the pixel", f"in {percent(fixed.mean or 0.0)} of {fixed.count} pictures"),
            ("become the class", f"{percent(proof.turned)} (else {percent(proof.turned_elsewhere)})"),
            ("p, corrected", "–" if one.p is None else f"{one.p:.2g}"),
        ]
    return Card(
        one.kind or "open",
        one.title,
        f"f-{number}",
        one.sentence,
        _tile(one.mean, one.region, f"mean map of {one.title}"),
        [_example(example, one.region) for example in one.examples],
        bars,
        facts,
    )


def _bars(effects: Sequence[tuple[str, Effect]]) -> list[Bar]:
    """Effects on one scale, which holds 0."""
    ends = [end for _, one in effects for end in (one.low, one.high)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    width = (high - low) or 1.0
    return [
        Bar(label, str(one), *((value - low) / width for value in (one.mean, one.low, one.high, 0.0)))
        for label, one in effects
        if one.count
    ]


def _row(one: AuditedClass) -> Row:
    ids = dict(enumerate(one.ids))
    dots = []
    if one.grids is not None and one.places:
        xs, ys = ([place[axis] for place in one.places] for axis in (1, 2))
        for i, (_, x, y, cluster) in enumerate(one.places):
            grid = one.grids[i]
            steps = (grid / grid.max().clamp_min(1e-12) * 255).round().to(torch.uint8).numpy()
            dots.append(
                Dot(
                    _scaled(x, xs), _scaled(y, ys), cluster, ids.get(i, ""),
                    b64encode(steps.tobytes()).decode("ascii"),
                )
            )  # fmt: skip
    read = "" if one.read == one.pictures else f", {one.read:,} read"
    return Row(
        one.name,
        f"{one.pictures:,}{read}",
        one.suspicion,
        _tile(one.mean, None, f"mean map of {one.name}"),
        [
            (each.number, len(each.members), each.kind or "", _tile(each.mean, each.region, each.title))
            for each in one.clusters
            if each.number
        ],
        one.note,
        dots,
        one.embedding,
    )


def _scaled(value: float, among: Sequence[float]) -> float:
    """A coordinate from 4 to 96."""
    low, high = min(among), max(among)
    return round(4 + 92 * (value - low) / ((high - low) or 1.0), 2)


def _tile(grid: Sequence[Sequence[float]], region: Region | None, about: str) -> Tile:
    values = torch.tensor(grid, dtype=torch.float64, device="cpu")
    image = Image.fromarray(colours(values / values.max().clamp_min(1e-12)).numpy())
    return Tile("", data_uri(image), len(grid[0]), len(grid), region, about)


def _example(one: Example, region: Region | None) -> Tile:
    values = torch.tensor(one.grid, dtype=torch.float64, device="cpu")
    shares = values / values.max().clamp_min(1e-12)
    opacity = (fading(shares.float()) * 255).round().to(torch.uint8)
    layer = Image.fromarray(torch.cat([colours(shares), opacity[..., None]], -1).numpy(), "RGBA")
    return Tile(data_uri(one.picture, "JPEG"), data_uri(layer), *one.picture.size, region, one.id)


def _ramp() -> str:
    """The colours of a map from none to most, three bytes each, for the script."""
    steps = colormap(HEAT)(np.linspace(0, 1, 256), bytes=True)[:, :3]
    return b64encode(np.ascontiguousarray(steps).tobytes()).decode("ascii")


def _odd_name(one: Odd) -> str:
    said = f"{one.prediction} {percent(one.probability)}" if one.probability is not None else one.prediction
    return f"it is {one.label}, taken for {said}" if one.label and one.label != one.prediction else said


def _facts(audit: Audited) -> list[tuple[str, str]]:
    return [
        ("Model", audit.model),
        ("Maps", audit.method),
        ("Grid", f"{audit.grid} x {audit.grid} cells"),
        ("Drawn", f"at most {audit.per_class:,} pictures of each class, seed {audit.seed}"),
        ("Passes", f"{audit.passes:,} forward, {audit.seconds:.0f} s"),
        ("Versions", f"pellucid {version('pellucid')}, torch {version('torch')}"),
    ]
