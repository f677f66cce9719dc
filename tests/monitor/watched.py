"""A training in miniature: a network with dropout and batch norm, data by a seed, and weights to compare."""

import random
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 3
CHECKED = "beartype" in sys.modules
"""Whether calls are checked, as they are in tests: the checks themselves draw from Python's source."""


class Net(nn.Module):
    """Two convolutions, batch norm and dropout: what a look in training mode would change or draw from."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2)
        self.norm2 = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.4)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(self.norm2(self.conv2(x)))
        return self.fc(self.drop(x).mean((2, 3)))


def seed_all(seed: int = 0) -> None:
    """All sources of random numbers from a seed on."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def new_net(seed: int = 0) -> Net:
    """A network in training mode, its weights by a seed; global sources then go on from the seed as well."""
    seed_all(seed)
    return Net()


def data(count: int = 24, size: int = 9) -> tuple[Tensor, Tensor]:
    """Noise and classes."""
    source = torch.Generator().manual_seed(5)
    return torch.rand(count, 3, size, size, generator=source), torch.arange(count) % CLASSES


def shown(count: int = 2, size: int = 9) -> Tensor:
    """The pictures that are watched."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(6))


def train(net: nn.Module, steps: int, each: Any = None) -> torch.optim.Optimizer:
    """A plain loop that draws batches, jitter and dropout from the global sources; `each()` after a step."""
    inputs, classes = data()
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(steps):
        rows = torch.randperm(len(inputs))[:8]
        jitter = 1 + 0.1 * float(np.random.rand()) + (0 if CHECKED else 0.1 * random.random())
        optimiser.zero_grad()
        functional.cross_entropy(net(inputs[rows] * jitter), classes[rows]).backward()
        optimiser.step()
        if each is not None:
            each()
    return optimiser


def states(net: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """What a look must leave alone: weights, buffers, gradients, modes, hooks, sources, flags, optimiser."""
    modules = list(net.named_modules())
    return {
        "weights": {name: tensor.clone() for name, tensor in net.state_dict().items()},
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in net.named_parameters()},
        "require": {name: p.requires_grad for name, p in net.named_parameters()},
        "versions": {name: tensor._version for name, tensor in net.state_dict(keep_vars=True).items()},
        "modes": {name: module.training for name, module in modules},
        "hooks": {
            name: [list(getattr(module, kind)) for kind in HOOKS] for name, module in modules
        },
        "attributes": {name: sorted(vars(module)) for name, module in modules},
        "torch": torch.get_rng_state(),
        "numpy": tuple(map(str, np.random.get_state())),
        "numbers": np.random.get_state()[1].copy(),
        "python": None if CHECKED else random.getstate(),
        "flags": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_autocast_cache_enabled(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.get_num_threads(),
            torch.is_anomaly_enabled(),
        ),
        "optimiser": None if optimiser is None else plain(optimiser.state_dict()),
    }  # fmt: skip


HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
)  # fmt: skip


def plain(value: Any) -> Any:
    """Tensors as copies."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def differing(before: Any, after: Any, at: str = "") -> list[str]:
    """Where two states differ, bit for bit."""
    if isinstance(before, Tensor | np.ndarray):
        same = np.array_equal(np.asarray(before), np.asarray(after), equal_nan=True)
        return [] if same and before.dtype == after.dtype else [at]
    if isinstance(before, dict) and isinstance(after, dict):
        if before.keys() != after.keys():
            return [at]
        return [found for key in before for found in differing(before[key], after[key], f"{at}/{key}")]
    if isinstance(before, list):
        if len(before) != len(after):
            return [at]
        return [found for a, b in zip(before, after, strict=True) for found in differing(a, b, at)]
    return [] if before == after else [at]
