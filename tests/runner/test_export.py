"""What a run is exported as, read again by those who read such files."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from pellucid.errors import InvalidValue
from pellucid.images import Box, place
from pellucid.runner.export import run_lengths
from runner.victim import make


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> pellucid.Run:
    """Sixty maps of a CAM, and one picture that cannot be read."""
    store = tmp_path_factory.mktemp("store")
    return pellucid.run(make(), pictures, "grad-cam", store=store, thumbnails=True, progress=False)


def test_arrays_are_the_maps(run: pellucid.Run, tmp_path: Path):
    run.export(tmp_path, "npz", progress=False)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 60
    kept = [map for map in run.maps(run.to_arrow()) if map is not None]
    for file, map in zip(files, kept, strict=True):
        with np.load(file) as known:
            assert torch.equal(torch.from_numpy(known["map"]), map)
    assert files[0].name == "000000000-grad-cam-predicted.npz"


def test_pictures_show_the_evidence(run: pellucid.Run, tmp_path: Path):
    from pyarrow.compute import field

    run.export(tmp_path, "png", filter=field("row") < 2, progress=False)
    files = sorted(tmp_path.glob("*.png"))
    assert len(files) == 2
    with Image.open(files[0]) as opened:
        expected = np.asarray(run.explanation(0).view())
        assert np.array_equal(np.asarray(opened.convert("RGB")), expected)


def test_masks_hold_the_share_of_the_evidence(run: pellucid.Run, tmp_path: Path):
    file = run.export(tmp_path / "masks.json", "coco-masks", share=0.3, progress=False)
    known = json.loads(file.read_text())
    assert len(known["annotations"]) > 50
    sizes = {one["id"]: (one["width"], one["height"]) for one in known["images"]}
    rows = {row["row"]: row for row in run.to_arrow().to_pylist()}
    for one in known["annotations"][:5]:
        width, height = sizes[one["image_id"]]
        flat, value = [], False
        for length in one["segmentation"]["counts"]:
            flat += [value] * length
            value = not value
        mask = np.array(flat).reshape(width, height).T
        assert mask.sum() == one["area"]
        left, top, w, h = one["bbox"]
        assert mask[top : top + h, left : left + w].sum() == one["area"]
        row = rows[one["image_id"]]
        (map,) = run.maps(run.to_arrow().slice(one["image_id"], 1))
        assert map is not None
        placed = place(map, Box(*row["seen"]), (width, height)).clip(0)
        held = placed[mask].sum() / placed.sum()
        strongest = placed[mask].min()
        assert held >= 0.3 - 1e-6
        assert placed[mask & (placed > strongest)].sum() / placed.sum() < 0.3
    assert {one["name"] for one in known["categories"]} <= {"c0", "c1", "c2"}


def test_run_lengths_begin_with_zeros():
    assert run_lengths(np.array([[0, 1], [0, 0]])) == [2, 1, 1]
    assert run_lengths(np.ones((2, 2))) == [0, 4]
    assert run_lengths(np.zeros((2, 2))) == [4]


def test_tars_hold_maps_rows_and_thumbnails(run: pellucid.Run, tmp_path: Path):
    run.export(tmp_path, "webdataset", progress=False)
    (file,) = tmp_path.glob("*.tar")
    with tarfile.open(file) as tar:
        names = tar.getnames()
        assert len(names) == 60 * 3
        first = names[0].partition(".")[0]
        map = np.load(io.BytesIO(tar.extractfile(f"{first}.npy").read()))
        row = json.loads(tar.extractfile(f"{first}.json").read())
        (kept,) = run.maps(run.to_arrow().slice(row["row"], 1))
        assert torch.equal(torch.from_numpy(map), kept)
        Image.open(io.BytesIO(tar.extractfile(f"{first}.jpg").read())).load()


def test_bad_exports_are_refused(run: pellucid.Run, tmp_path: Path):
    with pytest.raises(InvalidValue, match="format must be one of npz, png"):
        run.export(tmp_path, "gif")
    with pytest.raises(InvalidValue, match="share must be above 0"):
        run.export(tmp_path, "coco-masks", share=0.0)
