"""Whether relevance maps are better where biases answer for their part, or leave it to the inputs.

.venv/bin/python benchmarks/biases.py --out benchmarks/results/biases.md

Random boxes of a 16 x 16 grid are hidden, behind the mean colour and behind a blur, and a map says how far
the score will fall: by the sum of its positive evidence in them. A better map's sums correlate more with what
the score really loses. r is that correlation over all boxes; q the same once the hidden area, its logarithm
and the replacement are regressed out of both. Every map is judged by the same passes.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

import pellucid

GRID, SETS = 16, 255
SAMPLES = ("cat", "coffee", "rocket", "astronaut")
RANKS = (0, 1)  # the classes that are explained: the predicted one, and the next
METHODS = (
    "lrp",
    "lrp:composite=epsilon-plus",
    "lrp:composite=epsilon-gamma-box",
    "lrp:composite=epsilon-alpha2-beta1-flat",
    "attn-lrp",
)


def boxes(sets: int, generator: torch.Generator) -> Tensor:
    """Masks (sets, GRID, GRID), 1 where one or two boxes hide, of sides from 1 to 8 cells."""
    masks = torch.zeros(sets, GRID, GRID)
    for mask in masks:
        for _ in range(int(torch.randint(1, 3, (), generator=generator))):
            height, width = (2 ** (3 * torch.rand(2, generator=generator))).round().int().tolist()
            top = int(torch.randint(GRID - height + 1, (), generator=generator))
            left = int(torch.randint(GRID - width + 1, (), generator=generator))
            mask[top : top + height, left : left + width] = 1
    return masks


def replacements(x: Tensor) -> list[Tensor]:
    """The picture's mean colour, and a blur of it."""
    mean = x.mean((2, 3), keepdim=True).expand_as(x)
    side = 2 * (x.shape[-1] // 8) + 1
    blurred = x
    for _ in range(3):
        blurred = avg_pool2d(blurred, side, 1, side // 2, count_include_pad=False)
    return [mean, blurred]


def drops(module: torch.nn.Module, x: Tensor, masks: Tensor) -> Tensor:
    """By how much every output falls, (replacements, sets, classes)."""
    shown = (
        masks[:, None].repeat_interleave(x.shape[-1] // GRID, -1).repeat_interleave(x.shape[-2] // GRID, -2)
    )
    with torch.no_grad():
        whole = module(x)
        return torch.stack(
            [
                torch.cat([whole - module(torch.where(part > 0, hidden, x)) for part in shown.split(8)])
                for hidden in replacements(x)
            ]
        )


def correlation(a: Tensor, b: Tensor, known: Tensor) -> float:
    """Pearson's r of what is left of both once `known` columns are regressed out."""
    rest = [v - known @ torch.linalg.lstsq(known, v[:, None]).solution[:, 0] for v in (a, b)]
    return float(torch.nn.functional.cosine_similarity(*rest, dim=0))


def judged(map: Tensor, masks: Tensor, fall: Tensor) -> tuple[float, float]:
    """r and q of one map (C, H, W) for the drops (replacements, sets) of its class."""
    cells = adaptive_avg_pool2d(map.sum(0, keepdim=True), GRID)[0].clamp(min=0).double()
    told = (masks.double() * cells).sum((1, 2)).repeat(len(fall))
    lost, area = fall.double().flatten(), masks.double().sum((1, 2)).repeat(len(fall))
    which = torch.eye(len(fall), dtype=torch.float64).repeat_interleave(len(masks), 0)
    known = torch.cat([which, area[:, None], area.log()[:, None]], 1)
    return correlation(told, lost, which), correlation(told, lost, known)


def results() -> Iterator[tuple[str, str, list[tuple[float, float, float]]]]:
    """Method, biases, and of each question r, q and the pixels' share."""
    model = pellucid.load()
    masks = boxes(SETS, torch.Generator().manual_seed(0))
    questions = []
    for sample in SAMPLES:
        x = model.prepare([f"sample:{sample}"])
        fall = drops(model.module, x, masks)
        with torch.no_grad():
            classes = model.module(x)[0].topk(len(RANKS)).indices.tolist()
        questions += [(x, fall[..., label], label) for label in classes]
    for spec in METHODS:
        for biases in ("share", "ignore"):
            found = []
            for x, fall, label in questions:
                e = pellucid.explain(model, x, spec, target=label, biases=biases, progress=False)
                share = float(e.raw.double().sum() / e.score[0])
                found.append((*judged(e.raw[0], masks, fall), share))
            yield spec, biases, found


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "# Biases that answer for their part, or leave it to the inputs",
        "",
        f"EfficientNet-Lite0, {', '.join(SAMPLES)}, the two classes of the highest score of each; {SETS} "
        "sets of boxes behind 2 replacements. `.venv/bin/python benchmarks/biases.py`.",
        "",
        "| method | biases | r, mean | q, mean | q, worst | pixels hold, median |",
        "|---|---|---|---|---|---|",
    ]
    for spec, biases, found in results():
        r, q, share = (sorted(values) for values in zip(*found, strict=True))
        mean = [math.fsum(values) / len(values) for values in (r, q)]
        numbers = f"{mean[0]:.3f} | {mean[1]:.3f} | {q[0]:.3f} | {share[len(share) // 2]:.2%}"
        lines.append(f"| {spec} | {biases} | {numbers} |")
        print(lines[-1], [f"{one[1]:.2f}" for one in found], flush=True)
    if given.out:
        given.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
