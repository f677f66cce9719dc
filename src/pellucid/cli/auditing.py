"""What `pellucid audit` is told and tells."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pellucid.audit.findings import KINDS
from pellucid.audit.record import Audit
from pellucid.cli.loading import load_model
from pellucid.cli.own_model import ModelOptions
from pellucid.cli.running import model_source
from pellucid.cli.screen import console
from pellucid.cli.tables import Column, print_table
from pellucid.render.words import percent
from pellucid.runner.loading import ModelSource
from pellucid.runner.results import open_run

CLASSES = 10
"""Classes that are listed."""
_COLOURS = {"shortcut": "red", "position": "yellow", "open": "yellow"}


def asked_model(source: Any, spec: str | None, given: ModelOptions, proofs: int) -> ModelSource | None:
    """What loads the model: as it is said, else as the run had it; None where none is needed."""
    stored = isinstance(source, str) and (Path(source) / "run.json").is_file()
    if not stored or spec is not None:
        return model_source(spec or "efficientnet-lite0", given)
    run = open_run(source)
    if not proofs or run.model_spec is None:
        return None
    options: dict[str, Any] = {
        name: Path(value) if name == "labels" else value
        for name, value in run.settings.get("model_options", {}).items()
    }
    return ModelSource(partial(load_model, run.model_spec, ModelOptions(**options)), run.model_spec)


def show(found: Audit, files: Sequence[Path]) -> None:
    """All of it, for people."""
    screen = console()
    counts = found.counts
    screen.print(
        f"{found.model}, {found.method}: {counts['read']:,} of {counts['in the run']:,} pictures, "
        f"{len(found.classes):,} class{'es' * (len(found.classes) != 1)}",
        style="bold",
    )
    for key in ("failed", "of another target", "without evidence"):
        if counts.get(key):
            screen.print(f"{counts[key]:,} left out: {key}", style="dim")
    for note in found.notes:
        screen.print(note, style="yellow")
    for one in found.findings:
        if one.kind in _COLOURS:
            screen.print()
            screen.print(KINDS[one.kind], style=_COLOURS[one.kind])
            screen.print(one.sentence)
    rest = {kind: sum(one.kind == kind for one in found.findings) for kind in ("cleared", "object")}
    screen.print()
    screen.print(
        f"Proven besides: {rest['object']} regions with the object, {rest['cleared']} that the model does "
        "not use.",
        style="dim",
    )
    print_table(
        screen,
        [
            Column("class"), Column("pictures", right=True), Column("clusters", right=True),
            Column("suspicion", right=True), Column("near the border", fold=1, right=True),
        ],
        [
            (
                one.name, f"{one.pictures:,}", str(sum(c.number > 0 for c in one.clusters)),
                f"{one.suspicion:.2f}",
                percent(max((c.border for c in one.clusters), default=0.0)),
            )
            for one in found.classes[:CLASSES]
        ],
    )  # fmt: skip
    if len(found.classes) > CLASSES:
        screen.print(f"and {len(found.classes) - CLASSES:,} more classes")
    for file in files:
        screen.print(str(file), soft_wrap=True)
