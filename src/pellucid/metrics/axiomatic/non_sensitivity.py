"""Non-sensitivity: whether there is evidence exactly where the score reacts."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count, Magnitude
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.registry import metric
from pellucid.probe import Probe, of_each

_DRAW = 1 << 49  # draws of their own


@metric(
    "non-sensitivity",
    paper="Nguyen and Martínez 2020, arXiv:2007.07584",
    higher_is_better=False,
    range=(0.0, 1.0),
    passes=lambda options, size: MetricPasses(
        options["samples"] * math.prod(math.ceil(side / options["window"]) for side in size)
    ),
    quick={"window": 6, "samples": 2},
)
def non_sensitivity(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    window: Count = 16,
    samples: Count = 4,
    tolerance: Magnitude = 1e-3,
) -> Measurement:
    r"""|A_0 xor X_0| / cells: the share of cells of a grid that have evidence but no effect, or the reverse.

    Where a map is empty nothing should matter, and where nothing matters it should be empty: count the
    cells of which this is not so.

    A_0 are the cells without evidence, in which sum_i |A_i| over pixels i is at most the tolerance
    times the largest cell's, A_i being the sum of the channels; X_0 those without effect, whose content
    may be replaced by noise, uniform over the image's range, and the score differs by at most the
    tolerance times the largest difference of any cell.

    Formula:
        \frac{|A_0 \mathbin{\triangle} X_0|}{K}

        $A_0$: the cells of a grid without evidence.
        $X_0$: the cells without effect on the score.
        $K$: the number of cells.
        $\triangle$: what is in one of the two sets alone.

    Args:
        probe: the evidence.
        attribution: the maps.
        window: the side of a cell in pixels (paper: 1; cells at the right and the bottom may be smaller).
        samples: draws of noise for each cell; the largest difference counts.
        tolerance: share of the largest up to which evidence or effect counts as none.

    Returns:
        (N,), with the cells' `evidence` and `effect`, both (N, rows, columns), in the details.

    Cost:
        samples forward for each cell.

    Source:
        non-sensitivity, as defined there, as a share. Quantus replaces by a constant and looks at the
        variance over its samples, which is 0.

    Strengths:
        Asks for both: evidence without effect, and effect without evidence.

    Weaknesses:
        It cannot tell how much evidence there should be, only whether there is some; and as deep
            networks react to every part of a picture a little, it mostly counts the cells that a map
            leaves empty.

    See Also:
        completeness, effective-complexity

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x, map = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
        >>> map[..., :4, :4] = 0
        >>> measure(net, x, map, "non-sensitivity:window=4", target=1).value
        tensor([0.2500], dtype=torch.float64)
    """
    x, score, values = probe.inputs, probe.score.double().cpu(), per_pixel(attribution).abs()
    height, width = values.shape[1:]
    rows, columns = math.ceil(height / window), math.ceil(width / window)
    cells = rows * columns
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)

    def place(cell: int) -> tuple[slice, slice]:
        row, column = divmod(cell, columns)
        return (
            slice(row * window, (row + 1) * window),
            slice(column * window, (column + 1) * window),
        )

    def one(single: Probe, image: int) -> Tensor:
        def copies(first: int, stop: int) -> Tensor:
            made = x[image].repeat(stop - first, 1, 1, 1)
            for copy, number in zip(made, range(first, stop), strict=True):
                inside = (slice(None), *place(number % cells))
                noise = torch.rand(
                    copy[inside].shape,
                    generator=probe.generator(_DRAW + number),
                    dtype=torch.float32,
                    device="cpu",
                ).to(copy)
                copy[inside] = torch.lerp(low[image], high[image], noise)
            return made

        key = "noise in cells", window, samples
        scores = single.score_perturbed(copies, 0, samples * cells, key=key)
        return (scores - score[image]).abs().view(samples, rows, columns).amax(0)

    effect = torch.stack(of_each(probe, one))
    evidence = torch.stack([values[:, *place(cell)].sum((1, 2)) for cell in range(cells)], 1).view_as(effect)
    rounding = 4 * torch.finfo(x.dtype).eps * score.abs()
    none = evidence <= tolerance * evidence.amax((1, 2), keepdim=True)
    least = (tolerance * effect.amax((1, 2))).maximum(rounding)
    insensitive = effect <= least[:, None, None]
    share = (none ^ insensitive).double().mean((1, 2))
    return Measurement(share, {"evidence": evidence, "effect": effect})
