"""Which calls of which layers are read, out of what a pass showed."""

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor

from pellucid.engine.axes.follower import Follower
from pellucid.engine.finding.events import (
    TRACED,
    UNREAL,
    UNTOUCHED,
    Event,
    NoGrid,
    Unclear,
    misplaced_error,
    read_as_given,
    read_for,
)
from pellucid.engine.finding.found import Found, without_batch
from pellucid.engine.taps import Tap
from pellucid.engine.tracing import NOWHERE
from pellucid.errors import ModelError
from pellucid.layers import Asked, Layout, read_layer

OTHERS = 4
"""Other layers that a report names."""


class LayerChoice:
    """The calls of layers that a pass saw, and which of them are read.

    `last` is the last call that holds feature maps, `before_attention` what went into the last attention.
    """

    def __init__(self, images: int, asked: Sequence[str], follower: Follower) -> None:
        self.images, self.follower = images, follower
        self.asked = {layer: read_layer(layer) for layer in asked if layer != "auto"}
        self.names = {asked.name for asked in self.asked.values()}
        self.auto = "auto" in asked
        self.groups = {name: self.follower.group() for name in (*self.names, "auto")}
        self.events: list[Event] = []
        self.calls: Counter[str] = Counter()
        self.last: Event | None = None
        self.before_attention: Event | None = None

    def resolve(self, traced: Mapping[tuple[str, int], Layout | str], names: set[str]) -> None:
        """Puts in what changed pixels show of the layers whose outputs could not be followed."""
        for event in self.events:
            if not event.unknown or event.name not in names:
                continue
            event.unknown, layout = False, traced.get((event.name, event.call), NOWHERE)
            if isinstance(layout, str):
                event.misplaced = layout if layout != NOWHERE else ""
                event.why = event.why or layout
                event.undecided = layout == NOWHERE
                continue
            event.layout, event.proof = layout, TRACED
            if event.tap is not None:
                event.tap.layout = layout
            if not event.inside and not event.pooled and self._later(event):
                self.last = event

    def _later(self, event: Event) -> bool:
        return self.last is None or self.events.index(event) > self.events.index(self.last)

    def result(self, layer: str, outputs: Tensor | None) -> tuple[Found, list[Tap]]:
        """A layer as it was found, and what was kept of it in this pass: nothing where another is needed.

        Raises:
            ModelError: the layer was not reached, or its calls do not fit the picture.
            InvalidValue: a layout that was given does not hold.
            NoGrid: the layer holds none.
            Unclear: what changed pixels do must be looked at.
        """
        chosen, around = (self._auto(), "auto") if layer == "auto" else (None, self.asked[layer].name)
        asked = Asked(chosen.name, None, None) if chosen is not None else self.asked[layer]
        events = [event for event in self.events if event.name == asked.name]
        final = self._final(asked, events)
        if chosen is not None and chosen not in final:
            final = [chosen]
        if asked.layout is not None:
            final = [read_as_given(asked.layout, event, self.images) for event in final]
        if bad := [event for event in final if event.layout is None]:
            raise misplaced_error(asked.name, bad[0], self.calls[asked.name], len(final))
        found = Found(
            asked.name,
            tuple(event.call for event in final),
            self.calls[asked.name],
            tuple(event.layout for event in final if event.layout is not None),
            tuple(without_batch(e.shape, e.layout) for e in final if e.layout is not None),
            final[0].proof,
            self._around(self.groups[around], final, outputs, chosen not in (None, self.last)),
            self._others(asked.name),
            max(event.stretched for event in final),
        )
        taps = [event.tap for event in final if event.tap is not None]
        return found, taps if len(taps) == len(final) else []

    def _final(self, asked: Asked, events: list[Event]) -> list[Event]:
        """The calls that count: those that no later call depends on, or the one that was asked for."""
        runs = self.calls[asked.name]
        if not runs:
            raise ModelError(
                f"The model does not run its layer {asked.name!r} on this input: choose another layer."
            )
        if asked.call is not None:
            if asked.call > runs:
                raise ModelError(
                    f"Layer {asked.name!r} runs {runs} times in one pass; got call {asked.call}."
                )
            events = [event for event in events if event.call == asked.call]
        # Where nothing proves a layout, that of the user is believed.
        grids = [event for event in events if event.grid or (asked.layout and event.undecided)]
        if unclear := {event.name for event in grids if event.unknown}:
            raise Unclear(unclear)
        if not grids:
            last = events[-1] if events else None
            raise NoGrid(asked.name, last.shape if last else None, last.why if last else UNTOUCHED)
        return [e for e in grids if not any(e.bit & other.behind for other in grids if other is not e)]

    def _auto(self) -> Event:
        """The layer of "auto"."""
        chosen = self.last
        later = self.events[self.events.index(chosen) + 1 :] if chosen is not None else self.events
        if doubtful := {e.name for e in later if e.unknown and not e.inside and not e.pooled}:
            raise Unclear(doubtful)
        if chosen is None or chosen.layout is None:
            unreal = [f"Of {e.name!r}, {e.why}" for e in self.events if e.why.endswith(UNREAL)]
            raise NoGrid(None, None, unreal[-1] if unreal else "")
        before = self.before_attention
        return read_for(chosen, before)

    def _others(self, name: str) -> tuple[tuple[str, str], ...]:
        """The last other layers with a grid, and how they hold it."""
        found: dict[str, str] = {}
        for event in reversed(self.events):
            if event.layout is not None and event.name != name and not event.inside and not event.pooled:
                found.setdefault(event.name, str(event.layout))
        return tuple(found.items())[:OTHERS]

    def _around(
        self, group: int, final: Sequence[Event], outputs: Tensor | None, earlier: bool
    ) -> tuple[str, ...] | None:
        """Through what else the picture reaches the outputs: other layers, or "" for none of them.

        Where a class token is read, what is explained lies earlier than the last maps of its branch: what is
        made of it, and what it is made of itself, is no other way.
        """
        trace = self.follower.of(outputs) if outputs is not None else None
        if trace is None:
            return None
        own = sum(event.bit for event in final)
        if earlier:
            own |= sum(event.bit for event in self.events if event.behind & own)
            for event in final:
                own |= event.behind
        if not trace.paths & own:
            return None  # nothing of the score lies behind the layer, which the method itself will say
        # Behind what could not be followed at first no path was marked: what it is made of is no other way.
        hidden = [event for event in final if event.tap is None]
        for event in hidden:
            own |= event.behind
        left = trace.paths & group & ~own
        names = [read_for(event, event.before).name for event in self.events if event.bit & left]
        events = sum(event.bit for event in self.events)
        return tuple(dict.fromkeys([*names, *([""] if left & ~events and not hidden else [])]))
