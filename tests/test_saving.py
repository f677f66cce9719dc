"""Files of pictures: JPEG and WebP besides PNG, folders that are made, and what is no path."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import pellucid
from pellucid.cli import app
from pellucid.errors import InvalidType, InvalidValue, NotWritten
from pellucid.files import atomic_write
from pellucid.render import metadata

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.fixture
def explained() -> pellucid.Explanation:
    return pellucid.explain(NET, torch.rand(1, 3, 80, 72), target=1)


@pytest.mark.parametrize(
    ("suffix", "format", "off"), [("jpg", "JPEG", 12), ("jpeg", "JPEG", 12), ("webp", "WEBP", 0)]
)
def test_pictures_of_every_kind_are_the_same_picture_and_say_what_they_show(
    tmp_path, explained, suffix, format, off
):
    path = explained.save(tmp_path / f"map.{suffix}")
    with Image.open(path) as image:
        assert image.format == format
        difference = np.abs(np.asarray(image, float) - np.asarray(explained.view(), float))
    assert np.quantile(difference, 0.99) <= off
    (told,) = metadata.read(path)["explanations"]
    assert (told["method"], told["labels"]) == ("grad-cam", ["class 1"])
    shown = CliRunner().invoke(app, ["show", str(path)])
    assert "explained    class 1" in shown.stdout


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_print_and_grids_have_the_size_and_dots_of_a_png(tmp_path, explained, suffix):
    for save in (explained.save, pellucid.compare(NET, torch.rand(1, 3, 80, 72), ["grad-cam", "cam"]).save):
        sizes = []
        for kind in ("png", suffix):
            with Image.open(save(tmp_path / f"map.{kind}", width="column", dpi=100)) as image:
                sizes.append(image.size)
                if kind == "jpg":
                    assert image.info["dpi"] == (100, 100)
        assert sizes[0] == sizes[1]


def test_the_command_line_writes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    Image.effect_noise((24, 20), 60).convert("RGB").save("dog.png")
    asked = ["dog.png", "--model", "nets.py:net", "--size", "16", "-q", "--save", "jpg,webp"]
    assert CliRunner().invoke(app, ["explain", *asked]).exit_code == 0
    assert CliRunner().invoke(app, ["compare", *asked, "-m", "grad-cam", "-m", "cam"]).exit_code == 0
    assert sorted(path.name for path in Path("pellucid-out").glob("[!.]*.[jw]*")) == [
        "compare.jpg", "compare.webp", "dog.grad-cam.jpg", "dog.grad-cam.webp", "index.jsonl",
    ]  # fmt: skip


def test_more_pixels_than_a_format_holds_are_refused(tmp_path):
    for suffix, most in ((".webp", 16_383), (".jpg", 65_500)):
        with pytest.raises(InvalidValue, match=rf"{suffix} picture has at most {most} .* {most + 1} x 1"):
            metadata.save_pixels(tmp_path / f"long{suffix}", Image.new("RGB", (most + 1, 1)), {})


def test_what_a_jpeg_has_no_room_for_is_left_out(tmp_path):
    told = {"title": "t", "description": "d", "versions": {}, "explanations": ["x" * 70_000]}
    metadata.save_pixels(tmp_path / "a.jpg", Image.new("RGB", (4, 4)), told)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif()[0x010E] == "d"


def test_a_folder_that_is_not_there_is_made(tmp_path, explained):
    for name in ("a.png", "a.npz", "a.html", "a.svg"):
        assert explained.save(tmp_path / "new" / "er" / name).is_file()
    path = pellucid.compare(NET, torch.rand(1, 3, 9, 9), ["grad-cam"]).save(tmp_path / "other" / "c.png")
    assert path.is_file()


def test_a_folder_made_for_a_file_that_fails_goes_again(tmp_path, explained):
    with pytest.raises(InvalidValue):
        explained.save(tmp_path / "new" / "er" / "film.gif")  # it has no course
    assert list(tmp_path.iterdir()) == []

    def fails() -> None:
        with atomic_write(tmp_path / "new" / "a.txt"):
            (tmp_path / "new" / "other.txt").write_text("somebody else's")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["other.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritten, match="a file is where the folder should be"):
        explained.save(tmp_path / "file" / "a.png")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("path", [BytesIO(), b"a.png", None])
def test_what_is_no_path_is_refused_in_a_sentence(explained, path):
    wanted = rf"name of a file.*got {type(path).__name__}: .*savefig\(file, format='png'\)"
    with pytest.raises(InvalidType, match=wanted):
        explained.save(path, format="png")
    with pytest.raises(InvalidType, match=wanted):
        pellucid.compare(NET, torch.rand(1, 3, 9, 9), ["grad-cam"]).save(path)
    held = BytesIO()
    explained.plot().savefig(held, format="png")
    assert held.getvalue()[:4] == b"\x89PNG"
