"""CAM wherever its formula holds: what may stand between the layer, the pool and the one Linear."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

import pellucid
from pellucid.errors import ModelError


class Net(nn.Module):
    """Features, then whatever the test puts between them and the scores."""

    def __init__(self, head, *, channels=6, **parts):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Tanh(), nn.Conv2d(channels, channels, 3))
        for name, part in parts.items():
            self.add_module(name, part)
        self.head = head

    def forward(self, x):
        return self.head(self, self.features(x))


def net(head, seed=0, **parts):
    torch.manual_seed(seed)
    made = Net(None, **parts).eval()
    made.head = head
    for p in made.parameters():
        nn.init.normal_(p, std=0.4)
    return made


def fc():
    return nn.Linear(6, 4)


def trained_norm(kind=nn.BatchNorm2d):
    norm = kind(6)
    with torch.no_grad():
        norm.running_mean.copy_(torch.linspace(-0.3, 0.4, 6))
        norm.running_var.copy_(torch.linspace(0.5, 2.0, 6))
    return norm


X = torch.rand(2, 3, 13, 13, generator=torch.Generator().manual_seed(1))
HEADS = {  # what the model does after its features, and g
    "functional relu": (lambda m, A: m.fc(functional.relu(A).mean((2, 3))), functional.relu),
    "in place": (lambda m, A: m.fc(functional.relu_(A).mean((2, 3))), functional.relu),
    "gelu, adaptive": (
        lambda m, A: m.fc(functional.adaptive_avg_pool2d(functional.gelu(A), 1).flatten(1)),
        functional.gelu,
    ),
    "by hand": (lambda m, A: m.fc((A * A.sigmoid()).mean((2, 3))), functional.silu),
    "avg_pool2d of all": (
        lambda m, A: m.fc(functional.avg_pool2d(A.relu(), A.shape[2:]).reshape(len(A), -1)),
        functional.relu,
    ),
    "dropout, view": (
        lambda m, A: m.fc(functional.dropout(A.relu(), 0.5, m.training).view(len(A), 6, -1).mean(-1)),
        functional.relu,
    ),
    "sum": (lambda m, A: m.fc(A.sum((2, 3))), lambda A: A),
}


@pytest.mark.parametrize("name", HEADS)
def test_cam_is_the_weighted_sum_of_what_the_pool_reads(name):
    head, g = HEADS[name]
    m = net(head, fc=fc())
    e = pellucid.explain(m, X, method="cam", layer="features", target=[1, 3])
    with torch.no_grad():
        expected = torch.einsum("nk,nkhw->nhw", m.fc.weight[[1, 3]], g(m.features(X)))
        score = m(X)[[0, 1], [1, 3]] - m.fc.bias[[1, 3]]
    torch.testing.assert_close(e.raw, expected, rtol=1e-4, atol=1e-5)
    total = e.raw.sum((1, 2)) if name == "sum" else e.raw.mean((1, 2))
    torch.testing.assert_close(total, score, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(e.details["weights"], m.fc.weight[[1, 3]].detach())


@pytest.mark.parametrize("where", ["before the pool", "behind it"])
def test_a_batch_norm_is_part_of_the_form(where):
    if where == "before the pool":
        m = net(lambda m, A: m.fc(m.norm(A).relu().mean((2, 3))), fc=fc(), norm=trained_norm())
        g = lambda A: m.norm(A).relu()  # noqa: E731
    else:
        m = net(lambda m, A: m.fc(m.norm(A.mean((2, 3)))), fc=fc(), norm=trained_norm(nn.BatchNorm1d))
        g = lambda A: (  # noqa: E731
            (A - m.norm.running_mean[:, None, None])
            / (m.norm.running_var + m.norm.eps).sqrt()[:, None, None]
            * m.norm.weight[:, None, None]
            + m.norm.bias[:, None, None]
        )
    e = pellucid.explain(m, X, method="cam", layer="features", target=2)
    with torch.no_grad():
        expected = torch.einsum("k,nkhw->nhw", m.fc.weight[2], g(m.features(X)))
    torch.testing.assert_close(e.raw, expected, rtol=1e-4, atol=1e-5)
    assert "batch_norm" in e.details["chosen"]["head"]


def test_a_learnt_activation_is_found_among_the_models_own():
    m = net(lambda m, A: m.fc(m.act(A).mean((2, 3))), fc=fc(), act=nn.PReLU(6), other=nn.PReLU())
    e = pellucid.explain(m, X, method="cam", layer="features", target=0)
    with torch.no_grad():
        A = m.features(X)
        slopes = torch.where(A > 0, torch.ones_like(A), m.act.weight[:, None, None])
        expected = torch.einsum("k,nkhw->nhw", m.fc.weight[0], A * slopes)
    torch.testing.assert_close(e.raw, expected, rtol=1e-4, atol=1e-5)
    assert e.details["chosen"]["head"] == "outputs = W mean(PReLU(A)) + b"


def test_a_convolution_before_the_pool_gives_the_classes_own_maps():
    m = net(lambda m, A: m.conv(A).relu().mean((2, 3)), conv=nn.Conv2d(6, 4, 1))
    with torch.no_grad():
        own = m.conv(m.features(X)).relu()
    for layer in ("features", "conv"):
        e = pellucid.explain(m, X, method="cam", layer=layer, target=1)
        torch.testing.assert_close(e.raw, own[:, 1], rtol=1e-4, atol=1e-5)
    linear = net(lambda m, A: m.conv(A).mean((2, 3)), conv=nn.Conv2d(6, 4, 1))
    e = pellucid.explain(linear, X, method="cam", layer="features", target=1)
    with torch.no_grad():
        expected = torch.einsum("k,nkhw->nhw", linear.conv.weight[1, :, 0, 0], linear.features(X))
    torch.testing.assert_close(e.raw, expected, rtol=1e-4, atol=1e-5)


REFUSED = {
    "a hidden layer": lambda m, A: m.fc(m.hidden(A.mean((2, 3))).relu()),
    "a norm over channels": lambda m, A: m.fc(functional.layer_norm(A.mean((2, 3)), (6,))),
    "a maximum": lambda m, A: m.fc(A.amax((2, 3))),
    "an activation behind the pool": lambda m, A: m.fc(A.mean((2, 3)).relu()),
    "a crop": lambda m, A: m.fc(A[:, :, 1:].relu().mean((2, 3))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_head_is_refused_in_a_sentence(name):
    m = net(REFUSED[name], fc=fc(), hidden=nn.Linear(6, 6))
    with pytest.raises(ModelError, match=r"CAM needs a global average pool and one Linear.*behind features"):
        pellucid.explain(m, X, method="cam", layer="features", target=0)


def test_a_large_bias_proves_nothing():
    """Outputs that are nearly all bias would fit any head."""
    m = net(REFUSED["a maximum"], fc=fc())
    with torch.no_grad():
        m.fc.bias.fill_(300)
    with pytest.raises(ModelError, match="CAM needs"):
        pellucid.explain(m, X, method="cam", layer="features", target=0)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
@pytest.mark.parametrize("layer", ["auto", "features"])
def test_densenet(source, layer):
    """Its ReLU between the features and the pool is a function call, or part of its last norm."""
    torch.manual_seed(0)
    sizes = {"growth_rate": 4, "block_config": (2, 2), "num_classes": 5}
    make = torchvision.models.DenseNet if source == "torchvision" else timm.models.densenet.DenseNet
    m, x = make(**sizes).eval(), torch.rand(1, 3, 64, 64)
    e = pellucid.explain(m, x, method="cam", layer=layer, target=2)
    with torch.no_grad():
        A, W = m.features(x).relu(), m.classifier.weight[2]
    torch.testing.assert_close(e.raw[0], torch.einsum("k,khw->hw", W, A[0]), rtol=1e-4, atol=1e-6)
