"""Ablation-CAM."""

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.cam.form import cam
from pellucid.probe import LayerEvidence, of_each


@cam(
    "ablation-cam",
    paper="Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360",
    gradient=False,
    passes=(1, 0, 0, 1),
)
def ablation_cam(at: LayerEvidence) -> Float[Tensor, "N K"]:
    r"""ReLU(sum_k w_k A_k), w_k = (S - S_k) / |S|, S_k the score with A_k set to 0: no gradient.

    Switch one feature map of a layer off, see how much the score falls, and weigh that map by its fall.
    Whoever distrusts gradients gets the same kind of map without one.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad w_k = \frac{S - S_k}{|S|}

        $w_k$: the share of the score that is lost without channel k.
        $S_k$: the score with channel k set to 0.
        $L$: the map.

    Returns:
        (N, h, w), at least 0, in shares of the score per activation; in units of the score per activation
        where the score is so close to 0 that it has no shares.

    Cost:
        1 forward, and the part of the model behind the layer once per channel.

    Source:
        eq. 4, with |S| for S: a negative score would turn every weight around.

    Strengths:
        No gradient, so nothing saturates and no slope misleads.
        Only the part of the model behind the layer runs for each channel: 1280 channels of
            EfficientNet-Lite0 took 0.38 s where pytorch-grad-cam took 61.5 s
            (benchmarks/results/perturbation.md).

    Weaknesses:
        One channel at a time: what two channels say twice, neither loses.
        As coarse as its layer.

    Pitfalls:
        pytorch-grad-cam writes the smallest activation minus 1e7 instead of 0 where activations are
            negative; the paper says 0.
        Divided by a negative score every weight would turn around: here it is its magnitude that
            divides.

    See Also:
        score-cam, grad-cam, occlusion

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "ablation-cam", signed=True)
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    S = at.probe.score  # (N,)
    drops = S[:, None] - at.probe.once(("ablated", at.name), lambda: ablated(at))  # (N, K)
    nil = S.abs() <= torch.finfo(S.dtype).eps ** 0.5 * drops.abs().amax(1)
    at.probe.note("The score is close to 0: channels weigh what they add to it, not their share of it.", nil)
    return drops / torch.where(nil, torch.ones_like(S), S.abs())[:, None]


def ablated(at: LayerEvidence) -> Float[Tensor, "N K"]:
    """The score of each image with one channel of the layer set to 0, for every channel."""

    def zero(maps: Tensor, start: int, stop: int) -> None:
        maps[range(stop - start), range(start, stop)] = 0

    channels = at.A.shape[1]
    return torch.stack(of_each(at.probe, lambda _, image: at.scores(image, zero, channels)))
