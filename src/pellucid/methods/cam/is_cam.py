"""IS-CAM: Score-CAM integrated over the strength of its masks."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.cam.form import cam
from pellucid.methods.cam.score_cam import constant, enlarged
from pellucid.methods.definition import Passes
from pellucid.probe import LayerEvidence, Probe, of_each
from pellucid.probe.screening import ScoreUse, screened


@cam(
    "is-cam",
    paper="Naidu et al. 2020, arXiv:2010.03023",
    gradient=False,
    passes=lambda options: Passes(1, 0, options["steps"]),
    output="probability",
    quick={"steps": 2},
)
def is_cam(at: LayerEvidence, *, steps: int = 10) -> Float[Tensor, "N K"]:
    r"""ReLU(sum_k w_k A_k), w_k = 1/N sum_i S(x * M_k * i/N): Score-CAM's masks, from faint to full.

    Score-CAM with each mask asked at several strengths, from faint to full, so that a channel's weight
    is a mean over the way instead of one score.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad w_k = \frac{1}{N} \sum_{n=1}^N S\Big(x \odot
        \frac{n}{N} M_k\Big)

        $M_k$: channel k enlarged and scaled to [0, 1].
        $w_k$: the weight of channel k.
        $N$: the number of strengths, $n$ the one at hand.
        $\odot$: the product pixel by pixel.
        $L$: the map.

    Args:
        at: the evidence.
        steps: N, strengths of each mask (paper: 10); 1 gives Score-CAM.

    Returns:
        (N, h, w), at least 0. A constant channel has no mask and the weight 0.

    Raises:
        InvalidValue: fewer than one step.

    Cost:
        1 forward, and `steps` per channel.

    Source:
        the paper's integral as a sum. torch-cam adds the strengths up as it goes, so that its last mask is
        5.5 times the channel's own, and takes a softmax over channels.

    Strengths:
        No gradient.
        Weights depend less on how one masked picture happens to score.

    Weaknesses:
        Ten passes for each channel: minutes on a CPU.
        Faint pictures look like nothing that the model was trained on.

    Pitfalls:
        torch-cam adds the strengths up as it goes, so that its last mask is 5.5 times the channel's
            own, and takes a softmax over channels.

    See Also:
        score-cam, ss-cam, group-cam

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "is-cam", steps=2)
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    if steps < 1:
        raise InvalidValue(f"steps must be at least 1; got {steps}.")
    weights = of_each(at.probe, lambda probe, image: _weights(at, probe, image, steps))
    return torch.stack(weights).to(at.A)


def _weights(at: LayerEvidence, probe: Probe, image: int, steps: int) -> Float[Tensor, " K"]:
    """The weights of one image's channels; copies number k * steps to (k + 1) * steps are channel k's."""
    A = at.A[image]
    maps = A.double().cpu()

    def copies(start: int, stop: int) -> Tensor:
        first = start // steps
        numbers = torch.arange(start, stop, device=A.device, dtype=torch.long)
        masks = enlarged(A[first : -(-stop // steps)], probe.inputs)[numbers // steps - first]
        strengths = (numbers % steps + 1).to(probe.inputs) / steps
        return probe.inputs * (masks * strengths[:, None, None])[:, None]

    use = ScoreUse(
        map=lambda scores: torch.einsum("k,khw->hw", scores.view(-1, steps).mean(1), maps),
        variance=lambda variances: torch.einsum(
            "k,khw->hw", variances.view(-1, steps).sum(1) / steps**2, maps**2
        ),
        max_effect=maps.flatten(1).abs().amax(1).repeat_interleave(steps) / steps,
    )
    scores = screened(probe, copies, use, key=("is-cam", at.name, steps))
    return scores.view(-1, steps).mean(1).masked_fill(constant(maps), 0.0)
