"""Infidelity: by how much evidence misses what a change of the input does to the score."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import MetricPasses
from pellucid.metrics.measurement import Measurement
from pellucid.metrics.options import Count, Magnitude
from pellucid.metrics.registry import metric
from pellucid.options.parts import Baseline, same
from pellucid.options.types import Size
from pellucid.probe import Probe, of_each
from pellucid.probe.noise import drawn, sigma_of

_DRAW = 1 << 45  # draws of their own


@metric(
    "infidelity",
    paper="Yeh et al. 2019, arXiv:1901.09392",
    higher_is_better=False,
    range=(0.0, float("inf")),
    passes=lambda options, size: MetricPasses(options["samples"]),
    quick={"samples": 10},
)
def infidelity(
    probe: Probe,
    attribution: Float[Tensor, "N D H W"],
    *,
    perturbation: Literal["patches", "gaussian"] = "patches",
    samples: Count = 100,
    window: Size = "auto",
    replacement: Baseline = "zero",
    noise: Magnitude = 0.2,
    multiply_by_inputs: bool = True,
    normalised: bool = True,
) -> Measurement:
    r"""E_I (beta I . A - (S(x) - S(x - I)))^2: by how much evidence misses what a change I does to the score.

    Change the picture at random, predict from the map what the score will do, and take the mean squared
    error.

    The change is, for "patches", x - x' in a square at a random place, so that x is replaced by x' there;
    for "gaussian" noise of every value. For a map that includes the input, I is divided by x - x' there,
    where that is not 0: the evidence counts as what a value contributes when it is replaced.

    Formula:
        \mathbb{E}_I\Big[\big(\beta\, I^{\mathsf{T}} A - (S(x) - S(x - I))\big)^2\Big]

        $I$: a random change of the input.
        $A$: the map.
        $\beta$: the scale that fits best, or 1.

    Args:
        probe: the evidence.
        attribution: the maps. One of a single channel holds what the channels contribute together, or,
            without `multiply_by_inputs`, the slope of each of them.
        perturbation: "patches" or "gaussian".
        samples: changes, the same for every image and map.
        window: the side of a patch; "auto" for a quarter of the shorter side.
        replacement: x'.
        noise: the standard deviation of "gaussian", as a share of each image's range.
        multiply_by_inputs: whether the map includes the input, as input x gradient, IG, LRP and all maps
            that share out the score do; false for gradients.
        normalised: beta is the number that makes the value least, E[I . A (S(x) - S(x - I))] / E[(I . A)^2],
            as in the authors' code, so that the map's scale does not matter; else 1.

    Returns:
        (N,), with `predicted`, beta I . A, and `drops`, S(x) - S(x - I), both (N, samples), in the details.

    Cost:
        samples forward.

    Source:
        definition 2.1, with the changes of section 2.2. Quantus changes one block after another and puts none
        back, so its changes grow until they are the whole picture.

    Strengths:
        Uses the values of a map, with their signs.
        0 for a map that is exact about such changes: the gradient's for small ones, of a linear model
            for all.

    Weaknesses:
        It cannot tell maps apart by more than what its changes do: a square as large as the object, or
            noise that the model ignores, judges little. It is in units of the squared score: not
            comparable between models or pictures whose scores have other spreads.

    See Also:
        max-sensitivity, faithfulness-correlation, sensitivity-n

    Example:
        >>> from pellucid.measure import measure
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> perfect = (x * net[1].weight[1].view(3, 8, 8)).detach()
        >>> measure(net, x, perfect, "infidelity", target=1).value.round(decimals=4)
        tensor([0.], dtype=torch.float64)
    """
    x, end = probe.inputs, probe.baseline(replacement)
    height, width = x.shape[-2:]
    side = max(1, min(height, width) // 4) if window == "auto" else min(int(window), height, width)
    sigma = sigma_of(x, noise)
    places = torch.rand(samples, 2, generator=probe.generator(_DRAW), dtype=torch.float64, device="cpu")
    tops = (places[:, 0] * (height - side + 1)).long().tolist()
    lefts = (places[:, 1] * (width - side + 1)).long().tolist()
    difference, score = x - end, probe.score
    safe = torch.where(difference == 0, torch.inf, difference)

    def change(number: int, images: slice) -> Float[Tensor, "n C H W"]:
        if perturbation == "gaussian":
            return sigma[images] * drawn(probe, [_DRAW + 1 + number])
        patch = torch.zeros_like(difference[images])
        at = (..., slice(tops[number], tops[number] + side), slice(lefts[number], lefts[number] + side))
        patch[at] = difference[images][at]
        return patch

    def product(number: int) -> Float[Tensor, " N"]:
        moved = change(number, slice(None))
        if multiply_by_inputs:
            moved = moved / safe
        if attribution.shape[1] == 1 < moved.shape[1]:
            moved = (moved.mean if multiply_by_inputs else moved.sum)(1, keepdim=True)
        return (moved.double() * attribution.double()).flatten(1).sum(1).cpu()

    predicted = torch.stack([product(number) for number in range(samples)], 1)

    def one(single: Probe, image: int) -> Tensor:
        some = slice(image, image + 1)

        def copies(first: int, stop: int) -> Tensor:
            return x[some] - torch.cat([change(number, some) for number in range(first, stop)])

        key = "changes", perturbation, samples, side, same(replacement), noise
        return score[image].double().cpu() - single.score_perturbed(copies, 0, samples, key=key)

    drops = torch.stack(of_each(probe, one))
    if normalised:
        square = (predicted**2).mean(1)
        beta = (predicted * drops).mean(1) / torch.where(square == 0, 1.0, square)
        predicted = beta[:, None] * predicted
    return Measurement(((predicted - drops) ** 2).mean(1), {"predicted": predicted, "drops": drops})
