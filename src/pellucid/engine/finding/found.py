"""Layers as they were found, kept for as long as the model lives and is not changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from pellucid.engine.run import Engine
from pellucid.layers import Layout


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
