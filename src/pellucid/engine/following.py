"""Operations that know, besides, which axes of every tensor hold the picture's positions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from pellucid.engine.axes.follower import Follower
from pellucid.engine.operations import Operations
from pellucid.model import Model


class Following(Operations):
    """Operations with a `follower` that is shown each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.follower: Follower | None = None

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """See `Operations.over`; the inputs' axes are known."""
        self.follower = Follower(inputs)
        with super().over(model, inputs):
            yield

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls."""
        made = super().__torch_function__(func, types, args, kwargs)
        if self.follower is not None:
            self.follower.see(func, args, kwargs or {}, made)
        return made
