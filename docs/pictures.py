"""Draws what each method shows of five photographs, into docs/images/methods: `python docs/pictures.py`.

It takes half an hour on a CPU, and goes on where it was stopped: a strip is drawn again only where
what is asked of its method has changed. Names draw those methods alone: `python docs/pictures.py rise lime`.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image

import pellucid
from pellucid.errors import PellucidError
from pellucid.methods import METHODS

FOLDER = Path(__file__).with_name("images") / "methods"
MADE = FOLDER / "made.json"
PICTURES = ("cat", "coffee", "rocket", "astronaut", "motorcycle")
SIDE, GAP, LARGEST = 176, 4, 40_000
REFERENCES = "references=black,white,blur"
OPTIONS = {
    "agi": "classes=3",
    "baylime": "segments=slic,samples=300",
    "blur-ig": "steps=50",
    "deep-shap": REFERENCES,
    "enhanced-ig": "steps=50",
    "expected-gradients": f"{REFERENCES},samples=100",
    "extremal-perturbation": "steps=100",
    "gradient-shap": REFERENCES,
    "guided-ig": "steps=100",
    "i-gos": "steps=8",
    "i-gos++": "steps=3",
    "is-cam": "steps=2",
    "kernel-shap": "samples=300",
    "lime": "segments=slic,samples=300",
    "meaningful-perturbation": "steps=100",
    "opti-cam": "steps=50",
    "partition-shap": "samples=300",
    "random-baseline-ig": "samples=2",
    "rise": "samples=400",
    "smooth-grad": "samples=25",
    "smooth-grad-squared": "samples=25",
    "ss-cam": "samples=1",
    "var-grad": "samples=25",
}
"""What is not the default: references where the method asks for them, fewer passes where it takes minutes."""
TRANSFORMER = "timm:vit_tiny_patch16_224"


def slug(name: str) -> str:
    """A method's name in files and addresses.

    >>> slug("grad-cam++")
    'grad-cam-plus-plus'
    """
    return name.replace("+", "-plus")


def asked(name: str) -> str:
    """What is drawn of a method, as one asks for it.

    >>> asked("rise")
    'rise:samples=400'
    """
    return f"{name}:{OPTIONS[name]}" if name in OPTIONS else name


def strip(tiles: list[Image.Image]) -> Image.Image:
    """Pictures side by side, each cut to a square."""
    sheet = Image.new("RGB", (len(tiles) * (SIDE + GAP) - GAP, SIDE), "white")
    for place, tile in enumerate(tiles):
        short = min(tile.size)
        left, top = ((length - short) // 2 for length in tile.size)
        square = tile.convert("RGB").crop((left, top, left + short, top + short))
        sheet.paste(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (place * (SIDE + GAP), 0))
    return sheet


def save(sheet: Image.Image, name: str) -> None:
    """As WebP, as good as fits into `LARGEST` bytes."""
    path = FOLDER / f"{name}.webp"
    for quality in range(84, 20, -8):
        sheet.save(path, quality=quality, method=6)
        if path.stat().st_size <= LARGEST:
            return


def draw(name: str, models: dict[str, pellucid.Model]) -> list[str]:
    """The strip of one method; the classes that were explained."""
    attention = METHODS[name].family == "attention"
    key = "transformer" if attention else "default"
    if key not in models:
        models[key] = pellucid.load(TRANSFORMER, random_weights=True) if attention else pellucid.load()
    tiles, labels = [], []
    for picture in PICTURES:
        found = pellucid.explain(models[key], f"sample:{picture}", asked(name), progress=False)
        tiles.append(found.overlay())
        labels.append(str(found.labels[0]))
    save(strip(tiles), slug(name))
    return labels


def made() -> dict[str, str]:
    """What was asked of each method whose strip is there."""
    return dict(json.loads(MADE.read_text("utf-8"))) if MADE.exists() else {}


def main(names: list[str]) -> None:
    """All strips that are missing, the quick ones first."""
    FOLDER.mkdir(exist_ok=True)
    if not (FOLDER / "photographs.webp").exists():
        save(strip([pellucid.open_picture(f"sample:{name}").rgb for name in PICTURES]), "photographs")
    models: dict[str, pellucid.Model] = {}
    built_in = [m for m in METHODS.values() if m.built_in and (not names or m.name in names)]
    for method in sorted(built_in, key=lambda m: sum(m.cost(m.resolve_options({})))):
        name = method.name
        there = (FOLDER / f"{slug(name)}.webp").exists()
        if there and made().get(name) == asked(name) and not names:
            continue
        try:
            labels = draw(name, models)
        except PellucidError as error:
            print(f"{name}: {error}")
            continue
        done = made() | {name: asked(name)}
        MADE.write_text(json.dumps(dict(sorted(done.items())), indent=1) + "\n", "utf-8")
        print(name, *labels, sep=", ", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
