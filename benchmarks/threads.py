"""Two models explained in two threads, against one after the other, with one torch thread each.

.venv/bin/python benchmarks/threads.py --threads 1 --out benchmarks/results/threads.md
"""

import threading
from collections.abc import Mapping
from functools import partial

import pellucid
from harness import Job, Jobs, main

METHODS = ("grad-cam", "saliency", "integrated-gradients:steps=8", "rise:samples=32", "lrp")
CALLS = 2


def groups() -> Mapping[str, Jobs]:
    """By method: both models in threads of their own, and one after the other."""
    models = [pellucid.load(), pellucid.load("timm:resnet18", random_weights=True)]
    inputs = [model.prepare("sample:cat") for model in models]

    def explain(i: int, method: str) -> None:
        for _ in range(CALLS):
            pellucid.explain(models[i], inputs[i], method, progress=False)

    return {
        f"{CALLS} x {method}, EfficientNet-Lite0 and resnet18": {
            "two threads": partial(side_by_side, [partial(explain, i, method) for i in range(2)]),
            "one after the other": partial(in_turn, [partial(explain, i, method) for i in range(2)]),
        }
        for method in METHODS
    }


def in_turn(jobs: list[Job]) -> None:
    """Runs jobs one after the other."""
    for job in jobs:
        job()


def side_by_side(jobs: list[Job]) -> None:
    """Runs jobs in threads of their own."""
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(groups)
