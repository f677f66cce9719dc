"""A user's own backward hooks on modules, where operations are replaced: they look on, and change nothing.

PyTorch runs such hooks by a custom autograd function around the module, into which no one can look.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pellucid.errors import ModelError

Gradients = Sequence[Tensor | None]
FUNCTION = "BackwardHookFunctionBackward"
"""What PyTorch puts around a module with such hooks."""


@contextmanager
def observing_backward_hooks(module: nn.Module, name: str) -> Iterator[None]:
    """Within this block a module's full backward hooks and backward pre-hooks see what comes back.

    Where what goes into the module is read elsewhere too, they see all that comes back to it. Afterwards the
    module has its hooks as before.

    Raises:
        ModelError: on the way back, where a hook gives something in place of what it saw.
    """
    own, before = module._backward_hooks, module._backward_pre_hooks
    full = module._is_full_backward_hook is True
    if not before and not (full and own):
        yield
        return

    def call(hook: Callable[..., Any], *came: Any) -> None:
        if hook(module, *came) is not None:
            raise ModelError(
                f"Layer {name or type(module).__name__!r} has a backward hook that changes gradients. This "
                "method replaces them by rules of its own, so that the change has no meaning: remove the "
                "hook, or use a gradient method, which honours it."
            )

    def attach(_: nn.Module, given: Any, made: Any) -> None:
        gone: list[Gradients] = []
        outputs = tree_leaves(made)

        def at_output(came: Gradients) -> None:
            for hook in list(before.values()):
                call(hook, tuple(came))
            gone[:] = [came]

        def at_input(came: Gradients) -> None:
            if not gone:  # relevance of what is one with the next operation passes this output by
                at_output(zeros)
            for hook in list(own.values()) if full else ():
                call(hook, tuple(came), tuple(gone[0]))
            gone.clear()

        with torch._C.DisableTorchFunction():
            zeros = [y.new_zeros(()).expand(y.shape) if isinstance(y, Tensor) else None for y in outputs]
            _when_all_arrived(outputs, at_output)
            _when_all_arrived(given, at_input)

    if full:
        module._backward_hooks = OrderedDict()
    module._backward_pre_hooks = OrderedDict()
    handle = module.register_forward_hook(attach)
    try:
        yield
    finally:
        handle.remove()
        module._backward_hooks, module._backward_pre_hooks = own, before


def _when_all_arrived(values: Sequence[Any], see: Callable[[Gradients], None]) -> None:
    """Calls `see` on each way back, with what came back at each value; None for what is no tensor."""
    waiting = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
    came: dict[int, Tensor] = {}

    def at(i: int) -> Callable[[Tensor], None]:
        def take(gradient: Tensor) -> None:
            came[i] = gradient
            if len(came) == len(waiting):
                see([came.get(n) for n in range(len(values))])
                came.clear()

        return take

    for i in waiting:
        values[i].register_hook(at(i))
