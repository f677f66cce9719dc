"""Maps of one class in clusters: spectral clustering on a graph of neighbours, as SpRAy does it.

Source:
    Lapuschkin et al. 2019, Nat. Commun. 10; von Luxburg 2007, Stat. Comput. 17 (the eigengap, section 8.3).
"""

import math
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.audit.statistics import affinity, agreement
from pellucid.errors import ExtraMissing

CLUSTERS = 8
"""The most clusters that a class is divided into."""
FEWEST = 4
"""Pictures below which a class is one cluster."""
ALIKE = 0.9
"""Clusters are one if they agree with each other so much, as a share of the agreement within the closer."""


@dataclass(frozen=True)
class Clustering:
    """The clusters of N maps.

    Attributes:
        labels: the cluster of each map, from 0, the largest first.
        eigenvalues: the lowest of the graph's normalised Laplacian, by which their number was chosen.
        places: where each map lies in the plane, near those that are like it.
        embedding: how that was found: "umap" or "spectral".
    """

    labels: Int[Tensor, " N"]
    eigenvalues: tuple[float, ...]
    places: Float[Tensor, "N 2"]
    embedding: str


def sklearn() -> Any:
    """The package scikit-learn.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import sklearn.cluster
        import sklearn.neighbors
    except ImportError as error:
        raise ExtraMissing(f"An audit needs scikit-learn ({error}): pip install 'pellucid[audit]'.") from None
    return sklearn


def cluster(
    grids: Float[Tensor, "N G G"], *, most: int = CLUSTERS, seed: int = 0, umap: bool | None = None
) -> Clustering:
    """Clusters of maps by where their evidence lies.

    Maps are neighbours by Hellinger's distance, the Euclidean one of the roots of their shares; each is tied
    to about log N others. The clusters' number is that before the widest gap between the lowest eigenvalues
    of the graph's normalised Laplacian; k-means on its lowest eigenvectors, their rows scaled to length 1,
    tells them apart (Ng, Jordan & Weiss 2002).

    Args:
        grids: the share of evidence by cell.
        most: clusters.
        seed: of k-means and UMAP.
        umap: whether UMAP places the maps in the plane; by default if it is installed.

    Raises:
        ExtraMissing: scikit-learn is not installed, or UMAP where it was asked for.

    Cost:
        O(N^3) for the eigenvectors of N maps: half a second for 1,000.
    """
    count = len(grids)
    if count < FEWEST:
        flat = torch.zeros(count, 2, dtype=torch.float32, device="cpu")
        return Clustering(torch.zeros(count, dtype=torch.long, device="cpu"), (), flat, "spectral")
    points = grids.double().sqrt().flatten(1).numpy()
    values, vectors = spectrum(neighbour_graph(points))
    number = eigengap(values, min(most, count // 2))
    labels = np.zeros(count, dtype=np.int64)
    if number > 1:
        rows = vectors[:, :number]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        labels = sklearn().cluster.KMeans(number, n_init=10, random_state=seed).fit_predict(rows)
    labels = merged(grids, torch.from_numpy(labels.astype(np.int64))).numpy()
    order = np.argsort(-np.bincount(labels), kind="stable")
    rank = np.argsort(order)
    places, how = _places(points, vectors, seed, umap)
    return Clustering(
        torch.from_numpy(rank[labels].astype(np.int64)),
        tuple(float(value) for value in values[: most + 1]),
        places,
        how,
    )


def neighbour_graph(points: np.ndarray) -> np.ndarray:
    """The symmetric graph of about log N nearest neighbours, tied by exp(-d_ij^2 / (s_i s_j)).

    s_i is the distance to the last of them, so that a dense group keeps apart from a sparse one next to it.

    Source:
        Zelnik-Manor & Perona 2004, Self-tuning spectral clustering (NeurIPS).
    """
    count = len(points)
    neighbours = min(count - 1, max(3, round(math.log(count))))
    distances = sklearn().neighbors.kneighbors_graph(points, neighbours, mode="distance")
    scale = np.maximum(distances.max(1).toarray()[:, 0], 1e-9)
    ties = distances.tocoo()
    ties.data = np.exp(-(ties.data**2) / (scale[ties.row] * scale[ties.col]))
    graph = ties.toarray()
    return np.asarray(np.maximum(graph, graph.T))


def spectrum(graph: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, the lowest first, and eigenvectors of I - D^-1/2 A D^-1/2."""
    from scipy.linalg import eigh
    from scipy.sparse.csgraph import laplacian

    lowest = min(len(graph), CLUSTERS + 2) - 1
    values, vectors = eigh(laplacian(graph, normed=True), subset_by_index=[0, lowest])
    return np.maximum(values, 0.0), vectors


def eigengap(values: np.ndarray, most: int) -> int:
    """How many eigenvalues lie before the widest gap, at most `most`.

    Example:
        >>> eigengap(np.array([0.0, 0.01, 0.02, 0.5, 0.6]), 4)
        3
    """
    gaps = np.diff(values[: most + 1])
    return int(np.argmax(gaps)) + 1 if len(gaps) else 1


def merged(grids: Float[Tensor, "N G G"], labels: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Clusters that agree with each other about as much as within themselves, as one.

    Many maps of the same place fall apart by chance where the eigengap asks for more clusters.
    """
    labels = labels.clone()
    while True:
        some = labels.unique().tolist()
        within = {k: agreement(grids[labels == k]) for k in some}
        pairs = [
            (affinity(grids[labels == a], grids[labels == b]) / max(within[a], within[b], 1e-12), a, b)
            for a, b in combinations(some, 2)
        ]
        ratio, a, b = max(pairs, default=(0.0, 0, 0))
        if ratio < ALIKE:
            found: Tensor = labels.unique(return_inverse=True)[1]
            return found
        labels[labels == b] = a


def _places(
    points: np.ndarray, vectors: np.ndarray, seed: int, umap: bool | None
) -> tuple[Float[Tensor, "N 2"], str]:
    """Places in the plane: by UMAP, or the eigenvectors of the second and third eigenvalue."""
    if umap or (umap is None and len(points) > 15 and find_spec("umap")):
        try:
            reducer = import_module("umap").UMAP
        except ImportError as error:
            raise ExtraMissing(f"UMAP is not installed ({error}): pip install umap-learn.") from None
        found = reducer(n_components=2, random_state=seed, n_jobs=1).fit_transform(points)
        return torch.from_numpy(np.asarray(found, dtype=np.float32)), "umap"
    flat = np.zeros((len(points), 2), dtype=np.float32)
    some = vectors[:, 1:3]
    flat[:, : some.shape[1]] = some
    return torch.from_numpy(flat), "spectral"
