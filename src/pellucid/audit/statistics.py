"""Where the evidence of a group of pictures lies, and how that differs from the others'; closed forms."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

EDGE = 8
"""The border is this part of the input's height and width, at either side."""
COARSE = 4
"""Parts along a side in which the peaks of maps are counted."""
_SHUFFLES = 10
NEIGHBOURS = 5
"""Which nearest map tells how densely maps lie."""


def border_share(grids: Float[Tensor, "N G G"]) -> Float[Tensor, " N"]:
    """The share of each picture's evidence within an eighth of the input from an edge.

    Example:
        >>> border_share(torch.full((1, 4, 4), 1 / 16)).item()
        0.4375
    """
    inner = 1 - _outer(grids.shape[-1])
    return (1 - (grids.double() * inner[:, None] * inner[None]).sum((1, 2))) * _known(grids)


def corner_share(grids: Float[Tensor, "N G G"]) -> Float[Tensor, " N"]:
    """The share of each picture's evidence within a quarter of the input from both edges of a corner.

    Example:
        >>> corner_share(torch.full((1, 4, 4), 1 / 16)).item()
        0.25
    """
    outer = _outer(grids.shape[-1], 4)
    return (grids.double() * outer[:, None] * outer[None]).sum((1, 2))


def affinity(a: Float[Tensor, "N G G"], b: Float[Tensor, "M G G"]) -> float:
    """How far maps of two groups lie in the same cells: the mean over pairs of sum sqrt(p q), from 0 to 1.

    Source:
        Bhattacharyya 1943, Bull. Calcutta Math. Soc. 35.

    Example:
        >>> p = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
        >>> affinity(p, p), affinity(p, p.flip(1))
        (1.0, 0.0)
    """
    return float(a.double().sqrt().mean(0).flatten() @ b.double().sqrt().mean(0).flatten())


def agreement(grids: Float[Tensor, "N G G"]) -> float:
    """How far the maps of one group lie in the same cells: `affinity` over pairs of different pictures.

    Example:
        >>> p = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
        >>> agreement(torch.cat([p, p, p.flip(1)]))
        0.3333333333333333
    """
    count = len(grids)
    if count < 2:
        return 0.0
    total = grids.double().sqrt().sum(0).flatten()
    return float(total @ total - grids.double().sum()) / (count * (count - 1))


def likeness_gaps(
    grids: Float[Tensor, "N G G"], null: Float[Tensor, "M G G"], neighbours: int = NEIGHBOURS
) -> Float[Tensor, " N"]:
    """How much nearer a class's maps come to each other than they would by chance, from -1 to 1.

    For each map the affinity to its fifth nearest of the class, less that to the fifth nearest of `null`. The
    maps of a cluster lie in one place because they were chosen so; where objects may lie anywhere, others
    are found there just as often: 0. A fixed mark is near 1.

    Args:
        grids: all maps of a class.
        null: as many maps that lie where those of other classes do: see `relocated`.
        neighbours: which nearest one is compared.
    """
    count = min(neighbours, len(grids) - 1, len(null))
    if count < 1:
        return torch.zeros(len(grids), dtype=torch.float64, device="cpu")
    points, others = (part.double().sqrt().flatten(1) for part in (grids, null))
    near = points @ points.T
    near.fill_diagonal_(-1)  # not the map itself
    mine = near.topk(count, dim=1).values[:, -1]
    return mine - (points @ others.T).topk(count, dim=1).values[:, -1]


def peak_parts(grids: Float[Tensor, "N G G"], coarse: int = COARSE) -> Int[Tensor, " N"]:
    """In which of 4 x 4 parts of the input each map peaks, counted row by row.

    Example:
        >>> p = torch.zeros(1, 8, 8)
        >>> p[0, 7, 2] = 1.0
        >>> peak_parts(p).item()
        13
    """
    cells = _peaks(grids) * coarse // grids.shape[-1]
    return cells[:, 0] * coarse + cells[:, 1]


