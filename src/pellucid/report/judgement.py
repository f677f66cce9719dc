"""A judgement: which maps of one question interventions support, in words and in a scoreboard."""

from collections.abc import Mapping, Sequence

from pellucid.engine.cost import Cost
from pellucid.entries import Entry
from pellucid.metrics.floors import FLOORS
from pellucid.metrics.hiding import REPLACEMENTS
from pellucid.report.records import Judgement, Standing
from pellucid.verdict import Verdict

_BEHIND = {"mean": "mean colour", "blur": "the picture blurred", "inpainting": "what lies around"}


def judgement(number: int, verdict: Verdict, entries: Sequence[Entry]) -> Judgement:
    """What the page says of a verdict.

    Args:
        number: which verdict of the page it is, counted from 0.
        verdict: of one question.
        entries: the methods that answered it, for what they took.
    """
    costs: Mapping[str, Cost] = {
        entry.title: entry.explanation.cost.share(len(entry.explanation)) for entry in entries
    }
    maps = [
        Standing(
            one.title,
            one.state,
            one.q,
            one.low,
            one.high,
            one.r,
            one.strongest,
            one.passes,
            costs[one.title].seconds if one.title in costs else None,
        )
        for one in verdict.maps
    ]
    floors = [Standing(FLOORS.get(name, name), "floor", q) for name, q in verdict.floors.items()]
    return Judgement(
        number,
        verdict.sentences,
        maps,
        sorted([*maps, *floors], key=lambda one: one.q, reverse=True),
        [_BEHIND[kind] for kind in REPLACEMENTS],
        len(verdict.interventions),
        str(verdict.cost),
    )
