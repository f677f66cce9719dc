"""Three hundred pictures, a map and a line in a table for each: python examples/many_pictures.py [COUNT]."""

import csv
import sys
from pathlib import Path

from pictures import folder

import pellucid

files = sorted(folder("many", int(sys.argv[1]) if len(sys.argv) > 1 else 300).rglob("*.png"))
model = pellucid.load()
Path("maps").mkdir(exist_ok=True)
with open("many.csv", "w", newline="") as table:
    rows = csv.writer(table)
    for start in range(0, len(files), 32):  # as many at a time as fit in memory
        e = pellucid.explain(model, files[start : start + 32], "layer-cam")
        for name, one, top in zip(e.names, e, e.prediction, strict=True):
            one.save(f"maps/{name}.png")
            rows.writerow([name, top[0].label, f"{top[0].probability:.4f}"])
