"""Folders of pictures to run over."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_pictures(folder: Path, count: int, size: int = 40) -> Path:
    """Noise in three class folders; the picture of each number is always the same."""
    rng = np.random.default_rng(0)
    for i in range(count):
        (folder / f"c{i % 3}").mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"c{i % 3}" / f"{i:04d}.png")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures, and one file that is none."""
    folder = write_pictures(tmp_path_factory.mktemp("pictures"), 60)
    (folder / "c1" / "broken.png").write_bytes(b"not a picture")
    return folder
