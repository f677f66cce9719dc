"""IDX files are read exactly or refused in a sentence; sets are split the same way everywhere."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from digit_sets import write_set

from pellucid.digits.data import FASHION, PREPROCESS, bundled, read_folder
from pellucid.digits.idx import read_idx, write_idx
from pellucid.errors import FileMissing, InvalidValue
from pellucid.images import open_picture


def test_an_idx_file_is_its_sizes_and_its_bytes(tmp_path: Path):
    path = tmp_path / "two"
    path.write_bytes(b"\0\0\x08\x03" + b"\0\0\0\x02\0\0\0\x01\0\0\0\x03" + bytes(range(6)))
    assert read_idx(path).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]


def test_gzipped_files_are_known_by_their_bytes_whatever_their_name(tmp_path: Path):
    write_idx(tmp_path / "a.gz", np.array([3, 1, 4], np.uint8))
    assert (tmp_path / "a.gz").read_bytes()[:2] == b"\x1f\x8b"
    (tmp_path / "a.gz").rename(tmp_path / "a")
    assert read_idx(tmp_path / "a").tolist() == [3, 1, 4]


def test_the_bundled_digits_are_scikit_learns_enlarged():
    from sklearn.datasets import load_digits

    theirs, ours = load_digits(), bundled()
    assert (len(ours.train), len(ours.test)) == (1438, 359)
    counts = np.bincount(ours.train.labels) + np.bincount(ours.test.labels)
    assert counts.tolist() == np.bincount(theirs.target).tolist()
    order = np.random.default_rng(0).permutation(1797)
    held_out = np.sort(order[:359])
    assert ours.test.labels.tolist() == theirs.target[held_out].tolist()
    # Shrunk again by means over 3.5 pixels they are what they were, to a few grey levels.
    small = ours.test.picture(0).resize((8, 8), 4)
    assert np.abs(np.asarray(small) - theirs.images[held_out[0]] * 255 / 16).mean() < 15


def test_a_folder_with_test_files_is_taken_as_it_is(tmp_path: Path):
    digits = read_folder(write_set(tmp_path / "mine", count=20, tests=10, suffix=".gz"))
    assert (digits.name, len(digits.train), len(digits.test)) == ("mine", 20, 10)
    assert digits.test.labels.tolist() == list(range(10))


def test_a_folder_without_has_every_fifth_held_out_the_same_each_time(tmp_path: Path):
    first, second = (read_folder(write_set(tmp_path, count=20)) for _ in range(2))
    assert (len(first.train), len(first.test)) == (16, 4)
    assert first.digest == second.digest
    assert np.array_equal(first.test.images, second.test.images)


def test_a_set_is_found_two_folders_below_as_torchvision_lays_it_out(tmp_path: Path):
    write_set(tmp_path / "FashionMNIST" / "raw")
    found = read_folder(tmp_path)
    assert (found.name, found.labels) == ("Fashion-MNIST", FASHION)
    write_set(tmp_path / "MNIST" / "raw")
    with pytest.raises(
        InvalidValue, match=r"must hold one set of IDX files; it holds 2, .*name one of them\."
    ):
        read_folder(tmp_path)


def test_pictures_of_another_size_are_resized(tmp_path: Path):
    assert read_folder(write_set(tmp_path, side=14)).train.images.shape == (16, 28, 28)


def test_an_input_is_what_the_model_file_makes_of_the_picture():
    part = bundled().test
    assert PREPROCESS(open_picture(part.picture(5))).equal(part.inputs[5])


def truncate(folder: Path) -> None:
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])


def truncate_packed(folder: Path) -> None:
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(gzip.compress(file.read_bytes())[:-20])


def swap(folder: Path) -> None:
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    images.rename(folder / "x")
    labels.rename(images)
    (folder / "x").rename(labels)


def relabel(folder: Path) -> None:
    write_idx(folder / "train-labels-idx1-ubyte", np.array([*range(10), 47] + [0] * 9, np.uint8))


def fewer_labels(folder: Path) -> None:
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(19, np.uint8))


def no_labels(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte").unlink()


def labels_of_images(folder: Path) -> None:
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros((20, 2, 2), np.uint8))


def text(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_text("P5 28 28")


def floats(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x0d\x01\0\0\0\x00")


def left_over(folder: Path) -> None:
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes() + b"\0")


def head_alone(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0")


def only_four(folder: Path) -> None:
    write_set(folder, count=4)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, r"idx3-ubyte is truncated: its shape \(20, 28, 28\) takes 15696 bytes, and it has 15695"),
        (truncate_packed, r"images-idx3-ubyte is truncated or damaged: it cannot be unpacked"),
        (swap, r"must hold images \(3 axes\); it holds 20 labels \(1 axis\): are two files swapped\?"),
        (relabel, r"must hold labels from 0 to 9; 1 are above, the first is 47 at position 10\."),
        (fewer_labels, r"a label for each image; they have 20 images and 19 labels\."),
        (no_labels, r"must hold an IDX file train-labels-…; it does not\."),
        (labels_of_images, r"must hold labels \(1 axis\); it holds 20 images \(3 axes\): are two files"),
        (text, r"must be an IDX file, which begins with two zero bytes; it begins with b'P5 2'\."),
        (floats, r"must hold unsigned bytes \(type 8\); its values are of type 13\."),
        (left_over, r"has bytes left over: its shape \(20, 28, 28\) takes 15696 bytes, and it has 15697\."),
        (head_alone, r"is truncated: its 3 sizes take 16 bytes, and it has 6\."),
        (only_four, r"must hold at least 5 images; it holds 4\."),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_clear_sentence(tmp_path: Path, spoil: Callable[[Path], None], said: str):
    spoil(write_set(tmp_path))
    with pytest.raises((InvalidValue, FileMissing), match=said):
        read_folder(tmp_path)


def test_folders_without_a_set_are_refused(tmp_path: Path):
    with pytest.raises(FileMissing, match=r"must hold IDX files, such as train-images.*; it holds none\."):
        read_folder(tmp_path)
    with pytest.raises(FileMissing, match="There is no folder"):
        read_folder(tmp_path / "nowhere")
