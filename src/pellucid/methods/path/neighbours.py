"""Paths from neighbour to neighbour through a set of references; points along paths of straight pieces."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Neighbourhood:
    """References, each linked to its nearest ones: `linked` (R, k) are their numbers, `lengths` how far."""

    points: Float[Tensor, "R *code"]
    neighbours: int
    linked: Int[np.ndarray, "R k"]
    lengths: Float[np.ndarray, "R k"]

    @classmethod
    def of(cls, points: Float[Tensor, "R *code"], neighbours: int) -> "Neighbourhood":
        """Each point linked to `neighbours` others, or to all."""
        apart = distances(points, points).fill_diagonal_(torch.inf)
        return cls(points, neighbours, *closest(apart, min(neighbours, len(points) - 1)))

    def path(
        self, start: Float[Tensor, "*code"], end: Float[Tensor, "*code"]
    ) -> Float[Tensor, "V *code"] | None:
        """The shortest way from `start` to `end` along links, both linked to references as these are.

        If no reference is nearer to an end than the other end is, the way is straight. None: there is no way.
        """
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import dijkstra

        ends, R = torch.stack([start, end]), len(self.points)
        apart = distances(ends, self.points)
        if distances(ends[:1], ends[1:]) <= apart.min():
            return ends
        linked, lengths = closest(apart, self.neighbours)
        columns = np.concatenate([self.linked.ravel(), linked.ravel()]).astype(np.int32)
        weights = np.concatenate([self.lengths.ravel(), lengths.ravel()])
        rows = np.cumsum([0, *[self.linked.shape[1]] * R, *[linked.shape[1]] * 2], dtype=np.int32)
        links = csr_array((weights, columns, rows), shape=(R + 2, R + 2))
        before: Any = dijkstra(links, directed=False, indices=R, return_predecessors=True)[1]
        way, at = [], int(before[R + 1])
        while 0 <= at < R:
            way.append(at)
            at = int(before[at])
        return torch.cat([ends[:1], self.points[way[::-1]], ends[1:]]) if way else None


def distances(a: Float[Tensor, "A *code"], b: Float[Tensor, "B *code"]) -> Float[Tensor, "A B"]:
    """Euclidean distances, exactly 0 between equal points."""
    wide = torch.promote_types(a.dtype, torch.float32)
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(a.flatten(1).to(wide), b.flatten(1).to(wide), compute_mode=exact)


def closest(
    apart: Float[Tensor, "A B"], count: int
) -> tuple[Int[np.ndarray, "A k"], Float[np.ndarray, "A k"]]:
    """The numbers of the `count` nearest of each row, and their distances."""
    order = apart.argsort(dim=1, stable=True)[:, :count]
    return order.cpu().numpy(), apart.gather(1, order).double().cpu().numpy()


def along(vertices: Float[Tensor, "V *code"], times: Float[Tensor, " T"]) -> Float[Tensor, "T *code"]:
    """The points of a path of straight pieces where a share `times` of its length is covered.

    Example:
        >>> along(torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]]), torch.tensor([0.5, 1.0]))
        tensor([[2., 0.],
                [3., 1.]])
    """
    lengths = (vertices[1:] - vertices[:-1]).flatten(1).double().norm(dim=1)
    vertices = torch.cat([vertices[:1], vertices[1:][lengths > 0]])
    if len(vertices) == 1:
        return vertices.expand(len(times), *vertices.shape[1:])
    covered = pad(lengths[lengths > 0].cumsum(0), (1, 0))
    covered = covered / covered[-1]
    times = times.to(covered)
    piece = (torch.searchsorted(covered, times, right=True) - 1).clamp(max=len(vertices) - 2)
    share = (times - covered[piece]) / (covered[piece + 1] - covered[piece])
    share = share.to(vertices).view(-1, *[1] * (vertices.ndim - 1))
    return torch.lerp(vertices[piece], vertices[piece + 1], share)
