"""Times jobs against each other in one process, run by turns, and weighs each in a process of its own."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import torch

Job = Callable[[], object]
Jobs = Mapping[str, Job]
"""Named jobs over the same work; the first is ours."""


def added_mb(job: Job) -> float:
    """The most resident memory this process has while the job runs, above what it had before, in MB."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    job()
    done.set()
    watcher.join()
    return (peak - before) / 2**20


def by_turns(jobs: Jobs, runs: int, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each run, after one warm-up; the jobs alternate, so a drift of the machine hits them all."""
    for job in jobs.values() if warm else ():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(runs):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main(groups: Callable[[], Mapping[str, Jobs]], once: str | None = None) -> None:
    """The command line of a benchmark script: measures its groups of jobs and prints a Markdown table.

    Groups whose name starts with `once` take minutes: their jobs run once, without a warm-up, and are not
    weighed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each job (median is shown)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[""], help="only groups whose name holds one of these")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    parser.add_argument("--weigh", nargs=2, metavar=("GROUP", "JOB"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    made = groups()
    if options.weigh:
        print(json.dumps(added_mb(made[options.weigh[0]][options.weigh[1]])))
        return
    lines = [
        f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}, float32; "
        f"median (min to max) of {options.runs} runs by turns; MB: peak memory above that before the job.",
        "",
        "| work | library | seconds | ratio to ours | + MB |",
        "|---|---|---|---|---|",
    ]
    for group, jobs in made.items():
        if not any(wanted in group for wanted in options.only):
            continue
        long = once is not None and group.startswith(once)
        seconds = by_turns(jobs, 1 if long else options.runs, warm=not long)
        ours = statistics.median(next(iter(seconds.values())))
        for name, times in seconds.items():
            weigh = [sys.executable, sys.argv[0], "--threads", str(options.threads), "--weigh", group, name]
            extra = "not weighed"
            if not long:
                output = subprocess.run(weigh, capture_output=True, text=True, check=True).stdout
                extra = f"{json.loads(output.splitlines()[-1]):.0f}"
            lines.append(
                f"| {group} | {name} | {statistics.median(times):.3f} ({min(times):.3f} to {max(times):.3f}) "
                f"| {statistics.median(times) / ours:.2f} | {extra} |"
            )
            print(lines[-1], file=sys.stderr)
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
