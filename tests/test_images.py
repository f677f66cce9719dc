"""Pictures: every format against what was written, placing against ramps and torch."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.errors import FileMissing, InvalidType, PictureError
from pellucid.images import SAMPLES, Box, Picture, find_pictures, open_picture, place

RGB = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
# A smooth picture, on which lossy formats lose little.
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:180:24j, 40:230:31j], 90), -1).astype(np.uint8)


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.rgb)


# --- reading ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_lossless_formats_are_read_exactly(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.b.{suffix}"
    Image.fromarray(RGB).save(path)
    picture = open_picture(str(path))
    assert (picture.name, picture.path, picture.rgb.mode, picture.rgba) == ("a.b", path, "RGB", None)
    np.testing.assert_array_equal(pixels(picture), RGB)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif", "jp2"])
def test_lossy_formats_are_read_closely(tmp_path: Path, suffix: str):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(SMOOTH).save(path, quality=95)
    assert np.abs(pixels(open_picture(path)).astype(int) - SMOOTH).mean() < 3


def test_cmyk_jpeg_keeps_its_colours(tmp_path: Path):
    # Pillow writes CMYK JPEGs with Adobe's marker and its inverted values, as Photoshop does.
    path = tmp_path / "x.jpg"
    Image.fromarray(SMOOTH).convert("CMYK").save(path, quality=95)
    assert b"Adobe" in path.read_bytes()
    assert np.abs(pixels(open_picture(path)).astype(int) - SMOOTH).mean() < 3


def test_gif_gives_its_first_frame(tmp_path: Path):
    path = tmp_path / "x.gif"
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert set(open_picture(path).rgb.get_flattened_data()) == {(255, 0, 0)}


def test_palette_is_read_through(tmp_path: Path):
    path = tmp_path / "x.png"
    image = Image.fromarray(RGB).quantize(16)
    image.save(path)
    np.testing.assert_array_equal(pixels(open_picture(path)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_lies_on_white(tmp_path: Path, mode: str):
    path = tmp_path / "x.png"
    if mode in ("RGBA", "LA"):
        Image.new(mode, (2, 2), (100, 100, 100, 51) if mode == "RGBA" else (100, 51)).save(path)
        expected = round(100 * 0.2 + 255 * 0.8)
    else:  # one colour declared transparent, in the palette or as such
        image = Image.new("RGB", (2, 2), (100, 100, 100))
        key = 0 if mode == "P" else (100, 100, 100)
        (image.quantize(2) if mode == "P" else image).save(path, transparency=key)
        expected = 255
    picture = open_picture(path)
    assert np.abs(pixels(picture).astype(int) - expected).max() <= 1
    assert picture.rgba is not None
    assert picture.rgba.getpixel((0, 0)) == (100, 100, 100, 51 if mode in ("RGBA", "LA") else 0)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)).save(path)
    assert pixels(open_picture(path))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1], [0, 128, 255]), ([0, 7, 255], [0, 7, 255]), ([0, 257, 65535], [0, 1, 255])],
)
def test_float_tiff_is_scaled_by_its_white(tmp_path: Path, values: list[float], expected: list[int]):
    path = tmp_path / "x.tiff"
    Image.fromarray(np.array([values], dtype=np.float32)).save(path)
    assert pixels(open_picture(path))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("bad", [-1.0, 70000.0, np.nan, np.inf])
def test_float_tiff_beyond_any_white_is_refused(tmp_path: Path, bad: float):
    path = tmp_path / "x.tiff"
    Image.fromarray(np.array([[0, bad]], dtype=np.float32)).save(path)
    with pytest.raises(PictureError, match=re.escape(str(path))):
        open_picture(path)


def test_32_bit_integers_are_scaled_by_their_white():
    wide = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.int32))
    assert pixels(open_picture(wide))[0, :, 0].tolist() == [0, 1, 255]
    narrow = Image.fromarray(np.array([[0, 7, 255]], dtype=np.int32))
    assert pixels(open_picture(narrow))[0, :, 0].tolist() == [0, 7, 255]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_becomes_rgb(tmp_path: Path, mode: str):
    path = tmp_path / "x.png"
    image = Image.fromarray(RGB[:, :, 0]).convert(mode)
    image.save(path)
    grey = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(pixels(open_picture(path)), np.stack([grey] * 3, -1))


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, suffix: str, orientation: int):
    upright = RGB
    stored = {  # the inverse of what a viewer must do, by the EXIF standard
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(
        path, exif=exif, **({"lossless": True} if suffix == "webp" else {})
    )
    np.testing.assert_array_equal(pixels(open_picture(path)), upright)


def test_broken_exif_does_not_spoil_a_picture(tmp_path: Path):
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path, exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(pixels(open_picture(path)), RGB)


def test_arrays_become_pictures():
    np.testing.assert_array_equal(pixels(open_picture(RGB)), RGB)
    np.testing.assert_array_equal(pixels(open_picture(RGB[::-1, ::2])), RGB[::-1, ::2])
    grey = np.repeat(RGB[:, :, :1], 3, axis=2)
    np.testing.assert_array_equal(pixels(open_picture(RGB[:, :, 0])), grey)
    np.testing.assert_array_equal(pixels(open_picture(RGB[:, :, :1])), grey)
    opaque = np.concatenate([RGB, np.full_like(RGB[:, :, :1], 255)], 2)
    np.testing.assert_array_equal(pixels(open_picture(opaque)), RGB)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int16, bool])
def test_arrays_of_other_types_are_refused(dtype: type):
    with pytest.raises(InvalidType, match=r"float tensor \(N, C, H, W\) for ready inputs, or uint8 pixels"):
        open_picture(RGB.astype(dtype))


@pytest.mark.parametrize("shape", [(3, 8, 9), (8,), (8, 9, 2), (1, 8, 9, 3), (0, 9, 3), (8, 0)])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(PictureError, match=re.escape(str(shape))):
        open_picture(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("source", [None, 3, torch.zeros(3, 4, 4), [1]])
def test_other_objects_are_refused(source: object):
    with pytest.raises(InvalidType, match=type(source).__name__):
        open_picture(source)


def test_unreadable_images_are_refused(tmp_path: Path):
    path = damaged(tmp_path, "truncated")
    with (
        Image.open(path) as image,
        pytest.raises(PictureError, match=r"the image cannot be read: .*truncated"),
    ):
        open_picture(image)
    closed = Image.open(path)
    closed.close()
    with pytest.raises(PictureError, match="the image cannot be read: Operation on closed image"):
        open_picture(closed)
    with pytest.raises(PictureError, match="no pixels: it is 0 x 3"):
        open_picture(Image.new("RGB", (0, 3)))


def test_what_was_passed_in_is_not_changed_or_shared():
    image, array = Image.fromarray(RGB), RGB.copy()
    for source in (image, array):
        open_picture(source).rgb.putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(np.asarray(image), RGB)
    np.testing.assert_array_equal(array, RGB)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_photographs(name: str):
    picture = open_picture(f"sample:{name}")
    assert picture.name == name
    assert min(picture.rgb.size) >= 300


def test_unknown_sample_names_the_known():
    with pytest.raises(FileMissing, match="cat, coffee, rocket"):
        open_picture("sample:dog")


def damaged(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no picture")
    elif kind == "chunk":  # Pillow raises SyntaxError here
        Image.effect_noise((300, 300), 50).save(path, "png")
        path.write_bytes(b"\0\0\0\0".join(path.read_bytes().rsplit(b"IDAT", 1)))
    elif kind != "missing":
        Image.effect_noise((200, 200), 50).save(path, {"truncated": "jpeg", "header": "png"}[kind])
        path.write_bytes(path.read_bytes()[: {"truncated": 3000, "header": 20}[kind]])
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "not a picture"),
        ("truncated", "cannot be read"),
        ("header", "cannot be read|not a picture"),
        ("chunk", "cannot be read: broken PNG"),
    ],
)
def test_unreadable_files_are_refused_in_one_line_with_their_path(tmp_path: Path, kind: str, words: str):
    path = damaged(tmp_path, kind)
    with pytest.raises(FileMissing if kind == "missing" else PictureError, match=words) as caught:
        open_picture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_denied_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", denied)  # root may read everything, so chmod shows nothing
    with pytest.raises(PictureError, match="permission denied"):
        open_picture(path)


@pytest.mark.parametrize(
    "limit", [100, 40]
)  # 117 pixels: Pillow warns above its limit, and raises above twice that
def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int):
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(PictureError, match=rf"117 pixels, more than Pillow's limit of {limit} ") as caught:
        open_picture(path)
    assert str(path) in str(caught.value)


# --- finding ---------------------------------------------------------------------------------------------


def test_find_pictures_searches_folders_and_globs(tmp_path: Path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "deep/er/c.webp", "we[i]rd/d.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = ["a.JPG", "b.png", "deep/er/c.webp", "we[i]rd/d.gif"]
    everything = [str(tmp_path / name) for name in names]
    assert find_pictures([tmp_path]) == everything
    assert find_pictures([f"{tmp_path}/**"]) == everything
    assert find_pictures([f"{tmp_path}/*"]) == everything[:2]
    assert find_pictures([f"{tmp_path}/**/*.webp"]) == everything[2:3]
    assert find_pictures([tmp_path / "we[i]rd"]) == everything[3:]
    assert find_pictures([everything[3], tmp_path / "b.png", tmp_path]) == [
        everything[3], everything[1], everything[0], everything[2]
    ]  # fmt: skip


def test_find_pictures_keeps_samples_files_and_missing_files(tmp_path: Path):
    (tmp_path / "notes.txt").touch()
    kept = ["sample:cat", str(tmp_path / "missing.jpg"), str(tmp_path / "notes.txt")]
    assert find_pictures(kept) == kept


def test_find_pictures_refuses_a_folder_or_glob_without_pictures(tmp_path: Path):
    with pytest.raises(FileMissing, match="in this folder"):
        find_pictures([tmp_path])
    with pytest.raises(FileMissing, match=r"\*\.png: no picture matches"):
        find_pictures([f"{tmp_path}/*.png"])


# --- placing ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    start=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    extent=st.tuples(st.floats(5, 80), st.floats(5, 80)),
)
def test_place_is_exact_on_affine_ramps(shape, start, extent):
    (h, w), (left, top), (across, down) = shape, start, extent
    box, width, height = Box(left, top, left + across, top + down), 40, 30
    cells_x = left + (np.arange(w) + 0.5) * across / w  # the cells' centres, in picture pixels
    cells_y = top + (np.arange(h) + 0.5) * down / h
    placed = place(3 + 2 * cells_x - cells_y[:, None], box, (width, height))
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = ((y >= box.top) & (y <= box.bottom))[:, None] & ((x >= box.left) & (x <= box.right))
    expected = 3 + 2 * x.clip(cells_x[0], cells_x[-1]) - y.clip(cells_y[0], cells_y[-1])[:, None]
    np.testing.assert_allclose(placed, np.where(inside, expected, np.nan), atol=1e-9)


def test_place_equals_torch_interpolate_on_the_whole_picture():
    values = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(values[None, None], (31, 23), mode="bilinear")[0, 0]
    placed = place(values, Box(0.0, 0.0, 23.0, 31.0), (23, 31))
    assert placed.dtype == np.float32
    np.testing.assert_allclose(placed, expected.numpy(), atol=1e-5)


def test_place_away_from_the_picture_is_all_nan():
    assert np.isnan(place(np.ones((2, 2)), Box(50.0, 50.0, 60.0, 60.0), (9, 8))).all()
    assert np.isnan(place(np.ones((2, 2)), Box(-60.0, 2.0, -50.0, 4.0), (9, 8))).all()
