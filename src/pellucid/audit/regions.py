"""The region of a group of maps: the box of cells where their evidence exceeds that of the others most."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST = 0.3
"""A region is at most this part of the input: of a larger one there is no like area elsewhere."""


@dataclass(frozen=True)
class Region:
    """A box of cells, rows and columns from `top` and `left` up to before `bottom` and `right`.

    Example:
        >>> region = Region(12, 12, 16, 16, 16)
        >>> region.area, region.place, region.box
        (0.0625, 'at the bottom right', (0.75, 0.75, 1.0, 1.0))
    """

    top: int
    left: int
    bottom: int
    right: int
    grid: int

    @property
    def area(self) -> float:
        """The part of the input that it is."""
        return (self.bottom - self.top) * (self.right - self.left) / self.grid**2

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom), from 0 to 1 across the input."""
        return tuple(side / self.grid for side in (self.left, self.top, self.right, self.bottom))  # type: ignore[return-value]

    @property
    def mask(self) -> Bool[Tensor, "G G"]:
        """Which cells it has."""
        found = torch.zeros(self.grid, self.grid, dtype=torch.bool, device="cpu")
        found[self.top : self.bottom, self.left : self.right] = True
        return found

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        down = _third((self.top + self.bottom) / 2 / self.grid, "top", "bottom")
        across = _third((self.left + self.right) / 2 / self.grid, "left", "right")
        return f"at the {f'{down} {across}'.strip()}" if down or across else "in the middle"

    def share(self, grids: Float[Tensor, "N G G"]) -> Float[Tensor, " N"]:
        """The share of each map's evidence that lies in it."""
        return grids[:, self.top : self.bottom, self.left : self.right].double().sum((1, 2))

    def moved(self, down: int, right: int) -> "Region":
        """The box moved by cells, round the input; what does not stay together is cut.

        Example:
            >>> Region(0, 0, 2, 2, 8).moved(0, 4)
            Region(top=0, left=4, bottom=2, right=6, grid=8)
        """
        top, left = (self.top + down) % self.grid, (self.left + right) % self.grid
        bottom = min(self.grid, top + self.bottom - self.top)
        return Region(top, left, bottom, min(self.grid, left + self.right - self.left), self.grid)

    def grown(self, cells: int) -> "Region":
        """The box with so many cells more at each side, where the input reaches and it stays small enough."""
        found = self
        for _ in range(cells):
            more = Region(
                max(0, found.top - 1),
                max(0, found.left - 1),
                min(self.grid, found.bottom + 1),
                min(self.grid, found.right + 1),
                self.grid,
            )
            if more.area > LARGEST:
                break
            found = more
        return found

    def pixels(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """Its rows and columns in an input of (height, width), at least one each.

        Example:
            >>> Region(1, 0, 2, 2, 4).pixels((8, 6))
            (slice(2, 4, None), slice(0, 3, None))
        """
        spans = []
        for start, stop, side in ((self.top, self.bottom, size[0]), (self.left, self.right, size[1])):
            first = min(-(-start * side // self.grid), side - 1)
            spans.append(slice(first, max(first + 1, -(-stop * side // self.grid))))
        return spans[0], spans[1]

    def elsewhere(self, most: float = 0.0) -> list["Region"]:
        """Boxes of the same size at all other places, that share at most a part of their area with it.

        Example:
            >>> len(Region(0, 0, 2, 2, 4).elsewhere())
            5
        """
        return [one for one in self._everywhere() if self._overlap(one) <= most * self.area]

    def _everywhere(self) -> Iterator["Region"]:
        tall, wide = self.bottom - self.top, self.right - self.left
        for top in range(self.grid - tall + 1):
            for left in range(self.grid - wide + 1):
                yield Region(top, left, top + tall, left + wide, self.grid)

    def _overlap(self, other: "Region") -> float:
        tall = min(self.bottom, other.bottom) - max(self.top, other.top)
        wide = min(self.right, other.right) - max(self.left, other.left)
        return max(0, tall) * max(0, wide) / self.grid**2


def region_of(grids: Float[Tensor, "N G G"], others: Float[Tensor, "M G G"], margin: int = 1) -> Region:
    """Where a group's evidence exceeds that of others: the box around the peak of the difference.

    The difference of the mean maps is cut at half its peak, at more where the box would be larger than
    `LARGEST`; of what is left the part that holds the peak counts. What a map shows in one of its cells may
    lie in the next: so the box is larger by a margin, in cells.

    Example:
        >>> grids = torch.zeros(1, 8, 8)
        >>> grids[0, 4, 1] = 1.0
        >>> region_of(grids, torch.zeros(0, 8, 8))
        Region(top=3, left=0, bottom=6, right=3, grid=8)
    """
    from scipy.ndimage import label

    side = grids.shape[-1]
    gain = grids.double().mean(0)
    if len(others):
        gain = gain - others.double().mean(0)
    peak = float(gain.max())
    at = divmod(int(gain.argmax()), side)
    for cut in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        parts, _ = label((gain >= cut * peak).numpy(), np.ones((3, 3)))
        rows, columns = np.nonzero(parts == parts[at])
        found = Region(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1, side)
        if found.area <= LARGEST:
            break
    return found.grown(margin)


def _third(at: float, first: str, last: str) -> str:
    return first if at < 0.4 else last if at > 0.6 else ""
