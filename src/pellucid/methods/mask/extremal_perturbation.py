"""Extremal perturbation: of all smooth masks of a given area, the one through which the score is highest."""

import math
from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from pellucid.errors import InvalidValue
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.mask.masking import smoothed
from pellucid.methods.mask.searching import LOST, check, equals_baseline, scores_and_gradients
from pellucid.methods.registry import method
from pellucid.options.types import Kind, Option
from pellucid.probe import Probe

MOMENTUM = 0.9
WEIGHT, GROWTH = 300.0, 1.0035
"""What the area weighs at first, and by what that grows at each step."""
COLDNESS = 20.0
"""How near the smooth maximum is to the maximum."""
NOTHING_HIDDEN = "Blurring leaves the image as it is: nothing can be hidden, and the map is zero."


def _areas(name: str, value: Any) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    areas = tuple(Option(name, float, 0.0).check(part) for part in parts)
    if not areas or not all(0 < area < 1 for area in areas):
        raise InvalidValue(f"{name} must be shares of the image, between 0 and 1; got {value!r}.")
    return areas


Areas = Annotated[tuple[float, ...], Kind("float, or several", _areas)]
"""Shares of the image: a number, or several, as a list or as text such as "0.05,0.1"."""


@method(
    "extremal-perturbation",
    paper="Fong et al. 2019, arXiv:1910.08485",
    passes=lambda options: Passes(*(len(options["areas"]) * (options["steps"] + more) for more in (1, 0))),
    reads="perturbed inputs",
    promises=("implementation invariance",),
    quick={"steps": 3, "areas": (0.1, 0.3)},
)
def extremal_perturbation(
    probe: Probe,
    *,
    areas: Areas = (0.1,),
    steps: int = 800,
    learning_rate: float = 0.01,
    cell: int = 7,
    sigma: float = 21.0,
    levels: int = 8,
    max_blur: float = 20.0,
    mirror: bool = True,
) -> Finding:
    r"""m = argmax S(m (x) x) - w mean (sort(m) - r_a)^2: the mask of area a that keeps most of the score.

    Of all smooth masks that leave a given share of the picture sharp and blur the rest, which keeps the
    score highest? One mask for each area, found by gradient ascent.

    The mask is binary and of area a once the weight of that condition has grown large. It is smooth: the
    smooth maximum of kernels at the centres of cells, whose heights, all 1 at first, follow gradient
    ascent with momentum within [0, 1]. Each area has a mask of its own; the map is their mean.

    Formula:
        m_a = \arg\max_m\, S(m \otimes x) - \lambda\, \big\lVert \mathrm{sort}(m) - r_a \big\rVert^2

        $m$: a smooth mask, 1 where the picture stays as it is.
        $\otimes$: blurs the picture the more the smaller the mask is there.
        $r_a$: 0 in its first 1 - a parts and 1 in the rest: what the sorted mask must become, of area
            a.
        $\lambda$: a weight that grows from step to step.

    Args:
        probe: the evidence.
        areas: shares of the image to keep: a number, or several.
        steps: of the ascent. w is 300 at first and grows by 0.35% at each: few steps leave the area open.
        learning_rate: of the ascent.
        cell: side of a cell, in pixels.
        sigma: width of a kernel, in pixels.
        levels: how many versions of the image, from the most blurred to itself, are interpolated between.
        max_blur: the standard deviation of the most blurred, seen where m is 0, in pixels.
        mirror: whether every other step sees the image mirrored left to right.

    Returns:
        (N, H, W), in [0, 1]: the share of masks that keep a pixel. In `details` the `masks` (N, A, H, W), the
        `area` each really has and its `masked_score`, (N, A); in `trace` each step's `mask`, averaged in
        cells, its `insertion` score and its `loss`, means over the areas.

    Raises:
        InvalidValue: an area that is not between 0 and 1, fewer than one step, a cell below one pixel, fewer
            than two levels, or a learning rate, width or blur that is not above 0.

    Cost:
        steps + 1 forward and steps backward for each area.

    Source:
        section 3; the numbers, the kernel, the logit that is explained and the mirroring are those of the
        authors' TorchRay. It differs: it measures the area on a frame of `sigma` pixels around the
        image as well, so that masks may cover a third more than was asked for; its kernels are at the corners
        of cells; its blurs take all outside the image for 0, which darkens the edges; it adds the masks; and
        it returns them as they were before the last step.

    Strengths:
        The area is asked for, not traded off: masks of different methods or pictures can be compared.
        Nearly binary, smooth masks; what is kept is a picture, not a gradient.

    Weaknesses:
        Eight hundred forward and backward passes for each area.
        The area must be guessed: an object larger than it is cut, a smaller one is surrounded.

    Pitfalls:
        TorchRay measures the area on a frame around the image as well, so its masks may cover a third
            more than was asked for.
        TorchRay switches off the gradients of the model's parameters for good; here nothing of the
            model changes.

    See Also:
        meaningful-perturbation, i-gos, rise

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "extremal-perturbation", steps=2, cell=2, sigma=3)
        >>> e.raw.shape
        torch.Size([1, 8, 8])
    """
    least = {"steps": (steps, 1), "cell": (cell, 1), "levels": (levels, 2)}
    check(least, {"learning_rate": learning_rate, "sigma": sigma, "max_blur": max_blur})
    x = probe.inputs
    n, height, width = len(x), x.shape[-2], x.shape[-1]
    pyramid = blurs(x, levels, max_blur)
    nothing = equals_baseline(x, pyramid[:, 0])
    probe.note(NOTHING_HIDDEN, nothing)
    kernels = kernel(cell, sigma).to(x.device, torch.promote_types(x.dtype, torch.float32))
    heights = kernels.new_ones(n, len(areas), math.ceil(height / cell), math.ceil(width / cell))
    frame = math.ceil(sigma / cell)
    inside = slice(frame * cell, frame * cell + height), slice(frame * cell, frame * cell + width)
    kept = torch.tensor([round(area * height * width) for area in areas], dtype=torch.long, device=x.device)

    def look(heights: Tensor, step: int) -> list[Tensor]:
        """Masks, scores, losses and slopes, each (N, A, ...), of these heights."""
        weight = kernels.new_tensor(WEIGHT * GROWTH**step)

        def some(start: int, stop: int) -> tuple[Tensor, ...]:
            p = heights[:, start:stop].clone().requires_grad_()
            whole = mask_of(p.flatten(0, 1), kernels, frame).unflatten(0, (n, -1))
            m = whole[:, :, *inside]
            off = area_loss(whole.flatten(2), kept[start:stop])
            copies = perturb(m, pyramid)
            copies = copies.flip(-1) if mirror and step % 2 == 0 else copies
            score, slope = scores_and_gradients(probe.perturbed(copies.detach()), with_gradients=step < steps)
            score = score.unflatten(0, (n, -1))
            (slope,) = torch.autograd.grad((copies, off.sum()), p, (-slope, weight))
            return m.detach(), score, weight * off.detach() - score, slope

        return list(probe.concat_over(len(areas), some, dim=1))

    masks = kernels.new_ones(n, len(areas), height, width)
    scores = probe.score[:, None].repeat(1, len(areas))
    last = [heights, masks, scores, -scores, torch.zeros_like(heights)]  # met while all was finite
    pull, searching = last[-1], torch.ones_like(nothing)
    course: dict[str, list[Tensor]] = {"mask": [], "insertion": [], "loss": []}
    for step in range(steps + 1):
        now = [heights, *look(heights, step)]
        lost = searching & ~torch.stack([t.isfinite().flatten(1).all(1) for t in now]).all(0)
        probe.note(LOST, lost)
        searching = searching & ~lost
        last = [update_where(searching, new, old) for new, old in zip(now, last, strict=True)]
        heights, masks, scores, losses, slopes = last
        seen = avg_pool2d(masks.mean(1), cell, ceil_mode=True)
        for name, value in (("mask", seen), ("insertion", scores.mean(1)), ("loss", losses.mean(1))):
            course[name].append(value)
        pull = MOMENTUM * pull + (1 - MOMENTUM) * slopes if step else slopes
        heights = update_where(searching, (heights - learning_rate * pull).clamp(0, 1), heights)
    masks = masks.masked_fill(nothing[:, None, None, None], 0.0)
    details = {"masks": masks, "area": masks.mean((2, 3)), "masked_score": scores}
    return Finding(masks.mean(1), details=details, trace={k: torch.stack(v, 1) for k, v in course.items()})


