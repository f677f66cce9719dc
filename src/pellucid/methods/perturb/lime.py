"""LIME: a linear surrogate of the model on pictures with superpixels hidden."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.definition import Axiom
from pellucid.methods.finding import Finding
from pellucid.methods.perturb.least_squares import Fit
from pellucid.methods.perturb.local_surrogate import MOST, feature_limit, fit_locally
from pellucid.methods.perturb.surrogate import Selection, fit
from pellucid.methods.perturbation import at_most, perturbation
from pellucid.options.parts import SEGMENT_MEAN, SegmentBaseline, Segments
from pellucid.options.types import Samples, Tolerance
from pellucid.probe import Probe


def _promises(options: Mapping[str, Any]) -> tuple[Axiom, ...]:
    """Least squares are linear in the scores; a choice of features by the scores is not."""
    linear: tuple[Axiom, ...] = () if options["features"] else ("linearity",)
    return "implementation invariance", *linear


@perturbation(
    "lime",
    paper="Ribeiro et al. 2016, arXiv:1602.04938",
    passes=at_most(MOST),
    promises=_promises,
    random=True,
    quick={"samples": 10, "segments": "grid:2"},
)
def lime(
    probe: Probe,
    *,
    samples: Samples = 1000,
    tolerance: Tolerance = 0.1,
    segments: Segments = "quickshift",
    baseline: SegmentBaseline = SEGMENT_MEAN,
    width: float = 0.25,
    ridge: float = 1.0,
    features: int = 0,
    selection: Selection = "auto",
) -> Finding:
    r"""argmin_g sum_z pi(z) (S(z) - g(z))^2 + ridge |g|^2: a linear model of hidden superpixels.

    Hide superpixels at random, see what the model says, and fit a linear model to it: its coefficients
    say which superpixels speak for the class.

    The map has each superpixel's coefficient at its pixels. The fit's local R2, the coefficients with
    their standard errors and the segments are in the details.

    Formula:
        g = \arg\min_g \sum_z \pi(z) \big(S(z) - g(z)\big)^2 + \lambda \lVert g \rVert^2, \qquad
        \pi(z) = \exp\Big(-\frac{D(z)^2}{2 w^2}\Big)

        $g$: a linear function of the superpixels; $\lVert g \rVert^2$ is the sum of its squared coefficients.
        $\lambda$: `ridge`.
        $z$: a picture with some superpixels hidden.
        $\pi$: its weight.
        $D$: its distance from the whole picture, by the cosine.
        $w$: `width`.

    Args:
        probe: the evidence.
        samples: pictures scored, of which the first is whole; or "auto" to draw until the map has converged,
            up to 8000.
        tolerance: see `Tolerance`.
        segments: superpixels: an algorithm, labels (H, W), or a callable `rgb (H, W, 3) -> labels`.
        baseline: what shows where a superpixel is hidden; the paper's is its mean colour.
        width: of the kernel exp(-d^2 / 2 width^2) over the cosine distance d of a sample to the whole.
        ridge: penalty on the squared coefficients.
        features: superpixels that may have a coefficient; 0 for all.
        selection: how they are chosen, as in the authors' code: "auto" is "forward" up to 6, else "highest".

    Returns:
        (N, H, W), signed, in units of the score, with its standard error; in `details` the `coefficients`
        of each image (d,), the fit's `r2` and the `segments` (N, H, W).

    Raises:
        InvalidValue: segments that do not hold, a width that is not positive, a penalty below zero.

    Cost:
        samples forward, 1 forward of the image itself.

    Source:
        eq. 1 and algorithm 1; kernel, penalty and selection as in the authors' code.

    Strengths:
        Needs nothing but scores: black boxes, ONNX, remote models.
        Few numbers, with standard errors, that one can name: this region, by so much.
        Its fit is told: R2 says how linear the score was.

    Weaknesses:
        As good as its segments.
        A linear model of pictures with holes: interactions are lost.
        Depends on the width, the colour of what is hidden, and on chance with few samples.

    Pitfalls:
        The weight is exp(-D^2 / (2 w^2)), as the authors' code has it; the paper and tutorials write
            another by a factor of the square root of 2 in the width.
        The authors' code explains whatever the model's function returns, logits or rows of class and
            probability: tutorials explain the number of the class so. Here it is the probability.
        Pictures of few pixels have no superpixels: quickshift then gives way to a grid, with a note.
        Segments must be numbered from 0 without gaps, or one is never hidden.

    See Also:
        baylime, kernel-shap, occlusion, rise

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "lime", samples=10, segments="grid:2")
        >>> e.details["coefficients"][0].shape
        torch.Size([4])
    """
    if ridge < 0:
        raise InvalidValue(f"ridge must be at least 0; got {ridge}.")
    some = feature_limit(features)

    def surrogate(z: Tensor, y: Tensor, weights: Tensor) -> tuple[Fit, Mapping[str, Tensor]]:
        return fit(z, y, weights, ridge=ridge, features=some, selection=selection), {}

    return fit_locally(probe, lambda *_: surrogate, samples, tolerance, segments, baseline, width)
