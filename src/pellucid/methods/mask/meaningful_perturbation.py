"""Meaningful perturbation: the least of an image that must be hidden for its score to fall."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.mask.masking import blend, smoothed, total_variation
from pellucid.methods.mask.searching import LOST, baselines_of, check, scores_and_gradients
from pellucid.methods.perturbation import perturbation
from pellucid.options.parts import Baseline
from pellucid.probe import Probe

CIRCLES = 32
"""Circles tried as the first mask; the last hides the whole image."""
SUPPRESSED = 0.99
"""The share of what hiding all of the image takes from its score that the first mask must take."""
WORSE = "The search ended with a worse mask than it began with: lower its learning_rate, or allow more steps."
NOTHING_FOUND = "Hiding no part of the image lowers its score by more than it costs: the map is zero."


@perturbation(
    "meaningful-perturbation",
    paper="Fong & Vedaldi 2017, arXiv:1704.03296",
    passes=lambda options: Passes(CIRCLES + options["steps"] + 1, options["steps"]),
    promises=("implementation invariance",),
    random=lambda options: bool(options["jitter"] or options["noise"]),
    quick={"steps": 3, "resolution": 6},
)
def meaningful_perturbation(
    probe: Probe,
    *,
    steps: int = 300,
    learning_rate: float = 0.1,
    l1: float = 1e-4,
    tv: float = 1e-2,
    beta: float = 3.0,
    resolution: int = 28,
    baseline: Baseline = "blur",
    mask_blur: float = 0.625,
    jitter: int = 4,
    noise: float = 0.0,
) -> Finding:
    r"""1 - m, m = argmin l1 sum |1 - m| + tv sum |grad m|^beta + S(M x + (1 - M) x').

    Find the smallest smooth mask that blurs the class away: what must be hidden before the model
    changes its mind.

    The search begins with the smallest circle around the centre that takes 99% of what hiding everything
    takes from the score, follows Adam within [0, 1], and keeps the mask of the smallest loss that it has
    met.

    Formula:
        m = \arg\min_m\, \lambda_1 \sum |1 - m| + \lambda_2 \sum |\nabla m|^\beta + S\big(M \odot x + (1
        - M) \odot x'\big)

        $m$: the mask in cells, 0 where the picture is hidden; the map is 1 - m.
        $M$: m brought to the input's size by Gaussian interpolation.
        $\lambda_1$: `l1`, the price of what is hidden.
        $\lambda_2$: `tv`, the price of roughness.
        $\beta$: the exponent of the roughness.
        $\odot$: the product pixel by pixel.

    Args:
        probe: the evidence.
        steps: of Adam.
        learning_rate: Adam's.
        l1: the cost of each hidden cell of the mask.
        tv: the cost of roughness: the sum over neighbouring cells of their difference to the power `beta`.
        beta: at least 1.
        resolution: cells of the mask along each side.
        baseline: x', what shows where the mask is 0.
        mask_blur: the Gaussian's standard deviation, in cells of the mask.
        jitter: at each step the image is moved under the mask, along each axis by a random number of pixels
            within a range of so many; what is moved in repeats the edge.
        noise: standard deviation of noise that is added to the mask at each step.

    Returns:
        (N, resolution, resolution), in [0, 1]: how far each cell must be hidden. In `details` the
        `masked_score` of that mask; in `trace` each step's `mask`, its `deletion` score and `loss`.

    Raises:
        InvalidValue: fewer than one step, a resolution below 1, a beta below 1, a learning rate or blur that
            is not above 0, or a weight, jitter or noise below 0.

    Cost:
        34 + steps forward, steps backward.

    Source:
        section 4, with the numbers of the authors' code, whose norms are sums as here. Where it is not as the
        paper, the paper is followed: there roughness is of the gradient's length, cells are enlarged by
        repetition and blurred by 5 pixels, 5/8 of a cell, and the gradient leaves this blur out. It keeps the
        last mask. Its baseline is a blur of standard deviation 10, to which "blur" comes near; its 28 cells
        are for 224 pixels; its image is cropped from a larger one instead of repeating edges.

    Strengths:
        Says what it did: the map is a picture that the model was shown, with its score.
        Works on anything that has a gradient.

    Weaknesses:
        Three hundred passes, and a search with several weights to set.
        Where the score is saturated its gradient is nearly zero, and the search stays where it began:
            integrated searches as I-GOS's do not.

    Pitfalls:
        The paper's norms are sums. A widespread port takes means with weights of 0.01 and 0.2, which is
            another objective.

    See Also:
        i-gos, extremal-perturbation, occlusion

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "meaningful-perturbation", steps=2, resolution=4)
        >>> e.raw.shape
        torch.Size([1, 4, 4])
    """
    least = {"steps": (steps, 1), "resolution": (resolution, 1), "beta": (beta, 1)}
    least |= {"l1": (l1, 0), "tv": (tv, 0), "jitter": (jitter, 0), "noise": (noise, 0)}
    check(least, {"learning_rate": learning_rate, "mask_blur": mask_blur})
    x = probe.inputs
    hidden, nothing = baselines_of(probe, baseline)
    size = (x.shape[-2], x.shape[-1])

    def shown(m: Tensor, step: int) -> Tensor:
        """The image moved under the noisy mask of one step."""
        draw = probe.generator(step)
        drawn = torch.randn(m.shape[1:], generator=draw, dtype=torch.float32, device="cpu").to(m)
        down, right = (
            torch.randint(jitter + 1, (2,), generator=draw, dtype=torch.long, device="cpu") - jitter // 2
        ).tolist()
        M = smoothed((m + noise * drawn).clamp(0, 1), size, mask_blur)
        return blend(moved(x, down, right), moved(hidden, down, right), M.to(x))

    m, score = smallest_circle(probe, hidden, resolution, mask_blur)
    adam = torch.optim.Adam([m.requires_grad_()], lr=learning_rate)
    searching = torch.ones_like(nothing)
    best, lowest, masked_score = m.detach().clone(), torch.full_like(score, torch.inf), score
    course: dict[str, list[Tensor]] = {"mask": [], "deletion": [], "loss": []}
    for step in range(steps + 1):
        copies = shown(m, step)
        seen, slope = scores_and_gradients(probe.perturbed(copies.detach()), with_gradients=step < steps)
        lost = searching & ~(seen.isfinite() & slope.isfinite().flatten(1).all(1))
        probe.note(LOST, lost)
        searching &= ~lost
        score = seen.where(seen.isfinite(), score)
        cost = l1 * (1 - m).abs().sum((1, 2, 3)) + tv * total_variation(m, beta, mean=False)
        loss = score + cost.detach()
        for name, value in (("mask", m.detach()[:, 0].clone()), ("deletion", score), ("loss", loss)):
            course[name].append(value)
        better = searching & (loss < lowest)
        best = m.detach().where(better[:, None, None, None], best)
        lowest, masked_score = loss.where(better, lowest), score.where(better, masked_score)
        if step < steps:
            pull = slope.where(searching[:, None, None, None], 0.0)
            (m.grad,) = torch.autograd.grad((copies, cost.sum()), m, (pull, None))
            with m.device:  # or PyTorch 2.6 keeps Adam's counter on the process's default device
                adam.step()
            with torch.no_grad():
                m.copy_(m.clamp(0, 1).where(searching[:, None, None, None], best))
    trace = {name: torch.stack(values, 1) for name, values in course.items()}
    probe.note(WORSE, searching & ~nothing & (trace["loss"][:, -1] > trace["loss"][:, 0]))
    probe.note(NOTHING_FOUND, searching & ~nothing & (best == 1).flatten(1).all(1))
    return Finding(1 - best[:, 0], details={"masked_score": masked_score}, trace=trace)


def smallest_circle(
    probe: Probe, hidden: Float[Tensor, "N C H W"], resolution: int, mask_blur: float
) -> tuple[Float[Tensor, "N 1 h w"], Float[Tensor, " N"]]:
    """The first mask of each image, and its score: 0 in a circle, of a growing row of them the first to do.

    The first of the row hides nothing: it is the mask of an image whose score is below its baseline's.
    """
    x = probe.inputs
    size = (x.shape[-2], x.shape[-1])
    down, right = (
        ((torch.arange(resolution, dtype=torch.float32, device="cpu") + 0.5) / resolution - 0.5) * side
        for side in size
    )
    radii = (
        torch.arange(CIRCLES + 1, dtype=torch.float32, device="cpu")[:, None, None, None]
        / CIRCLES
        * math.hypot(*size)
        / 2
    )
    masks = (torch.hypot(down[:, None], right) >= radii).to(
        x.device, torch.promote_types(x.dtype, torch.float32)
    )

    def scores(start: int, stop: int) -> tuple[Tensor]:
        circles = smoothed(masks[1 + start : 1 + stop], size, mask_blur).to(x)
        images, hiding = (t.repeat_interleave(stop - start, 0) for t in (x, hidden))
        copies = blend(images, hiding, circles.repeat(len(x), 1, 1, 1))
        return (probe.perturbed(copies).score.unflatten(0, (len(x), -1)),)

    row = torch.cat([probe.score[:, None], *probe.concat_over(CIRCLES, scores, dim=1)], 1)
    left = row - row[:, -1:]  # of what hiding everything takes
    number = (left <= (1 - SUPPRESSED) * left[:, :1]).int().argmax(1)
    return masks[number], row.gather(1, number[:, None])[:, 0]


def moved(x: Float[Tensor, "N C H W"], down: int, right: int) -> Float[Tensor, "N C H W"]:
    """The image moved by so many pixels; what is moved in repeats the edge."""
    rows, columns = (
        (torch.arange(side, device=x.device, dtype=torch.long) - by).clamp(0, side - 1)
        for side, by in zip(x.shape[-2:], (down, right), strict=True)
    )
    return x[:, :, rows[:, None], columns]
