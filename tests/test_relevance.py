"""Relevance through everything that is no rule: batch norms, norms, gates, sums, constants, attention."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pellucid.engine.composites import read_composite
from pellucid.errors import InvalidValue, ModelError
from test_rules import RULES, drawn, twin, went, written_out
from zoo import seeded

Run = Callable[[Tensor], Tensor]
FOLDABLE = [rule for rule in RULES if rule != "lrp-0"]
EYE = torch.eye(64, dtype=torch.float64)


def deep(x: Tensor) -> Tensor:
    """The same numbers, but neither the picture itself nor what a layer gives: lrp-0 hands on all."""
    return (x @ EYE[: x.shape[-1], : x.shape[-1]])[None][0]


def behind(run: Run, x: Tensor, relevance: Tensor, composite: str = "lrp-0") -> Tensor:
    """What an operation within a network gives its input; all of it adds up to what came."""
    inputs, biases, absorbed = went(lambda x: run(deep(x)), x, composite, relevance)
    total = inputs.flatten(1).sum(1) + biases + absorbed
    came = relevance.reshape(len(x), -1).sum(1)
    assert torch.allclose(total, came, rtol=0, atol=1e-9 * float(relevance.abs().sum() + inputs.abs().max()))
    return inputs


def by_matrix(run: Run, x: Tensor, relevance: Tensor) -> None:
    """A linear operation without weights shares in proportion: by epsilon over its matrix."""
    inputs = behind(run, x, relevance)
    matrix, bias = written_out(run, tuple(x.shape[1:]))
    for i, one in enumerate(x):
        expected, *_ = twin("epsilon", matrix, matrix, one.flatten(), bias, relevance[i].flatten())
        assert torch.allclose(inputs[i].flatten(), expected, rtol=1e-7, atol=1e-9)


def same(one: Run, other: Run, x: Tensor, rules: list[str], relevance: Tensor | None = None) -> None:
    """Two spellings of one function share alike, counts included."""
    assert torch.allclose(one(x), other(x))
    relevance = drawn(*one(x).shape, seed=9) if relevance is None else relevance
    for rule in rules:
        for a, b in zip(went(one, x, rule, relevance), went(other, x, rule, relevance), strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-9 * float(b.abs().max() + 1)), rule


# --- batch norms -------------------------------------------------------------------------------------------


def norm(kind: type[nn.Module], channels: int, **options: bool) -> nn.Module:
    """A batch norm as after training, some of its factors negative."""
    bn = seeded(kind, channels, **options).double()
    for name, tensor in [*bn.named_parameters(), *bn.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data = drawn(channels, seed=len(name))
    if bn.running_var is not None:
        bn.running_var.abs_().add_(0.1)
    return bn


def scale_and_shift(bn: nn.Module) -> tuple[Tensor, Tensor]:
    scale = bn.weight.detach() / (bn.running_var + bn.eps).sqrt()
    return scale, bn.bias.detach() - bn.running_mean * scale


def merged(layer: nn.Module, *norms: nn.Module) -> nn.Module:
    """A copy of a layer, with the batch norms behind it worked into its weights by hand."""
    layer = copy.deepcopy(layer)
    for bn in norms:
        scale, shift = scale_and_shift(bn)
        bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach()
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):  # (inputs, a group's outputs, ...)
            weight = layer.weight.detach().clone()
            inputs, outputs = len(weight) // layer.groups, weight.shape[1]
            for output, factor in enumerate(scale):
                group = output // outputs
                weight[group * inputs : (group + 1) * inputs, output % outputs] *= factor
            layer.weight.data = weight
        else:
            layer.weight.data = layer.weight * scale.view(-1, *[1] * (layer.weight.ndim - 1))
        layer.bias = nn.Parameter(bias * scale + shift)
    return layer


LAYERS: dict[str, tuple[Callable[[], nn.Module], type[nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, 2), nn.BatchNorm1d, (4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d, (4, 5, 4)),
    "conv2d without bias": (lambda: nn.Conv2d(4, 6, 3, 2, bias=False), nn.BatchNorm2d, (4, 5, 4)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2), nn.BatchNorm2d, (4, 5, 4)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6, dilation=2, padding=2), nn.BatchNorm2d, (6, 5, 4)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2), nn.BatchNorm3d, (4, 3, 3, 2)),
    "linear": (lambda: nn.Linear(4, 6), nn.BatchNorm1d, (4,)),
}
BEFORE = LAYERS | {
    "transposed": (lambda: nn.ConvTranspose1d(4, 6, 3, 2), nn.BatchNorm1d, (4, 5)),
    "transposed groups": (
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, padding=1, groups=2), nn.BatchNorm2d, (4, 3, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEFORE)
def test_a_batch_norm_is_one_with_the_layer_before_it(name: str) -> None:
    build, kind, shape = BEFORE[name]
    layer, bn, again = seeded(build).double(), norm(kind, 6), norm(kind, 6)
    x = drawn(2, *shape)
    same(nn.Sequential(layer, bn), merged(layer, bn), x, FOLDABLE)
    same(nn.Sequential(layer, nn.Dropout(), bn, again).eval(), merged(layer, bn, again), x, FOLDABLE)


def test_a_layer_read_beside_its_batch_norm_is_two_layers() -> None:
    conv, bn = seeded(nn.Conv2d, 4, 6, 3).double(), norm(nn.BatchNorm2d, 6)
    folded = merged(conv, bn)

    def both(x: Tensor) -> Tensor:
        y = conv(x)
        return torch.cat([bn(y), F.relu(y)], 1)

    same(both, lambda x: torch.cat([folded(x), F.relu(conv(x))], 1), drawn(2, 4, 5, 4), FOLDABLE)


def test_batch_norms_by_their_batch_are_taken_as_they_are() -> None:
    conv, bn = seeded(nn.Conv2d, 4, 6, 3).double(), norm(nn.BatchNorm2d, 6, track_running_stats=False)
    x = drawn(3, 4, 5, 4)
    var, mean = torch.var_mean(conv(x).detach(), (0, 2, 3), correction=0)
    known = norm(nn.BatchNorm2d, 6)
    known.load_state_dict(bn.state_dict(), strict=False)
    known.running_mean, known.running_var = mean, var
    same(nn.Sequential(conv, bn), merged(conv, known), x, FOLDABLE)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_norm_is_one_with_the_layer_behind_it(name: str, rectified: bool) -> None:
    """c_ij = x_i open_i s_i w_ij, and a bias b_j + sum_i w_ij t_i open_i, which differs at padded borders."""
    build, kind, shape = LAYERS[name]
    layer, bn = seeded(build).double(), norm(kind, shape[0])
    scale, shift = (v.view(-1, *[1] * (len(shape) - 1)).expand(shape) for v in scale_and_shift(bn))
    x, activate = drawn(2, *shape), nn.ReLU() if rectified else nn.Identity()
    relevance = drawn(*layer(x).shape, seed=3)
    matrix, b = written_out(layer, shape)
    for rule in FOLDABLE:
        inputs, biases, absorbed = went(nn.Sequential(bn, activate, layer), x, rule, relevance)
        for i, one in enumerate(x):
            opened = (scale * one + shift > 0).double() if rectified else torch.ones_like(one)
            folded = matrix * scale.flatten()
            bias = b + matrix @ (shift * opened).flatten()
            seen = matrix.abs() > 1e-12
            expected = twin(rule, folded, seen, (one * opened).flatten(), bias, relevance[i].flatten())
            top = float(expected[0].abs().max() + relevance[i].abs().sum())
            assert torch.allclose(inputs[i].flatten(), expected[0], rtol=1e-7, atol=1e-8 * top)
            assert abs(float(biases[i]) - expected[1]) < 1e-6 * top
            assert abs(float(absorbed[i]) - expected[2]) < 1e-6 * top


def test_a_batch_norm_that_several_layers_read_is_folded_into_each() -> None:
    bn, a, b = (
        norm(nn.BatchNorm2d, 4),
        *(seeded(nn.Conv2d, 4, 3, 3, padding=1, seed=s).double() for s in (0, 1)),
    )
    x = drawn(2, 4, 5, 4)

    def shared(x: Tensor) -> Tensor:
        y = F.relu(bn(x), inplace=True)
        return torch.cat([a(y), b(y)], 1)

    same(shared, lambda x: torch.cat([a(F.relu(bn(x))), b(F.relu(bn(x)))], 1), x, FOLDABLE)


def test_a_batch_norm_of_the_picture_itself_leaves_the_next_layer_the_first() -> None:
    bn, conv = norm(nn.BatchNorm2d, 3), seeded(nn.Conv2d, 3, 4, 3).double()
    x, relevance = drawn(2, 3, 5, 5), drawn(2, 4, 3, 3)
    inputs, *_ = went(lambda x: conv(bn(x)), x, "epsilon;first=flat", relevance)
    assert torch.allclose(inputs, went(conv, x, "flat", relevance)[0])


def test_a_lone_batch_norm_shares_with_its_shift() -> None:
    bn = norm(nn.BatchNorm2d, 3)
    x, relevance = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1)
    scale, shift = (v.view(-1, 1, 1) for v in scale_and_shift(bn))
    z = x * scale + shift
    expected = x * scale / torch.where(z < 0, z - 1e-6, z + 1e-6) * relevance
    assert torch.allclose(behind(bn, x, relevance), expected, rtol=1e-7, atol=1e-9)


# --- norms -------------------------------------------------------------------------------------------------


def spread(x: Tensor, groups: Tensor, centred: bool = True, eps: float = 1e-5) -> Tensor:
    """The matrix of (x - mean) / sigma over groups of numbers: sigma is taken as it is."""
    together = (groups[:, None] == groups[None]).double()
    average = together / together.sum(1, keepdim=True)
    flat = x.flatten()
    mean = average @ flat if centred else torch.zeros_like(flat)
    sigma = (average @ (flat - mean) ** 2 + eps).sqrt()
    centre = torch.eye(len(flat), dtype=torch.float64) - (average if centred else 0)
    return centre / sigma[:, None]


def of_channels(x: Tensor, per_group: int) -> Tensor:
    return torch.arange(len(x)).div(per_group, rounding_mode="floor").repeat_interleave(x[0].numel())


def of_rows(x: Tensor) -> Tensor:
    return torch.arange(x[..., 0].numel()).repeat_interleave(x.shape[-1])


W, B = drawn(4, seed=11), drawn(4, seed=12)
NORMS: dict[str, tuple[Run, Run, Run | None]] = {
    "layer_norm": (
        lambda x: F.layer_norm(x, (4,), W, B), lambda x: spread(x, of_rows(x)), lambda x: B.expand(x.shape)
    ),
    "layer_norm over two": (
        lambda x: F.layer_norm(x, normalized_shape=(3, 4), eps=0.1),
        lambda x: spread(x, of_channels(x, 1), eps=0.1), None,
    ),
    "nn.LayerNorm2d by hand": (
        lambda x: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5),
        lambda x: spread(x, of_rows(x)), None,
    ),
    "var_mean by hand": (
        lambda x: (lambda s, u: (x - u) * torch.rsqrt(s + 1e-5))(*torch.var_mean(x, -1, False, keepdim=True)),
        lambda x: spread(x, of_rows(x)), None,
    ),
    "group_norm": (lambda x: F.group_norm(x, 2), lambda x: spread(x, of_channels(x, 2)), None),
    "instance_norm": (lambda x: F.instance_norm(x), lambda x: spread(x, of_channels(x, 1)), None),
    "rms_norm": (
        lambda x: F.rms_norm(x, (4,), eps=1e-5), lambda x: spread(x, of_rows(x), centred=False), None
    ),
    "rms by hand": (
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),
        lambda x: spread(x, of_rows(x), centred=False), None,
    ),
    "rms by division": (
        lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt(),
        lambda x: spread(x, of_rows(x), centred=False), None,
    ),
    "normalize": (
        lambda x: F.normalize(x, dim=-1), lambda x: spread(x, of_rows(x), False, 0) / 2, None
    ),
    "norm by hand": (
        lambda x: x / x.norm(dim=-1, keepdim=True), lambda x: spread(x, of_rows(x), False, 0) / 2, None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_linear_with_its_scale_as_it_is(name: str) -> None:
    run, matrix, bias = NORMS[name]
    x = drawn(2, 4, 3, 4)
    relevance = run(x) * drawn(2, 4, 3, 4, seed=2)  # as it comes from a layer behind
    inputs = behind(run, x, relevance)
    for i, one in enumerate(x):
        m = matrix(one)
        b = torch.zeros(len(m), dtype=torch.float64) if bias is None else bias(one).flatten()
        if bias is not None:
            m = m * W.repeat(len(m) // 4)[:, None]
        assert torch.allclose(m @ one.flatten() + b, run(x)[i].flatten())
        expected, *_ = twin("epsilon", m, m, one.flatten(), b, relevance[i].flatten())
        assert torch.allclose(inputs[i].flatten(), expected, atol=2e-5 * float(expected.abs().max()))


def test_sizes_of_numbers_share_by_their_degree() -> None:
    """||x|| and std are of degree one, var of two: R_i = x_i / degree * (d f / d x_i) R / f."""
    x, relevance = drawn(2, 3, 5), drawn(2, 3, 1, seed=1)
    for run, size in (
        (lambda x: x.norm(dim=-1, keepdim=True), x.square()),
        (lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True), x.square()),
        (lambda x: x.std(-1, keepdim=True), x * (x - x.mean(-1, keepdim=True))),
        (lambda x: x.var(-1, keepdim=True), x * (x - x.mean(-1, keepdim=True))),
    ):
        expected = size / size.sum(-1, keepdim=True) * relevance
        assert torch.allclose(behind(run, x, relevance), expected, rtol=1e-4)


# --- gates, sums, constants --------------------------------------------------------------------------------

SQUEEZE = drawn(3, 3, seed=21)


def squeezed(x: Tensor, gate: Run) -> Tensor:
    return gate(F.relu(x.mean((2, 3)) @ SQUEEZE))[:, :, None, None]


GATES: dict[str, Run] = {
    "squeeze and excite": lambda x: x * squeezed(x, torch.sigmoid),
    "gate first": lambda x: squeezed(x, torch.sigmoid) * x,
    "in place": lambda x: x.clone().mul_(squeezed(x, F.hardsigmoid)),
    "hard sigmoid by hand": lambda x: x * (F.relu6(squeezed(x, lambda z: z) + 3) / 6),
    "gate of one": lambda x: x * (1 + squeezed(x, torch.tanh)),
    "silu by hand": lambda x: x * x.sigmoid(),
    "silu by hand, in place": lambda x: x.mul(torch.sigmoid(x)),
    "gelu by hand": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "gelu, tanh": lambda x: x * 0.5 * (torch.tanh(0.8 * (x + 0.04 * torch.pow(x, 3))) + 1),
    "silu": F.silu,
    "gelu": F.gelu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "layer scale": lambda x: SQUEEZE[0].view(-1, 1, 1) * x,
    "divided": lambda x: x / 3,
    "negated": lambda x: -x,
    "dropout left on": lambda x: F.dropout(x, 0.5, True),
    "torch.dropout off": lambda x: torch.dropout(x, 0.5, False),
    "sum()": lambda x: sum([x]),
    "clamp": lambda x: x.clamp(-1, 1),
    "to and fro": lambda x: x.transpose(1, 2).flatten(1).view(len(x), 4, 3, 5).transpose(1, 2),
    "written to": lambda x: _written(x),
}


def _written(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :, 1:] = x[:, :, 1:]
    y[:, :, :1] = x[:, :, :1]
    return y


@pytest.mark.parametrize("name", GATES)
def test_the_signal_answers_for_all(name: str) -> None:
    """A gate, an activation, a factor or a move hands on what came, number by number."""
    x, relevance = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1)
    assert torch.allclose(behind(GATES[name], x, relevance), relevance, rtol=1e-9, atol=1e-9)


def test_of_a_product_of_two_signals_each_gets_half() -> None:
    x, relevance = drawn(2, 3, 4, 6), drawn(2, 3, 4, 3, seed=1)

    def multiplied(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return a * b

    assert torch.allclose(behind(multiplied, x, relevance), torch.cat([relevance] * 2, -1) / 2)

    def gated(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return a * b.sigmoid()

    signal = torch.cat([relevance, torch.zeros_like(relevance)], -1)
    assert torch.allclose(behind(gated, x, relevance), signal)
    assert torch.allclose(behind(F.glu, x, relevance), signal)
    half = behind(gated, x, relevance, "lrp-0;product=half")
    assert torch.allclose(half, torch.cat([relevance] * 2, -1) / 2)


def in_place(x: Tensor, y: Tensor) -> Tensor:
    z = x.clone()
    z += y
    return z


SUMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = {
    "x + y": (lambda x, y: x + y, 1, 1),
    "x += y": (in_place, 1, 1),
    "add_": (lambda x, y: x.clone().add_(y), 1, 1),
    "add_ with alpha": (lambda x, y: x.clone().add_(y, alpha=-0.5), 1, -0.5),
    "torch.add": (lambda x, y: torch.add(x, y, alpha=2), 1, 2),
    "x - y": (lambda x, y: x - y, 1, -1),
    "torch.sub": (lambda x, y: torch.sub(x, y, alpha=3), 1, -3),
    "rsub": (lambda x, y: torch.rsub(x, y), -1, 1),
    "sum()": (lambda x, y: sum([x, y]), 1, 1),
    "stacked": (lambda x, y: torch.stack([x, y]).sum(0), 1, 1),
    "addcmul": (lambda x, y: torch.addcmul(x, y, torch.full_like(y, 0.5), value=4), 1, 2),
}


@pytest.mark.parametrize(
    ("name", "wide"),
    [*((name, True) for name in SUMS), *((name, False) for name in SUMS if name != "stacked")],
)
def test_summands_share_in_proportion(name: str, wide: bool) -> None:
    run, p, q = SUMS[name]
    x, relevance = drawn(2, 3, 4, 6 if wide else 4), drawn(2, 3, 4, 3, seed=1)
    a, b = x[..., :3], x[..., 3:]
    z = p * a + q * b
    quotient = relevance / torch.where(z < 0, z - 1e-6, z + 1e-6)
    of_b = q * b * quotient if wide else (q * b * quotient).sum(-1, keepdim=True)  # broadcast
    found = behind(lambda x: run(x[..., :3], x[..., 3:]), x, relevance)
    assert torch.allclose(found, torch.cat([p * a * quotient, of_b], -1), rtol=1e-6, atol=1e-9)


CONSTANT = drawn(3, 4, 5, seed=31)
SHIFTS: dict[str, tuple[Run, float, Tensor]] = {
    "position embedding": (lambda x: x + CONSTANT, 1, CONSTANT),
    "embedding first, in place": (lambda x: CONSTANT.expand_as(x).clone().add_(x), 1, CONSTANT),
    "number": (lambda x: x + 0.5, 1, torch.tensor(0.5)),
    "number less x": (lambda x: 1 - x, -1, torch.tensor(1.0)),
    "alpha": (lambda x: torch.add(x, CONSTANT, alpha=-2), 1, -2 * CONSTANT),
    "subtracted": (lambda x: x.clone().sub_(CONSTANT), 1, -CONSTANT),
}


@pytest.mark.parametrize("name", SHIFTS)
def test_a_constant_added_answers_for_its_part(name: str) -> None:
    run, sign, constant = SHIFTS[name]
    x, relevance = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1)
    z = sign * x + constant
    expected = sign * x / torch.where(z < 0, z - 1e-6, z + 1e-6) * relevance
    assert torch.allclose(behind(run, x, relevance), expected, rtol=1e-7, atol=1e-9)


BESIDE: dict[str, tuple[Run, Callable[[Tensor, Tensor], Tensor]]] = {
    "class token": (
        lambda x: torch.cat([CONSTANT[:1, :1].expand(len(x), -1, -1), x], 1), lambda x, R: R[:, 1:]
    ),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 1)), lambda x, R: R[:, :-1, 1:-2]),
    "pad with a value": (lambda x: F.pad(x, (1, 0), value=3), lambda x, R: R[..., 1:]),
    "reflected": (
        lambda x: F.pad(x, (1, 0), mode="reflect"),
        lambda x, R: R[..., 1:] + F.pad(R[..., :1], (1, x.shape[-1] - 2)),
    ),
    "masked": (lambda x: x.masked_fill(CONSTANT[0] > 0, 0), lambda x, R: R * (CONSTANT[0] <= 0)),
    "where": (lambda x: torch.where(CONSTANT[0] > 0, 1, x), lambda x, R: R * (CONSTANT[0] <= 0)),
    "maximum": (lambda x: torch.maximum(x, CONSTANT[0]), lambda x, R: R * (x > CONSTANT[0])),
    "max": (lambda x: torch.max(x, CONSTANT[0]), lambda x, R: R * (x > CONSTANT[0])),
    "zeroed by index": (lambda x: _zeroed(x), lambda x, R: F.pad(R[:, :, 1:], (1, 0))),
    "filled": (lambda x: _zeroed(x, fill=True), lambda x, R: F.pad(R[:, :, 1:], (1, 0))),
    "triangle": (torch.tril, lambda x, R: R.tril()),
}  # fmt: skip


def _zeroed(x: Tensor, fill: bool = False) -> Tensor:
    y = x.clone()
    if fill:
        y[:, :, :1].fill_(2)
    else:
        y[:, :, 0] = 0
    return y


@pytest.mark.parametrize("name", BESIDE)
def test_constants_beside_keep_what_comes_to_them(name: str) -> None:
    run, expected = BESIDE[name]
    x = drawn(2, 4, 5)
    relevance = drawn(*run(x).shape, seed=1)
    assert torch.allclose(behind(run, x, relevance), expected(x, relevance))


AVERAGES: dict[str, Run] = {
    "mean": lambda x: x.mean((2, 3)),
    "mean of all": lambda x: x.mean((1, 2, 3)),
    "sum": lambda x: x.sum(1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, padding=1),
    "avg_pool, keywords": lambda x: F.avg_pool2d(input=x, kernel_size=2, stride=1, count_include_pad=False),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear, smaller": lambda x: F.interpolate(x, (2, 3), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, size=(7, 6), mode="bicubic", antialias=True),
    "area": lambda x: F.interpolate(x, size=(2, 2), mode="area"),
    "cumsum": lambda x: x.cumsum(2),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_share_in_proportion(name: str) -> None:
    x = drawn(2, 3, 4, 5)
    by_matrix(AVERAGES[name], x, AVERAGES[name](x) * drawn(*AVERAGES[name](x).shape, seed=1))


MOVES: dict[str, Run] = {
    "max_pool": lambda x: F.max_pool2d(x, 3, 2, padding=1),
    "max_pool with indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, 2),
    "amax": lambda x: x.amax((2, 3)),
    "max over an axis": lambda x: x.max(1)[0],
    "maximum of two": lambda x: torch.maximum(x[:, :1], x[:, 1:]),
    "topk": lambda x: x.flatten(1).topk(3)[0],
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "upsample": nn.Upsample(scale_factor=2),
    "roll": lambda x: x.roll((1, 2), (2, 3)),
    "repeat": lambda x: x.repeat(1, 2, 1, 1),
    "expand": lambda x: x[:, :, None].expand(-1, -1, 2, -1, -1),
    "pixel shuffle": lambda x: F.pixel_unshuffle(x[..., :4], 2),
    "split": lambda x: torch.cat(x.split(1, 1)[::-1], 1),
    "unbind": lambda x: torch.stack([*x.unbind(1)], 3),
    "gather": lambda x: x.gather(3, torch.arange(3).expand(2, 3, 4, 3)),
    "unfold": lambda x: F.unfold(x, 2),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves_move_relevance_as_they_do_numbers(name: str) -> None:
    run, x = MOVES[name], drawn(2, 3, 4, 5)
    relevance = drawn(*run(x).shape, seed=1)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(run(leaf), leaf, relevance)
    found, biases, absorbed = went(lambda x: run(deep(x)), x, "lrp-0", relevance)
    assert torch.allclose(found, expected)
    assert torch.allclose(found.flatten(1).sum(1), relevance.flatten(1).sum(1))
    assert max(biases.abs().max(), absorbed.abs().max()) < 1e-9


def test_zeros_that_unfolding_puts_around_are_counted() -> None:
    x, relevance = drawn(2, 3, 4, 5), torch.ones(2, 12, 30, dtype=torch.float64)
    behind(lambda x: F.unfold(x, 2, padding=1), x, relevance)


# --- the picture itself ------------------------------------------------------------------------------------

PICTURE: dict[str, tuple[Run, Run]] = {
    "normalised": (
        lambda x: (x - 0.4) / 0.2,
        lambda R: R,
    ),
    "normalised in place": (lambda x: x.clone().sub_(0.4).div_(0.2), lambda R: R),
    "its own mean": (lambda x: x - x.mean((1, 2, 3), keepdim=True), lambda R: R),
    "its own statistics": (lambda x: F.layer_norm(x, x.shape[1:]), lambda R: R),
    "instance norm": (lambda x: F.instance_norm(x), lambda R: R),
    "batch norm": (lambda x: norm(nn.BatchNorm2d, 3)(x), lambda R: R),
    "smaller": (
        lambda x: F.avg_pool2d(x, 2), lambda R: R.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    ),
    "grey": (lambda x: x.mean(1, keepdim=True), lambda R: R.expand(-1, 3, -1, -1) / 3),
    "light": (lambda x: x.sum(1, keepdim=True), lambda R: R.expand(-1, 3, -1, -1) / 3),
    "enlarged": (lambda x: F.interpolate(x, scale_factor=2), lambda R: 4 * F.avg_pool2d(R, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURE)
def test_what_is_done_to_the_picture_before_the_first_layer_is_no_layer(name: str) -> None:
    """Shifts, scales and averages of it do not ask how bright a pixel is, and the next layer is the first."""
    run, expected = PICTURE[name]
    x = drawn(2, 3, 4, 6)
    relevance = drawn(*run(x).shape, seed=1)
    found, biases, absorbed = went(run, x, "epsilon", relevance)
    assert torch.allclose(found, expected(relevance), rtol=1e-5)
    assert torch.allclose(found.sum((1, 2, 3)) + biases + absorbed, relevance.sum((1, 2, 3)))
    conv = drawn(2, run(x).shape[1], 1, 1)
    first, *_ = went(
        lambda x: F.conv2d(run(x), conv), x, "epsilon;first=flat", relevance[:, :1].repeat(1, 2, 1, 1)
    )
    assert torch.allclose(
        first, expected(2 / len(conv[0]) * relevance[:, :1].expand_as(relevance)), rtol=1e-5
    )


# --- attention ---------------------------------------------------------------------------------------------


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1) / 3**0.5).softmax(-1) @ v


ATTENTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": F.scaled_dot_product_attention,
    "by hand": plain,
    "einsum": lambda q, k, v: torch.einsum(
        "nts,nsd->ntd", F.softmax(torch.einsum("ntd,nsd->nts", q, k) / 3**0.5, dim=-1), v
    ),
    "bmm": lambda q, k, v: torch.bmm(torch.bmm(q, k.mT).div(3**0.5).softmax(dim=2), v),
    "transposed": lambda q, k, v: (v.mT @ (k @ q.mT / 3**0.5).softmax(-2)).mT,
    "dropout off": lambda q, k, v: F.dropout((q @ k.mT / 3**0.5).softmax(-1), 0.1, False) @ v,
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_of_an_attention_the_values_answer(name: str) -> None:
    x, relevance = drawn(2, 5, 9), drawn(2, 5, 3, seed=1)
    q, k, v = x.chunk(3, -1)
    attention, y = (q @ k.mT / 3**0.5).softmax(-1), plain(q, k, v)
    quotient = relevance / torch.where(y < 0, y - 1e-6, y + 1e-6)
    of_v = v * (attention.mT @ quotient)
    found = behind(lambda x: ATTENTIONS[name](*x.chunk(3, -1)), x, relevance)
    assert torch.allclose(found, torch.cat([0 * q, 0 * k, of_v], -1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["fused", "by hand", "einsum", "bmm"])
def test_attn_lrp_is_its_formulas(name: str) -> None:
    """Achtibat 2024: half to each factor of a product; R_i = x_i (R_i - s_i sum R) at the softmax."""
    x, relevance = drawn(2, 5, 9), drawn(2, 5, 3, seed=1)

    def off(y: Tensor) -> Tensor:
        return torch.where(y < 0, y - 1e-6, y + 1e-6)

    found = behind(lambda x: ATTENTIONS[name](*x.chunk(3, -1)), x, relevance, "lrp-0;attention=all")
    for one, much, result in zip(x, relevance, found, strict=True):
        q, k, v = one.chunk(3, -1)
        scores, tokens = q @ k.T / 3**0.5, range(5)
        s = scores.softmax(-1)
        o = s @ v
        of_q, of_k, of_v, of_s = torch.zeros(5, 3), torch.zeros(5, 3), torch.zeros(5, 3), torch.zeros(5, 5)
        of_q, of_k, of_v, of_s = (t.double() for t in (of_q, of_k, of_v, of_s))
        for t in tokens:
            for j in tokens:
                for p in range(3):
                    part = s[t, j] * v[j, p] / off(o[t, p]) * much[t, p]
                    of_s[t, j] += part / 2
                    of_v[j, p] += part / 2
        of_scores = scores * (of_s - s * of_s.sum(-1, keepdim=True))
        for t in tokens:
            for j in tokens:
                for p in range(3):
                    raw = q[t, p] * k[j, p]
                    z = scores[t, j] if name == "fused" else scores[t, j] * 3**0.5
                    part = (raw / 3**0.5 if name == "fused" else raw) / off(z) * of_scores[t, j]
                    of_q[t, p] += part / 2
                    of_k[j, p] += part / 2
        assert torch.allclose(result, torch.cat([of_q, of_k, of_v], -1), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("batch_first", [True, False])
def test_tokens_may_come_before_the_batch(batch_first: bool) -> None:
    """What biases answer for is counted for the right image, even where the tokens could be images."""
    module = seeded(nn.MultiheadAttention, 4, 2, batch_first=batch_first).double()
    nn.init.normal_(module.in_proj_bias)
    x, relevance = drawn(3, 6, 4), drawn(3, 6, 4, seed=1)

    def run(x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        y = module(x, x, x, need_weights=False)[0]
        return y if batch_first else y.transpose(0, 1)

    whole = went(run, x, "epsilon", relevance)
    for i in range(3):
        for of_all, alone in zip(
            whole, went(run, x[i : i + 1], "epsilon", relevance[i : i + 1]), strict=True
        ):
            assert torch.allclose(of_all[i], alone[0], rtol=1e-7, atol=1e-9)


# --- composites, and what is refused -----------------------------------------------------------------------


def test_a_rule_is_chosen_by_name_then_place_then_family() -> None:
    composite = read_composite("epsilon-plus; first=flat ;layer4.*=gamma:0.5;last=lrp-0")
    plus, dense = read_composite("z-plus;dense=epsilon").families.values()
    assert (plus, dense) == ("z-plus", "epsilon")

    def name(layer: str, first: bool = False, last: bool = False, family: str = "conv") -> str:
        return type(composite.rule(layer, family, first=first, last=last)).__name__

    assert name("layer1") == "ZPlus"
    assert name("fc", family="dense") == "Epsilon"
    assert name("conv1", first=True) == "Flat"
    assert name("layer4.0", first=True, last=True) == "Gamma"
    assert composite.rule("fc", "dense", first=False, last=True).epsilon == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epsilon-minus", "composite must begin with one of epsilon-plus, .*; got 'epsilon-minus'"),
        ("", "composite must begin with one of"),
        ("epsilon-plus;flat", "KEY=RULE"),
        ("epsilon-plus;=flat", "KEY=RULE"),
        ("epsilon-plus;first=flatt", "A rule must be one of .*'flatt'"),
        ("epsilon-plus;first=", "A rule must be one of"),
        ("alpha-beta:2:2", "alpha - beta = 1"),
        ("epsilon-plus;conv=alpha-beta:1:1", "alpha - beta = 1"),
        ("epsilon-plus;attention=none", "attention must be value or all; got 'none'"),
        ("gamma:-1", "numbers of at least 0"),
    ],
)
def test_a_composite_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        read_composite(text)


class Odd(nn.Module):
    """Operations that have no rule, in two of its modules."""

    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(x).abs()

    class Values(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.svd(x, full_matrices=False).S

    def __init__(self, spectrum: bool = True) -> None:
        super().__init__()
        self.conv, self.values = nn.Conv2d(3, 4, 3), self.Values()
        self.spectrum = self.Spectrum() if spectrum else nn.Identity()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.values(self.spectrum(self.conv(x)))
        return self.fc(x.cumprod(2).mean(2))


def test_operations_without_a_rule_are_refused_all_at_once() -> None:
    x = drawn(2, 3, 8, 8)
    with pytest.raises(
        ModelError,
        match=r"no rule .*: fft_fft2 in spectrum, linalg_svd in values, cumprod\. .*unknown=gradient",
    ):
        went(Odd().double(), x, "epsilon", drawn(2, 3))
    with pytest.raises(ModelError, match=r"complex numbers \(fft_fft2\), which carry no relevance"):
        went(Odd().double(), x, "epsilon;unknown=gradient", drawn(2, 3))


def test_an_operation_without_a_rule_may_be_taken_to_first_order() -> None:
    """R_i = x_i dy/dx_i R / y: singular values and products are of a known degree."""
    x = drawn(2, 3, 4, 4)
    values, product = Odd.Values(), drawn(2, 3, 5).abs()
    relevance = drawn(2, 3, 4, seed=1)
    found = behind(values, x, relevance, "lrp-0;unknown=gradient")
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    assert torch.allclose(found, x * ((u * (relevance / s)[..., None, :]) @ v), rtol=1e-4, atol=1e-6)
    found = behind(
        lambda x: x.cumprod(2), product, relevance[..., :1].expand(2, 3, 5), "lrp-0;unknown=gradient"
    )
    expected = relevance[..., :1] * torch.arange(5, 0, -1)  # each factor answers for all of each product
    assert torch.allclose(found, expected.expand_as(found), rtol=1e-2)
