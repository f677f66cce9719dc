"""Metrics of robustness against loops over the inputs that were explained, one by one."""

import math
from collections.abc import Callable

import pytest
import torch
from judging import linear
from torch import Tensor, nn

import pellucid
from pellucid.errors import InvalidValue
from pellucid.measure import measure
from zoo import ResidualNet, seeded

METHOD, TARGET, SAMPLES = "input-x-gradient", 1, 5


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(ResidualNet).double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 3, 16, 18, dtype=torch.float64) + 2


def explained(net: nn.Module, x: Tensor, method: str = METHOD) -> Tensor:
    return pellucid.explain(net, x, method, target=TARGET, progress=False).attribution


def neighbours(net: nn.Module, x: Tensor, metric: str, **options: object) -> tuple[float, list[Tensor]]:
    """The value, and the inputs that were explained, read off a hook."""
    seen: list[Tensor] = []
    handle = net.register_forward_pre_hook(lambda module, args: seen.extend(args[0].detach().clone()))
    map = explained(net, x)
    seen.clear()
    value = measure(net, x, map, metric, method=METHOD, target=TARGET, samples=SAMPLES, **options).value
    handle.remove()
    near = list({float(copy.sum()): copy for copy in seen if not torch.equal(copy, x[0])}.values())
    assert len(near) == SAMPLES
    return value.item(), near


def norm(values: Tensor) -> float:
    return math.sqrt(sum(v * v for v in values.double().flatten().tolist()))


def relative(values: Tensor, near: Tensor) -> float:
    """Element by element."""
    a, b = values.double().flatten().tolist(), near.double().flatten().tolist()
    least = 1e-6 * max(abs(v) for v in a)
    return math.sqrt(sum(((v - w) / max(abs(v), least)) ** 2 for v, w in zip(a, b, strict=True)))


def activations(net: nn.Module, x: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = net.stage1.register_forward_hook(lambda module, args, out: kept.append(out.detach().clone()))
    net(x)
    handle.remove()
    return kept[0]


def outputs(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


Twin = Callable[[nn.Module, Tensor, list[Tensor]], float]


def moved(net: nn.Module, x: Tensor, near: list[Tensor]) -> list[float]:
    return [norm(explained(net, copy[None]) - explained(net, x)) for copy in near]


def stability(net: nn.Module, x: Tensor, near: list[Tensor], change: Callable[[Tensor], float]) -> float:
    ratios = []
    for copy in near:
        if outputs(net, copy[None]).argmax() == outputs(net, x).argmax():
            ratio = relative(explained(net, x), explained(net, copy[None]))
            ratios.append(ratio / max(change(copy[None]), 1e-6))
    return max(ratios)


TWINS: dict[str, Twin] = {
    "max-sensitivity": lambda net, x, near: max(moved(net, x, near)) / norm(explained(net, x)),
    "avg-sensitivity": lambda net, x, near: sum(moved(net, x, near)) / SAMPLES / norm(explained(net, x)),
    "local-lipschitz:normalised=false": lambda net, x, near: max(
        far / norm(copy - x[0]) for far, copy in zip(moved(net, x, near), near, strict=True)
    ),
    "local-lipschitz": lambda net, x, near: max(
        far / norm(copy - x[0]) / norm(explained(net, x))
        for far, copy in zip(moved(net, x, near), near, strict=True)
    ),
    "relative-input-stability": lambda net, x, near: stability(net, x, near, lambda copy: relative(x, copy)),
    "relative-output-stability": lambda net, x, near: stability(
        net, x, near, lambda copy: norm(outputs(net, x) - outputs(net, copy))
    ),
    "relative-representation-stability:layer=stage1": lambda net, x, near: stability(
        net, x, near, lambda copy: relative(activations(net, x), activations(net, copy))
    ),
}


@pytest.mark.parametrize("radius", [0.02, 0.4])
@pytest.mark.parametrize("name", TWINS)
def test_it_is_its_twin(net: nn.Module, x: Tensor, name: str, radius: float):
    value, near = neighbours(net, x, name, radius=radius)
    noise = torch.stack(near) - x
    reach = radius * float(x.max() - x.min())
    assert 0.9 * reach < noise.abs().max().item() <= reach
    assert noise.std().item() == pytest.approx(reach / math.sqrt(3), rel=0.05)  # uniform
    assert value == pytest.approx(TWINS[name](net, x, near), rel=1e-4)
    assert value > 0


class Away(nn.Module):
    """The second class is the further an input is from `home`; at home it is the first."""

    def __init__(self, home: Tensor) -> None:
        super().__init__()
        self.home = home

    def forward(self, x: Tensor) -> Tensor:
        far = (x - self.home).square().flatten(1).sum(1)
        return torch.stack([0 * far + 1e-9, far], 1)


def test_only_neighbours_of_the_same_class_count(x: Tensor):
    net = linear(size=(16, 18), classes=2)
    with torch.no_grad():
        net.fc.weight[1] = -net.fc.weight[0]
        net.fc.bias[:] = -(x.flatten() @ net.fc.weight[0]) + 1e-3  # so close that noise decides
        net.fc.bias[1] *= -1
    value, near = neighbours(net, x, "relative-output-stability")
    same = [bool(outputs(net, copy[None]).argmax() == outputs(net, x).argmax()) for copy in near]
    assert 0 < sum(same) < SAMPLES
    twin = stability(net, x, near, lambda copy: norm(outputs(net, x) - outputs(net, copy)))
    assert value == pytest.approx(twin, rel=1e-4)
    with pytest.raises(InvalidValue, match="no neighbour is of the image's class"):
        measure(Away(x), x, torch.ones(1, 1, 16, 18), "relative-input-stability", method="saliency", target=1)


def test_a_map_that_never_changes_is_robust(x: Tensor):
    net = linear(size=(16, 18))
    map = pellucid.explain(net, x, "saliency", target=TARGET, progress=False).attribution
    for name in TWINS:
        if "layer" in name:
            continue  # it has none that holds a grid
        found = measure(net, x, map, name, method="saliency", target=TARGET, radius=0.001)
        assert found.value.item() == pytest.approx(0, abs=1e-6), name


def test_its_scale_does_not_matter_and_a_map_of_zeros_has_no_value(net: nn.Module, x: Tensor):
    for name in ("max-sensitivity", "avg-sensitivity", "local-lipschitz", "relative-input-stability",
                 "relative-output-stability", "relative-representation-stability"):  # fmt: skip
        with pytest.raises(InvalidValue, match="it is 0 everywhere"):
            measure(net, x, torch.zeros(1, 3, 16, 18), name, method=METHOD, target=TARGET, samples=2)


def test_maps_of_another_method_are_refused(net: nn.Module, x: Tensor):
    with pytest.raises(InvalidValue, match="of 3 channels; those given have 1"):
        measure(net, x, torch.ones(1, 1, 16, 18), "max-sensitivity", method=METHOD, target=TARGET)


def test_a_sampled_method_draws_the_same_numbers_for_all_its_maps(net: nn.Module, x: Tensor):
    """With a tiny radius nothing is left of the change, though the maps are of four samples."""
    map = pellucid.explain(net, x, "rise:samples=4", target=TARGET, progress=False).attribution
    found = measure(net, x, map, "max-sensitivity:radius=1e-9", method="rise:samples=4", target=TARGET)
    assert found.value.item() < 1e-4
