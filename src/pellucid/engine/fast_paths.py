"""PyTorch's shortcuts, which skip the hooks of modules: compiled modules, fused attention."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


class Uncompiled(nn.Module):
    """What stands for torch.compile's wrapper: the module as it was written, under the same name."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """The attributes of the module, as the wrapper has them."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_modules"]["_orig_mod"], name)


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is torch.compile's wrapper of another."""
    return "_orig_mod" in module._modules and type(module).__name__ == "OptimizedModule"


class NoFusedPath(TorchFunctionMode):
    """Changes nothing; while it is on, PyTorch's attention takes no fused path, which would skip layers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


def unfused_forward(forward: Callable[..., Any], module: Any, *args: Any, **kwargs: Any) -> Any:
    """What an attention module's `forward` gives by its slow path; `module` is a weak reference to it."""
    with NoFusedPath():
        return forward(module(), *args, **kwargs)
