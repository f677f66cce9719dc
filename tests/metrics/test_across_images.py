"""Consistency and sufficiency: slow literal twins, closed forms, and Quantus."""

import math

import numpy as np
import pytest
import torch

from pellucid.metrics.across_images import consistency, sufficiency, top_cells

N = 30


@pytest.fixture
def predictions() -> torch.Tensor:
    return torch.randint(0, 3, (N,), generator=torch.Generator().manual_seed(1))


def test_consistency_equals_its_twin_and_quantus(predictions: torch.Tensor):
    explanations = torch.randint(0, 2, (N, 3), generator=torch.Generator().manual_seed(2))
    explanations[0] = 7  # of one image alone
    found = consistency(explanations, predictions)
    for i in range(N):
        same = [j for j in range(N) if j != i and explanations[j].tolist() == explanations[i].tolist()]
        alike = [j for j in same if predictions[j] == predictions[i]]
        if same:
            assert found[i].item() == pytest.approx(len(alike) / len(same))
        else:
            assert math.isnan(found[i].item())
    assert found.isnan().tolist() == [True] + [False] * (N - 1)
    quantus = pytest.importorskip("quantus")
    labels = (explanations * torch.tensor([1, 2, 4])).sum(1).numpy()
    theirs = quantus.Consistency(disable_warnings=True).evaluate_batch(
        a_batch=None, i_batch=None, a_label_batch=labels, y_pred_classes=predictions.numpy()
    )
    np.testing.assert_allclose(found[1:], theirs[1:], atol=1e-6)


def test_sufficiency_equals_its_twin_and_quantus(predictions: torch.Tensor):
    maps = torch.randn(N, 2, 6, 9, generator=torch.Generator().manual_seed(3))
    found = sufficiency(maps, predictions, distance=0.8, along=3)
    summed = [
        [
            sum(
                float(m[:, i, j].sum())
                for i in range(6)
                for j in range(9)
                if (i * 2 // 6, j * 3 // 9) == cell
            )
            for cell in [(a, b) for a in range(2) for b in range(3)]
        ]
        for m in maps
    ]
    near = np.zeros((N, N))
    for i in range(N):
        for j in range(N):
            a, b = summed[i], summed[j]
            length = math.sqrt(sum(v * v for v in a) * sum(v * v for v in b))
            near[i, j] = 1 - sum(p * q for p, q in zip(a, b, strict=True)) / length <= 0.8
        same = [j for j in range(N) if j != i and near[i, j]]
        assert found[i].item() == pytest.approx(
            sum(predictions[j].item() == predictions[i].item() for j in same) / len(same)
        )
    quantus = pytest.importorskip("quantus")
    theirs = quantus.Sufficiency(disable_warnings=True).evaluate_batch(
        i_batch=np.arange(N), a_sim_vector_batch=near, y_pred_classes=predictions.numpy()
    )
    np.testing.assert_allclose(found, theirs, atol=1e-12)


def test_one_explanation_for_all_has_the_share_of_each_class(predictions: torch.Tensor):
    counts = torch.bincount(predictions)
    share = (counts[predictions] - 1) / (N - 1)
    assert torch.allclose(consistency(torch.zeros(N, 1).long(), predictions), share.double())
    assert torch.allclose(sufficiency(torch.ones(N, 1, 8, 8), predictions), share.double())


def test_a_map_of_another_scale_applies_and_an_empty_one_to_none():
    map = torch.rand(1, 1, 8, 8)
    maps = torch.cat([map, 5 * map, torch.zeros(1, 1, 8, 8)])
    found = sufficiency(maps, torch.tensor([1, 1, 1]), distance=0.0)
    assert found[:2].tolist() == [1.0, 1.0]
    assert found[2].isnan()


def test_the_top_cells_are_a_set_whatever_their_order():
    maps = torch.zeros(2, 1, 6, 6)
    maps[0, 0, 0, 0], maps[0, 0, 5, 5] = 2.0, 1.0
    maps[1, 0, 0, 0], maps[1, 0, 5, 5] = 1.0, 2.0
    assert top_cells(maps, count=2, along=3).tolist() == [[0, 8], [0, 8]]
