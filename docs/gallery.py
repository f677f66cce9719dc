"""Draws the pictures of README.md and docs/gallery.md: `python docs/gallery.py`, some minutes on a CPU."""

from pathlib import Path

import torch
from PIL import Image

import pellucid
from pellucid.compare import DEFAULT_METHODS
from pellucid.render.video import Film

IMAGES = Path(__file__).with_name("images")
PICTURES = [f"sample:{name}" for name in ("cat", "coffee", "rocket", "astronaut")]
PATHS = (
    "integrated-gradients",
    "blur-ig",
    "guided-ig",
    "xrai",
    "agi",
    "integrated-grad-cam",
)
PERTURBATION = (
    "rise:samples=600",
    "occlusion",
    "lime:samples=300",
    "kernel-shap:samples=400",
    "partition-shap:samples=400",
    "ablation-cam",
)
RELEVANCE = (
    "lrp:composite=epsilon-plus",
    "lrp:composite=epsilon-gamma-box",
    "relevance-cam",
    "deep-lift",
    "guided-backprop",
    "full-grad",
    "excitation-backprop",
)

MODELS = [f"efficientnet-lite{size}" for size in range(3)]
BY_MODEL = ("grad-cam", "layer-cam", "hirescam", "integrated-gradients", "lrp", "guided-backprop")

GRIDS = {
    "demo": ("sample:astronaut", DEFAULT_METHODS),
    "perturbation": ("sample:cat", PERTURBATION),
    "paths": ("sample:cat", PATHS),
    "relevance": ("sample:cat", RELEVANCE),
}


def small(path: Path, picture: Image.Image) -> None:
    """Saved with a palette; what lies between its colours is dithered, or photographs have blotches."""
    colours = picture.convert("RGB")
    palette = colours.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    dithered = colours.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    dithered.save(path, optimize=True)


def by_model() -> None:
    """The same methods on three models, a grid for each photograph."""
    models = [pellucid.load(name) for name in MODELS]
    for name in PICTURES:
        grid = IMAGES / f"models-{name.removeprefix('sample:')}.png"
        pellucid.compare(models, name, BY_MODEL, verdict=False).save(grid)
        small(grid, Image.open(grid))


def main() -> None:
    """Methods of each kind compared on one picture, several models, and the courses of I-GOS on four."""
    by_model()
    model = pellucid.load()
    for name, (picture, methods) in GRIDS.items():
        grid = IMAGES / f"{name}.png"
        pellucid.compare(model, picture, methods, verdict=False).save(grid)
        small(grid, Image.open(grid))
    found = pellucid.explain(model, PICTURES, "i-gos")
    films = [Film(panel) for panel in found.panels()]
    ends = [film.frame(film.last) for film in films]
    sheet = Image.new("RGB", (ends[0].width, sum(end.height for end in ends)), "white")
    top = 0
    for end in ends:
        sheet.paste(end, (0, top))
        top += end.height
    small(IMAGES / "i-gos.png", sheet)
    for one in found:
        shares = [float(one.details[name]) for name in ("kept_share", "deleted_share")]
        course = [float(one.trace["deletion"][0][step]) for step in (0, -1)]
        print(one.labels[0], "kept, deleted share: {:.3f}, {:.3f}".format(*shares),
              "deletion: {:.3f} to {:.3f}".format(*course))  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
