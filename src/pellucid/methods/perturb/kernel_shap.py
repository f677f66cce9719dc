"""KernelSHAP: Shapley values of superpixels, by least squares over coalitions."""

import math
from collections.abc import Mapping
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.definition import AXIOMS
from pellucid.methods.finding import Finding, each
from pellucid.methods.perturb.least_squares import Fit
from pellucid.methods.perturb.shapley_surrogate import shapley_fit
from pellucid.methods.perturb.superpixels import Superpixels
from pellucid.methods.perturbation import at_most, perturbation
from pellucid.options.parts import SegmentBaseline, Segments, same
from pellucid.options.types import Samples, Tolerance
from pellucid.probe import Probe
from pellucid.probe.convergence import Estimate
from pellucid.probe.sampling import sample

MOST = 8000
"""Where samples="auto" gives up."""
PLANNED = 1000
"""What samples="auto" is planned for: coalitions of sizes that as many suffice for are all taken."""
RELIABLE = 0.95
"""Below this correlation of two seeds' values, the result has a note."""
_BLOCK = 64
_BENDS = 6  # the most terms of the curve by which the score depends on the number of segments alone


@perturbation(
    "kernel-shap",
    paper="Lundberg & Lee 2017, arXiv:1705.07874",
    passes=at_most(MOST),
    promises=AXIOMS,  # Shapley's, of segments: those of players; sampled coalitions meet some in expectation
    random=True,
    quick={"samples": 14, "segments": "grid:2"},  # not all 16 coalitions: chance has a say
)
def kernel_shap(
    probe: Probe,
    *,
    samples: Samples = 1000,
    tolerance: Tolerance = 0.1,
    segments: Segments = "slic",
    baseline: SegmentBaseline = "zero",
) -> Finding:
    r"""argmin_phi sum_z pi(z) (S(z) - S(0) - z phi)^2, sum phi = S(1) - S(0): Shapley values of superpixels.

    How much does each superpixel add, on average over all orders in which superpixels could be shown? A
    weighted regression on random coalitions gives these Shapley values.

    The map has each superpixel's value at its pixels; the values sum to what the superpixels add to the
    score, exactly.

    Coalitions of sizes that the number of samples suffices for are all taken, the others drawn in pairs
    z and 1 - z, which cancels every interaction of even order, with their sizes stratified. What the
    score owes to the number of segments alone is the same for each of them, so a curve in m is taken
    off before the fit and its ends are shared out after it: nothing changes but the standard errors,
    which are far smaller.

    Formula:
        \phi = \arg\min_\phi \sum_z \pi(z) \big(S(z) - S(0) - z^{\mathsf{T}} \phi\big)^2, \quad
        \sum_i \phi_i = S(1) - S(0), \quad
        \pi(z) = \frac{d - 1}{\binom{d}{m}\, m\, (d - m)}

        $\phi$: the values $\phi_i$ of the superpixels, $d$ in all.
        $z$: a coalition: $m$ superpixels kept, the others hidden; 1 and 0 stand for all and none.
        $\pi$: Shapley's weights.

    Args:
        probe: the evidence.
        samples: pictures scored, the whole and the empty one among them, or "auto" to draw until
            the map has converged, up to 8000. With 2^d of them the values are exact.
        tolerance: see `Tolerance`.
        segments: superpixels: an algorithm, labels (H, W), or a callable `rgb (H, W, 3) -> labels`.
        baseline: what shows where a superpixel is hidden.

    Returns:
        (N, H, W), signed, in units of the score, with its standard error; in `details` the `coefficients`
        of each image (d,) and the `segments` (N, H, W).

    Raises:
        InvalidValue: segments that do not hold, or fewer samples than segments.

    Cost:
        samples forward (at most 2^d), 1 forward of the image itself.

    Source:
        theorem 2. Pairs: Covert & Lee 2021, arXiv:2012.01536.

    Strengths:
        The values sum to what the superpixels add to the score, exactly.
        All the axioms of Shapley values; needs nothing but scores.
        Pairs and strata: two seeds of 1000 samples correlate 0.84 where captum's correlate 0.34
            (benchmarks/results/accuracy.md).

    Weaknesses:
        A superpixel is hidden by a colour: hidden pictures look like nothing that the model knows.
        Many superpixels need many samples.

    Pitfalls:
        captum puts the two ends in as samples of a large weight, and its default of 25 samples is fewer
            than most pictures have superpixels.
        Without an error bar nobody sees that two seeds differ.

    See Also:
        partition-shap, lime, gradient-shap

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> options = {"samples": 16, "segments": "grid:2"}
        >>> e = pellucid.explain(net, x, "kernel-shap", target=1, output="logit", **options)
        >>> torch.allclose(e.details["coefficients"][0].sum().float(), (w * x).sum(), atol=1e-5)
        True
    """

    def one(probe: Probe, image: int) -> Finding:
        cut = Superpixels.of(probe, segments, baseline)
        d = cut.count
        most = MOST if samples == "auto" else int(samples)
        if most < d + 2:
            raise InvalidValue(
                f"samples must be at least {d + 2} for {d} segments; got {most}: raise it, or use fewer "
                "segments."
            )
        drawn = Coalitions(probe, d, most, min(most, PLANNED) if samples == "auto" else most)
        drawn.values(
            torch.zeros(len(drawn.rows), dtype=torch.float32, device="cpu")
        )  # too few to tell segments apart are refused unscored
        found = sample(
            probe,
            cut.hiding(drawn.rows),
            drawn.values,
            samples=len(drawn.rows) if isinstance(samples, int) else samples,
            tolerance=tolerance,
            most=len(drawn.rows),
            key=("kernel-shap", most, same(segments), same(baseline)),
            least=drawn.sure + max(2 * _BLOCK, 4 * d),
        )
        values, errors = found.estimate.value, found.estimate.stderr
        spread = float(values.var()) if d > 1 else 0.0
        again = 1 - float((errors**2).mean()) / spread if spread > 0 else 1.0
        if again < RELIABLE:
            probe.note(
                f"With another seed the values would correlate about {max(0.0, again):.2f} with these: "
                f"{len(found.scores)} samples are few for {d} segments."
            )
        details = {
            "segments": cut.labels[None],
            "coefficients": values[None],
            "coefficient_stderr": errors[None],
            "intercept": found.scores[None, 1],
            "samples": torch.tensor([len(found.scores)], dtype=torch.long, device="cpu"),
        }
        return Finding(cut.painted(values), cut.painted(errors), details)

    return each(probe, one)


