"""RISE: random masks, weighted by the scores they leave."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.finding import Finding, each
from pellucid.methods.perturbation import at_most, perturbation
from pellucid.options.parts import Baseline, same
from pellucid.options.types import Samples, Tolerance
from pellucid.probe import Probe
from pellucid.probe.convergence import Estimate
from pellucid.probe.sampling import sample

MOST = 8000
"""Where samples="auto" gives up: the paper's number of masks for ResNet50."""
_BLOCK = 64
_AVERAGED = 16  # masks held together for the average


@perturbation(
    "rise",
    paper="Petsiuk et al. 2018, arXiv:1806.07421",
    passes=at_most(MOST),
    promises=("implementation invariance", "linearity"),
    random=True,
    quick={"samples": 6, "cells": 3},
)
def rise(
    probe: Probe,
    *,
    samples: Samples = 4000,
    tolerance: Tolerance = 0.1,
    cells: int = 7,
    keep: float = 0.5,
    paired: bool = True,
    centred: bool = True,
    baseline: Baseline = "zero",
) -> Finding:
    r"""1 / (N p) sum_n (S(x * M_n) - mean S) M_n: random masks weighted by the scores they leave.

    Show the model thousands of randomly masked pictures, and average the masks, each weighed by the
    score it left.

    Masks are grids of cells, each kept with probability p, enlarged bilinearly and shifted at random. A
    pixel has what the score gains, on average over masks, where they show it. The paper leaves the mean
    score in, the same constant everywhere, which no pixel has earned and which drowns the differences:
    centred=False.

    Formula:
        M = \frac{1}{N p} \sum_{n=1}^N \big(S(x \odot m_n) - \bar{S}\big)\, m_n

        $m_n$: random mask $n$ of $N$: coarse cells, enlarged and shifted.
        $p$: `keep`, the share of cells that are shown.
        $\bar{S}$: the mean score over the masks.
        $\odot$: the product pixel by pixel.
        $M$: the map.

    Args:
        probe: the evidence.
        samples: masks N, or "auto" to draw until the map has converged, up to 8000.
        tolerance: see `Tolerance`.
        cells: s, cells along each side (paper: 7).
        keep: p, the share of cells kept.
        paired: with keep=0.5, each mask is followed by its complement. Both are as likely, so the map is as
            unbiased as before; what the score holds in common for both falls out of its variance.
        centred: whether the mean score is taken off.
        baseline: what shows where the mask is 0; the paper's is 0 in the model's input space.

    Returns:
        (N, H, W), signed, in units of the score, with its standard error.

    Raises:
        InvalidValue: fewer than one sample or cell, or keep outside (0, 1).

    Cost:
        samples forward, 1 forward of the image itself.

    Source:
        eq. 5; the masks are those of the authors' code.

    Strengths:
        Needs nothing but scores.
        With the mean taken off, 125 masks are closer to the truth than 1000 as published
            (benchmarks/results/accuracy.md).
        A standard error for every pixel.

    Weaknesses:
        Thousands of passes.
        As fine as its masks: small things are blurred to the size of a cell.
        Masked pictures look like nothing that the model knows.

    Pitfalls:
        Without the division by p, or with it by the sum of the masks, numbers mean something else;
            RISE's own batch code leaves it out.
        Published maps hold the mean score, the same constant everywhere: only their order means
            something (`centred=false`).

    See Also:
        occlusion, lime, score-cam, deletion

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "rise", samples=20, cells=3)
        >>> e.raw.shape, e.stderr.shape
        (torch.Size([1, 8, 8]), torch.Size([1, 1, 8, 8]))
    """
    if cells < 1:
        raise InvalidValue(f"cells must be at least 1; got {cells}.")
    if not 0 < keep < 1:
        raise InvalidValue(f"keep must be between 0 and 1, the share of cells kept; got {keep}.")
    paired = paired and keep == 0.5
    baselines = probe.baseline(baseline)

    def one(probe: Probe, image: int) -> Finding:
        masks = Masks(probe, cells, keep, paired)
        x, fill = probe.inputs, baselines[image : image + 1]

        def copies(start: int, stop: int) -> Tensor:
            return torch.lerp(fill, x, masks(start, stop)[:, None])

        def estimate(scores: Tensor) -> Estimate:
            return masks.average(scores / keep, centred)

        found = sample(
            probe,
            copies,
            estimate,
            samples=samples,
            tolerance=tolerance,
            most=MOST,
            key=("rise", cells, keep, paired, same(baseline)),
        )
        about = found.estimate
        details = {"samples": torch.tensor([len(found.scores)], dtype=torch.long, device="cpu")}
        return Finding(about.value[None], about.stderr[None], details)

    return each(probe, one)


