"""The input's gradient at less cost: batch norms in evaluation mode, which only scale on the way back.

PyTorch's own backward pass also sums up gradients of a batch norm's weights, whether asked for or not, and
keeps the norm's input for it: a fifth of the time of a gradient of EfficientNet-Lite0 on a CPU. A ReLU6 in
place keeps a copy of its input, where its output, which the next layer keeps anyway, tells as much.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import hardtanh, relu6
from torch.overrides import TorchFunctionMode

from pellucid.engine.checkpoints import as_written, checkpointed, run_unpacked
from pellucid.engine.names import recognised
from pellucid.engine.norms import transforming

_LIMITED = {relu6: signature(relu6), hardtanh: signature(hardtanh)}


class Clamped(torch.autograd.Function):
    """A hardtanh that keeps its output: between the limits it is the input, at them nothing comes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, in_place: bool) -> Tensor:
        """min(max(x, low), high)."""
        if in_place:
            ctx.mark_dirty(x)
        y = hardtanh(x, low, high, in_place)
        ctx.save_for_backward(y)
        ctx.limits = low, high
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """dS/dx = dS/dy where low < y < high."""
        return (
            torch.ops.aten.hardtanh_backward(gradients[0], *ctx.saved_tensors, *ctx.limits),
            None,
            None,
            None,
        )


class CheapBackward(TorchFunctionMode):
    """Within it norms are `batch_norm` and `instance_norm`, hardtanhs `Clamped`; the rest stays.

    What is checkpointed is kept like all else: run again on the way back, it would be without this mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()

    def __enter__(self) -> "CheapBackward":
        self._stack.enter_context(as_written())
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        with self._stack:
            super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch with every function that a model calls."""
        kwargs = kwargs or {}
        if checkpointed():
            return run_unpacked(lambda: self._run(func, args, kwargs))
        return self._run(func, args, kwargs)

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        known = recognised(func)
        if known.norm and known.respell is not None:
            spelled = known.respell(*args, **kwargs)
            return spelled.results_of(spelled.function(*spelled.args, **spelled.kwargs))
        if func in _LIMITED:
            given = _LIMITED[func].bind(*args, **kwargs)
            given.apply_defaults()
            x = given.arguments["input"]
            if x.requires_grad and not x.is_leaf and not x._is_view() and not transforming():
                low, high = given.arguments.get("min_val", 0.0), given.arguments.get("max_val", 6.0)
                return Clamped.apply(x, low, high, given.arguments["inplace"])
        return func(*args, **kwargs)
