"""Parts of a picture hidden at random, and what they are hidden behind.

Boxes of many sizes stand for what a user would cover with a thumb. No single replacement is neutral: a flat
patch is something, too. So mean colour, blur and inpainting take turns.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from pellucid.metrics.grid import Grid

REPLACEMENTS = ("mean", "blur", "inpainting")
"""What takes turns in hiding: the picture's mean colour, the picture blurred, what lies around."""
_NOISE = 0.1  # of the picture's own standard deviation, on what is inpainted, which would else be too smooth


def draw_boxes(grid: Grid, count: int, generator: torch.Generator) -> Bool[Tensor, "count R S"]:
    """Which cells are hidden: one or two boxes each, their sides log-uniform from 1 cell to half the grid.

    Boxes may reach over the edge; each hides at least one cell.

    Example:
        >>> draw_boxes(Grid.over((64, 64)), 2, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 16, 16])
    """
    hidden = torch.zeros(count, grid.rows, grid.columns, dtype=torch.bool, device="cpu")
    for subset in hidden:
        drawn = torch.rand(2, 4, generator=generator, dtype=torch.float64, device="cpu").tolist()
        two = torch.rand(1, generator=generator, dtype=torch.float64, device="cpu").item() < 0.5
        for tall, wide, down, across in drawn if two else drawn[:1]:
            rows, columns = _span(grid.rows, tall, down), _span(grid.columns, wide, across)
            subset[rows, columns] = True
    return hidden


def _span(cells: int, size: float, place: float) -> slice:
    """The cells of a box along one side, for two numbers drawn uniformly from [0, 1)."""
    length = max(1, round(2 ** (size * math.log2(max(1, cells / 2)))))
    over = length // 2
    first = -over + int(place * (cells - length + 2 * over + 1))
    return slice(min(max(0, first), cells - 1), max(1, min(cells, first + length)))


class Hider:
    """Makes copies of one input in which cells are hidden.

    Args:
        x: (1, C, H, W).
        grid: the cells.
        hidden: (K, R, S), which cells of each of K copies.
        replacements: behind which of `REPLACEMENTS`, for each.
        generator: of the noise on what is inpainted.
    """

    def __init__(
        self,
        x: Float[Tensor, "1 C H W"],
        grid: Grid,
        hidden: Bool[Tensor, "K R S"],
        replacements: Sequence[str],
        generator: torch.Generator,
    ) -> None:
        self.x, self.grid, self.hidden, self.replacements = x, grid, hidden, replacements
        self.mean = x.mean((2, 3), keepdim=True)
        self.blurred = blurred(x)
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu")
        self.noise = noise.to(x) * _NOISE * x.std((2, 3), keepdim=True, correction=0)
        height, width = x.shape[-2:]
        cells = grid.sums(x[0]) / grid.sums(x.new_ones(1, height, width))  # (C, cells)
        inpainted = [i for i, how in enumerate(replacements) if how == "inpainting"]
        self.row = {i: row for row, i in enumerate(inpainted)}
        known = ~hidden[inpainted][:, None].to(x.device)
        # All at once, on the grid: it is small, and one picture's worth of calls.
        self.inpainted = push_pull(cells.view(1, -1, grid.rows, grid.columns).to(x), known)

    def __call__(self, start: int, stop: int) -> Float[Tensor, "B C H W"]:
        """Copies number `start` to `stop`."""
        pixels = self.grid.pixels(self.hidden[start:stop].to(self.x.device))[:, None]
        fills = torch.empty(stop - start, *self.x.shape[1:], dtype=self.x.dtype, device=self.x.device)
        rows = []
        for i in range(start, stop):
            if i in self.row:
                rows.append(i)
            else:
                fills[i - start] = (self.mean if self.replacements[i] == "mean" else self.blurred)[0]
        if rows:
            size = (self.grid.height, self.grid.width)
            smooth = interpolate(
                self.inpainted[[self.row[i] for i in rows]], size, mode="bilinear", align_corners=False
            )
            fills[[i - start for i in rows]] = smooth + self.noise
        return torch.where(pixels, fills, self.x)


def push_pull(values: Float[Tensor, "1 C R S"], known: Bool[Tensor, "B 1 R S"]) -> Float[Tensor, "B C R S"]:
    """Values where they are known; elsewhere means of known ones near by, from ever coarser grids.

    Where none is known, the mean of all.

    Source:
        Gortler et al. 1996, The Lumigraph (SIGGRAPH), section 3.4.

    Example:
        >>> values = torch.tensor([[[[1.0, 9.0]]]])
        >>> push_pull(values, torch.tensor([[[[True, False]]]]))
        tensor([[[[1., 1.]]]])
    """
    value, weight = values * known, known.to(values)
    levels = [(value, weight)]
    while max(value.shape[-2:]) > 1:
        value, weight = (
            avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False) for part in (value, weight)
        )
        levels.append((value, weight))
    mean = values.mean((2, 3), keepdim=True)
    coarse = torch.where(weight > 0, value / weight.clamp_min(1e-12), mean)
    for value, weight in reversed(levels[:-1]):
        smooth = max(coarse.shape[-2:]) > 1
        finer = (
            interpolate(coarse, value.shape[-2:], mode="bilinear", align_corners=False)
            if smooth
            else coarse.expand_as(value)
        )
        coarse = torch.where(weight > 0, value + (1 - weight) * finer, finer)
    return coarse


def blurred(x: Float[Tensor, "1 C H W"]) -> Float[Tensor, "1 C H W"]:
    """The picture under a Gaussian whose standard deviation is an eighth of the longer side."""
    return smoothed(x, max(x.shape[-2:]) / 8)


def smoothed(x: Float[Tensor, "N C H W"], sigma: float) -> Float[Tensor, "N C H W"]:
    """Under a Gaussian of a standard deviation in pixels, cut at 2.5 of them and mirrored at the edges."""
    for axis in (-1, -2):
        radius = min(math.ceil(2.5 * sigma), x.shape[axis] - 1)
        at = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
        kernel = torch.exp(-((at / sigma) ** 2) / 2)
        kernel = (kernel / kernel.sum()).to(x)
        edges = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
        rows = pad(x, edges, mode="reflect").flatten(0, 1)[:, None]
        x = conv2d(rows, kernel.view(1, 1, *((1, -1) if axis == -1 else (-1, 1)))).view_as(x)
    return x
