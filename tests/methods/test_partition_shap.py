"""PartitionSHAP against its definition: the mean over all orders that the tree allows."""

from itertools import product

import pytest
import torch

import pellucid
from pellucid.errors import InvalidValue
from pellucid.methods.perturb.partition_shap import Tree, owen_values

BALANCED = torch.tensor([[0, 1], [2, 3], [4, 5]])
CHAIN = torch.tensor([[0, 1], [2, 4], [3, 5]])


def random_game(d, seed=0):
    table = torch.rand(2**d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda rows: table[(rows.long() * 2 ** torch.arange(d)).sum(1)]


def orders(tree, node):
    """All orders of a node's segments that keep the segments of every node together."""
    if node not in tree.parts:
        return [[node]]
    a, b = (orders(tree, part) for part in tree.parts[node])
    return [x + y for x, y in product(a, b)] + [y + x for x, y in product(a, b)]


def by_definition(score, tree, d):
    allowed = orders(tree, len(tree.members) - 1)
    values = torch.zeros(d, dtype=torch.float64)
    for order in allowed:
        kept = torch.zeros(1, d, dtype=torch.bool)
        for segment in order:
            before = score(kept)
            kept = kept.clone()
            kept[0, segment] = True
            values[segment] += (score(kept) - before)[0] / len(allowed)
    return values


@pytest.mark.parametrize("merges", [BALANCED, CHAIN], ids=["balanced", "chain"])
def test_an_opened_tree_gives_the_mean_over_the_orders_it_allows(merges):
    tree, score = Tree.over(merges, 4), random_game(4)
    values, used, opened = owen_values(score, tree, 1000)
    torch.testing.assert_close(values, by_definition(score, tree, 4))
    assert opened
    assert used < 1000


@pytest.mark.parametrize("samples", [2, 3, 4, 7, 12, 1000])
def test_values_always_sum_to_what_the_segments_add(samples):
    tree, score = Tree.over(BALANCED, 4), random_game(4, 1)
    values, used, _ = owen_values(score, tree, samples)
    ends = score(torch.tensor([[True] * 4, [False] * 4]))
    torch.testing.assert_close(values.sum(), ends[0] - ends[1])
    assert used <= samples


def test_an_additive_game_gives_its_terms_whatever_the_tree():
    terms = torch.tensor([0.5, -1.0, 2.0, 0.25], dtype=torch.float64)
    for merges in (BALANCED, CHAIN):
        values, _, _ = owen_values(lambda rows: rows.double() @ terms, Tree.over(merges, 4), 100)
        torch.testing.assert_close(values, terms)


def test_what_is_not_opened_is_shared_evenly():
    values, used, opened = owen_values(lambda rows: rows.double().sum(1) ** 2, Tree.over(BALANCED, 4), 3)
    assert (used, opened) == (2, False)
    torch.testing.assert_close(values, torch.full((4,), 4.0, dtype=torch.float64))


def blocks(x):
    """Two logits from four quarters of a grey picture, which interact."""
    q = x.mean(1).unflatten(2, (2, -1)).unflatten(1, (2, -1)).mean((2, 4)).flatten(1)
    return torch.stack([q[:, 0] * q[:, 1] + q[:, 2], q[:, 3]], 1)


def test_pictures_have_each_segments_value_at_its_pixels():
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64) + 0.5
    e = pellucid.explain(blocks, x, "partition-shap", segments="grid:2", target=0, output="logit")
    q = x.mean(1).unflatten(2, (2, -1)).unflatten(1, (2, -1)).mean((2, 4)).flatten(1)
    together = q[:, 0] * q[:, 1] / 2
    expected = torch.stack([together, together, q[:, 2], torch.zeros(2, dtype=torch.float64)], 1)
    torch.testing.assert_close(torch.stack(e.details["coefficients"]), expected)
    torch.testing.assert_close(e.raw[:, 0, 0].double(), expected[:, 0])
    torch.testing.assert_close(e.raw[:, 7, 0].double(), expected[:, 2])
    assert not e.warnings


def test_a_closed_tree_is_told():
    x = torch.rand(1, 3, 8, 8)
    e = pellucid.explain(blocks, x, "partition-shap", segments="grid:4", samples=6, target=0)
    assert "did not open the whole tree" in e.warnings[0]
    assert e.cost.forward == 1 + int(e.details["samples"][0]) == 7


def test_too_few_samples_are_refused():
    with pytest.raises(InvalidValue, match="samples must be at least 2"):
        pellucid.explain(blocks, torch.rand(1, 3, 8, 8), "partition-shap", samples=1)
