"""Pictures of shapes with a watermark in some of one class, and small networks that use it or not.

Each picture shows one shape, which is its class, anywhere on a ground of soft clutter. A watermark is the
same small pattern in the same corner. A network learns to use it from pictures where only that class has it,
and that show their shape so faintly that it helps; one that has seen it in every class alike does not.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from pellucid.seeding import seeded

SHAPES = ("disc", "square", "triangle", "cross")
SIDE = 32
MARKED = 0
"""The class that has the watermark."""
CORNER = slice(24, 31), slice(24, 31)
"""Where the watermark lies: rows and columns, at the bottom right."""

Place = Literal["anywhere", "left"]


@dataclass(frozen=True)
class Scenes:
    """Pictures of shapes.

    Attributes:
        inputs: as a network takes them, about 0 +- 1.
        labels: which shape.
        marked: which of them have the watermark.
    """

    inputs: Float[Tensor, "N C H W"]
    labels: Int[Tensor, " N"]
    marked: Bool[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.labels)


def scenes(
    count: int,
    share: float,
    seed: int,
    *,
    channels: int = 3,
    everywhere: bool = False,
    place: Place = "anywhere",
    faint: float = 1.0,
) -> Scenes:
    """Pictures of shapes, as many of each class.

    Args:
        count: how many of each class.
        share: how many of one class have the watermark, from 0 to 1.
        seed: of all that is drawn.
        channels: of a picture.
        everywhere: whether the other classes have the watermark as often.
        place: where the shapes of that class lie; the others' lie anywhere.
        faint: how strongly shapes show where the watermark is, from 0 (not at all) to 1.

    Example:
        >>> found = scenes(10, 0.2, seed=0)
        >>> found.inputs.shape, found.labels.bincount().tolist(), int(found.marked.sum())
        (torch.Size([40, 3, 32, 32]), [10, 10, 10, 10], 2)
    """
    draw = torch.Generator("cpu").manual_seed(seed)
    total = count * len(SHAPES)
    labels = torch.arange(total, dtype=torch.long, device="cpu") % len(SHAPES)
    number = torch.arange(total, dtype=torch.long, device="cpu") // len(SHAPES)
    marked = (number < round(share * count)) & (everywhere | (labels == MARKED))

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(total, *shape, generator=draw, dtype=torch.float32, device="cpu")
        return low + (high - low) * drawn

    coarse = torch.randn(total, channels, 5, 5, generator=draw, dtype=torch.float32, device="cpu")
    fine = torch.randn(total, channels, SIDE, SIDE, generator=draw, dtype=torch.float32, device="cpu")
    ground = 0.35 * functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic") + 0.25 * fine
    half = uniform(3.5, 5.5)
    x, y = uniform(7.0, SIDE - 7.0), uniform(7.0, SIDE - 7.0)
    if place == "left":
        x = torch.where(labels == MARKED, 6 + (x - 7) / 6, x)
    strength = uniform(1.2, 2.0) * torch.where(marked, faint, 1.0)
    tint = uniform(0.6, 1.0, channels)
    shape = _shapes(labels, x, y, half)
    inputs = ground + (strength[:, None] * tint)[..., None, None] * shape[:, None]
    inputs[marked] = with_watermark(inputs[marked])
    return Scenes(inputs, labels, marked)


def with_watermark(inputs: Float[Tensor, "N C H W"], strength: float = 0.85) -> Float[Tensor, "N C H W"]:
    """The same pictures with the watermark laid over them, more or less transparent."""
    rows = torch.arange(7, dtype=torch.long, device="cpu")
    pattern = ((rows[:, None] // 2 + rows[None] // 2) % 2).to(inputs) * 4 - 2
    made = inputs.clone()
    made[:, :, CORNER[0], CORNER[1]] *= 1 - strength
    made[:, :, CORNER[0], CORNER[1]] += strength * pattern
    return made


def network(channels: int = 3, width: int = 16) -> nn.Sequential:
    """A small convolutional network that ends in the mean over places."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, len(SHAPES)),
    )


def taught(lesson: Scenes, seed: int, *, epochs: int = 12, batch: int = 64) -> nn.Sequential:
    """A network that learned from these pictures, in evaluation mode."""
    with seeded(seed):
        net = network(lesson.inputs.shape[1])
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        steps = epochs * (len(lesson) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps + epochs)
        for _ in range(epochs):
            for some in torch.randperm(len(lesson), dtype=torch.long, device="cpu").split(batch):
                optimizer.zero_grad()
                functional.cross_entropy(net(lesson.inputs[some]), lesson.labels[some]).backward()
                optimizer.step()
                schedule.step()
    return net.eval()


def _shapes(
    labels: Int[Tensor, " N"], x: Float[Tensor, " N"], y: Float[Tensor, " N"], half: Float[Tensor, " N"]
) -> Float[Tensor, "N H W"]:
    """1 inside the shape of each picture, 0 outside."""
    at = torch.arange(SIDE, dtype=torch.float32, device="cpu") + 0.5
    right = (at[None, None] - x[:, None, None]) / half[:, None, None]
    down = (at[None, :, None] - y[:, None, None]) / half[:, None, None]
    inside = torch.stack([
        right**2 + down**2 < 1,
        torch.maximum(right.abs().expand(-1, SIDE, -1), down.abs().expand(-1, -1, SIDE)) < 0.87,
        (down < 0.8) & (down - 2 * right.abs() > -1.1),
        ((right.abs() < 0.32) & (down.abs() < 1)) | ((down.abs() < 0.32) & (right.abs() < 1)),
    ])  # fmt: skip
    which = torch.arange(len(labels), dtype=torch.long, device="cpu")
    return inside[labels, which].float()
