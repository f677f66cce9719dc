"""Integrated Grad-CAM: Grad-CAM along the way from a baseline to the image."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.paths import Quadrature, rule
from pellucid.methods.cam.form import cam
from pellucid.methods.definition import Passes
from pellucid.methods.path.integrated_gradients import NO_PATH
from pellucid.options.parts import Baseline
from pellucid.probe import LayerEvidence


@cam(
    "integrated-grad-cam",
    paper="Sattarzadeh et al. 2021, arXiv:2102.07805",
    gradient=False,
    passes=lambda options: Passes(options["steps"] + (1 if options["official"] else 2), options["steps"]),
    sums=False,
    quick={"steps": 3},
)
def integrated_grad_cam(
    at: LayerEvidence,
    *,
    steps: int = 50,
    baseline: Baseline = "zero",
    quadrature: Quadrature = "gauss-legendre",
    official: bool = False,
) -> Float[Tensor, "N h w"]:
    r"""Integral over t of ReLU(sum_k w_k (A_k - A_k(x'))), w_k = mean_ij dS/dA_k(i, j) at x' + t (x - x').

    Grad-CAM is asked not at the picture alone but all along the way from a baseline to it, and its maps
    are added up, each with the activations that have come in since the baseline.

    Formula:
        L = \int_0^1 \mathrm{ReLU}\Big(\sum_k w_k(t)\, \big(A_k(t) - A_k(0)\big)\Big)\, \mathrm{d}t,
        \qquad
        w_k(t) = \frac{1}{h w} \sum_{ij} \frac{\partial S}{\partial A_k(i, j)}

        $t$: where on the line from the baseline (0) to the picture (1) the model is asked.
        $A_k(t)$: channel k of the layer's activations there.
        $w_k(t)$: the mean of its gradient there.
        $L$: the map, of $h$ rows and $w$ columns.

    Args:
        at: the evidence.
        steps: points between the baseline and the image (paper: 50).
        baseline: x', where there is no evidence (paper: black).
        quadrature: how the points are placed and weighted.
        official: the authors' code instead: the mean of ordinary Grad-CAM maps at t = i / steps, i from 0,
            with A_k itself in place of its change. `quadrature` then has no say.

    Returns:
        (N, h, w), at least 0. As the ReLU stands inside the integral, signed=True changes nothing.

    Raises:
        InvalidValue: too few steps, a baseline that does not fit.

    Cost:
        1 forward of the image and 1 of the baseline, `steps` forward and backward to the layer.

    Source:
        the paper's integral. Its sum over points is quadrature="right"; the authors' code leaves A_k(x') out.

    Strengths:
        Sees channels whose gradient is saturated at the picture itself.
        More steps hardly change it.

    Weaknesses:
        Fifty times as dear as Grad-CAM, for a map that often looks the same.
        Not complete: nothing sums to the score.

    Pitfalls:
        The authors' code averages ordinary Grad-CAMs and leaves the baseline's activations out:
            `official=true`.

    See Also:
        grad-cam, integrated-gradients

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "integrated-grad-cam", steps=4)
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    probe, x = at.probe, at.probe.inputs
    start = probe.baseline(baseline)
    probe.note(NO_PATH, (x == start).flatten(1).all(1) & (not official))
    nodes, weights = (values.to(x) for values in rule("left" if official else quadrature, steps))
    before = torch.zeros_like(at.A) if official else at.of(probe.perturbed(start)).A  # A_k(x')

    def maps(first: int, last: int) -> Tensor:
        points = torch.lerp(start[:, None], x[:, None], nodes[first:last, None, None, None])
        seen = at.of(probe.perturbed(points.flatten(0, 1)))
        A, G = (evidence.unflatten(0, points.shape[:2]) for evidence in (seen.A, seen.G))  # (N, B, K, h, w)
        found = (G.mean((3, 4), keepdim=True) * (A - before[:, None])).sum(2).relu()
        return torch.einsum("b,nbhw->nhw", weights[first:last], found.to(x))

    total = probe.sum_over(steps, maps)
    silent = (total == 0).flatten(1).all(1) & (x != start).flatten(1).any(1)
    probe.note(
        f"Nowhere from the baseline to the image does layer {at.name} speak for this class: the map is "
        "empty.",
        silent,
    )
    return total
