"""Sets of labelled pictures to learn: the bundled digits, or a folder of IDX files."""

import hashlib
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from pellucid.caching import cached_property
from pellucid.choices import Split
from pellucid.digits.idx import read_images, read_labels
from pellucid.errors import FileMissing, InvalidValue
from pellucid.networks.digits import SIDE
from pellucid.preprocess import Preprocess

MEAN, STD = 0.1307, 0.3081
"""Of MNIST's pixels in [0, 1]; used for every set, as in the networks that people know."""

PREPROCESS = Preprocess(
    (SIDE, SIDE), (SIDE, SIDE), fit="squash", interpolation="bicubic", mean=(MEAN,), std=(STD,)
)
"""How a picture becomes a network's input: all of it, in grey."""

DIGITS = tuple("0123456789")
FASHION = (
    *("T-shirt or top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
_HELD_OUT = 5
"""Where a set has no test files, one picture of so many is held out."""

_SEED = 0  # which ones: the same on every machine, and whatever a network's seed is


@dataclass(frozen=True)
class Part:
    """Some pictures of 28 by 28 grey pixels, and the class of each."""

    images: UInt8[np.ndarray, "N H W"]
    labels: UInt8[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.labels)

    def picture(self, index: int) -> Image.Image:
        """One picture."""
        return Image.fromarray(self.images[index])

    @cached_property
    def inputs(self) -> Float[Tensor, "N 1 H W"]:
        """All pictures as a network's inputs."""
        pixels = torch.from_numpy(self.images.astype(np.float32))[:, None]
        return pixels.div(255).sub(MEAN).div(STD)

    @cached_property
    def targets(self) -> Int[Tensor, " N"]:
        """The class of each."""
        return torch.from_numpy(self.labels.astype(np.int64))

    def chosen(self, which: slice | Int[np.ndarray, "M"]) -> "Part":
        """Those of some positions."""
        return Part(self.images[which], self.labels[which])


@dataclass(frozen=True)
class Digits:
    """A set of labelled pictures.

    Attributes:
        name: of the set.
        train: what networks learn.
        test: what is held out, to see how well.
        labels: the names of the classes.
    """

    name: str
    train: Part
    test: Part
    labels: tuple[str, ...] = DIGITS

    def part(self, split: Split) -> Part:
        """The pictures of a split."""
        return self.train if split == "train" else self.test

    @cached_property
    def digest(self) -> str:
        """What tells these pictures and labels from any others."""
        found = hashlib.sha256()
        for part in (self.train, self.test):
            found.update(part.images.tobytes())
            found.update(part.labels.tobytes())
        return found.hexdigest()[:16]


def bundled() -> Digits:
    """The digits that come with Pellucid: 1,797 of 8 by 8 pixels, enlarged; every fifth is held out.

    Example:
        >>> digits = bundled()
        >>> len(digits.train), len(digits.test), digits.train.images.shape[1:]
        (1438, 359, (28, 28))
    """
    with as_file(files("pellucid.digits").joinpath("bundled")) as folder:
        return _read(folder, "scikit-learn's digits")


def read_folder(folder: str | Path) -> Digits:
    """The set in a folder of IDX files, gzipped or not: MNIST, Fashion-MNIST or one's own.

    They are called as MNIST's are, such as train-images-idx3-ubyte.gz, and lie in the folder or at most two
    below it. Where there are no t10k files, every fifth picture is held out. The classes of a folder whose
    path speaks of fashion are Fashion-MNIST's.

    Raises:
        FileMissing: no such folder, no IDX files in it, or a file of the set is not there.
        InvalidValue: a file that is damaged, truncated, swapped or has labels out of range; several sets.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileMissing(f"There is no folder {folder}.")
    found = sorted(
        {path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}train-images*")}
    )
    if not found:
        raise FileMissing(f"{folder} must hold IDX files, such as train-images-idx3-ubyte.gz; it holds none.")
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise InvalidValue(
            f"{folder} must hold one set of IDX files; it holds {len(found)}, {listed}: name one of them."
        )
    fashion = "fashion" in str(found[0].resolve()).lower()
    return _read(
        found[0], "Fashion-MNIST" if fashion else folder.resolve().name, FASHION if fashion else DIGITS
    )


def _read(folder: Path, name: str, labels: tuple[str, ...] = DIGITS) -> Digits:
    train = _part(folder, "train", len(labels))
    if any(folder.glob("t10k-*")):
        return Digits(name, train, _part(folder, "t10k", len(labels)), labels)
    order = np.random.default_rng(_SEED).permutation(len(train))
    held_out = len(train) // _HELD_OUT
    if not held_out:
        raise InvalidValue(f"{folder} must hold at least {_HELD_OUT} images; it holds {len(train)}.")
    return Digits(
        name, train.chosen(np.sort(order[held_out:])), train.chosen(np.sort(order[:held_out])), labels
    )


def _part(folder: Path, split: str, classes: int) -> Part:
    files = [_file(folder, f"{split}-images"), _file(folder, f"{split}-labels")]
    images, labels = read_images(files[0]), read_labels(files[1], classes)
    if len(images) != len(labels):
        raise InvalidValue(
            f"{files[0].name} and {files[1].name} must go together, a label for each image; they have "
            f"{len(images)} images and {len(labels)} labels."
        )
    return Part(_resized(images), labels)


def _file(folder: Path, start: str) -> Path:
    """The file of a set whose name begins so; the unpacked one where there are both."""
    found = sorted(folder.glob(f"{start}*"), key=lambda path: len(path.name))
    if not found:
        raise FileMissing(f"{folder} must hold an IDX file {start}-…; it does not.")
    return found[0]


def _resized(images: UInt8[np.ndarray, "N H W"]) -> UInt8[np.ndarray, "N 28 28"]:
    if images.shape[1:] == (SIDE, SIDE):
        return images
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), bicubic)) for one in images])
