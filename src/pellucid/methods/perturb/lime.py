"""LIME and BayLIME: a linear surrogate of the model on pictures with superpixels hidden."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.methods.finding import Finding, each
from pellucid.methods.option_types import Kind, Samples
from pellucid.methods.options import (
    SEGMENT_MEAN,
    SegmentBaseline,
    Segments,
    at_most,
    perturbation,
    same,
)
from pellucid.methods.perturb.superpixels import Superpixels
from pellucid.methods.perturb.surrogate import (
    Fit,
    Selection,
    bayes_fit,
    cosine_distance,
    fit,
    kernel,
)
from pellucid.methods.registry import Axiom
from pellucid.probe import Probe
from pellucid.probe.convergence import Estimate
from pellucid.probe.sampling import sample
from pellucid.segments import means
from pellucid.structures import tensor_of

MOST = 8000
"""Where samples="auto" gives up."""
_BLOCK = 64

Mode = Literal["non-bayes", "non-informative", "informative", "informative-alpha"]
Fitter = Callable[[Tensor, Tensor, Tensor], tuple[Fit, Mapping[str, Tensor]]]
"""(rows, scores, weights) -> the surrogate, and what else it tells."""


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
    tolerance: float = 0.1,
    segments: Segments = "quickshift",
    baseline: SegmentBaseline = SEGMENT_MEAN,
    width: float = 0.25,
    ridge: float = 1.0,
    features: int = 0,
    selection: Selection = "auto",
) -> Finding:
    """argmin_g sum_z pi(z) (S(z) - g(z))^2 + |g|^2: a linear model of superpixels, each kept or hidden.

    S is the score.

    The map has each superpixel's coefficient at its pixels. The fit's local R2, the coefficients with their
    standard errors and the segments are in the details.

    Args:
        probe: the evidence.
        samples: pictures scored, of which the first is whole; or "auto" to draw until the map has converged,
            up to 8000.
        tolerance: of "auto": the relative standard error of the top decile, and how far from 1 the rank
            correlation of the samples' halves may be.
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
    some = _some(features)

    def surrogate(z: Tensor, y: Tensor, weights: Tensor) -> tuple[Fit, Mapping[str, Tensor]]:
        return fit(z, y, weights, ridge=ridge, features=some, selection=selection), {}

    return _local(probe, lambda *_: surrogate, samples, tolerance, segments, baseline, width)


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
    tolerance: float = 0.1,
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
    """mu = (lambda I + alpha Z'WZ)^-1 (lambda mu_0 + alpha Z'W y): LIME with a prior over its coefficients.

    The posterior's standard deviations are in the details, as `posterior`; `stderr` says, as for every
    sampled method, how far the map would move with other samples.

    Args:
        probe: the evidence.
        samples: pictures scored, of which the first is whole; or "auto", as for lime.
        tolerance: of "auto", as for lime.
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
    informed, some = mode in ("informative", "informative-alpha"), _some(features)
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

    return _local(probe, surrogate, samples, tolerance, segments, baseline, width)


def _local(
    probe: Probe,
    surrogate: Callable[[Superpixels, int], Fitter],
    samples: int | str,
    tolerance: float,
    segments: Any,
    baseline: Any,
    width: float,
) -> Finding:
    """Samples around each image, and a surrogate fitted to them."""
    if not width > 0:
        raise InvalidValue(f"width must be positive; got {width}.")

    def one(probe: Probe, image: int) -> Finding:
        cut = Superpixels.of(probe, segments, baseline)
        fitter = surrogate(cut, image)
        most = MOST if samples == "auto" else int(samples)
        if most < 2:
            raise InvalidValue(f"samples must be at least 2, the image and a copy of it; got {most}.")
        z = rows(probe, most, cut.count)
        weights = kernel(cosine_distance(z), width)
        fitter(
            z[:2], torch.zeros(2, dtype=torch.float32, device="cpu"), weights[:2]
        )  # options that do not hold are refused unscored

        def estimate(scores: Float[Tensor, " S"]) -> Estimate:
            count = len(scores)
            found, _ = fitter(z[:count], scores, weights[:count])

            def half(i: int) -> Tensor:
                return fitter(z[i:count:2], scores[i::2], weights[i:count:2])[0].coefficients

            return Estimate(found.coefficients, found.stderr, lambda: (half(0), half(1)))

        drawn = sample(
            probe,
            cut.hiding(z),
            estimate,
            samples=samples,
            tolerance=tolerance,
            most=most,
            key=("lime", most, same(segments), same(baseline)),
            least=3 * cut.count,
        )
        scores = drawn.scores
        found, more = fitter(z[: len(scores)], scores, weights[: len(scores)])
        details = {
            "segments": cut.labels[None],
            "coefficients": found.coefficients[None],
            "coefficient_stderr": drawn.estimate.stderr[None],
            "intercept": torch.tensor([found.intercept], dtype=torch.float32, device="cpu"),
            "r2": torch.tensor([found.r2], dtype=torch.float32, device="cpu"),
            "samples": torch.tensor([len(scores)], dtype=torch.long, device="cpu"),
            **{name: value[None] for name, value in more.items()},
        }
        return Finding(cut.painted(found.coefficients), cut.painted(drawn.estimate.stderr), details)

    return each(probe, one)


def _some(features: int) -> int | None:
    """How many features may have a coefficient, None for all."""
    if features < 0:
        raise InvalidValue(f"features must be at least 0, which is all of them; got {features}.")
    return features or None


def rows(probe: Probe, count: int, d: int) -> Float[Tensor, "count d"]:
    """Which of d segments each sample keeps: row 0 all, the others each with probability 1/2.

    The first rows are the same however many are drawn.
    """
    blocks = [
        torch.randint(0, 2, (_BLOCK, d), generator=probe.generator(block), dtype=torch.long, device="cpu")
        for block in range((count + _BLOCK - 1) // _BLOCK)
    ]
    z = torch.cat(blocks)[:count].double()
    z[0] = 1
    return z


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
