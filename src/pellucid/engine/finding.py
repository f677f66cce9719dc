"""Which layer, which of its calls, and how each holds its grid: found out once for each model and input size.

The first pass that asks for a layer is run under a `Follower`, which knows the axes of every tensor; what it
finds is kept for as long as the model lives, and later passes follow nothing. Where the axes of an output
could not be followed, a pass over changed pictures tells (`engine.tracing`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pellucid.engine.axes import Follower, Trace, layout_of, shift, stretch, turned
from pellucid.engine.operations import Operations
from pellucid.engine.run import Engine
from pellucid.engine.scripted import of_this_thread as here
from pellucid.engine.scripted import readable, scripted_parts, unreadable
from pellucid.engine.taps import Tap, make_tap
from pellucid.engine.tracing import NOWHERE, TURNED
from pellucid.errors import InvalidValue, ModelError
from pellucid.layers import Asked, Given, Layout, first_tensor, other_tokens, read_layer, with_first_tensor

FOLLOWED = "followed through the model's operations"
TRACED = "traced by changed pixels"
GIVEN = "given by layout="
UNTOUCHED = "it does not depend on the picture"
UNREAL = "not real floating-point numbers"
SHIFTED = "the picture is padded or cropped on one side inside the model, by more than one of its cells"
HIDING = (nn.RNNBase, nn.RNNCellBase, torch.jit.ScriptModule)
"""Modules whose operations no mode sees."""
OTHERS = 4
"""Other layers that a report names."""


@dataclass(frozen=True)
class Found:
    """A layer as it was found: which calls are read, of how many, the layout and shape of each.

    `proof` says how the layouts are known; `around` names what else of the score's dependence on the picture
    does not pass through it ("" for the picture itself, None where that is not known); `others` are other
    layers that hold a grid; `stretched` tells by how many of its cells the map is off near a border.
    """

    name: str
    calls: tuple[int, ...]
    runs: int
    layouts: tuple[Layout, ...]
    shapes: tuple[tuple[int, ...], ...]
    proof: str
    around: tuple[str, ...] | None
    others: tuple[tuple[str, str], ...] = ()
    stretched: float = 0.0

    def notes(self) -> list[str]:
        """What a user must know of the layer: what does not lie behind it, and where its cells do not lie."""
        return [note for note in (self.partly(), self.beside()) if note is not None]

    def beside(self) -> str | None:
        """A sentence on cells that do not lie where they are drawn, if some are off by more than one cell."""
        if self.stretched <= 1:
            return None
        return (
            f"The cells of layer {self.name} do not tile the picture, because it is padded or cropped inside "
            f"the model or its convolutions have no padding: near the border the map is off by up to "
            f"{self.stretched:.1f} of its cells. An earlier layer is off by "
            "less; a gradient method places evidence exactly."
        )

    def partly(self) -> str | None:
        """A sentence on what of the score does not lie behind the layer, if that is known of."""
        if not self.around:
            return None
        through = [name for name in self.around if name]
        if not through:
            return (
                f"Only a part of the score lies behind layer {self.name}: the picture reaches the score "
                "around it too."
            )
        every = ",".join([*through, self.name])
        return (
            f"Only a part of the score lies behind layer {self.name}: the rest goes around it, through "
            f'{", ".join(through)}; layer="{every}" reads all of them.'
        )

    def report(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "name": self.name,
            "layout": [str(layout) for layout in self.layouts]
            if len(self.layouts) > 1
            else str(self.layouts[0]),
            "proof": self.proof,
            "calls": list(self.calls),
            "runs": self.runs,
            "around": None if self.around is None else list(self.around),
            "others": dict(self.others),
        }


_FOUND: WeakKeyDictionary[Any, dict[tuple[Any, ...], Found]] = WeakKeyDictionary()
_STATES: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def state_of(module: Any) -> int:
    """A number that changes with a model's modules, their flags, numbers and words, and their hooks."""
    if not isinstance(module, nn.Module):
        return 0
    seen: list[Any] = []
    ahead, met = [module], {id(module)}
    while ahead:  # a model's modules are many, and this is asked often
        part = ahead.pop()
        own = part.__dict__
        children = own.get("_modules", {}).values()  # TorchScript has them elsewhere
        seen += [id(part), *(len(own.get(hooks, ())) for hooks in ("_forward_hooks", "_forward_pre_hooks"))]
        seen += [value for value in own.values() if type(value) in _PLAIN]
        ahead += [child for child in children if child is not None and id(child) not in met]
        met.update(map(id, children))
    try:
        return hash(tuple(seen))
    except TypeError:  # a tuple of what has no hash
        return hash(repr(seen))


_PLAIN = frozenset((bool, int, float, str, tuple, type(None)))


def found_of(engine: Engine, inputs: Tensor, layer: str) -> Found | None:
    """What is known of a layer, by name or "auto", for inputs of this size: nothing if the model changed."""
    module = engine.model.module
    state = state_of(module)
    if _STATES.setdefault(module, state) != state:
        _STATES[module] = state
        _FOUND.pop(module, None)
    return _FOUND.get(module, {}).get((tuple(inputs.shape[1:]), layer))


