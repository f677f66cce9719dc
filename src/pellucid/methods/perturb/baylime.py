"""BayLIME: LIME's linear surrogate with a prior over its coefficients."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.methods.finding import Finding
from pellucid.methods.perturb.bayes_surrogate import bayes_fit
from pellucid.methods.perturb.least_squares import Fit
from pellucid.methods.perturb.local_surrogate import MOST, Fitter, feature_limit, fit_locally
from pellucid.methods.perturb.superpixels import Superpixels
from pellucid.methods.perturb.surrogate import Selection, fit
from pellucid.methods.perturbation import at_most, perturbation
from pellucid.options.parts import SEGMENT_MEAN, SegmentBaseline, Segments
from pellucid.options.types import Kind, Samples, Tolerance
from pellucid.probe import Probe
from pellucid.segments import means
from pellucid.structures import tensor_of

Mode = Literal["non-bayes", "non-informative", "informative", "informative-alpha"]


def _prior(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        return None
    if not isinstance(value, Tensor) or value.ndim not in (1, 2, 3):
        raise InvalidType(
            f"{name} must be a tensor: one number per segment (d,), or a map (H, W) or (N, H, W) that is "
            f"averaged over the segments; got {tuple(value.shape) if isinstance(value, Tensor) else value!r}."
        )
    return value


Prior = Annotated[Any, Kind("coefficients or map", _prior)]


@perturbation(
    "baylime",
    paper="Zhao et al. 2021, arXiv:2012.03058",
    passes=at_most(MOST),
    promises=("implementation invariance",),
    random=True,
    quick={"samples": 10, "segments": "grid:2"},
)
def baylime(
    probe: Probe,
    *,
    samples: Samples = 1000,
    tolerance: Tolerance = 0.1,
    mode: Mode = "non-informative",
    prior: Prior = None,
    prior_precision: float = 1.0,
    noise_precision: float = 1.0,
    segments: Segments = "quickshift",
    baseline: SegmentBaseline = SEGMENT_MEAN,
    width: float = 0.25,
    features: int = 0,
    selection: Selection = "auto",
) -> Finding:
    r"""mu = (lambda I + alpha Z'WZ)^-1 (lambda mu_0 + alpha Z'W y): LIME with a prior over its coefficients.

    LIME with prior knowledge: the linear model's coefficients are estimated as a Bayesian regression
    does, so few samples are drawn towards what one expects.

    The posterior's standard deviations are in the details, as `posterior`; `stderr` says, as for every
    sampled method, how far the map would move with other samples.

    Formula:
        \mu = (\lambda I + \alpha Z^{\mathsf{T}} W Z)^{-1} (\lambda \mu_0 + \alpha Z^{\mathsf{T}} W y)

        $\mu$: the coefficients of the superpixels.
        $\mu_0$: what is expected of them before.
        $\lambda$: the precision of that.
        $\alpha$: the precision of the scores.
        $Z$: rows of superpixels, kept (1) or hidden (0).
        $W$: their weights, larger the closer to the whole picture.
        $y$: their scores.
        $I$: the identity.

    Args:
        probe: the evidence.
        samples: pictures scored, of which the first is whole; or "auto", as for lime.
        tolerance: see `Tolerance`.
        mode: "non-bayes" is LIME; "non-informative" fits lambda and alpha to the samples; "informative" takes
            both as given, "informative-alpha" only lambda.
        prior: mu_0 of the informative modes: coefficients (d,), or a map that is averaged over the segments;
            None for 0.
        prior_precision: lambda.
        noise_precision: alpha.
        segments: as for lime.
        baseline: as for lime.
        width: as for lime.
        features: as for lime.
        selection: as for lime.

    Returns:
        (N, H, W), signed, in units of the score, with its standard error; in `details` the `coefficients`
        of each image (d,), their `posterior` deviations, the fit's `r2` and the `segments` (N, H, W).

    Raises:
        InvalidValue: segments that do not hold, a precision that is not positive, a prior of another size.

    Cost:
        samples forward, 1 forward of the image itself.

    Source:
        eqs. 5 to 7, exactly; the authors' code adds the prior afterwards, by a diagonal approximation.

    Strengths:
        Steadier than LIME with few samples.
        Says how sure the coefficients are, twice: by the posterior and by other samples.

    Weaknesses:
        A wrong prior is believed.
        All that LIME cannot do.

    Pitfalls:
        The authors' code adds the prior afterwards by a diagonal approximation; here the equation is
            solved.

    See Also:
        lime, kernel-shap

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "baylime", samples=10, segments="grid:2")
        >>> e.details["coefficients"][0].shape
        torch.Size([4])
    """
    informed, some = mode in ("informative", "informative-alpha"), feature_limit(features)
    if prior is not None and not informed:
        raise InvalidValue(f"prior belongs to the modes informative and informative-alpha; mode is {mode}.")

    def surrogate(cut: Superpixels, image: int) -> Fitter:
        mean = _prior_of(prior, cut, image)

        def posterior(z: Tensor, y: Tensor, weights: Tensor) -> tuple[Fit, Mapping[str, Tensor]]:
            if mode == "non-bayes":
                return fit(z, y, weights, features=some, selection=selection), {}
            found = bayes_fit(
                z,
                y,
                weights,
                prior_mean=mean,
                prior_precision=prior_precision if informed else None,
                noise_precision=noise_precision if mode == "informative" else None,
                features=some,
                selection=selection,
            )
            return found.fit, {"posterior": found.deviation}

        return posterior

    return fit_locally(probe, surrogate, samples, tolerance, segments, baseline, width)


def _prior_of(prior: Any, cut: Superpixels, image: int) -> Float[Tensor, " d"] | None:
    """The prior's mean for one image, one number per segment."""
    if prior is None:
        return None
    if prior.ndim == 1:
        if len(prior) != cut.count:
            raise InvalidValue(
                f"prior must have one number for each of {cut.count} segments; got {len(prior)}."
            )
        return tensor_of(prior).double()
    map = prior if prior.ndim == 2 else prior[image if len(prior) > 1 else 0]
    if map.shape != cut.labels.shape:
        raise InvalidValue(
            f"prior must be a map of the input's size {tuple(cut.labels.shape)}; got {tuple(map.shape)}."
        )
    return means(map[None].double().cpu(), cut.labels.cpu())[0]
