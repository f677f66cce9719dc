"""AttnLRP: the authors' formulation by gradients as a literal twin, conservation, and its options."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

import pellucid
from nets import net, pictures, state_of
from pellucid.engine import sharing
from pellucid.engine.relevance import backward, sums
from pellucid.engine.sharing import stabilised
from pellucid.errors import InvalidValue
from zoo import assert_close, seeded

METHOD = "attn-lrp"


class Block(nn.Module):
    """Attention and an MLP, each behind a norm and beside a residual; `fused` attends in one operation."""

    def __init__(self, width: int, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.down(gelu(self.up(self.norm2(x))))


class ViT(nn.Module):
    """Patches, a class token, positions, two blocks, a norm and a head."""

    def __init__(self, fused: bool = False, width: int = 8) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.token, self.position = (
            nn.Parameter(torch.randn(1, 1, width)),
            nn.Parameter(torch.randn(17, width)),
        )
        self.blocks = nn.ModuleList(Block(width, fused) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)
        for norm in (m for m in self.modules() if isinstance(m, nn.LayerNorm)):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


# The twin: the same network, in which input times gradient is the relevance.


def halved(x: Tensor) -> Tensor:
    """x, with half of its gradient."""
    return x / 2 + (x / 2).detach()


def by_gamma(x: Tensor, weight: Tensor, bias: Tensor, gamma: float) -> Tensor:
    """W x + b, whose gradient is that of the rule gamma (generalised, as zennit's) in proportion."""
    plus, minus = x.clamp(min=0), x.clamp(max=0)
    more, less = weight + gamma * weight.clamp(min=0), weight + gamma * weight.clamp(max=0)
    z = linear(x, weight, bias)
    up = linear(plus, more, bias + gamma * bias.clamp(min=0)) + linear(minus, less)
    down = linear(plus, less, bias + gamma * bias.clamp(max=0)) + linear(minus, more)
    chosen = torch.where(z > 0, up, down)
    return chosen * (z / chosen).detach()


def normed(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    scale = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt().detach()
    return (x - x.mean(-1, keepdim=True)) / scale * norm.weight + norm.bias


def twin(module: ViT, x: Tensor, target: int, attention: str, conv: float, dense: float) -> Tensor:
    """Input times gradient of the network with scales, gates and ratios detached."""

    def by(layer: nn.Linear, x: Tensor) -> Tensor:
        return by_gamma(x, layer.weight, layer.bias, dense)

    pixels = x.clone().requires_grad_()
    patches = nn.functional.unfold(pixels, 4, stride=4).transpose(1, 2)
    x = by_gamma(patches, module.patch.weight.flatten(1), module.patch.bias, conv)
    x = torch.cat([module.token.expand(len(x), -1, -1), x], 1) + module.position
    for block in module.blocks:
        q, k, v = by(block.qkv, normed(block.norm1, x)).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if attention == "all":
            mixed = halved(halved(scores).softmax(-1) @ v)
        else:
            mixed = scores.softmax(-1).detach() @ v
        x = x + by(block.proj, mixed.transpose(1, 2).flatten(2))
        z = by(block.up, normed(block.norm2, x))
        x = x + by(block.down, z * (gelu(z) / z).detach())
    score = by(module.head, normed(module.norm, x)[:, 0])[:, target]
    (gradient,) = torch.autograd.grad(score.sum(), pixels)
    return pixels.detach() * gradient


def small(fused: bool = False) -> tuple[ViT, Tensor]:
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 0.4
    return seeded(ViT, fused).double().requires_grad_(False), x


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("gammas", [(0.25, 0.05), (0.1, 0.0), (100.0, 1.0)])
@pytest.mark.parametrize("attention", ["value", "all"])
def test_it_is_the_gradient_of_the_authors_modified_network(
    attention: str, gammas: tuple[float, float], fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x = small(fused)
    conv, dense = gammas
    options = {"attention": attention, "conv_gamma": conv, "linear_gamma": dense, "target": 2}
    expected = twin(module, x, 2, attention, conv, dense)
    assert_close(pellucid.explain(module, x, METHOD, **options).raw, expected, 1e-3)
    # The twin has no stabilisers. The authors' have no sign, so that z / (z + epsilon) has a pole; ours, 1e-6
    # with the sign of z, are all that differs: where they are a million times smaller, the difference is too.
    for where in (sharing, backward, sums):
        monkeypatch.setattr(where, "stabilised", lambda z, epsilon: stabilised(z, 1e-6 * epsilon))
    found = pellucid.explain(module, x, METHOD, **options)
    assert_close(found.raw, expected, 1e-8)
    assert found.delta.abs().max() < 1e-12


@pytest.mark.full
@pytest.mark.parametrize("attention", ["value", "all"])
@pytest.mark.parametrize("name", ["vit", "vit hf", "swin timm"])
def test_a_batch_is_its_images_and_all_relevance_is_accounted_for(name: str, attention: str) -> None:
    module, x = net(name), pictures(name)
    before = state_of(module, x)
    together = pellucid.explain(module, x, METHOD, attention=attention)
    single = [pellucid.explain(module, x[i : i + 1], METHOD, attention=attention).raw for i in range(len(x))]
    assert_close(together.raw, torch.cat(single), 1e-10)
    counted = together.raw.sum((1, 2, 3)) + together.details["biases"] + together.details["absorbed"]
    assert_close(counted, module_scores(module, x), 1e-12)
    assert together.delta.abs().max() < 1e-12
    assert state_of(module, x) == before


def module_scores(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = module(x)
    return (out if isinstance(out, Tensor) else out.logits).amax(1)


def test_queries_and_keys_answer_for_attention_only_if_asked() -> None:
    module, x = small()
    value, all_ = (pellucid.explain(module, x, METHOD, attention=a) for a in ("value", "all"))
    assert (value.raw - all_.raw).abs().max() > 0.1 * value.raw.abs().max()


class Gated(nn.Module):
    """sigmoid(G x) * (V x), pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.value = nn.Conv2d(3, 5, 1, bias=False), nn.Conv2d(3, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.gate(x).sigmoid() * self.value(x)).sum((2, 3))


def test_gates_answer_for_products_by_half_only_if_asked() -> None:
    module, x = seeded(Gated).double(), pictures("in-place", 2)
    options = {"conv_gamma": 0, "target": 1}
    value, all_ = (pellucid.explain(module, x, METHOD, attention=a, **options).raw for a in ("value", "all"))
    with torch.no_grad():
        signal, gate = module.value(x)[:, 1:2], module.gate(x)[:, 1:2]
        of_signal = x * module.value.weight[1] * gate.sigmoid()
        of_gate = x * module.gate.weight[1] / gate * gate.sigmoid() * signal
    assert_close(value, of_signal, 1e-2)  # near zero the stabiliser shows
    assert_close(all_, (of_signal + of_gate) / 2, 1e-2)


def test_a_network_without_attention_gives_what_lrp_gives() -> None:
    x = pictures("in-place")
    ours = pellucid.explain(net("in-place"), x, METHOD, conv_gamma=0.5, linear_gamma=0.1)
    lrp = pellucid.explain(net("in-place"), x, "lrp", composite="gamma:0.5;dense=gamma:0.1")
    assert torch.equal(ours.raw, lrp.raw)


def test_a_start_of_one_only_scales() -> None:
    module, x = small()
    logit = pellucid.explain(module, x, METHOD, target=1)
    one = pellucid.explain(module, x, METHOD, target=1, start="one")
    with torch.no_grad():
        scores = module(x)[:, 1]
    assert_close(logit.raw, one.raw * scores[:, None, None, None], 1e-10)


@pytest.mark.parametrize("name", ["conv_gamma", "linear_gamma"])
def test_a_negative_gamma_is_refused(name: str) -> None:
    module, x = small()
    with pytest.raises(InvalidValue, match=f"{name} must be at least 0; got -0.1"):
        pellucid.explain(module, x, METHOD, **{name: -0.1})
