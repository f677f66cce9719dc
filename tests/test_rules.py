"""LRP's rules against literal twins: sums over a dense matrix, row by row, as the papers write them."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pellucid.engine import sharing
from pellucid.engine.composites import read_composite
from pellucid.engine.relevance import Relevance
from pellucid.engine.rule_registry import read_rule
from pellucid.engine.sharing import Operands
from pellucid.errors import InvalidValue
from pellucid.model import Model

EPS = 1e-6
RULES = [
    "lrp-0", "epsilon", "epsilon:0.3", "gamma", "gamma:2", "alpha-beta", "alpha-beta:1:0", "alpha-beta:3:2",
    "z-plus", "excitation", "w-square", "flat",
]  # fmt: skip


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sign(z: Tensor) -> float:
    return 1.0 if z >= 0 else -1.0


def twin(
    rule: str, matrix: Tensor, seen: Tensor, a: Tensor, b: Tensor, relevance: Tensor, low: float = -1,
    high: float = 1,
) -> tuple[Tensor, float, float]:  # fmt: skip
    """What inputs get, what the bias answers for, and what is left: R_i = sum_j (c_ij / sum_i c_ij) R_j."""
    inputs, of_bias = torch.zeros_like(a), 0.0

    def shared(c: Tensor, bias: Tensor | float, much: Tensor, eps: float = EPS) -> None:
        nonlocal inputs, of_bias
        z = c.sum() + bias
        if z == 0 and eps == 0:
            return
        inputs = inputs + c / (z + eps * sign(z)) * much
        of_bias += float(bias / (z + eps * sign(z)) * much)

    name, *numbers = rule.split(":")
    for w, some, bias, much in zip(matrix, seen, b, relevance, strict=True):
        aw, none = a * w, 0.0
        match name, [float(n) for n in numbers]:
            case "lrp-0", _:
                shared(aw, bias, much, 0)
            case "epsilon", e:
                shared(aw, bias, much, *e)
            case "z-plus", _:
                shared(aw.clamp(min=0), bias.clamp(min=0), much)
            case "excitation", _:
                shared(aw.clamp(min=0), none, much)
            case "alpha-beta", chosen:
                alpha, beta = chosen or (2, 1)
                shared(aw.clamp(min=0), bias.clamp(min=0), alpha * much)
                shared(aw.clamp(max=0), bias.clamp(max=0), -beta * much)
            case "gamma", g:
                (gamma,) = g or (0.25,)
                z = aw.sum() + bias
                if z > 0:
                    shared(aw + gamma * aw.clamp(min=0), bias + gamma * bias.clamp(min=0), much)
                elif z < 0:
                    shared(aw + gamma * aw.clamp(max=0), bias + gamma * bias.clamp(max=0), much)
            case "z-box", _:
                shared(aw - low * w.clamp(min=0) - high * w.clamp(max=0), none, much)
            case "w-square", _:
                shared(w**2, none, much)
            case "flat", _:
                shared(some.to(w), none, much)
    return inputs, of_bias, float(relevance.sum() - inputs.sum()) - of_bias


def went(
    run: Callable[[Tensor], Tensor], x: Tensor, composite: str, relevance: Tensor,
    box: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """What Pellucid makes of an operation's relevance: at its inputs, of its bias, absorbed."""
    leaf = x.clone().requires_grad_()
    operations = Relevance(read_composite(composite), len(x), box)
    with torch.enable_grad(), operations.over(Model.wrap(run), leaf):
        y = operations.current(run(leaf))
    operations.clear()
    (inputs,) = torch.autograd.grad(y, leaf, relevance)
    return inputs, operations.account.biases, operations.account.absorbed