def update_where(where: Bool[Tensor, " N"], new: Tensor, old: Tensor) -> Tensor:
    """The new values of some images, the old ones of the others."""
    return new.where(where.view(-1, *[1] * (new.ndim - 1)), old)


def area_loss(m: Float[Tensor, "N B P"], kept: Int[Tensor, " B"]) -> Float[Tensor, "N B"]:
    """mean (sort(m) - r_a)^2, r_a 1 in its last `kept` parts and 0 before.

    Pixels that are equal but for rounding have no order: the mean over all orders is taken. With all heights
    alike, as they are at first, those would be many, and an order would favour one side of the image.
    """
    value, near = m.detach(), 100 * torch.finfo(m.dtype).eps
    rank = (m.shape[2] - kept).clamp(0, m.shape[2] - 1)[None, :, None].expand(len(m), -1, 1)
    least = value.sort().values.gather(2, rank)  # of those that are kept
    above, tied = value > least + near, (value - least).abs() <= near
    left = kept[:, None] - above.sum(2, keepdim=True)  # places for those that tie
    r = above + tied * left / tied.sum(2, keepdim=True)
    return (m.square() - 2 * m * r + r).mean(2)  # r is its own square's mean over orders


def blurs(x: Float[Tensor, "N C H W"], levels: int, max_blur: float) -> Float[Tensor, "N L C H W"]:
    """Each image under Gaussians whose standard deviation falls from `max_blur` to 0 in even steps."""
    size = (x.shape[-2], x.shape[-1])
    sigmas = [max_blur * (1 - level / (levels - 1)) for level in range(levels - 1)]
    return torch.stack([*(smoothed(x, size, sigma) for sigma in sigmas), x], 1)


