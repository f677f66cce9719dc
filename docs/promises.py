"""Measures which axioms methods keep on one photograph, into docs/promises.json: `python docs/promises.py`.

A quarter of an hour on a CPU. Methods of many passes are given few, as `pellucid.axioms` does of itself;
those that read attention are left out, since the model is a convolutional network.
"""

import json
from pathlib import Path

import torch

import pellucid
from pellucid.axioms.verify import promising
from pellucid.methods import METHODS

FOUND = Path(__file__).with_suffix(".json")
FEWER: dict[str, dict[str, object]] = {
    "agi": {"classes": 2, "steps": 5},
    "blur-ig": {"steps": 50},
    "enhanced-ig": {"steps": 50},
    "guided-ig": {"steps": 100},
    "random-baseline-ig": {"samples": 2, "steps": 32},
    "smooth-grad": {"samples": 10},
    "smooth-grad-squared": {"samples": 10},
    "var-grad": {"samples": 10},
}
"""What else is given to those of many passes."""
MOST = 4
"""Passes up to which a method is measured that promises nothing but implementation invariance."""


def asked() -> list[tuple[str, dict[str, object]]]:
    """The methods, with options by which those of many passes take few."""
    promise = dict(promising())
    costs = ((m, m.cost(m.resolve_options({}))) for m in METHODS.values())
    cheap = (m for m, cost in costs if sum(cost) <= MOST and not cost.per_channel)
    others = {m.name: {} for m in cheap if m.family != "attention" and m.name != "deep-shap"}
    found = {**others, **promise}
    found |= {name: found[name] | few for name, few in FEWER.items()}
    return [(m.name, found[m.name]) for m in METHODS.values() if m.built_in and m.name in found]


def main() -> None:
    """For each method its options, and of each axiom whether it is promised, whether it held, the error."""
    model = pellucid.load()
    entries = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
    for name, options in asked():
        if name in entries:
            continue
        report = pellucid.axioms(model, "sample:cat", [(name, options)], progress=False)
        entries[name] = {
            "options": options,
            "axioms": {
                r.axiom: [r.promised, r.held, r.error and float(f"{r.error:.2g}")] for r in report.rows
            },
        }
        FOUND.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", "utf-8")
        print(report, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
