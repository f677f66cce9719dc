"""The numbers of a page, for programs."""

from collections.abc import Sequence
from typing import Any

from pellucid.alteration import Alteration
from pellucid.engine.cost import Cost
from pellucid.entries import Entry, Refusal
from pellucid.verdict import Verdict

SCHEMA_VERSION = 2


def data(
    entries: Sequence[Entry],
    refusals: Sequence[Refusal],
    cost: Cost,
    verdicts: Sequence[Verdict],
    unjudged: Sequence[str],
    curves: Sequence[Alteration],
) -> dict[str, Any]:
    """Every explanation as `Explanation.to_dict` has it, with its title; refusals, cost, verdicts, curves."""
    return {
        "format": "pellucid.report",
        "schema_version": SCHEMA_VERSION,
        "versions": entries[0].explanation.versions,
        "cost": vars(cost),
        "explanations": [{"title": entry.title, **entry.explanation.to_dict()} for entry in entries],
        "refusals": [vars(refusal) for refusal in refusals],
        "verdicts": [verdict.to_dict() for verdict in verdicts],
        "unjudged": list(unjudged),
        "curves": [one.to_dict() for one in curves],
    }
