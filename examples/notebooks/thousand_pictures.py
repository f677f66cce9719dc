# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # A folder of a thousand pictures
#
# Made here, so that nothing is downloaded: cuttings of the bundled photographs. Take your own folder in
# their place. The number is an argument: `python thousand_pictures.py 100`.

# %%
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import pellucid

COUNT = next((int(a) for a in sys.argv[1:] if a.isdigit()), 1000)
random = np.random.default_rng(0)
folder = Path("photos")
folder.mkdir(exist_ok=True)
samples = [pellucid.open_picture(f"sample:{name}").rgb for name in ("cat", "coffee", "rocket", "motorcycle")]


def cutting(number):
    """A part of a photograph, half of its height and width."""
    picture = samples[number % len(samples)]
    width, height = picture.width // 2, picture.height // 2
    left, top = random.integers(0, width), random.integers(0, height)
    picture.crop((left, top, left + width, top + height)).save(folder / f"{number:04}.jpg")


for number in range(COUNT // 2):
    cutting(number)
(folder / "broken.jpg").write_bytes(b"no picture")

# %% [markdown]
# ## Explaining all of them
#
# One command. A picture that cannot be read costs one line, and the exit code says that some failed.


# %%
def pellucid_explain(*more):
    """The command line, as a shell would call it."""
    command = [
        sys.executable,
        "-m",
        "pellucid",
        "explain",
        "photos",
        "-m",
        "layer-cam",
        "--out",
        "maps",
        "--save",
        "npz",
    ]
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False)


first = pellucid_explain("--quiet")
print("exit code", first.returncode)
print(first.stderr.strip())

# %% [markdown]
# ## Going on
#
# More pictures arrive, or a run was stopped: `--skip-existing` makes only what is missing.

# %%
for number in range(COUNT // 2, COUNT):
    cutting(number)
(folder / "broken.jpg").unlink()
second = pellucid_explain("--skip-existing")
print(second.stdout.strip().splitlines()[-1])

# %% [markdown]
# ## Summing up
#
# `index.jsonl` has a line for each result.

# %%
lines = [json.loads(line) for line in Path("maps/index.jsonl").read_text("utf-8").splitlines()]
print(len(lines), "results")
classes = Counter(line["labels"][0] for line in lines)
print(classes.most_common(5))

# %% [markdown]
# The maps are there to be worked with: here, how much of the evidence lies in the outer eighth of the
# input. Where that is much, the model may look at the frame.

# %%
shares = {}
for line in lines:
    e = pellucid.Explanation.load(line["files"][0])
    evidence = e.attribution[0].sum(0).clamp(min=0)
    height, width = evidence.shape
    inner = evidence[height // 8 : -height // 8, width // 8 : -width // 8]
    shares[line["name"]] = float(1 - inner.sum() / evidence.sum().clamp(min=1e-9))
strangest = sorted(shares, key=shares.__getitem__)[-5:]
print("most evidence at the border:", strangest)
