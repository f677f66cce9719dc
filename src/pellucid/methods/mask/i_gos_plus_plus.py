"""I-GOS++: a mask that removes a class from an image and one that inserts it, found together."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.mask.descent import (
    HALVINGS,
    MaskObjective,
    MaskProblem,
    check_options,
    finding_of,
    l1_schedule,
)
from pellucid.methods.mask.masking import bilateral_total_variation
from pellucid.methods.mask.optimise import Evaluation, SearchState, nesterov, spectral
from pellucid.methods.perturbation import perturbation
from pellucid.options.parts import Baseline
from pellucid.probe import Probe


def _passes(options: Mapping[str, Any]) -> Passes:
    each = 4 * options["points"]
    return Passes(each * (options["steps"] + 1) + 1 + 2 * HALVINGS, each * options["steps"])


@perturbation(
    "i-gos++",
    paper="Khorram et al. 2021, arXiv:2012.15783",
    passes=_passes,
    random=lambda options: options["noise"] > 0,
    quick={"steps": 2, "points": 2, "resolution": 6, "l1": 0.01},
)
def i_gos_plus_plus(
    probe: Probe,
    *,
    steps: int = 15,
    points: int = 20,
    resolution: int = 28,
    l1: float = 1.0,
    tv: float = 0.3,
    noise: float = 0.0,
    baseline: Baseline = "blur",
    search: Literal["spectral", "nesterov"] = "spectral",
) -> Finding:
    r"""1 - M, M = m1 m2, argmin (del(m1) + ins(m2) + del(M) + ins(M)) / 2 + l1 mean |1 - M| + tv BTV(M).

    Two masks at once: one that takes the class away where it hides, and one that brings it back where
    it shows. Their product is asked for both.

    Masks are 0 where hiding takes the class away and showing brings it back. Scores are measured,
    searches ended and the L1 made lighter as in I-GOS.

    Formula:
        M = m_1 m_2 = \arg\min \tfrac{1}{2}\big(d(m_1) + e(m_2) + d(M) + e(M)\big)
        + \lambda_1 \overline{|1 - M|} + \lambda_2\, \mathrm{BTV}(M)

        $m_1$: the mask of deletion, $m_2$ that of insertion, $M$ their product; the map is 1 - M.
        $d$: the mean score of pictures from the baseline to what the mask leaves.
        $e$: minus the mean score of pictures from the whole one to what the mask alone shows.
        $\lambda_1$: `l1`, the price of what is hidden, on average over the mask.
        $\lambda_2$: `tv`, the price of roughness.
        $\mathrm{BTV}$: bilateral total variation: roughness is cheap where the picture is rough.

    Args:
        probe: the evidence.
        steps: the most of them.
        points: n, where the integrals along the paths are taken.
        resolution: cells of the masks along each side (the authors: 7 to 224); more need more steps.
        l1: the cost of hiding all of the image.
        tv: the cost of roughness.
        noise: standard deviation, in the input's space, of noise that is added to the paths' points.
        baseline: x', what shows where a mask is 0.
        search: "spectral", under Armijo's condition, with Barzilai and Borwein's steps; "nesterov",
            accelerated and without a condition, as in the authors' later code.

    Returns:
        (N, resolution, resolution), in [0, 1]: 1 - M. `details` and `trace` are I-GOS's.

    Raises:
        InvalidValue: as for I-GOS.

    Cost:
        4 * points * (steps + 1) + 15 forward and 4 * points * steps backward at most, if each step is
        accepted at once, as most are; one that is not costs 4 * points more.

    Source:
        section 3.2, with the scores' half weight of the authors' code. There the bilateral total variation
        treats the two axes differently, a line search begins at a step of 1000 each time and draws new
        noise for each score that it compares, L1 and roughness weigh 10 and 20, and it is enlarged masks
        that are multiplied.

    Strengths:
        Less prone to masks that fool the model by their shape: what is hidden must also suffice.
        Edges follow the picture's.

    Weaknesses:
        Four times I-GOS's passes.
        Many options, whose best values differ from model to model.

    Pitfalls:
        The authors' bilateral variation treats the two axes differently, and draws new noise for each
            score that it compares.

    See Also:
        i-gos, extremal-perturbation, insertion, deletion

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "i-gos++", steps=2, points=2, resolution=4)
        >>> e.raw.shape
        torch.Size([1, 4, 4])
    """
    check_options(steps, points, resolution, l1, tv, noise)
    problem = MaskProblem.of(probe, baseline)
    objective = Bilateral(problem, l1, tv, points, noise)
    state = SearchState(problem.ones(resolution, 2), objective)
    (spectral if search == "spectral" else nesterov)(state, steps, l1_schedule(objective.l1, steps))
    return finding_of(problem, state)


class Bilateral(MaskObjective):
    """The four scores, in units of their range, and what the masks m1 and m2 cost."""

    def evaluate(
        self, masks: Float[Tensor, "A 2 h w"], images: Int[Tensor, " A"], with_gradients: bool
    ) -> Evaluation:
        """(del(m1) + ins(m2) + del(m1 m2) + ins(m1 m2)) / 2, the ends of the latter two, and the slope."""
        noise = self.problem.noise(self.noise, self.points)
        m1, m2 = masks.split(1, 1)
        both, unit = m1 * m2, 2 * self.range[images]
        paths = [
            self.problem.along(
                M, images, self.points, removed=removed, with_gradients=with_gradients, noise=noise
            )
            for M, removed in ((m1, False), (m2, True), (both, False), (both, True))
        ]
        left1, shown2, left, shown = (values for values, _ in paths)
        score = (left1 - shown2 + left - shown).mean(1) / unit
        extras = {"deletion": left[:, -1], "insertion": shown[:, -1]}
        if not with_gradients:
            return Evaluation(score, extras)
        d_left1, d_shown2, d_left, d_shown = (pull for _, pull in paths)
        d_both = d_left - d_shown
        slope = torch.cat([d_left1 + m2 * d_both, m1 * d_both - d_shown2], 1)
        return Evaluation(score, extras, slope / unit[:, None, None, None])

    def penalty(self, masks: Float[Tensor, "A 2 h w"], images: Int[Tensor, " A"]) -> Float[Tensor, " A"]:
        """l1 mean(1 - m1 m2) + tv BTV(m1 m2)."""
        both = masks.prod(1, keepdim=True)
        rough = bilateral_total_variation(both, self.problem.x[images].to(masks))
        return self.l1[images] * (1 - both).mean((1, 2, 3)) + self.tv * rough
