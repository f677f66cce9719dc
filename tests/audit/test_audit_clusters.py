"""Clusters of maps: groups made by hand, and scikit-learn's own clustering beside ours."""

import builtins
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.audit.clusters import cluster, eigengap, merged, neighbour_graph, spectrum
from pellucid.errors import ExtraMissing


def blobs(places: list[tuple[int, int]], count: int, seed: int = 0, side: int = 16) -> tuple[Tensor, Tensor]:
    """Maps with evidence about some places, and which of them."""
    random = torch.Generator().manual_seed(seed)
    at = torch.arange(side).float()
    grids, labels = [], []
    for label, (row, column) in enumerate(places):
        for _ in range(count):
            down, across = torch.rand(2, generator=random) * 0.8 - 0.4
            grid = torch.exp(-((at[:, None] - row - down) ** 2 + (at[None] - column - across) ** 2) / 3)
            grids.append(grid / grid.sum())
            labels.append(label)
    return torch.stack(grids), torch.tensor(labels)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two clusterings are the same but for the clusters' numbers."""
    return bool(((a[:, None] == a[None]) == (b[:, None] == b[None])).all())


@pytest.mark.parametrize("places", [[(3, 3), (12, 12)], [(3, 3), (12, 12), (3, 12)], [(8, 8)]])
def test_groups_made_by_hand_are_found_and_counted(places: list[tuple[int, int]]):
    grids, labels = blobs(places, 20)
    found = cluster(grids, umap=False)
    assert same(found.labels, labels)
    assert sum(value < 1e-9 for value in found.eigenvalues) == len(places)  # a component each


def test_a_small_group_keeps_apart_and_clusters_are_numbered_by_size():
    big, _ = blobs([(4, 4)], 60)
    small, _ = blobs([(13, 13)], 6, seed=1)
    found = cluster(torch.cat([small, big]), umap=False)
    assert found.labels.tolist() == [1] * 6 + [0] * 60


def test_the_same_seed_gives_the_same_clusters_and_places():
    grids, _ = blobs([(3, 3), (9, 9), (3, 12)], 15)
    first, second = cluster(grids, seed=3, umap=False), cluster(grids, seed=3, umap=False)
    assert first.labels.equal(second.labels)
    assert first.places.equal(second.places)
    assert first.places.shape == (45, 2)


def test_the_graph_is_its_definition():
    points = np.random.default_rng(0).random((12, 5))
    found = neighbour_graph(points)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    k = 3  # max(3, round(log 12) = 2)
    slow = np.zeros((12, 12))
    scale = np.sort(distances, 1)[:, k]
    for i in range(12):
        for j in np.argsort(distances[i])[1 : k + 1]:
            slow[i, j] = np.exp(-(distances[i, j] ** 2) / (scale[i] * scale[j]))
    assert np.allclose(found, np.maximum(slow, slow.T))


def test_the_spectrum_is_that_of_the_normalised_laplacian():
    graph = neighbour_graph(np.random.default_rng(1).random((15, 4)))
    root = np.diag(graph.sum(1) ** -0.5)
    slow = np.linalg.eigvalsh(np.eye(15) - root @ graph @ root)
    assert np.allclose(spectrum(graph)[0], slow[:10].clip(0), atol=1e-9)


def test_clusters_are_those_of_scikit_learn_for_as_many():
    from sklearn.cluster import SpectralClustering

    grids, _ = blobs([(3, 3), (8, 7), (12, 12)], 20)
    found = cluster(grids, umap=False)
    graph = neighbour_graph(grids.double().sqrt().flatten(1).numpy())
    theirs = SpectralClustering(3, affinity="precomputed", random_state=0).fit_predict(graph)
    assert same(found.labels, torch.from_numpy(theirs))


@pytest.mark.parametrize(
    ("values", "most", "number"),
    [([0, 0, 0.5, 0.6], 8, 2), ([0, 0.4, 0.5, 0.6], 8, 1), ([0, 0.1, 0.2, 0.9], 2, 1), ([0.0], 8, 1)],
)
def test_the_number_of_clusters_lies_before_the_widest_gap(values: list[float], most: int, number: int):
    assert eigengap(np.array(values, dtype=float), most) == number


def test_one_place_that_fell_apart_is_one_cluster_again():
    grids, _ = blobs([(12, 12)], 20)
    other, _ = blobs([(3, 3)], 10)
    labels = torch.tensor([0] * 10 + [1] * 10 + [2] * 10)
    assert same(merged(torch.cat([grids, other]), labels), torch.tensor([0] * 20 + [1] * 10))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_pictures_are_one_cluster(count: int):
    assert cluster(blobs([(3, 3)], count)[0]).labels.tolist() == [0] * count


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def gone(name: str, *rest: Any, **others: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError("No module named 'sklearn'")
        return real(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", gone)
    with pytest.raises(ExtraMissing, match=r"pip install 'pellucid\[audit\]'"):
        cluster(blobs([(3, 3), (12, 12)], 5)[0])


def test_without_umap_asking_for_it_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules["pellucid.audit.clusters"], "import_module", _missing)
    with pytest.raises(ExtraMissing, match="umap-learn"):
        cluster(blobs([(3, 3), (12, 12)], 10)[0], umap=True)


def _missing(name: str) -> Any:
    raise ImportError(f"No module named {name!r}")
