"""A private shadow of a module: its own hooks, flags, caches and buffers, the same weights.

A session never runs the user's module. It runs a shadow of it, which no other thread knows: every module of
the tree is a new object of the same class that shares the parameters. So a hook, a training flag or a cache
that a model fills in evaluation mode is seen by nobody else, and nobody else's pass is taken for ours. A
shadow is made anew for each session, in about a millisecond for 250 modules, so it is never stale.
"""

import random
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from copy import copy, deepcopy
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.engine.evaluation_mode import WritesToWeights, evaluate, overrides_mode
from pellucid.engine.fast_paths import Uncompiled, is_compiled, unfused_forward
from pellucid.engine.references import LEAF_TYPES, PROXIES, behind, cell_content, parts_of, slots_of

SMALL = 2**16
"""Buffers of up to so many elements are copied: a model that writes to them does not write to the user's."""
DEPTH = 4
"""How many plain objects deep a reference to a module is looked for."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_FLAGS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
_SHARED = (
    "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_non_persistent_buffers_set",
)  # fmt: skip
"""What no forward pass writes to."""
_TREE = {"_parameters", "_buffers", "_modules", "_compiled_call_impl", *_SHARED, *_HOOKS, *_FLAGS}
_NUMBERS = {int, float, bool, str, type(None)}
_SOURCES = (random.Random, np.random.Generator, np.random.RandomState)
_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)


def shadow_of(module: nn.Module) -> nn.Module:
    """A shadow of a module, in evaluation mode by its own `eval()`; the module itself stays as it is.

    References to the module's parts are followed through containers, methods, partial functions, closures,
    weak references and plain objects. Compiled parts run as they were written.

    Raises:
        ModelError: the model's own `eval()` fails.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Dropout())
        >>> shadow = shadow_of(net)
        >>> shadow is net, shadow[0].weight is net[0].weight, shadow.training, net.training
        (False, True, False, True)
    """
    private = module in _OWN_WEIGHTS
    shadow = Shadow(private).module(module)
    try:
        evaluate(shadow, module)
    except WritesToWeights:  # its eval() changes weights, as merged adapters do: it gets weights of its own
        _OWN_WEIGHTS.add(module)
        shadow = Shadow(private=True).module(module)
        evaluate(shadow, None)
    return shadow


_OWN_WEIGHTS: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


class Shadow:
    """The making of one shadow: what stands for what."""

    def __init__(self, private: bool = False) -> None:
        self.private = private
        self.made: dict[int, Any] = {}  # the id of an object -> what stands for it
        self.originals: list[Any] = []  # kept, so that no id is used again meanwhile
        self.leads: dict[int, tuple[bool, int]] = {}  # whether it leads to a module, so many deep

    def module(self, module: nn.Module) -> nn.Module:
        """The shadow of a module and of all that is below it."""
        tree: list[tuple[nn.Module, nn.Module]] = []
        with torch.no_grad():
            shadow = self._grow(module, tree, self.private)
        for original, made in tree:  # weights and buffers are known now, wherever they are held
            self._fill(original, made)
        return shadow

    def _grow(self, module: nn.Module, tree: list[tuple[nn.Module, nn.Module]], alias: bool) -> nn.Module:
        """New modules of the same classes with the same weights, as yet without attributes.

        With `alias` the parameters are new objects over the same memory: what assigns to their `data` changes
        the shadow's alone.
        """
        if id(module) in self.made:
            return cast(nn.Module, self.made[id(module)])
        if isinstance(module, torch.jit.ScriptModule):
            return cast(nn.Module, self._keep(module, _scripted(module)))
        kind = Uncompiled if is_compiled(module) else type(module)
        shadow: nn.Module = object.__new__(kind)
        self.made[id(module)] = shadow
        tree.append((module, shadow))
        own, new = module.__dict__, shadow.__dict__
        alias = alias or overrides_mode(module)
        parameters = own["_parameters"]
        new["_parameters"] = (
            {name: None if p is None else self._weight(p) for name, p in parameters.items()}
            if alias
            else dict(parameters)
        )
        new["_buffers"] = {
            name: None if b is None else self._buffer(b) for name, b in own["_buffers"].items()
        }
        new["_modules"] = {
            name: None if child is None else self._grow(child, tree, alias)
            for name, child in list(own["_modules"].items())
        }
        return shadow

    def _fill(self, module: nn.Module, shadow: nn.Module) -> None:
        """The attributes of a module."""
        own, new = module.__dict__, shadow.__dict__
        for name in own.keys() - _TREE:
            value = own[name]
            kind = type(value)
            if kind in _NUMBERS or (kind is tuple and {*map(type, value)} <= _NUMBERS):
                new[name] = value
            else:
                new[name] = self.value(value)
        for name in _SHARED:
            new[name] = own[name]
        for name in _HOOKS:
            hooks = new[name] = OrderedDict(own[name])
            for key, hook in hooks.items():
                hooks[key] = self.value(hook)
        for name in _FLAGS:
            new[name] = OrderedDict(own[name])
        for name, value in slots_of(module):
            object.__setattr__(shadow, name, self.value(value))
        if isinstance(shadow, Uncompiled):
            new.pop("forward", None)
        elif isinstance(shadow, nn.TransformerEncoderLayer):
            new["activation_relu_or_gelu"] = 0  # the only use of it is to choose the fused path
        elif isinstance(shadow, nn.TransformerEncoder):
            new["enable_nested_tensor"] = new["use_nested_tensor"] = False
        elif any(kind.__name__ == "LightningModule" for kind in type(shadow).__mro__):
            new["log"] = new["log_dict"] = _unheard  # what it logs in a forward pass is the training's
        elif isinstance(shadow, nn.MultiheadAttention) and "forward" not in new:
            new["forward"] = partial(unfused_forward, type(shadow).forward, weakref.ref(shadow))

    def value(self, value: Any, depth: int = DEPTH) -> Any:
        """What stands for a value: containers anew, modules by their shadows, the rest as it is."""
        kind = type(value)
        if kind in LEAF_TYPES:
            return self.made.get(id(value), value)
        if id(value) in self.made:
            return self.made[id(value)]
        if kind in _CONTAINERS:
            return self._container(value, depth)
        if kind in PROXIES:  # isinstance would look through it
            of = behind(value)
            made = self.value(of, depth)
            return value if made is of else made
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, torch.Generator):  # numbers it gives us are not taken from the user
            return self._keep(value, torch.Generator(value.device).set_state(value.get_state()))
        if isinstance(value, _SOURCES):
            return self._keep(value, deepcopy(value))
        return self._rebuilt(value, depth - 1) if self._leads(value, depth) else value

    def _container(self, value: Any, depth: int) -> Any:
        made = self._keep(value, copy(value))
        items = value.values() if isinstance(value, dict) else value
        kinds = set(map(type, items))
        if kinds <= LEAF_TYPES and not kinds & {Tensor, nn.Parameter}:
            return made
        if isinstance(value, dict):
            for key, item in list(value.items()):
                made[key] = self.value(item, depth)
        elif isinstance(value, set):
            made.clear()
            made.update([self.value(item, depth) for item in value])
        else:
            for i, item in enumerate(value):
                made[i] = self.value(item, depth)
        return made

    def _rebuilt(self, value: Any, depth: int) -> Any:
        """A value that leads to a module, with the shadow in the module's place."""
        if isinstance(value, (dict, list, set, deque)):  # of a class of its own
            return self._container(value, depth)
        if isinstance(value, (tuple, frozenset)):
            items = [self.value(item, depth) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, types.MethodType):
            return types.MethodType(value.__func__, self.value(value.__self__, depth))
        if isinstance(value, partial):
            return partial(
                self.value(value.func, depth),
                *[self.value(item, depth) for item in value.args],
                **{name: self.value(item, depth) for name, item in value.keywords.items()},
            )
        if isinstance(value, weakref.ref):
            return weakref.ref(self.value(value(), depth))
        if isinstance(value, types.FunctionType):
            cells = tuple(types.CellType() for _ in value.__closure__ or ())
            function = types.FunctionType(
                value.__code__, value.__globals__, value.__name__, value.__defaults__, cells
            )
            function.__kwdefaults__ = value.__kwdefaults__
            self._keep(value, function)
            function.__dict__.update({name: self.value(item, depth) for name, item in vars(value).items()})
            for cell, of in zip(cells, value.__closure__ or (), strict=True):
                for content in cell_content(of):
                    cell.cell_contents = self.value(content, depth)
            return function
        made = self._keep(value, object.__new__(type(value)))
        for name, item in list(getattr(value, "__dict__", {}).items()):
            made.__dict__[name] = self.value(item, depth)
        for name, item in slots_of(value):
            object.__setattr__(made, name, self.value(item, depth))
        return made

    def _leads(self, value: Any, depth: int) -> bool:
        """Whether a value leads to a module; plain objects are followed so many deep."""
        kind = type(value)
        if kind in LEAF_TYPES or depth < 0:
            return False
        if isinstance(value, nn.Module):
            return True
        known, searched = self.leads.get(id(value), (False, -1))
        if known or searched >= depth:
            return known
        self.leads[id(value)] = False, depth  # while it is found out: what leads back to itself leads nowhere
        self.originals.append(value)
        found = any(self._leads(part, depth - 1) for part in parts_of(value))
        self.leads[id(value)] = found, depth
        return found

    def _weight(self, weight: Tensor) -> Tensor:
        if id(weight) in self.made:
            return cast(Tensor, self.made[id(weight)])
        if type(weight) is not nn.Parameter:
            return weight
        data = weight.detach().clone() if self.private else weight.detach()
        return cast(Tensor, self._keep(weight, nn.Parameter(data, weight.requires_grad)))

    def _buffer(self, buffer: Tensor) -> Tensor:
        if id(buffer) in self.made:
            return cast(Tensor, self.made[id(buffer)])
        if type(buffer) is not Tensor or buffer.requires_grad:
            return buffer
        if not self.private and buffer.numel() > SMALL:
            return buffer
        return cast(Tensor, self._keep(buffer, buffer.clone()))

    def _keep(self, original: Any, made: Any) -> Any:
        self.made[id(original)] = made
        self.originals.append(original)
        return made


def _unheard(*_: Any, **__: Any) -> None:
    """Says nothing to anybody."""


def _scripted(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """A TorchScript module as it is; where it is in training mode a copy, whose mode is its own."""
    if not any(getattr(child, "training", False) for child in module.modules()):  # frozen, it has no mode
        return module
    return deepcopy(module)
