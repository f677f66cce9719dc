"""SS-CAM: Score-CAM with its masks smoothed by noise."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.cam.form import cam
from pellucid.methods.cam.score_cam import constant, enlarged
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding, each
from pellucid.options.types import Samples, Tolerance
from pellucid.probe import LayerEvidence, Probe
from pellucid.probe.convergence import Estimate
from pellucid.probe.sampling import sample

MOST = 35
"""Where samples="auto" gives up: the paper's number of noisy masks per channel."""


def _passes(options: Mapping[str, Any]) -> Passes:
    return Passes(1, 0, MOST if options["samples"] == "auto" else options["samples"])


@cam(
    "ss-cam",
    paper="Wang et al. 2020, arXiv:2006.14255",
    gradient=False,
    passes=_passes,
    output="probability",
    random=True,
    quick={"samples": 2},
)
def ss_cam(
    at: LayerEvidence, *, samples: Samples = 35, tolerance: Tolerance = 0.1, noise: float = 2.0
) -> Finding:
    r"""ReLU(sum_k w_k A_k), w_k = 1/N sum_i S(x * (M_k + e_i)), e_i ~ N(0, noise^2) at each pixel.

    Score-CAM with noise: each mask is disturbed many times, and a channel's weight is the mean score.

    With its noise a mask is not clamped. Every mask of every channel has noise of its own, so that the
    errors of channels do not add up.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_k w_k A_k\Big), \qquad
        w_k = \frac{1}{N} \sum_{n=1}^N S\big(x \odot (M_k + e_n)\big), \quad e_n \sim \mathcal{N}(0,
        \sigma^2)

        $M_k$: channel k enlarged and scaled to [0, 1].
        $e_n$: noise at each pixel, of the standard deviation $\sigma$, the option `noise`.
        $N$: the number of samples, $n$ the one at hand.
        $w_k$: the weight of channel k.
        $\odot$: the product pixel by pixel.
        $L$: the map.

    Args:
        at: the evidence.
        samples: noisy masks N of each channel (paper: 35), or "auto" to draw until the map has converged, up
            to 35.
        tolerance: see `Tolerance`.
        noise: the standard deviation of the noise, in units of the mask's own range (paper: 2).

    Returns:
        (N, h, w), at least 0, with the standard error of the sum for one layer and more than one sample. A
        constant channel has no mask and the weight 0.

    Raises:
        InvalidValue: noise below 0, or a tolerance outside (0, 1).

    Cost:
        1 forward, and `samples` per channel.

    Source:
        the first of the paper's two, which smooths the feature maps. The authors' code does not scale the
        enlarged maps it adds noise to, and their noise has the standard deviation (2 / the map's range)^2;
        torch-cam scales the maps before it enlarges them, and takes a softmax over channels.

    Strengths:
        Comes with a standard error, so that one knows how many samples are enough.
        No gradient.

    Weaknesses:
        35 passes for each channel: the dearest method here.
        Noise with a deviation of 2 on masks between 0 and 1 leaves little of the picture.

    Pitfalls:
        The authors' code does not scale the enlarged maps it adds noise to; torch-cam scales before it
            enlarges, and takes a softmax over channels.

    See Also:
        score-cam, is-cam, smooth-grad

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "ss-cam", samples=2)
        >>> e.raw.shape, e.stderr.shape
        (torch.Size([1, 6, 6]), torch.Size([1, 1, 8, 8]))
    """
    if noise < 0:
        raise InvalidValue(f"noise must be at least 0, in units of the mask's range; got {noise}.")

    def one(probe: Probe, image: int) -> Finding:
        return _sampled_weights(at.A[image], probe, at.name, samples, tolerance, noise)

    return each(at.probe, one)


def _sampled_weights(
    A: Float[Tensor, "K h w"], probe: Probe, layer: str, samples: int | str, tolerance: float, noise: float
) -> Finding:
    """The weights of one image's channels; copy number n * K + k is channel k with its noise number n."""
    K, x, maps = len(A), probe.inputs, A.double().cpu()
    most = K * (MOST if samples == "auto" else int(samples))

    def copies(start: int, stop: int) -> Tensor:
        masks = enlarged(A[[n % K for n in range(start, stop)]], x)
        draws = [
            torch.randn(x.shape[-2:], generator=probe.generator(n), dtype=torch.float32, device="cpu")
            for n in range(start, stop)
        ]
        return x * (masks + noise * torch.stack(draws).to(x))[:, None]

    def estimate(scores: Float[Tensor, " S"]) -> Estimate:
        rounds = in_rounds(scores, K)
        weights, stderr = channel_weights(rounds, maps)
        return Estimate(
            torch.einsum("k,khw->hw", weights, maps),
            torch.einsum("k,khw->hw", stderr**2, maps**2).sqrt(),
            lambda: (
                torch.einsum("k,khw->hw", channel_weights(rounds[::2], maps)[0], maps),
                torch.einsum("k,khw->hw", channel_weights(rounds[1::2], maps)[0], maps),
            ),
        )

    found = sample(
        probe,
        copies,
        estimate,
        samples="auto" if samples == "auto" else most,
        tolerance=tolerance,
        most=most,
        key=("ss-cam", layer, noise),
        least=2 * K,
    )
    weights, stderr = channel_weights(in_rounds(found.scores, K), maps)
    count = len(found.scores) // K
    return Finding(
        weights[None].to(A),
        found.widened * stderr[None].to(A) if count > 1 else None,
        {"samples": torch.tensor([count], dtype=torch.long, device="cpu")},
    )


def in_rounds(scores: Float[Tensor, " S"], K: int) -> Float[Tensor, "rounds K"]:
    """Scores, one round of all channels a row; what the last round lacks is NaN."""
    return torch.cat([scores, scores.new_full((-len(scores) % K,), torch.nan)]).view(-1, K)


def channel_weights(
    rounds: Float[Tensor, "rounds K"], maps: Float[Tensor, "K h w"]
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Each channel's mean score and its standard error, NaN after one round; 0 for a constant channel."""
    counts = rounds.isfinite().sum(0)
    mean = rounds.nanmean(0)
    stderr = (((rounds - mean) ** 2).nansum(0) / (counts - 1) / counts).sqrt()
    flat = constant(maps)
    return mean.masked_fill(flat, 0.0), stderr.masked_fill(flat, 0.0)
