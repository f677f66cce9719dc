"""MuFidelity: whether evidence ranks random sets of cells as the score does."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.correlation import correlation
from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.grid import Grid
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count, Share
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.registry import metric
from pellucid.metrics.subsets import scores_without
from pellucid.options.parts import Baseline, same
from pellucid.probe import Probe, of_each

_DRAW = 1 << 44  # a draw of its own


@metric(
    "mu-fidelity",
    paper="Fel et al. 2022, arXiv:2206.04394",
    higher_is_better=True,
    range=(-1.0, 1.0),
    passes=lambda options, size: MetricPasses(options["samples"]),
    quick={"samples": 10},
)
def mu_fidelity(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    cells: Count = 9,
    share: Share = 0.2,
    samples: Count = 200,
    replacement: Baseline = "zero",
) -> Measurement:
    r"""rank corr_T (sum_{i in T} A_i, S(x) - S(x with T replaced)), over random sets T of a grid's cells.

    Hide random sets of a coarse grid's cells, and rank: do sets of more evidence cost more score?

    All channels are replaced together. The correlation is Spearman's. A map that gives every T the same
    evidence has 0.

    Formula:
        \mathrm{rank\,corr}_T\Big(\sum_{i \in T} A_i,\; S(x) - S(x_{\setminus T})\Big)

        $T$: a random set of a grid's cells.
        $A_i$: the evidence of pixel i, its channels' sum.
        $x_{\setminus T}$: the picture with T replaced.

    Args:
        probe: the evidence.
        attribution: the maps.
        cells: of the grid, along each side; no cell is smaller than a pixel.
        share: of the cells that are replaced, at least one.
        samples: sets, the same for every image and map.
        replacement: what a cell is replaced by.

    Returns:
        (N,), with the `evidence` (N, samples) and the `scores` (N, samples) of the sets in the details. A
        picture whose score never changes has no value.

    Cost:
        samples forward.

    Source:
        Bhatt et al. 2020, arXiv:2005.00631, on cells with ranks, as xplique's `MuFidelity` has it, which
        replaces one cell more.

    Strengths:
        Ranks: no outlier decides.
        Cells are large enough for the score to move.

    Weaknesses:
        It cannot tell evidence from the effect of holes, which look like nothing the model has seen,
            and not how evidence is spread within a cell. Scores are comparable only under the same
            cells, share and replacement.

    See Also:
        faithfulness-correlation, intervention, sensitivity-n

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> perfect = (x * net[1].weight[1].view(3, 8, 8)).detach()
        >>> measure(net, x, perfect, "mu-fidelity:cells=4", target=1).value.round(decimals=2)
        tensor([1.], dtype=torch.float64)
    """
    values, end = per_pixel(attribution), probe.baseline(replacement)
    height, width = values.shape[1:]
    grid = Grid(min(cells, height), min(cells, width), height, width)
    total = grid.rows * grid.columns
    order = torch.rand(
        samples, total, generator=probe.generator(_DRAW), dtype=torch.float64, device="cpu"
    ).argsort(1)
    hidden = torch.zeros(samples, total, dtype=torch.bool, device="cpu")
    hidden.scatter_(1, order[:, : max(1, int(share * total + 1e-9))], True)
    evidence = grid.sums(values) @ hidden.double().T

    def subset(number: int) -> Tensor:
        return grid.pixels(hidden[number].view(1, grid.rows, grid.columns))[0]

    def one(probe: Probe, image: int) -> tuple[Tensor, Tensor]:
        key = "random cells", cells, share, samples, same(replacement)
        scores = scores_without(probe, subset, samples, end[image : image + 1], key)
        found = correlation("mu-fidelity", evidence[image], -scores, probe.inputs.dtype, "spearman")
        return found, scores

    value, scores = (torch.stack(part) for part in zip(*of_each(probe, one), strict=True))
    return Measurement(value, {"evidence": evidence, "scores": scores})
