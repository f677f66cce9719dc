"""What `pellucid compare` found, for people and for scripts."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pellucid.agreement import agreement
from pellucid.certainty import typical
from pellucid.cli.reading import about
from pellucid.cli.screen import (
    certainty_columns,
    complain,
    console,
    passes,
)
from pellucid.cli.tables import NBSP, Column, print_table
from pellucid.comparison import Comparison
from pellucid.entries import Entry, refusal_sentences
from pellucid.errors import FileMissing, PictureError
from pellucid.model import Model
from pellucid.render.words import predicted


def is_readable(source: str, models: Sequence[Model]) -> bool:
    """Whether a picture can be read by all models; if not, the reason is printed."""
    try:
        for model in models:
            model.read(source)
    except (PictureError, FileMissing) as error:
        complain(about(source, error))
        return False
    return True


Correlations = list[list[float]]


def _agreements(comparison: Comparison) -> list[tuple[list[Entry], Correlations, Correlations]]:
    """The entries of each model and target, and how their maps agree: the mean over all pictures.

    First with the evidence's signs, then without.
    """
    groups = []
    by_question = groupby(comparison.entries, lambda e: (e.explanation.model, e.explanation.labels))
    for entries in (list(group) for _, group in by_question):
        maps = [entry.explanation for entry in entries]
        pictures = range(len(maps[0]))
        signed, unsigned = (
            torch.stack([agreement(maps, i, magnitudes=without) for i in pictures]).mean(0).tolist()
            for without in (False, True)
        )
        groups.append((entries, signed, unsigned))
    return groups


def show(comparison: Comparison, files: Sequence[Path]) -> None:
    """All of it, for people."""
    screen = console()
    for entries, signed, unsigned in _agreements(comparison):
        first = entries[0].explanation
        for picture, best, label in zip(first.pictures, first.prediction, first.labels, strict=True):
            screen.print(f"{picture.name}: {label}, by {first.model} ({predicted(best, 1)})", style="bold")
        _print_verdicts(screen, comparison, entries)
        _print_methods(screen, entries, signed, unsigned)
        screen.print()
    screen.print(
        "Similarity: Spearman's rank correlation of the evidence in 14 x 14 cells; "
        "in brackets without its signs",
        style="dim",
    )
    for text in (*comparison.warnings, *comparison.unjudged, *refusal_sentences(comparison.refusals)):
        screen.print(text, style="yellow")
    screen.print(f"Together, evidence shared: {passes(comparison.cost)}")
    for file in files:
        screen.print(str(file), soft_wrap=True)


def _print_verdicts(screen: Console, comparison: Comparison, entries: Sequence[Entry]) -> None:
    """Which maps to trust, for each picture of one model and target; its name, where there are several."""
    first = entries[0].explanation
    names = {picture.name for picture in first.pictures}
    for verdict in comparison.verdicts:
        asked = set(zip((p.name for p in first.pictures), first.labels, strict=True))
        if verdict.model == first.model and (verdict.picture, verdict.label) in asked:
            if len(names) > 1:
                screen.print(verdict.picture, style="underline")
            for text in verdict.sentences:
                screen.print(text)


def _print_methods(
    screen: Console, entries: Sequence[Entry], signed: Correlations, unsigned: Correlations
) -> None:
    """What each method would have cost alone, and whose map is the most and the least similar.

    Of the two correlations with another method the higher one counts.
    """
    sure, cells = certainty_columns(
        [typical([panel.certainty() for panel in entry.explanation.panels()]) for entry in entries]
    )
    columns = [
        Column("method"),
        Column("forward", fold=4, right=True),
        Column("backward", fold=4, right=True),
        Column("seconds", fold=3, right=True),
        *(Column(title, fold=1, right=True) for title in sure),
        Column("most similar"),
        Column("least similar", fold=2),
    ]
    rows = []
    for i, (entry, known) in enumerate(zip(entries, cells, strict=True)):
        others = sorted(
            (j for j in range(len(entries)) if j != i), key=partial(_higher, signed[i], unsigned[i])
        )
        ends = [
            _agreement_text(entries[at].title, signed[i][at], unsigned[i][at])
            for at in (others[-1:] + others[:1])
        ]
        ends = ends or ["", ""]
        cost = entry.explanation.cost
        passes_of = str(cost.forward), str(cost.backward), f"{cost.seconds:.2f}"
        rows.append((entry.title, *passes_of, *known, *ends))
    print_table(screen, columns, rows)


def _higher(signed: Sequence[float], unsigned: Sequence[float], other: int) -> float:
    return max(signed[other], unsigned[other])


def _agreement_text(title: str, signed: float, unsigned: float) -> str:
    """One method's agreement; without signs too, where that is another number."""
    first, second = f"{signed:.2f}", f"{unsigned:.2f}"
    return f"{title} {first}" if first == second else f"{title} {first}{NBSP}({second})"


def report(comparison: Comparison, sources: Sequence[str], files: Sequence[Path]) -> dict[str, Any]:
    """All of it, for scripts."""
    return {
        "pictures": sources,
        "comparisons": [
            {
                "model": entries[0].explanation.model,
                "targets": entries[0].explanation.labels,
                "methods": [{"title": entry.title, **entry.explanation.to_dict()} for entry in entries],
                "agreement": signed,
                "agreement_of_magnitudes": unsigned,
            }
            for entries, signed, unsigned in _agreements(comparison)
        ],
        "verdicts": [verdict.to_dict() for verdict in comparison.verdicts],
        "unjudged": list(comparison.unjudged),
        "refusals": [vars(refusal) for refusal in comparison.refusals],
        "cost": vars(comparison.cost),
        "files": [str(file) for file in files],
    }