def displacement(
    parts: Int[Tensor, " N"], others: Int[Tensor, " M"], generator: torch.Generator | None = None
) -> float:
    """How unlike others' the parts are in which a class's maps peak: squared Hellinger's distance, 0 to 1.

    With a generator, less what chance gives: the mean of ten draws in which both are mixed.

    Example:
        >>> left, right = torch.tensor([0, 4]), torch.tensor([3, 7])
        >>> displacement(left, left), displacement(left, right)
        (0.0, 1.0)
    """
    if not len(parts) or not len(others):
        return 0.0
    both, count = torch.cat([parts, others]), len(parts)
    drawn = [torch.arange(len(both), dtype=torch.long, device="cpu")]
    if generator is not None:
        drawn += [
            torch.randperm(len(both), generator=generator, dtype=torch.long, device="cpu")
            for _ in range(_SHUFFLES)
        ]
    mixed = both[torch.stack(drawn)]  # (1 + shuffles, N + M)
    shares = torch.nn.functional.one_hot(mixed, COARSE**2).double()
    alike = (shares[:, :count].mean(1) * shares[:, count:].mean(1)).sqrt().sum(1)
    found = (1 - alike).clamp(min=0)
    return float(found[0] - (found[1:].mean() if generator is not None else 0.0))


def relocated(
    grids: Float[Tensor, "N G G"], others: Float[Tensor, "M G G"], generator: torch.Generator
) -> Float[Tensor, "N G G"]:
    """The same maps, each moved so that its peak lies where that of a map of others does, drawn at random.

    What these agree in position less than the maps themselves is not owed to their shape: some classes'
    maps are narrow, others' wide.

    Example:
        >>> p, q = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
        >>> p[0, 0, 0] = q[0, 1, 2] = 1.0
        >>> bool(relocated(p, q, torch.Generator().manual_seed(0)).equal(q))
        True
    """
    drawn = torch.randint(len(others), (len(grids),), generator=generator, dtype=torch.long, device="cpu")
    start, stop = _peaks(grids), _peaks(others[drawn])
    side = grids.shape[-1]
    at = torch.arange(side, dtype=torch.long, device="cpu")
    rows, columns = (at[None] - (stop - start)[:, axis, None] for axis in (0, 1))  # (N, G) each
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None]
    which = torch.arange(len(grids), dtype=torch.long, device="cpu")[:, None, None]
    moved = grids[which, rows.clamp(0, side - 1)[:, :, None], columns.clamp(0, side - 1)[:, None]] * inside
    return moved / moved.sum((1, 2), keepdim=True).clamp_min(1e-12)


def _peaks(grids: Float[Tensor, "N G G"]) -> Int[Tensor, "N 2"]:
    """Row and column of each map's strongest neighbourhood of 3 x 3 cells."""
    smooth = torch.nn.functional.avg_pool2d(grids[:, None], 3, 1, 1)[:, 0] + 1e-6 * grids
    best = smooth.flatten(1).argmax(1)
    return torch.stack([best // grids.shape[-1], best % grids.shape[-1]], 1)


def outside_boxes(grids: Float[Tensor, "N G G"], objects: Float[Tensor, "N G G"]) -> Float[Tensor, " N"]:
    """The share of each picture's evidence outside its boxes; NaN without boxes."""
    return 1 - (grids.double() * objects.double()).sum((1, 2))


def _outer(grid: int, part: int = EDGE) -> Float[Tensor, " G"]:
    """How much of each cell lies within a part of the side from either end."""
    low = torch.arange(grid, dtype=torch.float64, device="cpu") / grid
    inner = (low + 1 / grid).clamp(max=1 - 1 / part) - low.clamp(min=1 / part)
    return 1 - (inner * grid).clamp(0, 1)


def _known(grids: Float[Tensor, "N G G"]) -> Float[Tensor, " N"]:
    """1 for maps with evidence, 0 for those without."""
    return (grids.sum((1, 2)) > 0).double()
