"""A linear surrogate of the model around one picture, fitted to samples with superpixels hidden."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.finding import Finding, each
from pellucid.methods.perturb.least_squares import Fit
from pellucid.methods.perturb.superpixels import Superpixels
from pellucid.methods.perturb.surrogate import cosine_distance, kernel
from pellucid.options.parts import same
from pellucid.probe import Probe
from pellucid.probe.convergence import Estimate
from pellucid.probe.sampling import sample

MOST = 8000
"""Where samples="auto" gives up."""
_BLOCK = 64
Fitter = Callable[[Tensor, Tensor, Tensor], tuple[Fit, Mapping[str, Tensor]]]
"""(rows, scores, weights) -> the surrogate, and what else it tells."""


def fit_locally(
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


def feature_limit(features: int) -> int | None:
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
