"""The evidence of many pictures on one grid, drawn from rows of a run as they come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.grain import cells_of
from pellucid.runner.maps import area_mean


@dataclass(frozen=True)
class Evidence:
    """Where the evidence of pictures lies: N pictures, cells of G x G.

    Attributes:
        grids: of each picture the share of its evidence for the target in each cell of the input.
        classes: the class of each, by number: its label's, else the predicted one.
        names: what classes are called, by number.
        predictions: what the model says, by number.
        probabilities: how sure it is; NaN where that is not known.
        rows: each picture's number in its run.
        ids: what each is called.
        objects: of each the part of each cell that its boxes cover; None where no picture has boxes. A
            picture without boxes has NaN.
        target: which class's score the evidence is of, by class; the class itself where it is not listed.
        margin: cells by which evidence may lie beside what it is of, as maps have cells of their own.
    """

    grids: Float[Tensor, "N G G"]
    classes: Int[Tensor, " N"]
    names: Mapping[int, str]
    predictions: Int[Tensor, " N"]
    probabilities: Float[Tensor, " N"]
    rows: Int[Tensor, " N"]
    ids: Sequence[str]
    objects: Float[Tensor, "N G G"] | None = None
    target: Mapping[int, int] = field(default_factory=dict)
    margin: int = 1

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def of_maps(
        cls,
        maps: Float[Tensor, "N C H W"] | Float[Tensor, "N H W"],
        classes: Int[Tensor, " N"],
        *,
        grid: int = 16,
        names: Mapping[int, str] | Sequence[str] | None = None,
        predictions: Int[Tensor, " N"] | None = None,
        probabilities: Float[Tensor, " N"] | None = None,
        objects: Float[Tensor, "N G G"] | None = None,
    ) -> "Evidence":
        """The evidence of maps that are at hand.

        Example:
            >>> maps = torch.zeros(2, 1, 8, 8)
            >>> maps[:, :, 0, 0] = 1.0
            >>> Evidence.of_maps(maps, torch.tensor([0, 1]), grid=4).grids[0, 0]
            tensor([1., 0., 0., 0.])
        """
        count = len(maps)
        cells = (
            torch.stack([to_cells(one, grid) for one in maps])
            if count
            else torch.zeros(0, grid, grid, dtype=torch.float32, device="cpu")
        )
        called = dict(enumerate(names)) if isinstance(names, Sequence) else dict(names or {})
        for number in classes.unique().tolist():
            called.setdefault(number, f"class {number}")
        return cls(
            cells,
            classes.long(),
            called,
            classes.long() if predictions is None else predictions.long(),
            torch.full((count,), torch.nan, dtype=torch.float32, device="cpu")
            if probabilities is None
            else probabilities.float(),
            torch.arange(count, dtype=torch.long, device="cpu"),
            [str(row) for row in range(count)],
            objects,
            margin=margin_of(maps.shape[-2:], grid) if count else 1,
        )


def margin_of(size: Sequence[int], grid: int) -> int:
    """How many cells of the grid one cell of a map of (h, w) reaches, at least one.

    Example:
        >>> margin_of((7, 7), 16), margin_of((224, 224), 16)
        (3, 1)
    """
    return max(1, *(-(-grid // max(1, side)) for side in size))


def to_cells(map: Float[Tensor, "..."], grid: int) -> Float[Tensor, "G G"]:
    """The share of a map's evidence for the target in each cell; zeros where there is none.

    Channels are summed first; a cell that is finer than the map's has its part of it.

    Example:
        >>> to_cells(torch.tensor([[1.0, 3.0]]), 2)
        tensor([[0.1250, 0.3750],
                [0.1250, 0.3750]])
    """
    values = map.detach().cpu().double()
    cells = cells_of(values).clamp(min=0)
    total = cells.sum()
    if not total > 0:
        return torch.zeros(grid, grid, dtype=torch.float32, device="cpu")
    return (area_mean(cells, (grid, grid)) * (cells.numel() / grid**2) / total).float()


def box_cover(boxes: Iterable[Sequence[float]], seen: Sequence[float], grid: int) -> Float[Tensor, "G G"]:
    """The part of each cell that boxes cover, the boxes and the part that is seen in the picture's pixels.

    Example:
        >>> box_cover([(0.0, 0.0, 5.0, 10.0)], (0.0, 0.0, 10.0, 10.0), 2)
        tensor([[1., 0.],
                [1., 0.]])
    """
    left, top, right, bottom = seen
    covered = torch.zeros(grid, grid, dtype=torch.float64, device="cpu")
    for x0, y0, x1, y1 in boxes:
        across = _covered((x0 - left) / (right - left), (x1 - left) / (right - left), grid)
        down = _covered((y0 - top) / (bottom - top), (y1 - top) / (bottom - top), grid)
        covered = torch.maximum(covered, down[:, None] * across[None])
    return covered.float()


def _covered(start: float, stop: float, grid: int) -> Float[Tensor, " G"]:
    """The part of each of `grid` cells along [0, 1] that an interval covers."""
    edges = torch.arange(grid + 1, dtype=torch.float64, device="cpu") / grid
    return ((edges[1:].clamp(max=stop) - edges[:-1].clamp(min=start)) * grid).clamp(0, 1)
