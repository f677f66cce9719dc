"""Planted watermarks and a natural bias, found or cleared over seeds: `python benchmarks/audit.py`.

Of each seed five networks are trained on shapes: three on pictures where 5, 20 or 80 % of one class have a
watermark, one on pictures of all classes with it, and one whose class always lies at the left. That the first
three use it and the fourth does not is shown by the share of other classes' pictures that become the class
once they are marked. Then all are audited, on new pictures in which that class has the watermark as often.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import pellucid
from pellucid.audit.core import Settings, audit_evidence
from pellucid.audit.evidence import Evidence
from pellucid.audit.record import Audit
from pellucid.intervals import proportion
from pellucid.truth.watermarks import CORNER, MARKED, SHAPES, SIDE, Scenes, scenes, taught, with_watermark

SHARES = 0.05, 0.2, 0.8
RESULTS = Path(__file__).parent / "results" / "audit.md"
LESSONS, EPOCHS, TESTS = 300, 8, 200


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--methods", default="lrp,grad-cam")
    options.add_argument("--log", type=Path, help="lines of JSON; those that are there are not made again")
    options.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    given = options.parse_args()
    lines = [json.loads(line) for line in given.log.read_text().splitlines()] if _there(given.log) else []
    for seed in range(given.first, given.first + given.seeds):
        if any(line["seed"] == seed for line in lines):
            continue
        for line in one_seed(seed, given.methods.split(",")):
            lines.append(line)
            print(json.dumps(line), flush=True)
            if given.log:
                with given.log.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    text = table(lines)
    print(text)
    if given.write:
        RESULTS.write_text(text, encoding="utf-8")


def one_seed(seed: int, methods: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of one seed."""
    lines = []
    clean = taught(scenes(LESSONS, 0.5, seed, everywhere=True), seed, epochs=EPOCHS)
    for share in SHARES:
        user = taught(scenes(LESSONS, share, seed, faint=0.3), seed, epochs=EPOCHS)
        lines += audits(user, scenes(TESTS, share, seed + 5000, faint=0.3), "uses", share, seed, methods)
        lines += audits(clean, scenes(TESTS, share, seed + 5000), "does not", share, seed, methods)
    left = taught(scenes(LESSONS, 0.0, seed, place="left"), seed, epochs=EPOCHS)
    return lines + audits(left, scenes(TESTS, 0.0, seed + 5000, place="left"), "left", 0.0, seed, methods)


def audits(
    net: nn.Module, pictures: Scenes, what: str, share: float, seed: int, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """A network's audits by several methods, and whether it uses the mark."""
    turned = turned_by_mark(net, seed)
    lines = []
    for method in methods:
        started = time.perf_counter()
        found = audit_of(net, pictures, method, seed)
        lines.append({
            "what": what, "share": share, "seed": seed, "method": method, "turned": turned,
            "marked": sum(named(found)) > 0, "others": sum(not one for one in named(found)),
            "position": any(f.kind == "position" and f.name == SHAPES[MARKED] for f in found.findings),
            "positions": sum(f.kind == "position" and f.name != SHAPES[MARKED] for f in found.findings),
            "open": sum(f.kind == "open" for f in found.findings),
            "seconds": time.perf_counter() - started,
            "sentences": [f.sentence for f in found.findings if f.kind in ("shortcut", "position")],
        })  # fmt: skip
    return lines


def audit_of(net: nn.Module, pictures: Scenes, method: str, seed: int, **settings: Any) -> Audit:
    """The audit of pictures that the network is right about."""
    right = predicted(net, pictures.inputs) == pictures.labels
    x, labels = pictures.inputs[right], pictures.labels[right]
    made = [
        pellucid.explain(net, some, method, target=want, progress=False)
        for some, want in zip(x.split(100), labels.split(100), strict=True)
    ]
    maps = torch.cat([one.raw if method == "grad-cam" else one.attribution for one in made])
    evidence = Evidence.of_maps(maps, labels, names=SHAPES)
    return audit_evidence(
        evidence,
        net,
        lambda rows: x[list(rows)],
        settings=Settings(TESTS, seed=seed, progress=False, **settings),
        method=method,
    )


def named(found: Audit) -> list[bool]:
    """For each shortcut whether it is the mark: the class, and a region that holds most of the mark."""
    told = {(one.name, one.number): one.region for one in found.clusters}
    rows, columns = CORNER
    size = (rows.stop - rows.start) * (columns.stop - columns.start)
    right = []
    for one in found.shortcuts:
        down, across = told[one.name, one.cluster].pixels((SIDE, SIDE))
        tall = min(down.stop, rows.stop) - max(down.start, rows.start)
        wide = min(across.stop, columns.stop) - max(across.start, columns.start)
        right.append(one.name == SHAPES[MARKED] and max(0, tall) * max(0, wide) >= size / 2)
    return right


def turned_by_mark(net: nn.Module, seed: int) -> tuple[float, float]:
    """The share of other classes' pictures that are taken for the class, without the mark and with it."""
    plain = scenes(TESTS, 0.0, seed + 9000)
    others = plain.inputs[plain.labels != MARKED]
    return tuple(
        (predicted(net, x) == MARKED).float().mean().item() for x in (others, with_watermark(others))
    )  # type: ignore[return-value]


@torch.no_grad()
def predicted(net: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([net(some).argmax(1) for some in x.split(200)])


def table(lines: Sequence[dict[str, Any]]) -> str:
    """What was found, as Markdown."""
    seeds = len({line["seed"] for line in lines})
    rows = []
    for method in dict.fromkeys(line["method"] for line in lines):
        for what, share in dict.fromkeys((line["what"], line["share"]) for line in lines):
            some = [
                one for one in lines if (one["what"], one["share"], one["method"]) == (what, share, method)
            ]
            good = {
                "uses": lambda one: one["marked"] and not one["others"],
                "does not": lambda one: not one["marked"] and not one["others"],
                "left": lambda one: one["position"] and not one["marked"] and not one["others"],
            }[what]
            without, with_it = (
                sum(one["turned"][i] for one in some) / len(some) if some else 0.0 for i in (0, 1)
            )
            lowest = min(one["turned"][1] for one in some)
            highest = max(one["turned"][1] for one in some)
            rows.append(
                f"| {method} | {WORDS[what]} | {share:.0%} | {without:.1%} | {with_it:.1%} ({lowest:.0%} to "
                f"{highest:.0%}) | {sum(map(good, some))} of {len(some)} | "
                f"{proportion(sum(map(good, some)), len(some))!s} | "
                f"{sum(one['seconds'] for one in some) / len(some):.1f} s |"
            )
    return TEXT.format(seeds=seeds, lessons=LESSONS, tests=TESTS) + "\n".join(rows) + "\n"


TEXT = """# Audit: planted watermarks and a natural bias

Made by `python benchmarks/audit.py`. {seeds} seeds; of each, networks trained on {lessons} pictures of each
of four shapes, audited on {tests} new ones of each. A watermark that is found names its class, and a region
that holds most of it; no other shortcut may be named. Cleared: no shortcut is named, though the class has the
mark. The bias: a position bias of that class, and no shortcut.

| maps | network | with the mark | others taken for it | marked | right | 95 % | an audit |
|---|---|---|---|---|---|---|---|
"""
WORDS = {"uses": "uses the mark", "does not": "does not use it", "left": "class always at the left"}


def _there(path: Path | None) -> bool:
    return path is not None and path.exists()


if __name__ == "__main__":
    main()
