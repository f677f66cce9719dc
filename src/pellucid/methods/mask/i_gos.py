"""I-GOS: the mask that removes a class from an image, found by descent along integrated gradients."""

from collections.abc import Mapping
from typing import Any, Literal

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
from pellucid.methods.mask.masking import total_variation
from pellucid.methods.mask.optimise import Evaluation, SearchState, backtracking, nesterov, spectral
from pellucid.methods.perturbation import perturbation
from pellucid.options.parts import Baseline
from pellucid.probe import Probe

Search = Literal["spectral", "nesterov", "official"]
LONGEST = 200.0
"""The step with which the authors' line search begins."""


def _passes(options: Mapping[str, Any]) -> Passes:
    points, steps = options["points"], options["steps"]
    trials = steps + 1 if options["search"] == "official" else points
    return Passes(points * steps + trials + steps + 2 + 2 * HALVINGS, points * steps)


@perturbation(
    "i-gos",
    paper="Qi et al. 2020, arXiv:1905.00954",
    passes=_passes,
    random=lambda options: options["noise"] > 0,
    quick={"steps": 2, "points": 2, "resolution": 6, "l1": 0.01, "search": "nesterov"},  # of fixed cost
)
def i_gos(
    probe: Probe,
    *,
    steps: int = 15,
    points: int = 20,
    resolution: int = 28,
    l1: float = 1.0,
    tv: float = 0.3,
    noise: float = 0.0,
    baseline: Baseline = "blur",
    search: Search = "spectral",
) -> Finding:
    r"""1 - M, M = argmin mean_s S(x' + s M (x - x')) + l1 mean |1 - M| + tv TV(M), s = 1/n, ..., 1.

    Search the smallest blurred mask that takes the class away. The direction of each step is not the
    gradient at the masked picture, which is flat where the score is saturated, but its integral on the
    way from the baseline.

    The gradient is the integrated gradient from the baseline to the masked image, so it does not vanish
    where the score is saturated. Scores are in units of what the image's is above its baseline's. An
    image's search ends early when two steps in a row each bring less than a hundredth of all that was
    gained; where the score has hardly changed halfway, or at four fifths, the L1 is made 10, or 5,
    times lighter.

    Formula:
        M = \arg\min_M \frac{1}{n} \sum_{s} S\big(x' + s\, M \odot (x - x')\big)
        + \lambda_1 \overline{|1 - M|} + \lambda_2\, \mathrm{TV}(M), \qquad s = \tfrac{1}{n}, \ldots, 1

        $M$: the mask, 0 where the picture is hidden; the map is 1 - M.
        $s$: a point of the way from the baseline to the masked picture, $n$ in all.
        $\lambda_1$: `l1`, the price of what is hidden, on average over the mask.
        $\lambda_2$: `tv`, the price of roughness.
        $\mathrm{TV}$: total variation.
        $\odot$: the product pixel by pixel.

    Args:
        probe: the evidence.
        steps: the most of them.
        points: n, where the integral along the path is taken.
        resolution: cells of the mask along each side (the authors: 28, 112, 224); more need more steps.
        l1: the cost of hiding all of the image.
        tv: the cost of roughness: of the mean square of differences along each axis.
        noise: standard deviation, in the input's space, of noise that is added to the path's points.
        baseline: x', what shows where the mask is 0 (the authors': "blur", "median", "mixed").
        search: "spectral", the integral under Armijo's condition, with Barzilai and Borwein's steps;
            "nesterov", accelerated and without a condition; "official", the authors': the condition asks
            about the score of the masked image alone, and scores are as they are.

    Returns:
        (N, resolution, resolution), in [0, 1]: 1 - M, high where hiding takes the class away. In `details`
        `kept_share`: how many cells, as a share of all, those of the highest map first, must be shown over
        the baseline for a score halfway from the baseline's to the image's, to within 1/128; and
        `deleted_share`: how many must be hidden for no more than that. In `trace`, per step: `mask`,
        `deletion` and `insertion`, the scores of what M keeps and of what it removes, and `loss`.

    Raises:
        InvalidValue: fewer than one step or point, a resolution below 1, a weight or noise below 0, or a
            score that is not finite between an image and its baseline.

    Cost:
        points * (steps + 1) + steps + 16 forward and points * steps backward at most, if each step is
        accepted at once, as most are; one that is not costs points more.

    Source:
        section 3 and the authors' code, which divides the integral by 20 however many points there are.
        search="official" with tv=20, noise=0.2 (at 112 cells l1=3, tv=60) is theirs, but for the corners of
        enlarged masks. It barely moves a mask of EfficientNet-Lite0, none below 0.93: their Armijo condition
        is put to the score of the masked image, whose slope at M = 1 has a cosine of only 0.05 to 0.24 with
        the noisy integrated gradient that is followed, and the weight of the roughness makes every step that
        is long enough cost more than the score it takes away. So here the condition is put to the integral
        that is descended, noise is off and roughness cheaper.

    Strengths:
        Finds masks where plain gradient descent stops.
        Keeps its course: deletion and insertion scores of every step, as curves and as a film.

    Weaknesses:
        Hundreds of passes for each picture.
        A search: it may end in different masks for small changes of its options.

    Pitfalls:
        The authors' code divides the integral by 20 however many points there are.
        With the authors' settings the mask of EfficientNet-Lite0 barely moves, none below 0.93: see the
            source below.

    See Also:
        i-gos++, meaningful-perturbation, extremal-perturbation, deletion

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "i-gos", steps=2, points=2, resolution=4)
        >>> e.raw.shape
        torch.Size([1, 4, 4])
    """
    check_options(steps, points, resolution, l1, tv, noise)
    problem = MaskProblem.of(probe, baseline)
    objective = (Official if search == "official" else Deletion)(problem, l1, tv, points, noise)
    state = SearchState(problem.ones(resolution), objective)

    schedule = l1_schedule(objective.l1, steps)
    if isinstance(objective, Official):
        backtracking(state, steps, schedule, objective.direction, LONGEST)
    else:
        (spectral if search == "spectral" else nesterov)(state, steps, schedule)
    return finding_of(problem, state)


