"""Evaluation mode, by the module's own `eval()`; weights that are the user's stay as they are."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import Module
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.errors import ModelError


def evaluate(shadow: nn.Module, original: nn.Module | None) -> None:
    """Puts a shadow in evaluation mode by its own `eval()`, which may clear or fill caches there.

    Raises:
        WritesToWeights: it writes to weights that it shares with the original.
        ModelError: it fails.
    """
    modules = list(shadow.modules())
    if not any(getattr(module, "training", False) for module in modules):
        return
    custom = original is not None and any(map(overrides_mode, original.modules()))
    try:
        if custom and original is not None:
            with RefusedWrites(t for t in (*original.parameters(), *original.buffers())):
                shadow.eval()
        else:
            shadow.eval()
    except WritesToWeights:
        raise
    except NotImplementedError:  # an exported graph has no modes
        for module in modules:
            module.training = False
    except Exception as error:
        raise ModelError(
            f"The model's own eval() must put it in evaluation mode; it fails: {error}"
        ) from error


class WritesToWeights(Exception):
    """A model's `eval()` writes to weights that are the user's."""


class RefusedWrites(TorchDispatchMode):
    """Within it nothing may be written to the memory of some tensors."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shared = {tensor.untyped_storage().data_ptr() for tensor in tensors} - {0}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = args[i] if i < len(args) else kwargs.get(argument.name)
                if isinstance(written, Tensor) and written.untyped_storage().data_ptr() in self.shared:
                    raise WritesToWeights
        return func(*args, **kwargs)


def overrides_mode(module: nn.Module) -> bool:
    """Whether a module does more than set flags when its mode changes."""
    kind = type(module)
    return kind.train is not Module.train or kind.eval is not Module.eval
