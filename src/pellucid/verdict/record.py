"""What comes of judging the maps of one picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.caching import cached_property
from pellucid.engine.cost import Cost
from pellucid.metrics.grid import Grid
from pellucid.metrics.interventions import Interventions

State = Literal["supported", "not supported", "undecided", "not judged"]


@dataclass(frozen=True)
class MapVerdict:
    """What interventions say of one map.

    Attributes:
        title: the method, with its options.
        state: "supported", "not supported", "undecided", or "not judged" where the decision has no place.
        q: the correlation of predicted and actual drops, less what replacement and hidden area explain.
        low: of q, the lower end of its 95 % interval, over interventions.
        high: the upper end.
        r: the same correlation less the replacement alone.
        strongest: q of its strongest sixteenth of the cells, marked alike: see `decide.strongest_cells`.
        floor: the floor that comes closest to it.
        beats_floors: whether q is above that of every floor, by more than chance.
        other_class: q of the same map for the drops of the strongest other class; None where there is none.
        same_for_every_class: whether the method gives that class the same map; None where that was not tried.
        empty: whether the map has no evidence for the class, or as much in every cell.
        passes: what the map cost, forward and backward.
        predicted: (K,), the drops it predicts, in its own units.
    """

    title: str
    state: State
    q: float
    low: float
    high: float
    r: float
    strongest: float
    floor: str
    beats_floors: bool
    other_class: float | None
    same_for_every_class: bool | None
    empty: bool
    passes: int
    predicted: Float[Tensor, " K"]


@dataclass(frozen=True, repr=False)
class Verdict:
    """Which maps of one picture are supported by interventions, and what that rests on.

    Attributes:
        picture: its name; `label` is the class that was explained, by `model`.
        maps: what is said of each map, in the order compared.
        localised: whether the decision has a place that a map could show. Where it has none, no map is
            judged.
        why: where it has none, why.
        floors: q of the maps that know nothing of the model, for this picture: see `metrics.floors`.
        agreement: (M, M), Spearman's rank correlation of the maps' evidence in the cells of one grid.
        overlap: the mean share that the 16 cells of most evidence of two maps have in common.
        interventions: what was hidden, and by how much the score fell.
        cost: of the interventions, and of asking methods about another class.
        spent: what the budget was, where it ended before every map was decided; else empty.
        sentences: all of it in words.
    """

    picture: str
    label: str
    model: str
    maps: tuple[MapVerdict, ...]
    localised: bool
    why: str
    floors: Mapping[str, float]
    agreement: Float[Tensor, "M M"]
    overlap: float
    interventions: Interventions
    cost: Cost
    spent: str = ""
    sentences: tuple[str, ...] = field(default=())

    @property
    def supported(self) -> tuple[str, ...]:
        """The methods whose maps are supported."""
        return self._in("supported")

    @property
    def rejected(self) -> tuple[str, ...]:
        """The methods whose maps are not."""
        return self._in("not supported")

    @property
    def undecided(self) -> tuple[str, ...]:
        """The methods of which it could not be said."""
        return self._in("undecided")

    @property
    def scores(self) -> dict[str, tuple[float, float, float]]:
        """q of each method, and both ends of its 95 % interval."""
        return {one.title: (one.q, one.low, one.high) for one in self.maps}

    @cached_property
    def recommended(self) -> str | None:
        """The cheapest supported map; of several as cheap the first compared. None where none is."""
        some = [one for one in self.maps if one.state == "supported"]
        return min(some, key=lambda one: one.passes).title if some else None

    def _in(self, state: State) -> tuple[str, ...]:
        return tuple(one.title for one in self.maps if one.state == state)

    def __repr__(self) -> str:
        if not self.localised:
            return f"Verdict({self.picture}, {self.label}: not localised)"
        kinds = {"supported": self.supported, "not": self.rejected, "undecided": self.undecided}
        said = "; ".join(f"{what}: {', '.join(titles)}" for what, titles in kinds.items() if titles)
        return f"Verdict({self.picture}, {self.label}: {said})"

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        head = f"{escape(self.picture)}: {escape(self.label)}, by {escape(self.model)}"
        return f"<div><b>{head}</b>{''.join(f'<p>{escape(one)}</p>' for one in self.sentences)}</div>"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON; `from_dict` reads it."""
        done = self.interventions
        return {
            "picture": self.picture,
            "label": self.label,
            "model": self.model,
            "localised": self.localised,
            "why": self.why,
            "supported": list(self.supported),
            "rejected": list(self.rejected),
            "undecided": list(self.undecided),
            "recommended": self.recommended,
            "maps": [{**vars(one), "predicted": one.predicted.tolist()} for one in self.maps],
            "floors": dict(self.floors),
            "agreement": self.agreement.tolist(),
            "overlap": self.overlap,
            "interventions": {
                "grid": vars(done.grid),
                "hidden": [_runs(cells) for cells in done.hidden.flatten(1).tolist()],
                "replacement": done.replacement.tolist(),
                "drop": done.drop.tolist(),
                "score": done.score,
                "span": done.span,
            },
            "cost": vars(self.cost),
            "spent": self.spent,
            "sentences": list(self.sentences),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Verdict":
        """The inverse of `to_dict`."""
        kept = stored["interventions"]
        grid = Grid(**kept["grid"])
        hidden = torch.zeros(len(kept["hidden"]), grid.rows * grid.columns, dtype=torch.bool, device="cpu")
        for row, runs in zip(hidden, kept["hidden"], strict=True):
            for start, stop in runs:
                row[start:stop] = True
        done = Interventions(
            grid,
            hidden.view(-1, grid.rows, grid.columns),
            torch.tensor(kept["replacement"], dtype=torch.long, device="cpu"),
            torch.tensor(kept["drop"], dtype=torch.float64, device="cpu"),
            kept["score"],
            kept["span"],
        )
        maps = tuple(
            MapVerdict(
                **{**one, "predicted": torch.tensor(one["predicted"], dtype=torch.float64, device="cpu")}
            )
            for one in stored["maps"]
        )
        return cls(
            stored["picture"],
            stored["label"],
            stored["model"],
            maps,
            stored["localised"],
            stored["why"],
            stored["floors"],
            torch.tensor(stored["agreement"], dtype=torch.float64, device="cpu").view(len(maps), len(maps)),
            stored["overlap"],
            done,
            Cost(**stored["cost"]),
            stored["spent"],
            tuple(stored["sentences"]),
        )


def _runs(cells: list[bool]) -> list[tuple[int, int]]:
    """Where cells are set, as (start, stop) of each run.

    Example:
        >>> _runs([False, True, True, False, True])
        [(1, 3), (4, 5)]
    """
    edges = [i for i in range(len(cells) + 1) if (i > 0 and cells[i - 1]) != (i < len(cells) and cells[i])]
    return list(zip(edges[::2], edges[1::2], strict=True))
