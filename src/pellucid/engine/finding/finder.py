"""The hooks of a pass in which layers are found."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.engine.axes.follower import Follower
from pellucid.engine.axes.layout import layout_of, turned
from pellucid.engine.axes.trace import Trace, shift, stretch
from pellucid.engine.finding.choice import LayerChoice
from pellucid.engine.finding.events import SHIFTED, UNREAL, Event
from pellucid.engine.operations import Operations
from pellucid.engine.scripted import of_this_thread as here
from pellucid.engine.scripted import readable, scripted_parts, unreadable
from pellucid.engine.taps import make_tap
from pellucid.engine.tracing import TURNED
from pellucid.layers import first_tensor, other_tokens, with_first_tensor

HIDING = (nn.RNNBase, nn.RNNCellBase, torch.jit.ScriptModule)
"""Modules whose operations no mode sees."""


@dataclass(eq=False)
class Frame:
    """A module that runs; `before` is the last candidate when it began."""

    name: str
    before: Event | None
    attends: bool = False


class Finder(LayerChoice):
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
        super().__init__(len(inputs), asked, Follower(inputs))
        self.whole_graph, self.operations = whole_graph, operations
        self.frames: list[Frame] = []
        self.held: list[Event] = []

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
