"""One more forward pass, for a look at what layers give."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.run import Engine
from pellucid.engine.scripted import of_this_thread as here
from pellucid.engine.scripted import readable
from pellucid.layers import first_tensor


def look(
    engine: Engine,
    inputs: Float[Tensor, "N C H W"],
    see: Callable[[str, nn.Module, Tensor], None],
    numbers: Sequence[int] | None = None,
) -> None:
    """One more forward pass, in which `see` is shown every layer's name, module and output as it finishes."""

    def showing(name: str) -> Callable[..., None]:
        def show(module: nn.Module, args: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None:
                see(name, module, tensor)

        return show

    with ExitStack() as hooks:
        if engine.running.is_module:
            for name, child in readable(engine.network):
                if name:
                    hooks.callback(child.register_forward_hook(here(showing(name), child)).remove)
        with engine.making(forward=len(inputs)), torch.no_grad():
            engine.forward(inputs.clone(), numbers)


def first_nonfinite(
    engine: Engine, inputs: Float[Tensor, "N C H W"], numbers: Sequence[int] | None = None
) -> str | None:
    """The first layer that gives a NaN or an infinity on these inputs: one more forward pass."""
    seen: list[str] = []

    def see(name: str, module: nn.Module, output: Tensor) -> None:
        if output.is_floating_point() and not output.isfinite().all():
            seen.append(name)

    look(engine, inputs, see, numbers)
    return seen[0] if seen else None
