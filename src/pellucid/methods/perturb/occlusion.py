"""Occlusion: what the score loses where a window is hidden."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding, each
from pellucid.methods.perturbation import perturbation
from pellucid.options.parts import Baseline, same
from pellucid.options.types import Size
from pellucid.probe import Probe
from pellucid.probe.screening import ScoreUse, screened


def _passes(options: Mapping[str, Any]) -> Passes:
    """For an input of 224 x 224 pixels."""
    return Passes(len(_starts(224, *_sizes(options["window"], options["stride"], 224, 224))) ** 2)


@perturbation(
    "occlusion",
    paper="Zeiler & Fergus 2014, arXiv:1311.2901",
    passes=_passes,
    promises=("implementation invariance", "linearity"),
    quick={"window": 20, "stride": 20},
)
def occlusion(
    probe: Probe, *, window: Size = "auto", stride: Size = "auto", baseline: Baseline = "zero"
) -> Finding:
    r"""A_ij = mean over windows that cover (i, j) of S(x) - S(x with the window hidden).

    Slide a window over the picture, and see how much the score falls where it hides something.

    Windows lie a stride apart, and the last ones end with the image, so that every pixel is covered.

    Formula:
        M_{ij} = \frac{1}{|\Omega_{ij}|} \sum_{\omega \in \Omega_{ij}} \big(S(x) - S(x_{\setminus
        \omega})\big)

        $\Omega_{ij}$: the windows that cover the pixel in row i and column j.
        $\omega$: a window.
        $x_{\setminus \omega}$: the picture with the window hidden.
        $M$: the map.

    Args:
        probe: the evidence.
        window: side of the hidden square, in pixels of the input; at most the input's. "auto" is 32, and on
            inputs below 224 pixels as large a share of them: 4 on 28 x 28.
        stride: pixels between windows; "auto" is a quarter of an "auto" window, else 8.
        baseline: what shows in the window.

    Returns:
        (N, H, W), signed, in units of the score.

    Raises:
        InvalidValue: a window or stride below one pixel, or a stride beyond the window, which would leave
            pixels uncovered.

    Cost:
        One forward per window, ceil((H - window) / stride + 1) along each side; 1 of the image itself.

    Source:
        section 4.2.

    Strengths:
        The plainest question one can ask, of any black box; signed.
        No randomness.

    Weaknesses:
        One window at a time: what is there twice is never missed, wherever it is hidden.
        The window's size decides what can be found.

    Pitfalls:
        PAIR adds windows up, so that borders count less; here, as in captum, they are averaged.
        zennit keeps the window and hides the rest by default.

    See Also:
        rise, ablation-cam, lime

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "occlusion", target=1, output="logit", window=1, stride=1)
        >>> torch.allclose(e.raw, (w * x).sum(1), atol=1e-5)
        True
    """
    height, width = probe.inputs.shape[-2:]
    chosen = {"window": window, "stride": stride}
    window, stride = _sizes(window, stride, height, width)
    if window < 1 or not 1 <= stride <= window:
        raise InvalidValue(
            f"window must be at least 1 and stride from 1 to window; got window={window}, stride={stride}."
        )
    for name, size in (("window", window), ("stride", stride)):
        if chosen[name] == "auto":
            probe.choose(name, size)
    baselines, values = probe.baseline(baseline), probe.score.double().cpu()
    rows, columns = (
        torch.tensor(_starts(side, window, stride), dtype=torch.long, device="cpu")
        for side in (height, width)
    )
    corners = torch.cartesian_prod(rows, columns)  # (windows, 2)
    if len(corners) == 1:
        probe.note(
            f"One window of {window} pixels hides the whole input of {height} x {width}: the map is the same "
            "everywhere. Choose a smaller window."
        )

    def covering(values: Tensor) -> Tensor:
        """At each pixel, the sum of the values of the windows that cover it: one mark at each corner."""
        marks = torch.zeros(height + 1, width + 1, dtype=torch.float64, device="cpu")
        top, left = corners.T
        bottom, right = (top + window).clamp(max=height), (left + window).clamp(max=width)
        for sign, y, x in ((1, top, left), (-1, bottom, left), (-1, top, right), (1, bottom, right)):
            marks.index_put_((y, x), sign * values, accumulate=True)
        return marks.cumsum(0).cumsum(1)[:-1, :-1]

    counts = covering(torch.ones(len(corners), dtype=torch.float64, device="cpu")).round()

    def one(probe: Probe, image: int) -> Finding:
        x, fill = probe.inputs, baselines[image : image + 1]

        def copies(start: int, stop: int) -> Tensor:
            hidden = x.repeat(stop - start, 1, 1, 1)
            for copy, (y, x_) in zip(hidden, corners[start:stop].tolist(), strict=True):
                copy[:, y : y + window, x_ : x_ + window] = fill[0, :, y : y + window, x_ : x_ + window]
            return hidden

        def average(values: Tensor) -> Tensor:
            return covering(values) / counts

        value = values[image]
        use = ScoreUse(
            map=lambda scores: average(value - scores),
            variance=lambda variances: covering(variances) / counts**2,
            max_effect=torch.ones(len(corners), dtype=torch.float64, device="cpu"),
        )
        scores = screened(probe, copies, use, key=("occlusion", window, stride, same(baseline)))
        return Finding(average(value - scores)[None].to(probe.inputs))

    return each(probe, one)


def _sizes(window: int | str, stride: int | str, height: int, width: int) -> tuple[int, int]:
    """Window and stride in pixels.

    >>> _sizes("auto", "auto", 224, 224), _sizes("auto", "auto", 28, 28), _sizes("auto", "auto", 1, 64)
    ((32, 8), (4, 1), (9, 2))
    """
    if window == "auto":
        # A seventh of the longer side, and of a strip's shorter side no more than a quarter.
        window = min(32, max(1, round(max(height, width) / 7)))
        window = min(window, max(2, min(height, width) // 4)) if min(height, width) > 3 else window
        stride = max(1, window // 4) if stride == "auto" else stride
    return int(window), min(8, int(window)) if stride == "auto" else int(stride)


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side; the last ends with it.

    >>> _starts(10, 4, 3), _starts(11, 4, 3), _starts(3, 4, 3)
    ([0, 3, 6], [0, 3, 6, 7], [0])
    """
    last = max(0, side - window)
    return [*range(0, last, max(1, stride)), last]