class Deletion(MaskObjective):
    """mean_s S(x' + s M (x - x')) in units of the score's range, and what masks cost."""

    def evaluate(
        self, masks: Float[Tensor, "A 1 h w"], images: Int[Tensor, " A"], with_gradients: bool
    ) -> Evaluation:
        """The mean along the path."""
        noise = self.problem.noise(self.noise, self.points)
        values, slope = self.problem.along(
            masks, images, self.points, with_gradients=with_gradients, noise=noise
        )
        unit, extras = self.range[images], {"deletion": values[:, -1]}
        return Evaluation(
            values.mean(1) / unit, extras, slope / unit[:, None, None, None] if with_gradients else None
        )

    def penalty(self, masks: Float[Tensor, "A 1 h w"], images: Int[Tensor, " A"]) -> Float[Tensor, " A"]:
        """l1 mean(1 - M) + tv TV(M); masks end at 1, so the slope of the first is the same everywhere."""
        return self.l1[images] * (1 - masks).mean((1, 2, 3)) + self.tv * total_variation(masks)


class Official(Deletion):
    """S(x' + M (x - x')), and a direction of its own: the slope of its mean along the path, under noise."""

    def evaluate(
        self, masks: Float[Tensor, "A 1 h w"], images: Int[Tensor, " A"], with_gradients: bool
    ) -> Evaluation:
        """The score of the masked image."""
        values, _ = self.problem.along(masks, images, 1, with_gradients=False)
        return Evaluation(values[:, 0], {"deletion": values[:, 0]})

    def penalty(self, masks: Float[Tensor, "A 1 h w"], images: Int[Tensor, " A"]) -> Float[Tensor, " A"]:
        """l1 mean |1 - M| + tv TV(M), with the slope 0 at M = 1."""
        return self.l1[images] * (1 - masks).abs().mean((1, 2, 3)) + self.tv * total_variation(masks)

    def direction(
        self, masks: Float[Tensor, "A 1 h w"], images: Int[Tensor, " A"], step: int
    ) -> Float[Tensor, "A 1 h w"]:
        """The slope of the mean along the path, with new noise at each step."""
        noise = self.problem.noise(self.noise, self.points, step)
        return self.problem.along(masks, images, self.points, noise=noise)[1]
