"""Small networks whose explanations are known, or easy to compute by hand; weights by a seed."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid


def swept(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Cases of a sweep: those in `quick` are run each time, the others by `make test-full`."""
    return [case if case in quick else pytest.param(case, marks=pytest.mark.full) for case in cases]


def seeded(build: Callable[..., nn.Module], *args: object, seed: int = 0, **kwargs: object) -> nn.Module:
    """A module in evaluation mode whose random weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*args, **kwargs).eval()


def trained_statistics(net: nn.Module, x: Tensor) -> nn.Module:
    """A random network whose batch norms know the statistics of x: without them its activations die out."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        net(x)
    return net.eval()


def images(n: int = 3, size: tuple[int, int] = (12, 17), channels: int = 3, seed: int = 1) -> Tensor:
    """A batch (n, channels, H, W) of float64 noise, H != W."""
    return torch.randn(n, channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class GapNet(nn.Module):
    """conv -> ReLU -> global average pool -> Linear: every CAM has a closed form at `relu`."""

    def __init__(self, classes: int = 5, width: int = 7, *, bias: bool = True, inplace: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, bias=bias)
        self.relu = nn.ReLU(inplace=inplace)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.relu(self.conv(x))).flatten(1))


class Block(nn.Module):
    """A residual block as torchvision's: one in-place ReLU used twice, an in-place addition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class ResidualNet(nn.Module):
    """A small residual network with in-place ReLUs, max pooling, and two Linears as its head.

    Its `stem`, `stage1`, `stage2` and `last` have strides 2, 2, 4 and 8.
    """

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = Block(8)
        self.pool = nn.MaxPool2d(2)
        self.widen = nn.Conv2d(8, 12, 1)
        self.stage2 = Block(12)
        self.last = nn.Conv2d(12, 12, 3, stride=2, padding=1)
        self.hidden = nn.Linear(12, 10)
        self.head = nn.Linear(10, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics as after training, not the identity
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.relu(self.bn(self.stem(x))))
        x = self.last(self.stage2(self.widen(self.pool(x))))
        return self.head(self.hidden(x.mean((2, 3))).relu_())


class Homogeneous(nn.Module):
    """ReLUs, max pooling and convolutions without any bias: f(a x) = a f(x) for a > 0."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.fc = nn.Linear(8, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        return self.fc(self.conv2(x).relu_().mean((2, 3)))


class LinearNet(nn.Module):
    """logits = W x + b."""

    def __init__(self, inputs: int, classes: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


class Quadratic(nn.Module):
    """logit_c = sum_i a_ci x_i^2 / 2 + b_ci x_i, whose gradient is a_c x + b_c."""

    def __init__(self, inputs: int, classes: int = 2) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(classes, inputs))
        self.b = nn.Parameter(torch.randn(classes, inputs))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat**2 @ self.a.T / 2 + flat @ self.b.T


def raw(module: nn.Module, x: Tensor, method: str, **options: object) -> Tensor:
    """The map of one method as its formula gives it, in the model's own precision."""
    return pellucid.explain(module, x, method, progress=False, **options).raw


def assert_close(map: Tensor, expected: Tensor, tolerance: float) -> None:
    """Every value within `tolerance` of the expected map's largest magnitude."""
    assert map.shape == expected.shape, f"{tuple(map.shape)} is not {tuple(expected.shape)}"
    top = expected.abs().max()
    error = (map.double() - expected.double()).abs().max()
    assert error <= tolerance * top, f"differs by {float(error / top):.2e} of the largest value"
