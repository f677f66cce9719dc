"""The same network written another way: same outputs, other weights, the user's own untouched."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from nets import DenseCat, Reused, TinyCNN, state_of
from pellucid.axioms.rewriting import REWRITINGS, add, fold, permute, rewrite, split, trace
from pellucid.engine.run import Engine
from pellucid.errors import ModelError
from zoo import ResidualNet, images, seeded, swept, trained_statistics


def resnet18() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(num_classes=10)


def mobilenet() -> nn.Module:
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small()


def densenet() -> nn.Module:
    from torchvision.models import densenet121

    return densenet121()


def lite0() -> nn.Module:
    import timm

    return timm.create_model("efficientnet_lite0", num_classes=10)


class Plain(nn.Module):
    """Functional activations, groups, no batch norm, an odd number of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect")
        self.grouped = nn.Conv2d(6, 12, 3, groups=3, stride=2, bias=False)
        self.paired = nn.Conv2d(12, 12, 3, groups=2, dilation=2, padding="same")
        self.odd, self.fc = nn.Conv2d(12, 5, 1), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = functional.relu(self.paired(functional.relu(self.grouped(x))))
        return self.fc(functional.relu(self.odd(x)).mean((2, 3)))


class Skipping(nn.Module):
    """The first convolution's output is normalised, and also skips ahead: folding would spoil the skip."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        return self.fc((first + self.bn2(self.conv2(self.bn1(first).relu()))).mean((2, 3)))


class Shifting(Skipping):
    """What follows the first convolution is changed in place before it is normalised."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.bn1(self.conv1(x).add_(1.0)).relu()
        return self.fc(self.bn2(self.conv2(first)).mean((2, 3)))


def made(build, size: int = 64) -> tuple[pellucid.Model, Tensor]:
    """A network in float64 whose batch norms do something, and a picture for it."""
    x = images(2, (size, size))
    net = trained_statistics(seeded(build).double(), x)
    with torch.no_grad():
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)
    return pellucid.Model(net), x[:1]


BUILDS = [resnet18, mobilenet, densenet, lite0, Plain, ResidualNet, Skipping, TinyCNN]


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


@pytest.mark.parametrize("build", swept(BUILDS, [resnet18, Plain, ResidualNet, Skipping, TinyCNN]))
def test_every_rewriting_gives_the_same_outputs_by_other_weights(build):
    model, x = made(build)
    fresh = images(1, (64, 64), seed=7)  # which no rewriting has seen
    before = state_of(model.module, x)
    expected = model(fresh)
    for name, rewriting in REWRITINGS.items():
        if build is Plain and rewriting is fold:
            continue
        other = rewrite(model, x, rewriting)
        torch.testing.assert_close(other(fresh), expected, rtol=1e-9, atol=1e-9, msg=name)
        old = {p.detach().numpy().tobytes() for p in model.module.parameters() if p.ndim > 1}
        new = {p.detach().numpy().tobytes() for p in other.module.parameters() if p.ndim > 1}
        assert old != new, name
    assert state_of(model.module, x) == before


@pytest.mark.parametrize(
    ("build", "left"),
    [(resnet18, 0), (mobilenet, 0), (lite0, 0), (densenet, 62), (TinyCNN, 0), (Skipping, 1)],
)
def test_folding_leaves_only_batch_norms_that_follow_no_convolution_or_share_it(build, left):
    """DenseNet121 has 121 norms: the first one, and the second of each of its 58 layers, follow one."""
    model, x = made(build)
    assert norms(rewrite(model, x, fold).network) == left


def test_folding_keeps_the_activation_inside_timms_batch_norms():
    model, x = made(lite0)
    folded = rewrite(model, x, fold)
    assert sum(isinstance(m, nn.ReLU6) for m in folded.network.modules()) == sum(
        isinstance(m, nn.ReLU6) for m in model.network.modules()
    )


@pytest.mark.parametrize("build", [Plain, DenseCat])
def test_without_a_batch_norm_behind_a_convolution_there_is_nothing_to_fold(build):
    model, x = made(build)
    with pytest.raises(ModelError, match="Nothing to re-write"):
        rewrite(model, x, fold)


def test_what_is_changed_in_place_before_a_batch_norm_is_not_folded():
    model, x = made(Shifting)
    assert set(trace(Engine(model), x).norms) == {model.module.conv2}
    assert norms(rewrite(model, x, fold).network) == 1


def test_layers_that_run_many_times_are_split_and_permuted_too():
    model, x = made(Reused)
    for rewriting in (split, add, permute):
        torch.testing.assert_close(rewrite(model, x, rewriting)(x), model(x), rtol=1e-10, atol=1e-10)


def test_units_are_permuted_through_their_batch_norm():
    model, x = made(TinyCNN)
    other = rewrite(model, x, permute).network
    was, now = model.module.conv1.weight.detach(), other.conv1.weight.detach()
    order = [int((was == row).flatten(1).all(1).nonzero()) for row in now]
    assert sorted(order) == list(range(6)) != order
    torch.testing.assert_close(other.bn1[0].running_mean, model.module.bn1.running_mean[order])
    torch.testing.assert_close(other.bn1[0].weight, model.module.bn1.weight[order])


def test_a_rewriting_that_changes_the_function_is_refused():
    def spoil(module: nn.Module, seen: object) -> int:
        module.fc.bias = nn.Parameter(module.fc.bias + 1e-3)
        return 1

    model, x = made(TinyCNN)
    with pytest.raises(ModelError, match="other outputs"):
        rewrite(model, x, spoil)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_hides_no_change_of_the_function(dtype: torch.dtype) -> None:
    def spoil(module: nn.Module, seen: object) -> int:
        module.fc.weight = nn.Parameter(module.fc.weight * 0.8)
        return 1

    model, x = made(TinyCNN)
    model.module.to(dtype)
    with pytest.raises(ModelError, match="other outputs"):
        rewrite(pellucid.Model(model.module), x.to(dtype), spoil)


def test_models_that_cannot_be_copied_or_looked_into_say_so():
    model, x = made(TinyCNN)
    stuck = copy.deepcopy(model.module)
    stuck.memory = stuck(x)  # not a leaf of the graph: deepcopy refuses it
    with pytest.raises(ModelError, match="cannot be copied"):
        rewrite(pellucid.Model(stuck), x, split)
    with pytest.raises(ModelError, match="plain callable"):
        rewrite(pellucid.Model(lambda x: x.mean((2, 3))), x, split)


def test_hooks_of_the_user_stay_where_they_are():
    model, x = made(TinyCNN)
    seen: list[int] = []
    model.module.conv1.register_forward_hook(lambda *_: seen.append(1))
    before = state_of(model.module, x)
    rewrite(model, x, permute)
    assert state_of(model.module, x) == before
