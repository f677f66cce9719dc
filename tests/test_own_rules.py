"""Rules of a user's own: registered by name, named in a composite, held to a computation by hand."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import unchecked
from pellucid.engine.operations import Operations
from pellucid.engine.rule_registry import RULES, read_rule
from pellucid.engine.rules import Epsilon, ZBox
from pellucid.engine.sharing import Operands, Shared
from pellucid.engine.tables import Table
from pellucid.errors import InvalidType, InvalidValue
from zoo import seeded

EPS = 1e-6


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """What a test registers is taken out again."""
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


def net() -> nn.Sequential:
    """Two convolutions and a dense layer, with biases."""
    layers = nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 2, stride=2), nn.ReLU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3)).double()


def picture() -> Tensor:
    return torch.rand(1, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 0.4


def share_by_hand(
    contributions: Tensor, relevance: Tensor, bias: Tensor | None, epsilon: float = EPS
) -> Tensor:
    """R_i = sum_j c_ji / (z_j + epsilon sign z_j) R_j, row by row; z_j = sum_i c_ji + b_j."""
    inputs = torch.zeros(contributions.shape[1], dtype=torch.float64)
    for j, row in enumerate(contributions):
        z = row.sum() + (0 if bias is None else bias[j])
        inputs += row / (z + epsilon * (1 if z >= 0 else -1)) * relevance[j]
    return inputs


def matrix(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The matrix and bias of a linear layer, column by column."""
    with torch.no_grad():
        bias = layer(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        size = torch.Size(shape).numel()
        columns = [layer(e.view(1, *shape)).flatten() - bias for e in torch.eye(size, dtype=torch.float64)]
    return torch.stack(columns, 1), bias


def by_hand(module: nn.Sequential, x: Tensor, power: float, target: int = 1) -> Tensor:
    """Epsilon for the dense layer, |a|^p |W|^p without biases for the convolutions."""
    first, second, dense = module[0], module[2], module[5]
    with torch.no_grad():
        a1 = first(x).relu()
        a2 = second(a1).relu()
        y = dense(a2.flatten(1))[0]
    relevance = torch.where(torch.arange(3) == target, y, 0)
    relevance = share_by_hand(dense.weight.detach() * a2.flatten(), relevance, dense.bias.detach())
    for layer, a in ((second, a1), (first, x)):
        weights, _ = matrix(layer, tuple(a.shape[1:]))
        relevance = share_by_hand((weights.abs() * a.flatten().abs()) ** power, relevance, None)
    return relevance.view_as(x)


def test_a_subclass_of_five_lines_gives_what_a_computation_by_hand_gives() -> None:
    @pellucid.rule("absolute")
    class Absolute(pellucid.Rule):
        def pairs(self, on: Operands) -> list[tuple[Tensor, Tensor]]:
            return [(on.a.abs(), on.weight.abs())]

        def bias(self, on: Operands) -> None:
            return None

    module, x = seeded(net), picture()
    expected = by_hand(module, x, 1.0)
    for composite in ("absolute;dense=epsilon", "epsilon;conv=absolute", "epsilon;0=absolute;2=absolute"):
        e = pellucid.explain(module, x, "lrp", target=1, composite=composite)
        torch.testing.assert_close(e.raw, expected, rtol=1e-9, atol=1e-12)
        assert e.delta.abs().max() < 1e-9
        assert e.options["composite"] == composite


def test_a_function_is_a_rule_and_numbers_behind_its_name_are_its_parameters() -> None:
    @pellucid.rule("power")
    def power(on: Operands, relevance: Tensor, exponent: float = 1.0) -> Shared:
        return on.share([(on.a.abs() ** exponent, on.weight.abs() ** exponent)], None, relevance)

    module, x = seeded(net), picture()
    for text, exponent in (("power", 1.0), ("power:2", 2.0), ("power:0.5", 0.5)):
        e = pellucid.explain(module, x, "lrp", target=1, composite=f"epsilon;conv={text}")
        torch.testing.assert_close(e.raw, by_hand(module, x, exponent), rtol=1e-9, atol=1e-12)
    with pytest.raises(InvalidValue, match="power must be written power:EXPONENT, with numbers"):
        pellucid.explain(module, x, "lrp", composite="power:1:2")


def test_a_subclass_of_a_built_in_rule_has_its_numbers() -> None:
    @pellucid.rule("loose")
    class Loose(Epsilon):
        def bias(self, on: Operands) -> None:
            return None

    module, x = seeded(net), picture()
    loose = pellucid.explain(module, x, "lrp", composite="loose:0.1")
    same = pellucid.explain(module, x, "lrp", composite="epsilon:0.1", biases="ignore")
    assert torch.equal(loose.raw, same.raw)


def test_a_box_of_ones_own_is_given_the_bounds() -> None:
    @pellucid.rule("box")
    class Box(ZBox):
        pass

    module, x = seeded(net), picture()
    bounds = {"low": -1.0, "high": 1.0}
    own = pellucid.explain(module, x, "lrp", composite="epsilon;first=box", **bounds)
    assert torch.equal(
        own.raw, pellucid.explain(module, x, "lrp", composite="epsilon;first=z-box", **bounds).raw
    )
    with pytest.raises(InvalidValue, match="needs the lowest and highest inputs"):
        pellucid.explain(module, x, "lrp", composite="epsilon;first=box")


def test_a_large_dense_layer_is_shown_to_a_function_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.engine.sharing.BLOCK", 8)
    seen: dict[str, list[int]] = {"whole": [], "parts": []}

    @pellucid.rule("whole")
    def whole(on: Operands, relevance: Tensor) -> Shared:
        seen["whole"].append(len(on.weight))
        return on.share([(on.a, on.weight)], on.bias, relevance)

    @pellucid.rule("parts")
    class Parts(pellucid.Rule):
        def share(self, on: Operands, relevance: Tensor) -> Shared:
            seen["parts"].append(len(on.weight))
            return super().share(on, relevance)

    module, x = seeded(net), picture()
    maps = [pellucid.explain(module, x, "lrp", composite=f"epsilon;dense={name}").raw for name in seen]
    assert seen == {"whole": [3], "parts": [1, 1, 1]}
    torch.testing.assert_close(*maps)


# --- the registry -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "My-rule", "my rule", "my:rule", "my=rule", "-my", "my--rule", 3])
def test_a_name_that_is_none_is_refused(name: object) -> None:
    words = "A rule's name must be in kebab-case, such as 'my-rule'; got"
    with unchecked(), pytest.raises(InvalidValue, match=words):
        pellucid.rule(name)


@pytest.mark.parametrize("name", ["epsilon-plus", "excitation-backprop", "guided-backprop"])
def test_a_composites_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="must not be that of a composite"):
        pellucid.rule(name)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"'gamma' is registered already, by pellucid.engine.rules.Gamma"):

        @pellucid.rule("gamma")
        def gamma(on: Operands, relevance: Tensor) -> Shared:
            return on.share([(on.a, on.weight)], None, relevance)

    assert repr(read_rule("gamma:0.5")) == "Gamma(gamma=0.5)"


