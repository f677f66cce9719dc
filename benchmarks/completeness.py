"""By how much integrated gradients miss completeness, on EfficientNet-Lite0 with its real weights.

.venv/bin/python benchmarks/completeness.py --out benchmarks/results/completeness.md
"""

import argparse
from pathlib import Path

import torch

import pellucid

PICTURES = ("cat", "coffee", "rocket", "astronaut")
WAYS: dict[str, dict[str, object]] = {
    "gauss-legendre, 50 steps": {"steps": 50},
    "gauss-legendre, 200 steps": {"steps": 200},
    "trapezoid, 50 steps": {"steps": 50, "quadrature": "trapezoid"},
    "auto, tolerance 0.05": {"tolerance": 0.05},
    "auto, tolerance 0.01 (default)": {},
    "auto, tolerance 0.002": {"tolerance": 0.002},
}


def table() -> list[str]:
    """A Markdown table: a row per way, a column per picture."""
    model = pellucid.load()
    lines = [
        "Completeness error, as a share of S(x) - S(0), S being the predicted class's logit; (steps).",
        "",
        f"| way | {' | '.join(PICTURES)} |",
        f"|---|{'---|' * len(PICTURES)}",
    ]
    for way, options in WAYS.items():
        cells = []
        for name in PICTURES:
            e = pellucid.explain(model, f"sample:{name}", "integrated-gradients", **options)
            change = float(e.attribution.sum() - e.delta)
            cells.append(f"{float(e.delta) / change:+.2%} ({int(e.details['steps'])})")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    text = "\n".join(table()) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)