def perturb(m: Float[Tensor, "N B H W"], pyramid: Float[Tensor, "N L C H W"]) -> Float[Tensor, "NB C H W"]:
    """m (x) x: at each pixel the level m (L - 1) of the pyramid, between two levels a mixture of them."""
    levels, channels = pyramid.shape[1:3]
    at = m * (levels - 1)
    below = at.detach().floor().clamp(max=levels - 2)
    number = below.long()[:, :, None, None].expand(-1, -1, -1, channels, -1, -1)  # (N, B, 1, C, H, W)
    every = pyramid[:, None].expand(-1, m.shape[1], -1, -1, -1, -1)  # (N, B, L, C, H, W)
    low, high = (every.gather(2, number + more)[:, :, 0] for more in (0, 1))
    return torch.lerp(low, high, (at - below)[:, :, None].to(pyramid)).flatten(0, 1)


def kernel(cell: int, sigma: float) -> Float[Tensor, "ss k k"]:
    """exp(-2 max(0, r / sigma - 1/2)^2), r from each pixel of a cell to the centres of all cells around."""
    reach = 1 + math.ceil(sigma / cell)
    pixels = torch.arange(cell, dtype=torch.float64, device="cpu") - (cell - 1) / 2
    off = pixels[:, None] - cell * torch.arange(-reach, reach + 1, dtype=torch.long, device="cpu")  # (s, k)
    r = torch.hypot(off[:, None, :, None], off[None, :, None, :])
    return torch.exp(-2 * (r / sigma - 0.5).clamp(min=0) ** 2).flatten(0, 1)


def mask_of(p: Float[Tensor, "N h w"], w: Float[Tensor, "ss k k"], frame: int) -> Float[Tensor, "N H W"]:
    """The smooth mask of heights in cells of s x s pixels, and that of so many cells around them."""
    cell = math.isqrt(len(w))
    m = SmoothMaximum.apply(pad(p, [w.shape[-1] // 2 + frame] * 4), w).unflatten(0, (cell, cell))
    return cast(Tensor, m.permute(2, 3, 0, 4, 1).flatten(3).flatten(1, 2))


class SmoothMaximum(torch.autograd.Function):
    """m = sum_k v_k exp(c v_k) / sum_k exp(c v_k), v_k = w_k p_k: heights (N, hh, ww) to masks (ss, N, h, w).

    k runs over a window of cells, hh - h + 1 by ww - w + 1, w_k the `kernel`'s weights, c the coldness.
    Only sums are held: the terms are made once more for the gradient,
    dm/dp_k = w_k exp(c v_k) (1 + c v_k - c m) / sum_k exp(c v_k).
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, w: Tensor) -> Tensor:
        """m at each pixel of a cell (ss), for each image and cell."""
        total = weighted = p.new_zeros(())
        for cv, _, _ in terms(p, w):
            e = cv.exp()
            total = total + e
            weighted = torch.addcmul(weighted, cv, e)
        cm = weighted / total
        ctx.save_for_backward(p, w, total, cm)
        return cm / COLDNESS

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """The slope of p from that of m."""
        p, w, total, cm = ctx.saved_tensors
        share = slope / total
        rest, back = (1 - cm) * share, torch.zeros_like(p)
        for cv, weights, (rows, columns) in terms(p, w):
            part = torch.addcmul(rest, cv, share).mul_(cv.exp_())
            back[:, rows, columns] += (weights @ part.flatten(1)).view(part.shape[1:])
        return back, None


def terms(
    p: Float[Tensor, "N hh ww"], w: Float[Tensor, "ss k k"]
) -> Iterator[tuple[Tensor, Tensor, tuple[slice, slice]]]:
    """For each place k of the window: c v_k, (ss, N, h, w), its weights (ss,), and where it lies in p."""
    sides = w.shape[-1]
    height, width = p.shape[1] - sides + 1, p.shape[2] - sides + 1
    for i, j in product(range(sides), repeat=2):
        rows, columns = slice(i, i + height), slice(j, j + width)
        yield COLDNESS * w[:, i, j, None, None, None] * p[:, rows, columns], w[:, i, j], (rows, columns)
