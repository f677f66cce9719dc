"""Guided Grad-CAM."""

from torch.nn.functional import interpolate

from pellucid.engine.guided import Guided
from pellucid.methods.finding import Finding
from pellucid.methods.registry import get_method, method
from pellucid.methods.relevance.guided_backprop import through
from pellucid.options.types import LayerOption, LayoutOption
from pellucid.probe import Probe


@method(
    "guided-grad-cam",
    paper="Selvaraju et al. 2017, arXiv:1610.02391",
    passes=(2, 2),
    reads="layers",
)
def guided_grad_cam(
    probe: Probe, *, layer: LayerOption = "auto", layout: LayoutOption = None, signed: bool = False
) -> Finding:
    r"""Guided backprop times Grad-CAM, which is first resized to the input's resolution.

    Guided backprop's fine lines where Grad-CAM says that the class is.

    Formula:
        M = G \odot u(L)

        $G$: guided backprop's map.
        $L$: Grad-CAM's map, at least 0.
        $u$: enlargement to the input's size, bilinear.
        $\odot$: the product pixel by pixel.
        $M$: the map.

    Args:
        probe: the evidence.
        layer: whose maps Grad-CAM weighs; of several the mean of their maps, each scaled to 1.
        layout: how the named layer holds its grid, where that is not proven.
        signed: whether Grad-CAM's negative evidence is kept.

    Returns:
        (N, C, H, W), signed, zero where Grad-CAM is.

    Raises:
        ModelError: the layer holds no grid.

    Cost:
        2 forward, 2 backward: Grad-CAM's are plain passes, which others share, and so are guided backprop's.

    Source:
        section 3.2: bilinear (align_corners=False), times elementwise. Neither factor is scaled first.

    Strengths:
        Fine, and class-specific as far as Grad-CAM is.

    Weaknesses:
        The fine lines are guided backprop's, which hardly depend on the class: sharpness is not
            evidence.

    Pitfalls:
        captum enlarges Grad-CAM by repetition of cells, others bilinearly.

    See Also:
        guided-backprop, grad-cam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "guided-grad-cam")
        >>> e.raw.shape
        torch.Size([1, 3, 8, 8])
    """
    cam = get_method("grad-cam")(probe, layer=layer, layout=layout, signed=signed)
    size = probe.inputs.shape[-2:]
    resized = interpolate(cam.map[:, None], size, mode="bilinear", align_corners=False)
    return Finding(through(probe, Guided) * resized, layers=cam.layers)