class Masks:
    """Random masks (B, H, W) in [0, 1], any of which can be made again at any time.

    A mask is R G C^T: a grid G of cells, kept or not, and bilinear interpolation along rows and columns,
    of which a shift picks the part that is seen.
    """

    def __init__(self, probe: Probe, cells: int, keep: float, paired: bool) -> None:
        self.probe, self.cells, self.keep, self.paired = probe, cells, keep, paired
        like = probe.inputs
        self.size = like.shape[-2:]
        self.cell = [math.ceil(side / cells) for side in self.size]
        self.up = [interpolation(cells, (cells + 1) * cell).to(like) for cell in self.cell]
        self.drawn: list[tuple[Tensor, Tensor]] = []

    def __call__(self, start: int, stop: int) -> Float[Tensor, "B H W"]:
        """Masks number `start` to `stop`."""
        blocks = [self._block(b) for b in range(start // _BLOCK, math.ceil(stop / _BLOCK))]
        offset = start // _BLOCK * _BLOCK
        some = slice(start - offset, stop - offset)
        grids = torch.cat([grids for grids, _ in blocks])[some].to(self.up[0])
        shifts = torch.cat([shifts for _, shifts in blocks])[some].to(self.up[0].device)
        rows, columns = (
            up[shift[:, None] + torch.arange(side, device=up.device, dtype=torch.long)]  # (B, side, cells)
            for up, shift, side in zip(self.up, shifts.T, self.size, strict=True)
        )
        return rows @ grids @ columns.mT

    def _block(self, block: int) -> tuple[Tensor, Tensor]:
        """The grids and shifts of one block, drawn from a generator of its own."""
        while len(self.drawn) <= block:
            source = self.probe.generator(len(self.drawn))
            count = _BLOCK // 2 if self.paired else _BLOCK
            grids = (
                torch.rand(count, self.cells, self.cells, generator=source, dtype=torch.float32, device="cpu")
                < self.keep
            )
            shifts = torch.stack(
                [
                    torch.randint(0, cell, (count,), generator=source, dtype=torch.long, device="cpu")
                    for cell in self.cell
                ],
                1,
            )
            if self.paired:
                grids = torch.stack([grids, ~grids], 1).flatten(0, 1)
                shifts = shifts.repeat_interleave(2, 0)
            self.drawn.append((grids, shifts))
        return self.drawn[block]

    def average(self, scores: Float[Tensor, " S"], centred: bool) -> Estimate:
        """The mean over masks of score * mask, its standard error, and the means of the halves.

        Of paired masks, the pairs are what is independent. `centred` takes the mean score off; masks less
        what is expected of them then give the same mean, and a standard error without what falls out of it.
        """
        if centred:
            scores = scores - scores.mean()
        group = 2 if self.paired and len(scores) % 2 == 0 else 1
        count = len(scores) // group
        total = torch.zeros(2, *self.size, dtype=torch.float64, device="cpu")  # of every other group
        squares = torch.zeros(self.size, dtype=torch.float64, device="cpu")
        for start in range(0, len(scores), _AVERAGED):
            some = scores[start : start + _AVERAGED].to(self.up[0])
            masks = self(start, start + len(some))
            terms = some[:, None, None] * (masks - self.keep if centred else masks)
            terms = terms.unflatten(0, (-1, group)).mean(1)  # (groups, H, W)
            total += torch.stack([terms[i::2].sum(0) for i in range(2)]).double().cpu()
            squares += (terms**2).sum(0).double().cpu()
        mean = total.sum(0) / count
        variance = (squares / count - mean**2).clamp(min=0) / (count - 1) if count > 1 else mean + torch.inf
        halves = total / torch.tensor(
            [[[(count + 1) // 2]], [[max(1, count // 2)]]], dtype=torch.long, device="cpu"
        )
        return Estimate(mean, variance.sqrt(), lambda: (halves[0], halves[1]))


def interpolation(cells: int, size: int) -> Float[Tensor, "size cells"]:
    """Bilinear interpolation from `cells` values to `size`, mirrored at the ends, as a matrix.

    Example:
        >>> interpolation(2, 4)
        tensor([[0.7500, 0.2500],
                [0.7500, 0.2500],
                [0.2500, 0.7500],
                [0.2500, 0.7500]], dtype=torch.float64)
    """
    at = (torch.arange(size, dtype=torch.float64, device="cpu") + 0.5) * cells / size - 0.5
    low = at.floor()
    matrix = torch.zeros(size, cells, dtype=torch.float64, device="cpu")
    for index, weight in ((low, 1 - (at - low)), (low + 1, at - low)):
        mirrored = (cells - 1 - (index.abs() - (cells - 1)).abs()).clamp(min=0).long()
        matrix.scatter_add_(1, mirrored[:, None], weight[:, None])
    return matrix