def written_out(run: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The matrix and the bias of an affine operation on one sample, column by column."""
    size = torch.Size(shape).numel()
    bias = run(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
    columns = [run(e.view(1, *shape)).flatten() - bias for e in torch.eye(size, dtype=torch.float64)]
    return torch.stack(columns, 1), bias


def agrees(
    run: Callable[[Tensor], Tensor], x: Tensor, rule: str, seen: Tensor | None = None,
    relevance: Tensor | None = None, tolerance: float = 1e-9,
) -> None:  # fmt: skip
    """Inputs, bias and what is absorbed are the twin's, for each sample."""
    relevance = drawn(*run(x).shape, seed=9) if relevance is None else relevance
    matrix, bias = written_out(run, tuple(x.shape[1:]))
    seen = matrix.abs() > 1e-12 if seen is None else seen
    boxed = rule == "z-box"
    low, high = x.min() - 0.1, x.max() + 0.1
    composite = "epsilon;first=z-box" if boxed else rule
    inputs, biases, absorbed = went(run, x, composite, relevance, (low, high) if boxed else None)
    for i, one in enumerate(x):
        given = relevance[i].flatten()
        expected = twin(rule, matrix, seen, one.flatten(), bias, given, float(low), float(high))
        size = expected[0].abs().max() + given.abs().max()
        assert (inputs[i].flatten() - expected[0]).abs().max() <= tolerance * size
        assert abs(float(biases[i]) - expected[1]) <= tolerance * size * len(bias)
        assert abs(float(absorbed[i]) - expected[2]) <= tolerance * size * len(bias)


W1, W2, W3, b4 = drawn(4, 2, 3), drawn(4, 2, 3, 2), drawn(4, 2, 2, 3, 2), drawn(4)
OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "conv1d": (lambda x: F.conv1d(x, W1, b4, stride=2, padding=1), (2, 7)),
    "conv1d same dilated": (lambda x: F.conv1d(x, W1, b4, 1, "same", 2), (2, 6)),
    "conv2d": (lambda x: F.conv2d(x, W2, b4, (2, 1), (1, 2)), (2, 4, 3)),
    "conv2d without bias": (lambda x: F.conv2d(x, W2), (2, 4, 3)),
    "conv2d same": (lambda x: torch.conv2d(x, weight=W2, bias=b4, padding="same"), (2, 3, 4)),
    "conv2d groups": (lambda x: F.conv2d(x, W2, b4, 1, 1, (2, 1), 2), (4, 4, 3)),
    "conv2d depthwise": (lambda x: F.conv2d(x, W2[:, :1], b4, padding=1, groups=4), (4, 3, 3)),
    "conv3d": (lambda x: F.conv3d(input=x, weight=W3, bias=b4, stride=2, padding=1), (2, 2, 3, 2)),
    "conv_transpose1d": (
        lambda x: F.conv_transpose1d(x, W1.transpose(0, 1), b4, 2, 1, 1), (2, 3)
    ),
    "conv_transpose2d": (
        lambda x: F.conv_transpose2d(x, W2.transpose(0, 1), b4, stride=2, dilation=(1, 2)), (2, 2, 3)
    ),
    "conv_transpose2d groups": (
        lambda x: F.conv_transpose2d(x, W2, b4, stride=(2, 1), padding=1, groups=2), (4, 3, 2)
    ),
    "conv_transpose3d": (lambda x: F.conv_transpose3d(x, W3.transpose(0, 1), b4), (2, 1, 2, 2)),
    "linear": (lambda x: F.linear(x, W1.flatten(1), b4), (6,)),
    "linear of tokens": (lambda x: F.linear(x, W1.flatten(1), b4), (3, 6)),
    "matmul": (lambda x: x @ W1.flatten(1).T, (6,)),
    "matmul and bias": (lambda x: torch.matmul(x, W1.flatten(1).T) + b4, (3, 6)),
    "bias in place": (lambda x: x.matmul(W1.flatten(1).T).add_(b4), (6,)),
    "weight first": (lambda x: W1.flatten(1) @ x, (6, 2)),
    "mm": (lambda x: torch.mm(x, W1.flatten(1).t()), (6,)),
    "bmm": (lambda x: torch.bmm(x, W1.flatten(1).T.expand(len(x), 6, 4)), (2, 6)),
    "einsum": (lambda x: torch.einsum("nchw,kc->nkhw", x, W1[:, :, 0]), (2, 2, 3)),
    "einsum, weight first": (lambda x: torch.einsum("kc,nct->nkt", W1[:, :, 0], x) + b4[:, None], (2, 3)),
    "addmm": (lambda x: torch.addmm(b4, x, W1.flatten(1).t()), (6,)),
    "addmm scaled": (lambda x: torch.addmm(b4, x, W1.flatten(1).t(), beta=0), (6,)),
    "baddbmm": (
        lambda x: torch.baddbmm(b4, x, W1.flatten(1).T.expand(len(x), 6, 4)), (2, 6)
    ),
}  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_rule_is_its_formula(operation: str) -> None:
    run, shape = OPERATIONS[operation]
    x = drawn(2, *shape, seed=5)
    for rule in [*RULES, "z-box"]:
        agrees(run, x, rule)
    agrees(run, x.abs(), "gamma")  # without negative inputs there is a shorter way
    agrees(run, x.abs(), "alpha-beta")


