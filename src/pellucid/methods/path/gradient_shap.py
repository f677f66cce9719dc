"""GradientSHAP: expected gradients of independent draws, from copies of the image with some noise."""

import torch
from torch import Tensor

from pellucid.methods.finding import Finding
from pellucid.methods.path.expected_gradients import PROMISES, mean_gradient, passes
from pellucid.methods.path.references import References
from pellucid.methods.registry import method
from pellucid.options.types import Samples, Tolerance
from pellucid.probe import Probe


@method(
    "gradient-shap",
    paper="Lundberg & Lee 2017, arXiv:1705.07874",
    passes=passes,
    reads="perturbed inputs",
    promises=PROMISES,
    random=True,
    quick={"samples": 6, "references": "zero,mean", "noise": 0.1},
)
def gradient_shap(
    probe: Probe,
    *,
    references: References = None,
    samples: Samples = 50,
    noise: float = 0.0,
    tolerance: Tolerance = 0.1,
) -> Finding:
    r"""E[(x + e - r) * dS/dx(r + a (x + e - r))] over references r, a ~ U(0, 1) and noise e.

    Expected gradients with independent draws and, if asked, noise on the picture: the estimator that
    SHAP and captum call GradientSHAP.

    Formula:
        M = \mathbb{E}_{r,\, a,\, e}\Big[(x + e - r) \odot \frac{\partial S}{\partial x}\big(r + a (x +
        e - r)\big)\Big]

        $r$: a reference, drawn from the background.
        $a$: where on the line, uniform between 0 and 1.
        $e$: noise.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        references: where there is no evidence, on average: pictures, a folder of them, a tensor
            (R, C, H, W), or names of baselines.
        samples: draws; an odd number is made even; "auto" to draw until the map has converged, up to 1000.
        noise: standard deviation of e, as a share of each image's range.
        tolerance: see `Tolerance`.

    Returns:
        (N, C, H, W), signed, with its standard error. `delta` compares its sum with S(x) minus the mean
        score of the references drawn; `details` tells its standard error, `delta_stderr`, and the `samples`.

    Raises:
        InvalidValue: no references, or of another size; fewer than one sample; noise below zero; a tolerance
            outside (0, 1).

    Cost:
        samples forward and backward, 1 forward of the image itself and of each reference drawn.

    Source:
        the estimator that SHAP and captum call so: expected-gradients with independent draws of r and a, and
        with noise. Without noise prefer expected-gradients, whose draws are stratified. captum's `stdevs` is
        in the input's units, and its default is 5 samples.

    Strengths:
        Unbiased with any number of samples, with a standard error.

    Weaknesses:
        Noisier than expected-gradients at the same cost.
        No Shapley value of pixels in a deep network, whatever its name says: it is the mean of a path
            method.

    Pitfalls:
        captum's noise is in the input's units, and its default is 5 samples: its map missed the score's
            change by 91 % where that was measured.

    See Also:
        expected-gradients, kernel-shap, deep-shap

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> e = pellucid.explain(net, x, "gradient-shap", references="zero", samples=4)
        >>> e.raw.shape, e.stderr.shape
        (torch.Size([1, 3, 4, 4]), torch.Size([1, 3, 4, 4]))
    """
    return mean_gradient(probe, references, independent, samples=samples, tolerance=tolerance, noise=noise)


def independent(references: int, samples: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Any reference with any part of the line."""
    which = torch.randint(references, (samples,), generator=source, dtype=torch.long, device="cpu")
    return which, torch.rand(samples, generator=source, dtype=torch.float32, device="cpu")
