"""How close a map of N samples is to the map of very many, and how alike two seeds are.

.venv/bin/python benchmarks/accuracy.py --out benchmarks/results/accuracy.md --plot docs/images/accuracy.png
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from captum.attr import KernelShap
from torch import Tensor

import pellucid
from pellucid.ranks import rank_correlation
from pellucid.segments import segment

CLASS = 282
COUNTS = (125, 250, 500, 1000)
MANY = 4000
SEGMENTS = 51


def error(map: Tensor, reference: Tensor) -> float:
    """The root mean square difference but for a constant, as a share of the reference's spread."""
    return float((map - reference).std() / reference.std())


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, of two vectors."""
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def rise_rows(model: pellucid.Model, x: Tensor) -> list[tuple[str, int, float, float, float]]:
    """(sampling, samples, measured error, error the map says it has, rank correlation) of RISE."""
    reference = pellucid.explain(model, x, "rise", target=CLASS, samples=MANY, seed=1).raw

    def row(kind: str, **options: object) -> tuple[str, int, float, float, float]:
        e = pellucid.explain(model, x, "rise", target=CLASS, **options)
        ranks = rank_correlation(torch.stack([e.raw.flatten(), reference.flatten()]))
        said = float(e.stderr.square().mean().sqrt() / reference.std())
        return kind, int(e.details["samples"][0]), error(e.raw, reference), said, float(ranks[0, 1])

    rows = [row("as published", samples=n, paired=False, centred=False) for n in COUNTS]
    rows += [row("centred", samples=n, paired=False) for n in COUNTS]
    rows += [row("centred, pairs (default)", samples=n) for n in COUNTS]
    return rows + [row(f"auto, tolerance {t}", samples="auto", tolerance=t) for t in (0.3, 0.2)]


def seeds(model: pellucid.Model, x: Tensor) -> list[tuple[str, str, float]]:
    """(method, output, correlation of two seeds) at 1000 samples of the same segments."""
    from skimage.segmentation import slic

    picture = np.asarray(model.pictures(x)[0].rgb)
    counts = range(SEGMENTS, 3 * SEGMENTS)
    labels = next(
        labels for n in counts if len((labels := segment(picture, slic(picture, n))).unique()) >= SEGMENTS
    )
    rows = []
    for output in ("logit", "probability"):
        for method in ("kernel-shap", "lime"):
            options = {"samples": 1000, "segments": labels, "output": output, "target": CLASS}
            first, second = (
                pellucid.explain(model, x, method, seed=seed, **options).details["coefficients"][0]
                for seed in range(2)
            )
            rows.append((f"pellucid {method}", output, correlation(first, second)))

    for output, head in (("logit", lambda z: z), ("probability", lambda z: z.softmax(1))):
        found = []
        for seed in range(2):
            torch.manual_seed(seed)
            shap = KernelShap(lambda batch, head=head: head(model.network(batch)))
            map = shap.attribute(x, target=CLASS, feature_mask=labels[None, None], n_samples=1000)
            found.append(torch.stack([map[0, 0][labels == one].mean() for one in labels.unique()]).detach())
        rows.append(("captum kernel-shap", output, correlation(*found)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = pellucid.load()
    x = model.prepare("sample:cat")
    rise = rise_rows(model, x)
    lines = [
        f"EfficientNet-Lite0, the cat, class {CLASS}. Errors are shares of the spread of a map of {MANY} "
        "other samples, whose own error they include.",
        "",
        "| RISE | samples | error | error it says | rank correlation |",
        "|---|---|---|---|---|",
        *(f"| {kind} | {n} | {e:.2f} | {said:.2f} | {r:.3f} |" for kind, n, e, said, r in rise),
        "",
        f"Two seeds, 1000 samples, {SEGMENTS} SLIC segments or a few more:",
        "",
        "| | output | correlation |",
        "|---|---|---|",
        *(f"| {name} | {output} | {r:.2f} |" for name, output, r in seeds(model, x)),
    ]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    if options.plot:
        plot(rise, options.plot)


def plot(rows: list[tuple[str, int, float, float, float]], path: Path) -> None:
    """Error against samples, both on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(kind for kind, *_ in rows):
        points = [(n, e) for which, n, e, *_ in rows if which == kind]
        axes.loglog(
            *zip(*points, strict=True), marker="o", linestyle="-" if len(points) > 1 else "", label=kind
        )
    axes.set(xlabel="samples", ylabel="error / spread of the map", title="RISE, EfficientNet-Lite0, the cat")
    axes.set_xticks(COUNTS, COUNTS)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