@pytest.mark.parametrize("weights", [6, 18], ids=["one output at a time", "three"])
@pytest.mark.parametrize("operation", ["linear", "linear of tokens"])
def test_large_dense_layers_share_a_few_outputs_at_a_time(
    operation: str, weights: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "BLOCK", weights)
    run, shape = OPERATIONS[operation]
    for rule in [*RULES, "z-box"]:
        agrees(run, drawn(2, *shape, seed=5), rule)
        agrees(lambda x: F.linear(x, W1.flatten(1)), drawn(2, *shape, seed=5), rule)


SMALL = st.integers(-2, 2).map(float)


@settings(max_examples=40, deadline=None)
@given(st.lists(SMALL, min_size=15, max_size=15), st.sampled_from([*RULES, "z-box"]))
def test_rules_hold_where_outputs_are_zero_and_sign_classes_empty(numbers: list[float], rule: str) -> None:
    matrix, b, a, relevance = torch.tensor(numbers, dtype=torch.float64).split((6, 2, 3, 4))
    matrix = matrix.view(2, 3)
    agrees(
        lambda x: F.linear(x, matrix, b), a[None], rule, torch.ones(2, 3), relevance[None, :2], tolerance=1e-9
    )


@pytest.mark.parametrize("rule", RULES)
def test_what_inputs_biases_and_stabilisers_get_is_what_came(rule: str) -> None:
    x, relevance = drawn(3, 2, 5, 5), drawn(3, 4, 3, 3, seed=1)
    inputs, biases, absorbed = went(lambda x: F.conv2d(x, W2, b4, 2, 1), x, rule, relevance)
    total = inputs.sum((1, 2, 3)) + biases + absorbed
    assert torch.allclose(total, relevance.sum((1, 2, 3)), rtol=0, atol=1e-9 * relevance.abs().sum())
    assert bool(biases.any()) == (rule not in ("excitation", "w-square", "flat"))


def test_what_no_input_answers_for_is_absorbed() -> None:
    """Without a positive part, z+ has no one to give to; so have alpha and beta, each its own part."""
    x, weight, relevance = torch.ones(1, 2).double(), -torch.ones(1, 2).double(), torch.ones(1, 1).double()

    def run(x: Tensor) -> Tensor:
        return F.linear(x, weight)

    inputs, _, absorbed = went(run, x, "z-plus", relevance)
    assert inputs.abs().max() == 0
    assert absorbed.item() == 1
    inputs, _, absorbed = went(run, x, "alpha-beta:2:1", relevance)
    assert torch.allclose(inputs, torch.full((1, 2), -0.5).double(), atol=1e-6)
    assert absorbed.item() == pytest.approx(2, abs=1e-5)


def positive(x: Tensor) -> Tensor:
    return F.conv2d(x, W2.abs(), b4.abs(), 2, 1)


def test_alpha_beta_doubles_z_plus_where_all_is_positive() -> None:
    x, relevance = drawn(2, 2, 5, 5).abs(), drawn(2, 4, 3, 3, seed=3)
    plus, of_bias, _ = went(positive, x, "z-plus", relevance)
    both, both_bias, absorbed = went(positive, x, "alpha-beta:2:1", relevance)
    assert torch.allclose(both, 2 * plus)
    assert torch.allclose(both_bias, 2 * of_bias)
    assert torch.allclose(absorbed, -relevance.sum((1, 2, 3)), atol=1e-4)
    same, same_bias, _ = went(positive, x, "epsilon", relevance)
    assert torch.allclose(plus, same)
    assert torch.allclose(same_bias, of_bias)


