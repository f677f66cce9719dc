"""Information curves: what the model says of a picture that is blurred but for the pixels a map ranks first.

What is shown is measured by how many bytes the picture takes, compressed without loss.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.pixels import per_pixel
from pellucid.metrics.removal import pixel_ranks, tie_breaker
from pellucid.probe import Probe, of_each

SHARES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)
"""Of the pixels that are shown, those of the authors' code."""
PASSES = len(SHARES) + 2
"""Of one curve: each share, nothing but the seeds of the blur, and the picture."""
_SEEDED, _SEEDS = 0.01, 1 << 44
_POINTS = 1001


def information_curves(
    name: str,
    probe: Probe,
    asked: Probe,
    attribution: Float[Tensor, "N D H W"],
    scaled: Callable[[Float[Tensor, " S"]], Float[Tensor, " S"]],
) -> Measurement:
    """The area under the scores over the information shown, both in [0, 1].

    The picture is blurred by linear interpolation between the pixels that are shown: 1 % of them at random,
    the four corners, and those that the map ranks first. The curve never falls: each share has the best score
    of all up to it.

    Args:
        name: the metric's, for errors.
        probe: the evidence, which is told of images without a value.
        asked: whose scores are read.
        attribution: the maps.
        scaled: the scores of one image in [0, 1], those of the blurred picture first and of the picture last.

    Cost:
        15 forward.
    """
    values = per_pixel(attribution)
    for image, error in probe.failures.items():
        asked.failures.setdefault(image, error)

    def one(asked: Probe, image: int) -> Tensor:
        x = asked.inputs[0]
        ranks = pixel_ranks(values[image], tie_breaker(asked))
        masks = [_seeds(asked, ranks)]
        masks += [masks[0] | (ranks < count) for count in _counts(ranks.numel())]
        shown = [*(blurred(x, mask) for mask in masks), x]
        sizes = torch.tensor(_sizes(asked, shown), dtype=torch.float64, device="cpu")
        if sizes[-1] <= sizes[0]:
            raise undefined(name, "its picture takes no more bytes than the blurred one")
        information = ((sizes - sizes[0]) / (sizes[-1] - sizes[0])).clamp(0, 1)
        scores = asked.score_perturbed(lambda start, stop: torch.stack(shown[start:stop]), 0, PASSES)
        best = scaled(scores).cummax(0).values
        return interpolated(information, best)

    curves = torch.stack(of_each(asked, one))
    for image, error in asked.failures.items():
        if image not in probe.failures:
            probe.fail(image, error)
    grid = torch.linspace(0, 1, _POINTS, dtype=torch.float64, device="cpu")
    areas = torch.trapezoid(curves, grid, dim=1)
    return Measurement(areas, {"curve": curves, "information": grid.expand_as(curves)})


def interpolated(x: Float[Tensor, " S"], y: Float[Tensor, " S"]) -> Float[Tensor, " points"]:
    """The line through points, at 1001 places from 0 to 1."""
    order = x.argsort(stable=True)
    grid = np.linspace(0, 1, _POINTS)
    return torch.from_numpy(np.interp(grid, x[order].numpy(), y[order].numpy()))


def blurred(x: Float[Tensor, "C H W"], shown: Bool[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """The picture that its shown pixels give by linear interpolation between them; corners are always shown.

    Example:
        >>> corners = torch.zeros(3, 3, dtype=torch.bool)
        >>> blurred(torch.arange(9.0).view(1, 3, 3), corners)[0, 1]
        tensor([3., 4., 5.])
    """
    from scipy.interpolate import LinearNDInterpolator

    known = shown.cpu().numpy().copy()
    known[np.ix_([0, -1], [0, -1])] = True
    if known.all():
        return x.clone()
    pixels = x.detach().double().cpu().numpy().transpose(1, 2, 0)
    filled = pixels.copy()
    between = LinearNDInterpolator(np.argwhere(known), pixels[known], fill_value=np.nan)
    found = between(np.argwhere(~known))
    filled[~known] = np.where(np.isnan(found), pixels.mean((0, 1)), found)
    return torch.from_numpy(filled.transpose(2, 0, 1).copy()).to(x)


def _counts(pixels: int) -> list[int]:
    """How many pixels are at least as high as the quantile of each share."""
    return [pixels - int(np.ceil((pixels - 1) * (1 - share))) for share in SHARES]


def _seeds(probe: Probe, ranks: Int[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """The pixels, 1 in 100, that are shown in every picture."""
    source, count = probe.generator(_SEEDS), int(ranks.numel() * _SEEDED)
    mask = torch.zeros(ranks.numel(), dtype=torch.bool, device="cpu")
    mask[torch.randperm(ranks.numel(), generator=source, dtype=torch.long, device="cpu")[:count]] = True
    return mask.view_as(ranks)


def _sizes(probe: Probe, inputs: list[Tensor]) -> list[int]:
    """The bytes of inputs as pictures of 8 bits, by default over the range of the last one."""
    if probe.model.preprocess is not None and inputs[0].shape[0] == 3:
        pictures = probe.model.pictures(torch.stack(inputs))
        return [_compressed(np.asarray(picture.rgb)) for picture in pictures]
    low, high = inputs[-1].min(), inputs[-1].max()
    scale = 255 / (high - low if high > low else 1)
    pixels = [((x - low) * scale).round().clamp(0, 255).to(torch.uint8).cpu().numpy() for x in inputs]
    if len(pixels[0]) == 3:
        return [_compressed(planes.transpose(1, 2, 0)) for planes in pixels]
    return [sum(map(_compressed, planes)) for planes in pixels]


def _compressed(pixels: Any) -> int:
    """The bytes of a picture as lossless WebP."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="webp", lossless=True, quality=100)
    return len(file.getvalue())
