"""Grad-CAM++."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence


@cam("grad-cam++", paper="Chattopadhay et al. 2018, arXiv:1710.11063")
def grad_cam_plus_plus(
    at: LayerEvidence, *, eps: float = 0.0, normalize_alphas: bool = False
) -> Float[Tensor, "N K"]:
    r"""ReLU(sum_k w_k A_k), w_k = sum_ij a_ij ReLU(g_ij), a = g^2 / (2 g^2 + g^3 sum_ab A_k(a, b)).

    Grad-CAM with a mean that is weighed position by position, so that several small instances of a
    class count like one large one.

    Where the denominator is 0, a is 0. The paper's exp(S) is a positive factor common to all channels,
    and left out: it overflows float32 for S > 88.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \quad
        w_k = \sum_{ij} a^k_{ij}\, \mathrm{ReLU}(g^k_{ij}), \quad
        a^k_{ij} = \frac{(g^k_{ij})^2}{2 (g^k_{ij})^2 + (g^k_{ij})^3 \sum_{ab} A_k(a, b)}

        $w_k$: the weight of channel k.
        $g^k_{ij}$: the gradient of S with respect to channel k at row i and column j; rows $a$ and
            columns $b$ likewise.
        $a^k_{ij}$: the weight of that position, 0 where the denominator is.
        $L$: the map.

    Args:
        at: the evidence at the layer.
        eps: added to the denominator. It is not scale-free: 1e-6, pytorch-grad-cam's, is larger than 2 g^2
            on many networks and suppresses their weak channels.
        normalize_alphas: divides each channel's $a^k_{ij}$ by their sum, as the official code does.

    Returns:
        (N, h, w), at least 0, in units of the score.

    Cost:
        1 forward, 1 backward to the layer.

    Source:
        eq. 19. Assumes A >= 0: layers with negative activations get a warning.

    Strengths:
        Covers several instances of an object, and more of each, where Grad-CAM shows one part.
        As cheap as Grad-CAM.

    Weaknesses:
        Where activations are at least 0, so are its weights: a channel that speaks against the class is
            left out, not subtracted.
        It is derived for such activations and for the exponential of the score: behind a SiLU or GELU
            weights can turn negative, and a warning says so.

    Pitfalls:
        Gradients of the layer's weights in place of those of its activations, and no weights of positions, as
            in a widespread tutorial, give the plain sum of the channels.
        pytorch-grad-cam's 1e-6 in the denominator is not scale-free: at the gradients of a ResNet50 it
            halves weights and makes small ones 50 times too small (a test shows it).
        torch-cam's masked division changes a copy, so it never divides (a test shows it).

    See Also:
        grad-cam, layer-cam, score-cam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "grad-cam++")
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    A, G = at.A, at.G
    g2, denominator = G**2, 2 * G**2 + G**3 * A.sum((2, 3), keepdim=True) + eps
    at.probe.note(
        f"Grad-CAM++ assumes activations >= 0; those at {at.name} make some of its weights negative. "
        "Choose a layer behind a ReLU, or another method.",
        ((denominator < 0) & (G > 0)).flatten(1).any(1),  # elsewhere the weight is 0 whatever its share
    )
    safe = torch.where(denominator == 0, torch.ones_like(denominator), denominator)
    alpha = torch.where((denominator == 0) | (G == 0), torch.zeros_like(G), g2 / safe)
    if normalize_alphas:
        alpha = alpha * (G > 0)
        total = alpha.sum((2, 3), keepdim=True)
        alpha = alpha / torch.where(total == 0, torch.ones_like(total), total)
    return (alpha * G.relu()).sum((2, 3))
