"""Parts of a model that are TorchScript: no one sees their operations, and few of them take hooks."""

from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TopLevelTracedModule
from torch.utils._pytree import tree_leaves

from pellucid.errors import ModelError


def scripted_parts(network: object) -> dict[str, torch.jit.ScriptModule]:
    """The outermost TorchScript modules of a network, by name."""
    found: dict[str, torch.jit.ScriptModule] = {}
    modules = network.named_modules() if isinstance(network, nn.Module) else ()
    for name, module in modules:
        inside = any(not outer or name.startswith(outer + ".") for outer in found)
        if isinstance(module, torch.jit.ScriptModule) and not inside:
            found[name] = module
    return found


def readable(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules whose outputs can be read by hooks: all outside TorchScript, and what was traced as one."""
    parts = scripted_parts(network)
    for name, module in network.named_modules():
        if module in parts.values():
            if isinstance(module, TopLevelTracedModule):
                yield name, module
        elif not any(not outer or name.startswith(outer + ".") for outer in parts):
            yield name, module


def of_this_thread(hook: Callable[..., Any], module: nn.Module) -> Callable[..., Any]:
    """A hook of a module; of TorchScript, which threads share, one that other threads' passes do not meet."""
    if not isinstance(module, torch.jit.ScriptModule):
        return hook
    here = get_ident()
    return lambda *given: hook(*given) if get_ident() == here else None


def unreadable(network: nn.Module, name: str) -> ModelError | None:
    """Why a layer cannot be read, if that is because it is TorchScript or inside."""
    known = {name for name, _ in readable(network)}
    for part in scripted_parts(network):
        if name not in known and (not part or f"{name}.".startswith(part + ".")):
            return ModelError(
                f"The layer {name!r} is TorchScript, or within the part {part!r} that is, whose outputs "
                "cannot be read: name a layer outside it, or explain the module that it was made of."
            )
    return None


def guard_norms(raw: Any) -> None:
    """Gradients that come back to TorchScript's batch norms are made contiguous: see `engine.norms`.

    Their operations cannot be replaced; but their nodes, and those of what it compiled, are in the graph.
    """
    todo = [value.grad_fn for value in tree_leaves(raw) if isinstance(value, Tensor)]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if "BatchNorm" in node.name() or "DifferentiableGraph" in node.name():
            node.register_prehook(_contiguous)
        todo += [before for before, _ in node.next_functions]


def _contiguous(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if gradient is None else gradient.contiguous() for gradient in gradients)
