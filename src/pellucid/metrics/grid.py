"""A grid over the input: cells in which evidence is summed, and parts of the picture are hidden."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CELLS = 16
"""Cells along the longer side of the input."""


@dataclass(frozen=True)
class Grid:
    """About square cells over an input of (height, width); no cell is smaller than a pixel.

    Example:
        >>> Grid.over((224, 112))
        Grid(rows=16, columns=8, height=224, width=112)
    """

    rows: int
    columns: int
    height: int
    width: int

    @classmethod
    def over(cls, size: tuple[int, int]) -> "Grid":
        """The grid of an input of (height, width)."""
        height, width = size
        longer = max(size)
        rows, columns = (max(1, min(side, round(CELLS * side / longer))) for side in size)
        return cls(rows, columns, height, width)

    def sums(self, values: Float[Tensor, "N H W"]) -> Float[Tensor, "N cells"]:
        """The evidence of each cell: the sum over its pixels, in float64."""
        down, across = self._places(self.height, self.rows), self._places(self.width, self.columns)
        found = values.new_zeros(len(values), self.rows, self.width, dtype=torch.float64)
        found.index_add_(1, down.to(values.device), values.double())
        cells = found.new_zeros(len(values), self.rows, self.columns)
        return cells.index_add_(2, across.to(values.device), found).flatten(1)

    def pixels(self, cells: Bool[Tensor, "B R S"]) -> Bool[Tensor, "B H W"]:
        """Which pixels lie in the cells that are set."""
        down, across = self._places(self.height, self.rows), self._places(self.width, self.columns)
        return cells[:, down.to(cells.device)][:, :, across.to(cells.device)]

    @staticmethod
    def _places(pixels: int, cells: int) -> Tensor:
        """The cell of each pixel along one side."""
        return torch.arange(pixels, dtype=torch.long, device="cpu") * cells // pixels
