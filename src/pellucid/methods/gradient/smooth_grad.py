"""SmoothGrad and its kin: statistics of the gradient over noisy copies of the input."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pellucid.methods.definition import Axiom, Passes
from pellucid.methods.finding import Finding
from pellucid.methods.registry import method
from pellucid.methods.wrappers import MOST, smooth
from pellucid.options.types import Samples, Tolerance
from pellucid.probe import Probe


def _gradient(probe: Probe) -> Finding:
    return Finding(probe.input_gradient())


def _passes(options: Mapping[str, Any]) -> Passes:
    samples = MOST if options["samples"] == "auto" else options["samples"]
    return Passes(samples, samples)


GRADIENTS: tuple[Axiom, ...] = ("dummy", "implementation invariance", "symmetry")
"""What the gradient at any copy has, and so every statistic of it; symmetry in expectation."""

sampled = partial(method, passes=_passes, reads="perturbed inputs", random=True, quick={"samples": 3})


@sampled("smooth-grad", paper="Smilkov et al. 2017, arXiv:1706.03825", promises=(*GRADIENTS, "linearity"))
def smooth_grad(
    probe: Probe, *, samples: Samples = 50, tolerance: Tolerance = 0.1, noise: float = 0.15
) -> Finding:
    r"""mean_n dS/dx(x + e_n), e_n ~ N(0, (noise * (max x - min x))^2); signed, with its standard error.

    The gradient of a deep network flickers from pixel to pixel. Its mean over many slightly noisy
    copies of the picture keeps what the copies agree on.

    Formula:
        M = \frac{1}{N} \sum_{n=1}^N \frac{\partial S}{\partial x}(x + e_n), \qquad
        e_n \sim \mathcal{N}\big(0, (\sigma (\max x - \min x))^2\big)

        $e_n$: noise, of copy $n$ of $N$.
        $\sigma$: `noise`, as a share of the image's range.
        $M$: the map.

    Args:
        probe: the evidence.
        samples: noisy copies, or "auto" to draw until the map has converged, up to 1000.
        tolerance: see `Tolerance`.
        noise: standard deviation as a share of each image's range (the paper: 0.1 to 0.2).

    Returns:
        (N, C, H, W), signed, in units of the score per unit of input, with its standard error.

    Cost:
        samples forward and backward, 1 forward of the image itself.

    Source:
        eq. 2.

    Strengths:
        Far less speckle than the gradient.
        Signed, with a standard error for every pixel: `samples="auto"` draws until it is small.

    Weaknesses:
        Explains the noisy copies, not the picture itself; with much noise another function.
        Still a slope, not a contribution.

    Pitfalls:
        The noise is a share of the image's range. An absolute deviation of 1, captum's default, or one
            divided by the range, as in a tutorial, is another method.
        Averaging magnitudes or squares instead of signed gradients is SmoothGrad-squared, PAIR's
            default.
        Clamping the noisy copies to [0, 1] biases the mean.

    See Also:
        saliency, smooth-grad-squared, var-grad

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "smooth-grad", target=1, samples=3)
        >>> torch.allclose(e.raw, w)
        True
    """
    return smooth(probe, _gradient, samples=samples, tolerance=tolerance, noise=noise, statistic="mean")


@sampled("smooth-grad-squared", paper="Hooker et al. 2018, arXiv:1806.10758", promises=GRADIENTS)
def smooth_grad_squared(
    probe: Probe, *, samples: Samples = 50, tolerance: Tolerance = 0.1, noise: float = 0.15
) -> Finding:
    r"""mean_n (dS/dx(x + e_n))^2: at least 0, with its standard error.

    The mean square of the gradient over noisy copies: strong wherever the slope is large, whatever its
    sign.

    Formula:
        M = \frac{1}{N} \sum_{n=1}^N \Big(\frac{\partial S}{\partial x}(x + e_n)\Big)^2, \qquad
        e_n \sim \mathcal{N}\big(0, (\sigma (\max x - \min x))^2\big)

        $e_n$: noise, of copy $n$ of $N$.
        $\sigma$: `noise`, as a share of the image's range.
        $M$: the map.

    Args:
        probe: the evidence.
        samples: noisy copies, or "auto" to draw until the map has converged, up to 1000.
        tolerance: see `Tolerance`.
        noise: standard deviation as a share of each image's range.

    Returns:
        (N, C, H, W), at least 0, in squares of the score per unit of input, with its standard error.

    Cost:
        samples forward and backward, 1 forward of the image itself.

    Source:
        section 3.

    Strengths:
        Did well where networks were retrained without the pixels that maps named (Hooker et al.).
        With a standard error.

    Weaknesses:
        No signs.
        Squares: a few pixels take nearly all of the map.

    Pitfalls:
        The sum of smooth-grad's square and var-grad: it holds noise as well as signal.

    See Also:
        smooth-grad, var-grad, saliency

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "smooth-grad-squared", target=1, samples=3)
        >>> torch.allclose(e.raw, w**2)
        True
    """
    return smooth(probe, _gradient, samples=samples, tolerance=tolerance, noise=noise, statistic="square")


@sampled("var-grad", paper="Adebayo et al. 2018, arXiv:1810.03307", promises=GRADIENTS)
def var_grad(
    probe: Probe, *, samples: Samples = 50, tolerance: Tolerance = 0.1, noise: float = 0.15
) -> Finding:
    r"""Var_n dS/dx(x + e_n): smooth-grad-squared minus the square of smooth-grad; with its standard error.

    How much the gradient varies among noisy copies of the picture: high where small changes turn the
    model's reasoning.

    Formula:
        M = \frac{1}{N} \sum_{n=1}^N \Big(\frac{\partial S}{\partial x}(x + e_n)\Big)^2
        - \Big(\frac{1}{N} \sum_{n=1}^N \frac{\partial S}{\partial x}(x + e_n)\Big)^2

        $e_n$: noise, of copy $n$ of $N$.
        $M$: the map.

    Args:
        probe: the evidence.
        samples: noisy copies, or "auto" to draw until the map has converged, up to 1000.
        tolerance: see `Tolerance`.
        noise: standard deviation as a share of each image's range.

    Returns:
        (N, C, H, W), at least 0, in squares of the score per unit of input, with its standard error.

    Cost:
        samples forward and backward, 1 forward of the image itself.

    Source:
        section 2.

    Strengths:
        Independent of the mean slope: of a linear model it is zero, exactly.
        With a standard error.

    Weaknesses:
        No signs, no unit that one could read as evidence.
        Says where the model is unsteady rather than what it rests on.

    Pitfalls:
        Computed as a difference of large numbers it can turn slightly negative, as captum's does.

    See Also:
        smooth-grad, smooth-grad-squared

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "var-grad", target=1, samples=3)
        >>> bool((e.raw < 1e-9).all())
        True
    """
    return smooth(probe, _gradient, samples=samples, tolerance=tolerance, noise=noise, statistic="variance")
