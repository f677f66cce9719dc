"""Judges maps of five photographs by each quick metric, into docs/judged.json: `python docs/judged.py`.

Some minutes on a CPU. The maps are Grad-CAM's, of the predicted class, and those of random-cam, which knows
nothing of it; metrics that ask where the object is, or run the model more than `MOST` times, are left out.
"""

import json
from pathlib import Path

import torch
from pictures import PICTURES

import pellucid
from pellucid.errors import PellucidError
from pellucid.measure import measure
from pellucid.metrics import METRICS, Metric

FOUND = Path(__file__).with_suffix(".json")
METHODS = ("grad-cam", "random-cam")
SIZE, MOST = (224, 224), 130


def passes(metric: Metric) -> int:
    """About how often the model runs for one map."""
    found = metric.passes(metric.resolve_options({}), SIZE)
    return found.forward + 12 * found.explanations


def main() -> None:
    """One entry for each metric: the values of each method on each photograph, None where it has none."""
    model = pellucid.load()
    inputs = model.prepare([f"sample:{name}" for name in PICTURES])
    target = model(inputs).argmax(1)
    explained = {m: pellucid.explain(model, inputs, m, target=target, progress=False) for m in METHODS}
    entries = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
    own = (m for m in METRICS.values() if m.function.__module__.startswith("pellucid."))
    metrics = sorted((m for m in own if "truth" not in m.needs and passes(m) <= MOST), key=passes)
    for metric in metrics:
        if metric.name in entries:
            continue
        entries[metric.name] = {}
        for method, found in explained.items():
            try:
                judged = measure(
                    model,
                    inputs,
                    found.attribution,
                    metric.name,
                    method=method,
                    target=target,
                    progress=False,
                )
            except PellucidError as error:
                print(metric.name, method, error)
                continue
            values = [float(f"{value:.3g}") for value in judged.value.tolist()]
            entries[metric.name][method] = [None if value != value else value for value in values]
        FOUND.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", "utf-8")
        print(metric.name, entries[metric.name], flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
