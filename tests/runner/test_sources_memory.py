"""Pictures in memory as a source: images, arrays, ready inputs, data sets, iterators of paths."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_sources import column, picture, rows
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

from pellucid.errors import InvalidType, InvalidValue, NotFound, PictureError
from pellucid.runner.sources import Source, open_source
from pellucid.runner.sources.source import BATCH

PIXELS = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def read(source: Source) -> list[Any]:
    reader = pickle.loads(pickle.dumps(source.reader))
    return [reader(row["uri"], row["member"], row["id"])[0] for row in rows(source)]


def test_images_arrays_and_paths_in_one_list(tmp_path: Path):
    named = picture(tmp_path / "a.png", (1, 2, 3))
    source = open_source([Image.fromarray(PIXELS), PIXELS[:, :, 0], named, PIXELS, torch.ones(3, 2, 2)])
    assert column(source, "id") == ["memory:0", "memory:1", str(named), "memory:2", "memory:3"]
    assert column(source, "uri") == ["memory:", "memory:", str(named), "memory:", "memory:"]
    assert column(source, "member") == ["0", "1", None, "2", "3"]
    one, grey, file, two, ready = read(source)
    for found in (one, two):
        np.testing.assert_array_equal(np.asarray(found.rgb), PIXELS)
    np.testing.assert_array_equal(np.asarray(grey.rgb)[:, :, 1], PIXELS[:, :, 0])
    assert file.rgb.getpixel((0, 0)) == (1, 2, 3)
    assert isinstance(ready, Tensor)
    assert source.description["parts"][0]["kind"] == "memory"
    digests = [source.reader(row["uri"], row["member"], "x")[1] for row in rows(source)]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 4


@pytest.mark.parametrize("make", [torch.Tensor.numpy, torch.Tensor.double, lambda x: x.requires_grad_()])
def test_ready_inputs(make: Any):
    values = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5)
    source = open_source(make(values))
    assert source.count == 2
    for found, expected in zip(read(source), values, strict=True):
        assert torch.equal(found.float(), expected)
        assert not found.requires_grad
    data = np.asarray(values[1].detach())
    hashed = hashlib.blake2b(b"float32 (3, 4, 5)" + data.tobytes(), digest_size=16).hexdigest()
    if values.detach().dtype == torch.float32 and make is torch.Tensor.numpy:
        assert source.reader("memory:", "1", "x")[1] == hashed


def test_one_ready_input_and_one_array_are_one_row_each():
    assert read(open_source(torch.zeros(3, 4, 5)))[0].shape == (3, 4, 5)
    assert read(open_source(PIXELS))[0].rgb.size == (5, 4)
    assert [one.rgb.size for one in read(open_source(np.stack([PIXELS, PIXELS])))] == [(5, 4)] * 2


def test_torchvisions_data_sets_bring_labels_without_reading_items(tmp_path: Path):
    for name in ("cat/1.png", "dog/2.png", "dog/3.png"):
        picture(tmp_path / name)
    made = ImageFolder(str(tmp_path), loader=lambda path: pytest.fail("was read"))
    source = open_source(made)
    assert column(source, "label") == ["cat", "dog", "dog"]
    assert source.classes == ("cat", "dog")
    assert column(open_source(Subset(made, [2, 0])), "label") == ["dog", "cat"]
    assert column(open_source(made, label="none"), "label") == [None] * 3
    found = read(open_source(ImageFolder(str(tmp_path))))
    assert [one.rgb.size for one in found] == [(6, 4)] * 3


def test_labels_of_items():
    inputs, targets = torch.rand(3, 1, 4, 4), torch.tensor([2, 0, 1])
    source = open_source(TensorDataset(inputs, targets))
    assert column(source, "label") == ["2", "0", "1"]
    assert torch.equal(torch.stack(read(source)), inputs)
    assert column(open_source([(PIXELS, "cat"), {"image": PIXELS, "label": 3}]), "label") == ["cat", "3"]


class Broken(Dataset[Any]):
    """Its second item fails."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Any:
        if number == 1:
            raise RuntimeError("no disk")
        return (Image.fromarray(PIXELS), number) if number == 0 else {"nothing": 1}


def test_an_item_that_fails_costs_itself():
    source = open_source(Broken())
    assert column(source, "label") == ["0", None, None]
    assert source.reader("memory:", "0", "x")[0].rgb.size == (5, 4)
    with pytest.raises(PictureError, match="memory:1: its data set failed to give it: no disk"):
        source.reader("memory:", "1")
    with pytest.raises(PictureError, match=r"must have its picture under image, .*; it has 'nothing'"):
        source.reader("memory:", "2")
    with pytest.raises(NotFound, match="There are 3 things in memory; got number 3"):
        source.reader("memory:", "3")


def test_an_iterator_of_paths_is_never_a_list():
    """It is asked for what one batch holds, and no more before that batch was taken."""
    made = 0

    def names() -> Any:
        nonlocal made
        for made in range(1, 200_001):
            yield f"/pictures/{made:09d}.png"

    source, count = open_source(names()), 0
    assert made == 1
    for batch in source.batches():
        count += batch.num_rows
        assert made == count
        assert batch.num_rows <= BATCH
    assert count == 200_000
    with pytest.raises(InvalidValue, match="gone through once"):
        list(source.batches())


def test_an_iterator_of_pictures():
    assert len(read(open_source(Image.fromarray(PIXELS) for _ in range(3)))) == 3
    with pytest.raises(InvalidType, match="that began with paths must go on so; got ndarray"):
        rows(open_source(iter(["a.png", PIXELS])))
    with pytest.raises(InvalidValue, match="at least one source"):
        open_source(iter([]))


@pytest.mark.parametrize("wrong", [3, None, b"x", [b"x"], [None]])
def test_what_is_no_source_is_refused(wrong: Any):
    with pytest.raises(InvalidType, match="A source must be a path or URL, pictures"):
        open_source(wrong)


def test_tensors_that_are_no_inputs_are_refused():
    with pytest.raises(InvalidType, match="A tensor must be floating"):
        open_source(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(InvalidType, match="looks like a picture"):
        open_source(np.zeros((2, 9, 9, 3)))
    nan = open_source(torch.full((1, 3, 2, 2), torch.nan))
    with pytest.raises(InvalidValue, match="Every pixel must be finite"):
        read(nan)