def keep_found(engine: Engine, inputs: Tensor, layer: str, found: Found) -> None:
    """Keeps what is known of a layer for as long as the model lives."""
    _FOUND.setdefault(engine.model.module, {})[tuple(inputs.shape[1:]), layer] = found


def forget(engine: Engine, inputs: Tensor) -> None:
    """Forgets what does not hold any more: the model was changed."""
    known = _FOUND.get(engine.model.module, {})
    for key in [key for key in known if key[0] == tuple(inputs.shape[1:])]:
        known.pop(key, None)


def without_batch(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """An output's shape, whatever the number of images."""
    return tuple(size for axis, size in enumerate(shape) if axis != layout.batch_axis)


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


@dataclass(eq=False)
class Frame:
    """A module that runs; `before` is the last candidate when it began."""

    name: str
    before: Event | None
    attends: bool = False


class Finder:
    """The hooks of a pass in which layers are found, and what it kept.

    For "auto" every module is watched, and the last feature maps win: those of the last module whose output
    holds a grid and is not pooled. If they hold tokens beside the grid's, as a ViT's, the class token is what
    the head reads and the patch tokens of the last block get no gradient; then the maps that went into the
    last attention win.
    """

    def __init__(
        self,
        inputs: Tensor,
        asked: Sequence[str],
        whole_graph: bool,
        operations: Operations | None = None,
    ) -> None:
        self.images, self.whole_graph, self.operations = len(inputs), whole_graph, operations
        self.asked = {layer: read_layer(layer) for layer in asked if layer != "auto"}
        self.names = {asked.name for asked in self.asked.values()}
        self.auto = "auto" in asked
        self.follower = Follower(inputs)
        self.groups = {name: self.follower.group() for name in (*self.names, "auto")}
        self.events: list[Event] = []
        self.calls: Counter[str] = Counter()
        self.frames: list[Frame] = []
        self.held: list[Event] = []
        self.last: Event | None = None
        self.before_attention: Event | None = None

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Hooks and the mode in place for this block, and gone after it whatever happens."""
        with ExitStack() as stack:
            self.follower.attended = self._attended
            stack.callback(self.follower.watch_none)  # a circle would keep the pass's tensors
            for name in self.names:
                if (reason := unreadable(network, name)) is not None:
                    raise reason
            for name, part in scripted_parts(network).items():
                if name and not any(child is part for _, child in readable(network)):
                    stack.enter_context(_through(network, name, part, self._hidden))
            for name, child in readable(network):
                if isinstance(child, HIDING):
                    stack.callback(child.register_forward_hook(self._hidden, with_kwargs=True).remove)
                if name in self.names or (self.auto and name):
                    stack.callback(child.register_forward_pre_hook(here(self._entering(name), child)).remove)
                    stack.callback(child.register_forward_hook(here(self._leaving(name), child)).remove)
            stack.enter_context(self.follower)
            yield

    def _hidden(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        recurrent = isinstance(module, nn.RNNBase | nn.RNNCellBase)
        self.follower.hidden((args, kwargs), output, recurrent=recurrent)

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            self.calls[name] += 1
            self.frames.append(Frame(name, self.last))

        return enter

    def _attended(self) -> None:
        """Attention is computed: what its module's parts give holds no feature maps to explain."""
        if self.frames and not any(frame.attends for frame in self.frames):
            self.frames[-1].attends = True
            if self.frames[-1].before is not None:
                self.last = self.frames[-1].before
        self.before_attention = self.last

    def _leaving(self, name: str) -> Callable[..., Any]:
        def leave(module: nn.Module, args: Any, output: Any) -> Any:
            self.frames.pop()
            tensor = first_tensor(output)
            trace = None if tensor is None else self.follower.of(tensor)
            if tensor is None or trace is None:
                return output
            return self._seen(name, output, tensor, trace)

        return leave

    def _seen(self, name: str, output: Any, tensor: Tensor, trace: Trace) -> Any:
        """Takes note of a module's output, and keeps it if it was asked for or may be the last."""
        inside = any(frame.attends for frame in self.frames)
        tap = self.last.tap if self.last is not None else None
        if self.last is not None and tap is not None and tap.holds(tensor) and name not in self.names:
            if output is tap.passed and tap.name.startswith(name + "."):
                # The enclosing module runs once where its parts may be reused; but not one that gives
                # more besides, such as features already pooled, which bypass the tap.
                tap.name = self.last.name = name
                tap.call = self.last.call = self.calls[name]
            return output
        event = self._event(name, tensor, trace, inside)
        candidate = self.auto and event.layout is not None and not inside and not trace.pooled
        asked = name in self.names and event.grid
        if not candidate and not asked:
            self.follower.traces[tensor] = trace._replace(behind=trace.behind | event.bit)
            return output
        # Unless a gradient further up is wanted (the input's, another layer's, that of the layer before
        # the attention), only the last is read: each begins the graph anew and lets go what was before.
        others = event.layout is not None and other_tokens(event.shape, event.layout) > 0
        attached = self.whole_graph or self.names or others
        event.tap = make_tap(name, event.layout, tensor if attached else tensor.detach(), event.call)
        if self.operations is not None and self.operations.depends_on_input(event.tap.passed):
            self.operations.tags[event.tap.passed].notes["kept"] = True
        group = 0
        if asked:
            group |= self.groups[name]
            self.groups[name] |= event.bit
            torch.set_grad_enabled(True)  # the graph begins here; the caller's mode comes back at the end
        if candidate:
            group |= self.groups["auto"]
            self.groups["auto"] |= event.bit
            self._take_over(event)
        self.follower.passes(event.tap.passed, trace, group, event.bit)
        return with_first_tensor(output, event.tap.passed)

    def _event(self, name: str, tensor: Tensor, trace: Trace, inside: bool) -> Event:
        real = tensor.is_floating_point()
        layout = layout_of(trace, tensor.shape, self.images) if real else None
        misplaced = TURNED if real and layout is None and turned(trace.axes) else ""
        sides = list(zip(trace.cover, layout.grid, strict=True)) if layout is not None else []
        if any(shift(cover, cells) > 1 for cover, cells in sides):
            layout, misplaced = None, SHIFTED
        unknown = real and trace.axes is None and tensor.ndim in (3, 4) and self.images in tensor.shape[:2]
        why = trace.why if real else f"its values are {str(tensor.dtype).removeprefix('torch.')}, {UNREAL}"
        event = Event(
            name=name, call=self.calls[name], shape=tensor.shape, bit=self.follower.bit(),
            behind=trace.behind, layout=layout, unknown=unknown, misplaced=misplaced, why=why,
            pooled=trace.pooled, inside=inside, before=self.before_attention,
            stretched=max((stretch(cover, cells) for cover, cells in sides), default=0.0),
        )  # fmt: skip
        self.events.append(event)
        return event

    def _take_over(self, event: Event) -> None:
        """A new last candidate; of those before, only what may still be asked for is held."""
        self.last = event
        needed = {id(frame.before) for frame in self.frames} | {id(self.before_attention)}
        for old in self.held:
            if id(old) not in needed and old.name not in self.names:
                old.tap = None
        self.held = [old for old in self.held if old.tap is not None and old.name not in self.names] + [event]

    # What came of it

    def resolve(self, traced: Mapping[tuple[str, int], Layout | str], names: set[str]) -> None:
        """Puts in what changed pixels told of the layers whose outputs could not be followed."""
        for event in self.events:
            if not event.unknown or event.name not in names:
                continue
            event.unknown, told = False, traced.get((event.name, event.call), NOWHERE)
            if isinstance(told, str):
                event.misplaced, event.why = told if told != NOWHERE else "", event.why or told
                event.undecided = told == NOWHERE
                continue
            event.layout, event.proof = told, TRACED
            if event.tap is not None:
                event.tap.layout = told
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
            final = [_given(asked.layout, event, self.images) for event in final]
        if bad := [event for event in final if event.layout is None]:
            raise _unfit(asked.name, bad[0], self.calls[asked.name], len(final))
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
        return _read_for(chosen, before)

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
        names = [_read_for(event, event.before).name for event in self.events if event.bit & left]
        events = sum(event.bit for event in self.events)
        return tuple(dict.fromkeys([*names, *([""] if left & ~events and not hidden else [])]))


def _read_for(event: Event, before: Event | None) -> Event:
    """What to read for the last feature maps of a branch: what went into its last attention, if they hold a
    class token."""
    if event.layout is None or not other_tokens(event.shape, event.layout):
        return event
    same = before is not None and before.layout is not None and event.behind & before.bit
    return before if before is not None and same else event


def _given(layout: Given, event: Event, images: int) -> Event:
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


def _unfit(name: str, event: Event, runs: int, final: int) -> ModelError:
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


@contextmanager
def _through(
    network: nn.Module, name: str, part: nn.Module, hidden: Callable[[nn.Module, Any, Any, Any], None]
) -> Iterator[None]:
    """Within this block calls of a TorchScript part, which takes no hooks, are shown to `hidden`."""
    parent = network.get_submodule(name.rpartition(".")[0])
    parent._modules[name.rpartition(".")[2]] = Through(part, hidden)
    try:
        yield
    finally:
        parent._modules[name.rpartition(".")[2]] = part


class Through(nn.Module):
    """Stands for a module that takes no hooks."""

    def __init__(self, part: nn.Module, hidden: Callable[[nn.Module, Any, Any, Any], None]) -> None:
        super().__init__()
        self.__dict__.update(part=part, hidden=hidden)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        output = self.__dict__["part"](*args, **kwargs)
        self.__dict__["hidden"](self.__dict__["part"], args, kwargs, output)
        return output

    def __getattr__(self, name: str) -> Any:
        """The attributes of the module."""
        return getattr(self.__dict__["part"], name)
