"""Runs over data sets beside the model alone: rates, memory, and how they scale to the cores there are.

.venv/bin/python benchmarks/runs.py --out benchmarks/results/runs.md

The bare rate is that of prepared tensors, forward to the logits and backward to the last feature maps, which
is what Grad-CAM asks of a model, at the best of several batches; nothing is read, made into a map or written.
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import torch

import pellucid

KINDS = {"224 px": (224, 224), "12 megapixels": (4000, 3000)}
BATCHES = (1, 2, 4, 8, 16)


def write(folder: Path, size: tuple[int, int], count: int) -> Path:
    """JPEGs made of the sample photographs: a few files, each under many names."""
    folder.mkdir()
    photographs = [
        pellucid.open_picture(f"sample:{name}").rgb for name in ("cat", "coffee", "astronaut", "rocket")
    ]
    encoded = []
    for photograph in photographs:
        stream = io.BytesIO()
        photograph.resize(size).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    for i in range(count):
        (folder / f"{i:05d}.jpg").write_bytes(encoded[i % len(encoded)])
    return folder


def bare(model: pellucid.Model, count: int) -> tuple[float, int]:
    """Pictures a second of the model alone, and the batch at which it is fastest."""
    named = dict(model.network.named_modules())
    layer = named[pellucid.explain(model, "sample:cat").layer[0]]
    model.network.requires_grad_(False)
    one = model.prepare("sample:cat")
    rates = {}
    for batch in BATCHES:
        inputs = one.repeat(batch, 1, 1, 1)

        def step(inputs: torch.Tensor = inputs) -> None:
            kept: list[torch.Tensor] = []

            def keep(module: object, given: object, output: torch.Tensor) -> torch.Tensor:
                kept.append(output.detach().requires_grad_())
                return kept[0]

            handle = layer.register_forward_hook(keep)
            outputs = model.network(inputs)
            handle.remove()
            torch.autograd.grad(outputs.max(1).values.sum(), kept[0])

        step()
        seconds = []
        for _ in range(max(3, count // batch // 8)):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        rates[batch] = batch / statistics.median(seconds)
    best = max(rates, key=rates.__getitem__)
    return rates[best], best


def run_once(folder: str, store: str, asked: str) -> dict[str, float]:
    """One run in this process: seconds from the first picture, and the most memory."""
    given = json.loads(asked)
    if threads := given.pop("torch_threads", None):
        torch.set_num_threads(threads)
    peak, done = 0, threading.Event()
    process = psutil.Process()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    lines = io.StringIO()
    pellucid.keep_memory()  # as the command line does
    pellucid.run("efficientnet-lite0", folder, "grad-cam", store=store, json_progress=lines, **given)
    done.set()
    watcher.join()
    last = json.loads(lines.getvalue().splitlines()[-1])
    return {"rate": last["pictures_per_second"], "peak_mb": peak / 2**20}


def apart(folder: Path, store: Path, **asked: object) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--once", str(folder), str(store), json.dumps(asked)]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found


def numbered(folder: Path, store: Path, asked: dict[str, object], number: int) -> dict[str, float]:
    """The run of that number, with a store of its own."""
    return apart(folder, store.with_name(f"{store.name}-{number}"), **asked)


def repeated(make: Callable[[int], dict[str, float]], times: int) -> tuple[list[float], float]:
    """Rates of several runs, and the memory of the last."""
    found = [make(number) for number in range(times)]
    return sorted(one["rate"] for one in found), found[-1]["peak_mb"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large", type=int, default=5000, help="pictures of the larger run, for memory")
    parser.add_argument("--only", nargs="+", default=["rate", "memory"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--once", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(run_once(*options.once)))
        return
    cores = os.cpu_count() or 1
    lines = [
        f"{platform.machine()}, {cores} cores, torch {torch.__version__}, float32, EfficientNet-Lite0, "
        f"grad-cam; median (min to max) of {options.runs} runs.",
        "",
        "| pictures | work | pictures a second | share of the bare rate | peak MB |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for kind, size in KINDS.items() if "rate" in options.only else ():
            count = options.pictures if size[0] < 1000 else options.pictures // 4
            folder = write(root / kind.replace(" ", "-"), size, count)
            rates = []
            for _ in range(options.runs):
                rate, batch = bare(pellucid.load(), 200)
                rates.append(rate)
            alone = statistics.median(rates)
            lines.append(
                f"| {count} of {kind} | the model alone, batch {batch} | {alone:.1f} "
                f"({min(rates):.1f} to {max(rates):.1f}) | 1.00 | |"
            )
            for title, asked in {
                "local": {},
                f"processes, {cores} workers": {"engine": "processes", "workers": cores},
                "processes, 1 worker of 1 thread": {
                    "engine": "processes", "workers": 1, "torch_threads": 1, "readers": 1,
                },
                f"ray, {cores} workers": {"engine": "ray", "workers": cores},
            }.items():  # fmt: skip
                found, memory = repeated(
                    partial(numbered, folder, root / f"{kind}-{title}", asked), options.runs
                )
                middle = statistics.median(found)
                lines.append(
                    f"| {count} of {kind} | {title} | {middle:.1f} ({found[0]:.1f} to {found[-1]:.1f}) | "
                    f"{middle / alone:.2f} | {memory:.0f} |"
                )
                print("\n".join(lines), file=sys.stderr)
        if "memory" in options.only:
            folder = write(root / "many", (224, 224), options.large)
            few = write(root / "few", (224, 224), 100)
            for name, source in (("100", few), (str(options.large), folder)):
                found = apart(source, root / f"memory-{name}")
                lines.append(f"| {name} of 224 px | local | {found['rate']:.1f} | | {found['peak_mb']:.0f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
