"""Opti-CAM: the mixture of channels through which the model sees its class best, found by gradient ascent."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.cam.form import cam
from pellucid.methods.cam.score_cam import enlarged
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.probe import LayerEvidence

PATIENCE = 10
"""An image's search ends when so many steps brought less than `MIN_IMPROVEMENT` of all that was gained."""
MIN_IMPROVEMENT = 1e-3


@cam(
    "opti-cam",
    paper="Zhang et al. 2024, arXiv:2301.07002",
    gradient=False,
    passes=lambda options: Passes(options["steps"] + 2, options["steps"]),
    quick={"steps": 3},
)
def opti_cam(at: LayerEvidence, *, steps: int = 100, learning_rate: float = 0.1) -> Finding:
    r"""sum_k softmax(u)_k ReLU(A_k), whose mask M makes S(x * M) largest: u is found by gradient ascent.

    Which mixture of feature maps, used as a mask, makes the score highest? The weights of the channels
    are found by gradient ascent, and the map is that mixture.

    The search begins with all channels alike, follows Adam, and keeps the best u it has met. It ends
    early once 10 steps bring less than a thousandth of all that was gained.

    Formula:
        L = \sum_k \mathrm{softmax}(u)_k\, \mathrm{ReLU}(A_k), \qquad u = \arg\max_u S(x \odot M)

        $u$: one number for each channel, what is searched.
        $M$: the map enlarged and scaled to [0, 1].
        $\odot$: the product pixel by pixel.
        $L$: the map.

    Args:
        at: the evidence.
        steps: the most steps of Adam (the authors' code: 100, their script: 50).
        learning_rate: Adam's (the authors' code: 0.01, their script: 0.1).

    Returns:
        (N, h, w), at least 0; in `details` the `weights` softmax(u) and `masked_score`, S(x * M).

    Raises:
        InvalidValue: fewer than one step, or a learning rate that is not above 0.

    Cost:
        2 + steps forward, steps backward to the input, at most.

    Source:
        the paper's method with its plain objective. The authors' code keeps the last u instead of the best.

    Strengths:
        Optimises what metrics such as average drop measure.
        The map is a mask that the model was really shown; `masked_score` tells what it said.

    Weaknesses:
        A hundred forward and backward passes for each picture.
        A mask that scores high need not be where the model looks: the search follows the model off the
            photographs.

    Pitfalls:
        The authors' code keeps the last mixture; here the best one met is kept.

    See Also:
        score-cam, extremal-perturbation, average-drop

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "opti-cam", steps=3)
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    if steps < 1:
        raise InvalidValue(f"steps must be at least 1; got {steps}.")
    if learning_rate <= 0:
        raise InvalidValue(f"learning_rate must be above 0; got {learning_rate}.")
    probe, x = at.probe, at.probe.inputs
    A = at.A.relu().to(torch.promote_types(at.A.dtype, torch.float32))
    u = A.new_zeros(A.shape[:2]).requires_grad_()
    adam = torch.optim.Adam([u], lr=learning_rate, maximize=True)
    best = u.detach().clone()
    tops = [torch.full_like(probe.score, -torch.inf)]  # the best score of each image, before each step
    searching = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for step in range(steps + 1):
        masks = enlarged(weighted(u, A).sum(1), x)[:, None]
        seen = probe.perturbed(x * masks.detach().to(x))
        try:
            slope = seen.input_gradient() if step < steps else None  # of the same pass as the score
            score = seen.score
        except InvalidValue:
            if step == 0:
                raise
            probe.note("The search for a mask met a score that is not finite and ended there.")
            break
        better = searching & (score > tops[-1])
        best = u.detach().where(better[:, None], best)
        tops.append(score.where(better, tops[-1]))
        if step >= PATIENCE:
            searching &= tops[-1] - tops[-1 - PATIENCE] > MIN_IMPROVEMENT * (tops[-1] - tops[1])
        if slope is None or not searching.any():
            break
        lost = searching & ~slope.isfinite().flatten(1).all(1)
        probe.note("The search for a mask met a gradient that is not finite and ended there.", lost)
        searching &= ~lost
        pull = (x * slope).sum(1, keepdim=True).where(searching[:, None, None, None], 0.0)
        (u.grad,) = torch.autograd.grad((masks * pull).sum(), u)
        with u.device:  # or PyTorch 2.6 keeps Adam's counter on the process's default device
            adam.step()
    weights = best.softmax(1)
    return Finding(weighted(best, A).to(at.A), details={"weights": weights, "masked_score": tops[-1]})


def weighted(u: Float[Tensor, "N K"], A: Float[Tensor, "N K h w"]) -> Float[Tensor, "N K h w"]:
    """softmax(u)_k A_k."""
    return u.softmax(1)[..., None, None] * A
