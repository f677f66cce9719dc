"""What I-GOS and I-GOS++ share: scores along paths through a mask, and what a search found."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pellucid.methods.finding import Finding
from pellucid.methods.mask.masking import enlarged, smoothed
from pellucid.methods.mask.optimise import L1Schedule, SearchState
from pellucid.methods.mask.searching import LOST, baselines_of, check, scores_and_gradients
from pellucid.probe import Probe

HALVINGS = 7
"""Shares of the image are found to within 1/128."""
SAME = 1e-3
"""Scores of image and baseline that differ by less than this share of them count as so far apart."""
NEAR = 0.1
"""Of cells alike those come first that lie near what is hidden: the range of that, as a share of the mask."""
LIGHTER = ((0.5, 1e-3, 10.0), (0.8, 1e-2, 5.0))
"""When, in shares of the steps, a score that has changed by no more makes the L1 lighter, by how much."""

Noise = Callable[[int], Float[Tensor, "C H W"]]
"""What is added to a path's k-th point."""


@dataclass(frozen=True)
class MaskProblem:
    """The images, what stands for their hidden parts, and what the model says of both.

    Attributes:
        probe: who is asked.
        x: the images.
        hidden: their baselines.
        start: (N,) the scores of the images.
        end: (N,) the scores of their baselines.
    """

    probe: Probe
    x: Float[Tensor, "N C H W"]
    hidden: Float[Tensor, "N C H W"]
    start: Float[Tensor, " N"]
    end: Float[Tensor, " N"]

    @staticmethod
    def of(probe: Probe, baseline: object) -> "MaskProblem":
        """The problem of a probe's images; one whose baseline is the image itself is noted."""
        hidden, _ = baselines_of(probe, baseline)
        return MaskProblem(probe, probe.inputs, hidden, probe.score, probe.perturbed(hidden).score)

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of the images."""
        return self.x.shape[-2], self.x.shape[-1]

    @property
    def range(self) -> Float[Tensor, " N"]:
        """What scores are measured in: how far apart image and baseline are, if that is more than nothing."""
        least = SAME * torch.maximum(self.start.abs(), self.end.abs())
        spread = torch.maximum((self.start - self.end).abs(), least)
        return torch.where(spread > 0, spread, torch.ones_like(spread))

    def ones(self, resolution: int, count: int = 1) -> Float[Tensor, "N K h w"]:
        """Masks that keep everything."""
        dtype = torch.promote_types(self.x.dtype, torch.float32)
        return torch.ones(len(self.x), count, resolution, resolution, dtype=dtype, device=self.x.device)

    def scores(
        self, images: Int[Tensor, " B"], copies: Callable[[int, int], Float[Tensor, "b C H W"]]
    ) -> Float[Tensor, " B"]:
        """The scores of many copies, made as `copies(start, stop)`, of the images so numbered."""

        def some(start: int, stop: int) -> tuple[Tensor]:
            seen = self.probe.perturbed(copies(start, stop), images[start:stop])
            return (scores_and_gradients(seen, with_gradients=False)[0],)

        (values,) = self.probe.concat_over(len(images), some, dim=0, size=1)
        return values

    def along(
        self,
        masks: Float[Tensor, "A 1 h w"],
        images: Int[Tensor, " A"],
        points: int,
        *,
        removed: bool = False,
        with_gradients: bool = True,
        noise: Noise | None = None,
    ) -> tuple[Float[Tensor, "A points"], Float[Tensor, "A 1 h w"]]:
        """S(x' + s M (x - x')) at s = 1/n, 2/n, ..., 1, and the gradient of its mean with respect to M.

        `removed` lets image and baseline change places: S(x + s M (x' - x)), what of the image M removes.
        `noise(k)` is added to the k-th point. Points of all images share chunks. Without `with_gradients` the
        gradient is 0.
        """
        masks = masks.detach().requires_grad_()
        M, shape = enlarged(masks, self.size), (len(images), points)
        near, far = (self.x, self.hidden) if removed else (self.hidden, self.x)
        numbers = torch.arange(len(images) * points, device=M.device, dtype=torch.long)

        def some(start: int, stop: int) -> tuple[Tensor, Tensor]:
            """Scores, and their gradients with respect to M."""
            number = numbers[start:stop]
            row, point = number // points, number % points
            s, image = ((point + 1).float() / points).to(self.x)[:, None, None, None], images[row]
            away = far[image] - near[image]
            copies = near[image] + s * M.detach()[row].to(self.x) * away
            if noise is not None:
                copies = copies + torch.stack([noise(k) for k in point.tolist()])
            value, slope = scores_and_gradients(self.probe.perturbed(copies, image), with_gradients)
            return value.to(masks), (s * (slope * away).sum(1, keepdim=True)).to(M)

        values, pulls = self.probe.concat_over(len(numbers), some, dim=0, size=1)
        pull = torch.zeros_like(M).index_add_(0, numbers // points, pulls)
        (gradient,) = torch.autograd.grad(M, masks, pull / points)
        return values.view(shape), gradient

    def noise(self, sigma: float, points: int, step: int | None = None) -> Noise | None:
        """Noise for a path's points: new at each step, or the same, and none at the last, the masked image.

        It is the same for every image.
        """

        def drawn(k: int) -> Float[Tensor, "C H W"]:
            if step is None and k == points - 1:
                return torch.zeros_like(self.x[0])
            source = self.probe.generator(k + points * (step or 0))
            return sigma * torch.randn(
                self.x.shape[1:], generator=source, dtype=torch.float32, device="cpu"
            ).to(self.x)

        return drawn if sigma else None

    def shares(self, masks: Float[Tensor, "N 1 h w"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """How much must be shown, and how much hidden, for half of the score: see `i_gos`."""
        n, cells = len(masks), masks[0].numel()
        near = (
            smoothed(masks, (masks.shape[-2], masks.shape[-1]), NEAR * masks.shape[-1]).flatten(1).argsort(1)
        )
        first = near.gather(1, masks.flatten(1).gather(1, near).argsort(stable=True, dim=1))
        rank = first.argsort(1).view(masks.shape)
        middle, up = (self.start + self.end) / 2, self.start >= self.end
        low, high = (
            torch.zeros(2, n, dtype=torch.float32, device="cpu"),
            torch.ones(2, n, dtype=torch.float32, device="cpu"),
        )
        images = torch.arange(n, device=self.x.device, dtype=torch.long).repeat(2)
        for _ in range(HALVINGS):
            share = (low + high) / 2
            chosen = (rank < (share * cells).round().view(2, n, 1, 1, 1).to(rank.device)).to(masks)
            shown = enlarged(torch.cat([chosen[0], 1 - chosen[1]]), self.size).to(self.x)

            def copies(start: int, stop: int, shown: Tensor = shown) -> Tensor:
                image = images[start:stop]
                return torch.lerp(self.hidden[image], self.x[image], shown[start:stop])

            scores = self.scores(images, copies).view(2, n)
            reached = torch.where(up, scores >= middle, scores <= middle)
            reached[1] = torch.where(up, scores[1] <= middle, scores[1] >= middle)
            low, high = share.where(~reached.cpu(), low), share.where(reached.cpu(), high)
        return high[0].to(masks), high[1].to(masks)

    def note_failures(self, state: SearchState) -> None:
        """Notes searches that met what is not finite, and such as ended with a worse mask than they began."""
        self.probe.note(LOST, state.lost.cpu())
        losses = [frames["loss"] for frames in state.frames]
        worse = torch.tensor([bool(loss[-1] > loss[0]) for loss in losses], dtype=torch.bool, device="cpu")
        self.probe.note("The search for a mask ended with a worse one than it began with.", worse)


class MaskObjective:
    """What a search minimises: scores in units of the range of each image's, and what masks cost."""

    def __init__(self, problem: MaskProblem, l1: float, tv: float, points: int, noise: float) -> None:
        self.problem, self.tv, self.points, self.noise = problem, tv, points, noise
        self.range = problem.range.to(torch.promote_types(problem.x.dtype, torch.float32))
        self.l1 = torch.full_like(self.range, l1)


def check_options(steps: int, points: int, resolution: int, l1: float, tv: float, noise: float) -> None:
    """Refuses what neither method can begin with.

    Raises:
        InvalidValue: fewer than one step, point or cell, a weight or noise below 0.
    """
    least = {"steps": (steps, 1), "points": (points, 1), "resolution": (resolution, 1)}
    check(least | {"l1": (l1, 0), "tv": (tv, 0), "noise": (noise, 0)}, {})


def l1_schedule(l1: Float[Tensor, " N"], steps: int) -> L1Schedule:
    """Makes the L1 of images lighter, in place, where their scores have hardly changed."""

    def schedule(step: int, state: SearchState) -> Bool[Tensor, " N"]:
        lighter = torch.zeros_like(state.active)
        for when, change, factor in LIGHTER:
            if steps > 3 and step == int(when * steps):
                scores = [frames["deletion"] for frames in state.frames]
                moved = torch.stack([(score[0] - score[-1]).abs() for score in scores])
                lighter = moved <= change
                l1[lighter] /= factor
        return lighter

    return schedule


def finding_of(problem: MaskProblem, state: SearchState) -> Finding:
    """The best masks as a map, how little of each image suffices, and the course of the search.

    Several masks of an image count as their product.
    """
    best = state.best.prod(1, keepdim=True)
    frames = [torch.stack(frames["masks"]).prod(1, keepdim=True) for frames in state.frames]
    trace: dict[str, list[Tensor]] = {"mask": [masks[:, 0] for masks in frames]}
    for name in ("deletion", "insertion", "loss"):
        if name in state.frames[0]:
            trace[name] = [torch.stack(frame[name]) for frame in state.frames]
    if "insertion" not in trace:
        trace["insertion"] = insertion(problem, frames)
    kept, deleted = problem.shares(best)
    problem.note_failures(state)
    return Finding(
        (1 - best[:, 0]).to(problem.x),
        details={"kept_share": kept, "deleted_share": deleted},
        trace={name: stacked_or_list(rows) for name, rows in trace.items()},
    )


def insertion(problem: MaskProblem, frames: list[Float[Tensor, "_ 1 h w"]]) -> list[Float[Tensor, " _"]]:
    """The scores of what each image's masks remove, shown over the baseline."""
    lengths = [len(masks) for masks in frames]
    images = (
        torch.arange(len(frames), dtype=torch.long, device="cpu")
        .repeat_interleave(torch.tensor(lengths, dtype=torch.long, device="cpu"))
        .to(problem.x.device)
    )
    masks = torch.cat(frames)

    def copies(start: int, stop: int) -> Tensor:
        image, M = images[start:stop], enlarged(masks[start:stop], problem.size).to(problem.x)
        return torch.lerp(problem.x[image], problem.hidden[image], M)

    return list(problem.scores(images, copies).split(lengths))


def stacked_or_list(rows: list[Tensor]) -> Tensor | list[Tensor]:
    """One tensor, or a list of them where searches were not equally long."""
    return torch.stack(rows) if len({row.shape for row in rows}) == 1 else rows