def test_a_cell_that_is_run_again_replaces_its_rule() -> None:
    module, x, maps = seeded(net), picture(), []
    for factor in (1.0, 2.0):

        @pellucid.rule("mine")
        def mine(on: Operands, relevance: Tensor, factor: float = factor) -> Shared:
            return on.share([(on.a, on.weight)], None, factor * relevance)

        maps.append(pellucid.explain(module, x, "lrp", composite="epsilon;first=mine").raw)
    torch.testing.assert_close(2 * maps[0], maps[1])


@pytest.mark.parametrize("source", [3, "epsilon", nn.ReLU, print])
def test_what_is_no_rule_is_refused(source: object) -> None:
    words = r"'mine' must be a subclass of pellucid.Rule or a function"
    with unchecked(), pytest.raises(InvalidType, match=words):
        pellucid.rule("mine")(source)
    assert "mine" not in RULES


def test_numbers_without_a_default_are_refused() -> None:
    def without(on: Operands, relevance: Tensor, exponent: float) -> Shared:
        raise NotImplementedError

    with pytest.raises(InvalidType, match="a default for each of its numbers; 'exponent' has none"):
        pellucid.rule("mine")(without)


def test_no_operation_has_two_handlers() -> None:
    tables = Table[Operations](), Table[Operations]()
    for table in tables:
        table.on("relu")(lambda run, call: call.run())
    with pytest.raises(AssertionError, match="two handlers of 'relu'"):
        Table(*tables)
    assert list(tables[0].overridden_by(tables[1])) == ["relu"]


def test_a_rule_that_gives_something_else_is_told() -> None:
    @pellucid.rule("tensor")
    def tensor(on: Operands, relevance: Tensor) -> Tensor:
        return torch.zeros_like(on.a)

    with pytest.raises(InvalidType, match=r"must return what Operands.share gives; .* returned Tensor"):
        pellucid.explain(seeded(net), picture(), "lrp", composite="epsilon;conv=tensor")


@pytest.mark.parametrize("composite", ["unheard-of", "epsilon;conv=unheard-of", "epsilon-plus;0=unheard-of"])
def test_an_unknown_rule_is_told_the_known_ones(composite: str) -> None:
    @pellucid.rule("own")
    class Own(pellucid.Rule):
        pass

    with pytest.raises(InvalidValue, match=r"lrp-0, epsilon, gamma, .*, flat, own\)?; got 'unheard-of'"):
        pellucid.explain(seeded(net), picture(), "lrp", composite=composite)