class Coalitions:
    """Which of d segments each sample keeps, and what their scores say.

    Row 0 keeps all and row 1 none. Then come the coalitions of the sizes for which `planned` rows suffice,
    `sure` rows with these two, then random pairs. The first rows are the same whatever becomes of the later
    ones.
    """

    def __init__(self, probe: Probe, d: int, most: int, planned: int) -> None:
        self.d = d
        kernel = (
            1
            / (
                torch.arange(1, d, dtype=torch.long, device="cpu")
                * torch.arange(d - 1, 0, -1, dtype=torch.long, device="cpu")
            ).double()
        )  # of all of one size together
        mass = dict(enumerate((kernel / kernel.sum()).tolist(), start=1))
        whole = taken_whole(mass, d, planned - 2)
        rows, weights = (
            [
                torch.ones(1, d, dtype=torch.float32, device="cpu"),
                torch.zeros(1, d, dtype=torch.float32, device="cpu"),
            ],
            [torch.zeros(2, dtype=torch.float32, device="cpu")],
        )
        for size in whole:
            members = torch.tensor(list(combinations(range(d), size)), dtype=torch.long, device="cpu")
            rows.append(
                torch.zeros(len(members), d, dtype=torch.float32, device="cpu").scatter_(1, members, 1.0)
            )
            weights.append(
                torch.full((len(members),), mass[size] / len(members), dtype=torch.float32, device="cpu")
            )
        self.sure = sum(map(len, rows))
        self.weights = torch.cat(weights).double()  # of the sure rows
        self.left = {size: share for size, share in mass.items() if size not in whole}
        if self.left:
            blocks = math.ceil(max(0, most - self.sure) / _BLOCK)
            rows += [self._pairs(probe.generator(block)) for block in range(blocks)]
        self.rows = torch.cat(rows)[: max(most, self.sure)]

    def _pairs(self, source: torch.Generator) -> Float[Tensor, "rows d"]:
        """A block of random coalitions, each followed by its complement; the sizes are stratified."""
        count = _BLOCK // 2
        strata = (
            torch.arange(count, dtype=torch.long, device="cpu")
            + torch.rand(count, generator=source, dtype=torch.float32, device="cpu")
        ) / count
        strata = strata[torch.randperm(count, generator=source, dtype=torch.long, device="cpu")] * sum(
            self.left.values()
        )
        bounds = torch.tensor(list(self.left.values()), dtype=torch.float32, device="cpu").cumsum(0)
        at = torch.searchsorted(bounds, strata).clamp(max=len(self.left) - 1)
        size = torch.tensor(list(self.left), dtype=torch.long, device="cpu")[at]
        order = (
            torch.rand(count, self.d, generator=source, dtype=torch.float32, device="cpu")
            .argsort(1)
            .argsort(1)
        )
        kept = (order < size[:, None]).float()
        return torch.stack([kept, 1 - kept], 1).flatten(0, 1)

    def values(self, scores: Float[Tensor, " S"]) -> Estimate:
        """The Shapley values that the scores of the first rows give."""
        pairs = torch.arange(self.sure, len(scores), dtype=torch.long, device="cpu")
        found = self._fitted(scores, pairs)
        if len(pairs) == 0:  # all coalitions there are: nothing was left to chance
            return Estimate(
                found.coefficients, torch.zeros_like(found.coefficients), lambda: (found.coefficients,) * 2
            )
        first = (pairs - self.sure) // 2 % 2 == 0

        def half(some: Tensor) -> Tensor:
            return self._fitted(scores, pairs[some]).coefficients

        return Estimate(found.coefficients, found.stderr, lambda: (half(first), half(~first)))

    def _fitted(self, scores: Float[Tensor, " S"], pairs: Int[Tensor, " P"]) -> Fit:
        """The least squares over the sure rows and some of the pairs."""
        full, empty = scores[0].item(), scores[1].item()
        some = torch.cat([torch.arange(2, self.sure, dtype=torch.long, device="cpu"), pairs])
        z, y = self.rows[some].double(), scores[some]
        share = sum(self.left.values()) / max(1, len(pairs))
        w = torch.cat([self.weights[2:], torch.full((len(pairs),), share, dtype=torch.float64, device="cpu")])
        groups = torch.cat(
            [torch.full((self.sure - 2,), -1, dtype=torch.long, device="cpu"), (pairs - self.sure) // 2]
        )
        m = z.mean(1)
        bends = min(_BENDS, len(pairs) // (2 * self.d))  # as many as the pairs can tell from the segments
        curve = (m * (1 - m))[:, None] * (m[:, None] - 0.5) ** torch.arange(
            bends, dtype=torch.long, device="cpu"
        )  # 0 for none and for all
        fitted = torch.cat([curve, z - m[:, None]], 1) * w.sqrt()[:, None]
        bent = (y - empty - (full - empty) * m) * w.sqrt()
        bend = torch.linalg.lstsq(fitted, bent[:, None], driver="gelsd").solution[:bends, 0]
        return shapley_fit(z, y - curve @ bend, w, empty, full, groups=groups)


def taken_whole(mass: Mapping[int, float], d: int, budget: int) -> list[int]:
    """The sizes of which all coalitions are taken: those that would be drawn as often by chance.

    >>> taken_whole({1: 0.375, 2: 0.25, 3: 0.375}, 4, 14), taken_whole({1: 0.375, 2: 0.25, 3: 0.375}, 4, 11)
    ([1, 2, 3], [1, 3])
    """
    if 2**d - 2 <= budget:
        return list(mass)
    whole: list[int] = []
    left = 1.0
    for size in range(1, d // 2 + 1):
        both = sorted({size, d - size})
        count, share = sum(math.comb(d, m) for m in both), sum(mass[m] for m in both)
        if count > budget * share / left:
            break
        whole, budget, left = whole + both, budget - count, left - share
    return whole
