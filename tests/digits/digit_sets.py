"""Small sets of pictures for the tests of the digits laboratory."""

from functools import cache
from pathlib import Path

import numpy as np

from pellucid.digits.data import Digits, bundled
from pellucid.digits.idx import write_idx
from pellucid.digits.training import Plan, Trained, train


@cache
def few(lessons: int = 640, tests: int = 200) -> Digits:
    """Some of the bundled digits."""
    digits = bundled()
    return Digits("few digits", digits.train.chosen(slice(lessons)), digits.test.chosen(slice(tests)))


@cache
def learned(architecture: str = "cnn", epochs: int = 1, lessons: int = 640) -> Trained:
    """A network after a small budget, the same for all tests of a process."""
    return train(few(lessons), Plan(architecture, epochs=epochs, batch=32), progress=False)


def write_set(folder: Path, *, count: int = 20, tests: int = 0, side: int = 28, suffix: str = "") -> Path:
    """A folder of IDX files with random pictures whose labels go from 0 to 9."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for split, some in (("train", count), ("t10k", tests)):
        if some:
            images = random.integers(0, 256, (some, side, side), dtype=np.uint8)
            write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", images)
            write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", np.arange(some, dtype=np.uint8) % 10)
    return folder
