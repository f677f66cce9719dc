"""What can be put around any method: averaging its maps over noisy or flipped and scaled copies.

Copies of all images are made and run chunk by chunk, and only running sums are held. Each copy draws its
numbers from its own generator, so the result does not depend on the chunks, and all images of a batch get
the same noise, so it does not depend on the batch either.
"""

from collections import Counter
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pellucid.engine.run import in_chunks
from pellucid.errors import InvalidValue
from pellucid.methods.finding import Finding
from pellucid.probe import Probe

Formula = Callable[[Probe], Finding]
Statistic = Literal["mean", "square", "variance"]

COPIES = tuple((factor, flip) for factor in (1.0, 0.9, 1.1) for flip in (False, True))
"""The copies of `augment`: pixel values scaled, and mirrored left to right. The first is the image itself."""


def smooth(
    probe: Probe, formula: Formula, *, samples: int, noise: float, statistic: Statistic = "mean"
) -> Finding:
    """A statistic of a method's maps over copies x + e, e ~ N(0, (noise * (max x - min x))^2).

    The range is each image's own, in the space of the model's input; copies are not clamped. `mean` is
    SmoothGrad's, `square` the mean of squares, `variance` the (biased) variance.

    Returns:
        The statistic with its standard error, estimated from the same copies: close for the mean, somewhat
        low for squares and variances where few copies carry large gradients.

    Raises:
        InvalidValue: fewer than one sample, or noise below zero.

    Cost:
        `samples` times the method's passes, and one forward pass.

    Source:
        Smilkov et al. 2017, arXiv:1706.03825; squares: Hooker et al. 2018, arXiv:1806.10758; variance:
        Adebayo et al. 2018, arXiv:1810.03307.
    """
    if samples < 1:
        raise InvalidValue(f"samples must be at least 1; got {samples}.")
    if noise < 0:
        raise InvalidValue(f"noise must be at least 0, a share of the input's range; got {noise}.")
    (m1, m2, m3, m4), layers, said = probe.once(
        (moments, formula, samples, noise), lambda: moments(probe, formula, samples, noise)
    )
    for text, image in said:
        probe.note(text, torch.arange(len(probe.inputs)) == image)
    variance = (m2 - m1**2).clamp(min=0)
    value, spread = {  # the statistic, and the variance of what it is the mean of
        "mean": (m1, variance),
        "square": (m2, m4 - m2**2),
        "variance": (variance, m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4 - variance**2),
    }[statistic]
    stderr = (spread.clamp(min=0) / (samples - 1)).sqrt() if samples > 1 else None
    to = probe.inputs.dtype
    return Finding(value.to(to), None if stderr is None else stderr.to(to), layers=layers)


def moments(
    probe: Probe, formula: Formula, samples: int, noise: float
) -> tuple[tuple[Tensor, ...], tuple[str, ...], list[tuple[str, int]]]:
    """The means of a method's maps over noisy copies, of their squares, cubes and fourth powers, in float64.

    With them, the names of the layers the method read, and what it noted on every copy of an image.
    """
    x = probe.inputs
    sigma = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    sums: list[Tensor] = []
    layers: tuple[str, ...] = ()
    said: Counter[tuple[str, int]] = Counter()

    def step(start: int, stop: int) -> None:
        nonlocal sums, layers
        draws = [torch.randn(x.shape[1:], generator=probe.generator(i)) for i in range(start, stop)]
        copies = x[:, None] + sigma[:, None] * torch.stack(draws).to(x)  # (N, B, C, H, W)
        noisy = probe.altered(copies.flatten(0, 1))
        found = formula(noisy)
        said.update((text, i // (stop - start)) for text, about in noisy.notes.items() for i in about)
        maps = found.map.unflatten(0, (len(x), -1)).double()  # (N, B, ...)
        powers = [(maps**k).sum(1) for k in range(1, 5)]
        sums = [a + b for a, b in zip(sums, powers, strict=True)] if sums else powers
        layers = found.layers

    in_chunks(samples, max(1, probe.limit // len(x)), step)
    always = [note for note, times in said.items() if times == samples]
    return tuple(total / samples for total in sums), layers, always


def augment(probe: Probe, formula: Formula) -> Finding:
    """The mean of a method's maps over six copies: scaled by 0.9, 1 and 1.1, each also mirrored.

    Maps of mirrored copies are mirrored back. Each map keeps its own scale: nothing is normalised.

    Cost:
        Six times the method's passes.

    Source:
        pytorch-grad-cam's `aug_smooth`.
    """
    x = probe.inputs
    total = formula(probe)  # the copy that is the image itself
    value = total.map.clone()
    variance = None if total.stderr is None else total.stderr**2

    def step(start: int, stop: int) -> None:
        nonlocal value, variance
        copies = [_flipped(x * factor, flip) for factor, flip in COPIES[1 + start : 1 + stop]]
        found = formula(probe.altered(torch.stack(copies, 1).flatten(0, 1)))
        for i, (_, flip) in enumerate(COPIES[1 + start : 1 + stop]):
            value = value + _flipped(found.map[i :: stop - start], flip)
            if variance is not None and found.stderr is not None:
                variance = variance + _flipped(found.stderr[i :: stop - start], flip) ** 2

    in_chunks(len(COPIES) - 1, max(1, probe.limit // len(x)), step)
    stderr = None if variance is None else variance.sqrt() / len(COPIES)
    return Finding(value / len(COPIES), stderr, layers=total.layers)


def _flipped(x: Tensor, flip: bool) -> Tensor:
    return x.flip(-1) if flip else x
