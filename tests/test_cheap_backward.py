"""Batch norms on the way back: the same numbers as PyTorch's, and less kept."""

import pytest
import torch
from torch import nn

import pellucid
from pellucid.engine.cheap_backward import CheapBackward
from zoo import seeded


class Norm(nn.Module):
    """A convolution and a batch norm with statistics of its own."""

    def __init__(self, affine: bool = True, track: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, affine=affine, track_running_stats=track)
        for values in (self.norm.weight, self.norm.bias, self.norm.running_mean, self.norm.running_var):
            if values is not None:
                nn.init.uniform_(values, 0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).square().sum((2, 3))


def gradient(net: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = x.clone().requires_grad_()
    y = net(leaf)
    return y, torch.autograd.grad(y[:, 1].sum(), leaf)[0]


@pytest.mark.parametrize("affine", [True, False])
def test_outputs_are_the_same_bit_for_bit_and_gradients_to_rounding(affine):
    net, x = seeded(Norm, affine).double(), torch.rand(2, 3, 7, 9, dtype=torch.float64)
    y, g = gradient(net, x)
    with CheapBackward():
        lean_y, lean_g = gradient(net, x)
    assert torch.equal(y, lean_y)
    torch.testing.assert_close(lean_g, g, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("net", [seeded(Norm, True, False), seeded(Norm).train()], ids=["untracked", "train"])
def test_norms_by_the_batchs_own_statistics_stay_pytorchs(net):
    x = torch.rand(2, 3, 7, 9)
    _, g = gradient(net, x)
    with CheapBackward():
        _, lean_g = gradient(net, x)
    assert torch.equal(g, lean_g)


def test_half_precision_keeps_its_type():
    net, x = seeded(Norm), torch.rand(2, 3, 7, 9)
    with torch.autocast("cpu", torch.bfloat16), CheapBackward():
        y, g = gradient(net, x)
    assert y.dtype == torch.bfloat16 or y.dtype == torch.float32
    assert g.dtype == torch.float32
    assert g.isfinite().all()


def test_a_norms_input_is_not_kept():
    net, kept = seeded(Norm), []
    x = torch.rand(1, 3, 7, 9)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gradient(net, x)
        plain, kept[:] = kept.count((1, 4, 5, 7)), []
        with CheapBackward():
            gradient(net, x)
    assert kept.count((1, 4, 5, 7)) == plain - 1


def test_saliency_is_lean():
    """The seconds are in the benchmarks; that it is used at all is here."""
    net, seen = seeded(Norm), []

    def look(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        pellucid.explain(net, torch.rand(1, 3, 7, 9), "saliency", target=1, progress=False)
    assert (4, 1, 1) in seen


class Capped(nn.Module):
    """A convolution and a hardtanh, which some of its outputs reach on either side."""

    def __init__(self, cap: nn.Module) -> None:
        super().__init__()
        self.conv, self.cap = nn.Conv2d(3, 4, 3), cap

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cap(4 * self.conv(x)).square().sum((2, 3))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("kind", [nn.ReLU6, nn.Hardtanh])
def test_hardtanhs_are_the_same_bit_for_bit_and_keep_no_copy_of_their_input(kind, in_place):
    net, kept = seeded(Capped, kind(inplace=in_place)), []
    x = 3 * torch.rand(2, 3, 7, 9)
    y, g = gradient(net, x)
    assert 0 < (g == 0).float().mean() < 1 or kind is nn.Hardtanh

    def look(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor), CheapBackward():
        lean_y, lean_g = gradient(net, x)
    assert torch.equal(y, lean_y)
    assert torch.equal(g, lean_g)
    own = [pointer for pointer in kept if kept.count(pointer) > 1]
    assert own  # what it keeps is its output, which the square behind it keeps too


def test_a_hardtanh_in_place_on_a_view_or_a_leaf_stays_pytorchs():
    class Viewed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = 2 * x
            nn.functional.relu6(y[:, :1], inplace=True)
            return y.sum((2, 3))

    x = torch.rand(2, 3, 4, 4) - 0.5
    y, g = gradient(Viewed(), x)
    with CheapBackward():
        lean_y, lean_g = gradient(Viewed(), x)
    assert torch.equal(y, lean_y)
    assert torch.equal(g, lean_g)
    with CheapBackward():
        _, g = gradient(nn.Sequential(nn.ReLU6(), nn.Flatten()), x)
    assert torch.equal(g.flatten(1)[:, 1], (x.flatten(1)[:, 1] > 0).float())
