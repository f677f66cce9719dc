"""One call of a module: what it gave, and what is known of that."""

from dataclasses import dataclass

import torch

from pellucid.engine.taps import Tap
from pellucid.errors import InvalidValue, ModelError
from pellucid.layers import Given, Layout, other_tokens

FOLLOWED = "followed through the model's operations"
TRACED = "traced by changed pixels"
GIVEN = "given by layout="
UNTOUCHED = "it does not depend on the picture"
UNREAL = "not real floating-point numbers"
SHIFTED = "the picture is padded or cropped on one side inside the model, by more than one of its cells"


class Unclear(Exception):
    """What some layers gave could not be followed: a pass over changed pixels must tell."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names


class NoGrid(Exception):
    """A layer that was asked for holds no grid; `name` is None for "auto"."""

    def __init__(self, name: str | None, shape: torch.Size | None = None, why: str = "") -> None:
        super().__init__()
        self.name, self.shape, self.why = name, shape, why


@dataclass(eq=False)
class Event:
    """One call of a module: what it gave, and what is known of that.

    `unknown` says that it might hold a grid that could not be followed; `misplaced` why a grid that it holds
    does not lie as the picture does; `why` how positions were lost; `inside` that attention is computed
    around it; `before` is what went into the last attention by then; `stretched` by how many cells it is off
    at a border.
    """

    name: str
    call: int
    shape: torch.Size
    bit: int
    behind: int
    layout: Layout | None
    unknown: bool
    misplaced: str
    why: str
    pooled: bool
    inside: bool
    before: "Event | None" = None
    tap: Tap | None = None
    proof: str = FOLLOWED
    undecided: bool = False
    stretched: float = 0.0

    @property
    def grid(self) -> bool:
        """Whether the picture's positions are in it somehow, or might be."""
        return self.layout is not None or self.unknown or bool(self.misplaced)


def read_for(event: Event, before: Event | None) -> Event:
    """What to read for the last feature maps of a branch: what went into its last attention, if they hold a
    class token."""
    if event.layout is None or not other_tokens(event.shape, event.layout):
        return event
    same = before is not None and before.layout is not None and event.behind & before.bit
    return before if before is not None and same else event


def read_as_given(layout: Given, event: Event, images: int) -> Event:
    """A call read by the layout that the user gave.

    Raises:
        InvalidValue: the output cannot be read so, or is known to hold its grid otherwise.
    """
    read, known = layout.of(event.name, event.shape, images), event.layout
    if known is not None and (read.kind, read.grid, read.prefix) != (known.kind, known.grid, known.prefix):
        raise InvalidValue(
            f"layout {layout} is not how {event.name!r} holds its grid: it was {event.proof} to be {known}."
        )
    event.layout = read if known is None else known
    event.proof = GIVEN if known is None else event.proof
    if event.tap is not None:
        event.tap.layout = event.layout
    return event


def misplaced_error(name: str, event: Event, runs: int, final: int) -> ModelError:
    """Why a call of a layer cannot be put into the picture's place."""
    if final > 1:
        return ModelError(
            f"Layer {name!r} runs {runs} times in one pass, and its calls do not lie alike in the picture: "
            f'of call {event.call}, {event.misplaced}. Name a single call, as in layer="{name}#1", or use a '
            "gradient method."
        )
    return ModelError(
        f"Layer {name!r} does not lie in the picture as its output's axes do: {event.misplaced}. Choose "
        "another layer, or use a gradient method."
    )