def test_a_great_gamma_is_z_plus_behind_rectifiers() -> None:
    x = drawn(2, 2, 5, 5).abs()
    y = F.conv2d(x, W2, b4, 2, 1)
    relevance = y.relu()
    plus, of_bias, _ = went(lambda x: F.conv2d(x, W2, b4, 2, 1), x, "z-plus", relevance)
    great, great_bias, _ = went(lambda x: F.conv2d(x, W2, b4, 2, 1), x, "gamma:1e9", relevance)
    assert torch.allclose(great, plus, rtol=1e-5, atol=1e-7)
    assert torch.allclose(great_bias, of_bias, rtol=1e-5)
    none, _, _ = went(lambda x: F.conv2d(x, W2, b4, 2, 1), x, "gamma:0", relevance)
    assert torch.allclose(none, went(lambda x: F.conv2d(x, W2, b4, 2, 1), x, "epsilon", relevance)[0])


def test_a_great_epsilon_takes_all() -> None:
    x, relevance = drawn(2, 2, 5, 5), drawn(2, 4, 3, 3, seed=3)
    inputs, biases, absorbed = went(lambda x: F.conv2d(x, W2, b4, 2, 1), x, "epsilon:1e12", relevance)
    assert max(inputs.abs().max(), biases.abs().max()) < 1e-9
    assert torch.allclose(absorbed, relevance.sum((1, 2, 3)))


@pytest.mark.parametrize("rule", ["w-square", "flat"])
def test_these_rules_do_not_read_the_input(rule: str) -> None:
    relevance = drawn(2, 4, 3, 3, seed=3)
    x, other = drawn(2, 2, 5, 5), drawn(2, 2, 5, 5, seed=7)
    maps = [went(lambda x: F.conv2d(x, W2, b4, 2, 1), of, rule, relevance)[0] for of in (x, other)]
    assert torch.equal(*maps)


def test_flat_gives_all_that_an_output_sees_the_same() -> None:
    relevance = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    inputs, _, _ = went(
        lambda x: F.conv2d(x, drawn(1, 2, 2, 2), padding=0), drawn(1, 2, 2, 2), "flat", relevance
    )
    assert torch.allclose(inputs, torch.full_like(inputs, 1 / 8))


def test_a_bias_may_be_a_map() -> None:
    """Batch norms folded into the next layer make one: each sample's sum is its own."""
    a, relevance, bias = drawn(3, 2, 4, 3), drawn(3, 4, 2, 2, seed=2), drawn(3, 4, 2, 2, seed=4)
    on = Operands(lambda a, w: F.conv2d(a, w), a, W2, bias)
    shared = read_rule("epsilon")(on, relevance)
    z = F.conv2d(a, W2) + bias
    quotient = relevance / (z + EPS * z.sign())
    assert torch.allclose(shared.bias, (quotient * bias).sum((1, 2, 3)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lrp", "must be one of lrp-0, epsilon"),
        ("gamma:x", "gamma:GAMMA, with numbers of at least 0"),
        ("gamma:-1", "with numbers of at least 0"),
        ("gamma:1:2", "must be written gamma:GAMMA"),
        ("epsilon:nan", "with numbers of at least 0"),
        ("epsilon:inf", "with numbers of at least 0"),
        ("flat:1", "must be written flat,"),
        ("alpha-beta:2:2", "alpha - beta = 1"),
        ("alpha-beta:1", "alpha - beta = 1"),
        ("", "must be one of"),
    ],
)
def test_a_rule_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        read_rule(text)


def test_a_box_must_hold_the_input() -> None:
    low, high = torch.tensor(-1.0), torch.tensor(1.0)
    relevance = drawn(1, 4, 3, 3)
    for x in (torch.full((1, 2, 5, 4), 1.5).double(), torch.full((1, 2, 5, 4), -1.5).double()):
        with pytest.raises(InvalidValue, match=r"low and high must enclose what the first layer reads"):
            went(lambda x: F.conv2d(x, W2, b4), x, "epsilon;first=z-box", relevance, (low, high))


def test_rules_share_alike_for_whatever_order_of_samples() -> None:
    """Batch and singles, for every rule."""
    x, relevance = drawn(3, 2, 5, 5), drawn(3, 4, 3, 3, seed=3)
    for rule, i in itertools.product(RULES, range(3)):
        whole = went(lambda x: F.conv2d(x, W2, b4, 2, 1), x, rule, relevance)
        one = went(lambda x: F.conv2d(x, W2, b4, 2, 1), x[i : i + 1], rule, relevance[i : i + 1])
        for of_all, of_one in zip(whole, one, strict=True):
            assert torch.allclose(of_all[i], of_one[0], rtol=1e-9, atol=1e-12)
