"""A network of one's own for `--model examples/my_model.py:build`: its own classes, size and normalisation.

    python examples/my_model.py shapes
    pellucid explain shapes/triangle.png --model examples/my_model.py:build --weights shapes/weights.pt \
        --labels shapes/labels.txt --size 64 --crop 1 --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25

The first command trains it on drawings, in half a minute, and writes what the second one reads.
"""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import nn
from torchvision.transforms.functional import to_tensor

LABELS = ["circle", "square", "triangle"]


def build() -> nn.Module:
    """What Pellucid calls: the network as your own code makes it; `--weights` fills it."""

    def stage(channels: int, more: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, more, 3, padding=1), nn.BatchNorm2d(more), nn.ReLU(), nn.MaxPool2d(2)]

    features = [*stage(3, 16), *stage(16, 32), *stage(32, 64)]
    return nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(LABELS)))


def draw(kind: int, at: tuple[int, int], radius: int, colours: list[tuple[int, ...]]) -> Image.Image:
    """One shape on a plain ground."""
    picture = Image.new("RGB", (64, 64), colours[0])
    pen, (x, y) = ImageDraw.Draw(picture), at
    corners = [(x - radius, y + radius), (x + radius, y + radius), (x, y - radius)]
    box = (x - radius, y - radius, x + radius, y + radius)
    (pen.ellipse, pen.rectangle, pen.polygon)[kind](corners if kind == 2 else box, fill=colours[1])
    return picture


def drawings(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Shapes at random places, normalised as `--mean` and `--std` say, and their classes."""
    random = torch.Generator().manual_seed(0)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=random))

    kinds = [number(0, 3) for _ in range(count)]
    pictures = []
    for kind in kinds:
        dark, light = (tuple(number(low, low + 96) for _ in range(3)) for low in (0, 160))
        pictures.append(draw(kind, (number(20, 44), number(20, 44)), number(9, 17), [dark, light]))
    return torch.stack([(to_tensor(p) - 0.5) / 0.25 for p in pictures]), torch.tensor(kinds)


def train(folder: Path) -> None:
    """Trains the network, and writes its weights, its labels and three pictures."""
    torch.manual_seed(0)
    network, (x, classes) = build().train(), drawings(1200)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(6):
        for some in torch.randperm(len(x)).split(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[some]), classes[some]).backward()
            optimizer.step()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "weights.pt")
    (folder / "labels.txt").write_text("\n".join(LABELS), "utf-8")
    for kind, name in enumerate(LABELS):
        draw(kind, (26, 36), 14, [(30, 60, 90), (230, 190, 60)]).save(folder / f"{name}.png")


if __name__ == "__main__":
    train(Path(sys.argv[1] if len(sys.argv) > 1 else "shapes"))
