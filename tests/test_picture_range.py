"""Grey of more than 8 bits is scaled by the file's own range, with a note; pages and bands are refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter
from torch import nn

import pellucid
from pellucid.errors import InvalidValue, PictureError
from pellucid.images import Picture, open_picture

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))


def shown(picture):
    return np.asarray(picture.rgb.convert("L"))


def tiff(path, pixels, bits, kind, *, bands=1, planar=1, photometric=1, extra=(), tags=()):
    """A TIFF of one strip, or one for each band, written by hand: little-endian, uncompressed."""
    height, width = pixels.shape[-2:] if planar == 2 else pixels.shape[:2]
    data = pixels.tobytes()
    planes = bands if planar == 2 else 1
    size = len(data) // planes
    entries = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * bands), (259, 3, [1]),
        (262, 3, [photometric]), (273, 4, [8 + i * size for i in range(planes)]), (277, 3, [bands]),
        (278, 4, [height]), (279, 4, [size] * planes), (284, 3, [planar]), (339, 3, [kind] * bands),
        *([(338, 3, list(extra))] if extra else []), *tags,
    ]  # fmt: skip
    at, spill = 8 + len(data) + 2 + 12 * len(entries) + 4, b""
    ifd = struct.pack("<H", len(entries))
    for tag, form, values in sorted(entries):
        code = {3: "H", 4: "I", 8: "h"}[form]
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            ifd += struct.pack("<HHII", tag, form, len(values), at + len(spill))
            spill += packed
        else:
            ifd += struct.pack("<HHI", tag, form, len(values)) + packed.ljust(4, b"\0")
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + ifd + b"\0" * 4 + spill)
    return path


def write_png(path, values, sbit=b"", trns=b""):
    """A PNG of 16 bits, (H, W) or (H, W, 3), written by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = 2 if values.ndim == 3 else 0
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + (chunk(b"sBIT", sbit) if sbit else b"")
    body += chunk(b"tRNS", trns) if trns else b""
    body += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_few_bits_in_16_bit_files_are_shown_by_their_own_white(tmp_path, bits, suffix):
    values = np.rint(RAMP.astype(float) / 255 * (2**bits - 1)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    picture = open_picture(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(shown(picture), RAMP)
    assert f"{2**bits - 1} as white" in picture.note


def test_signed_16_bits(tmp_path):
    path = tiff(tmp_path / "x.tif", RAMP.astype("<i2") * 16, 16, 2)
    picture = open_picture(path)
    np.testing.assert_allclose(shown(picture), RAMP * (16 * 255 / 4095), atol=0.5)
    assert "4095 as white" in picture.note


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_12_bits_of_three_colours(tmp_path, suffix):
    rgb = np.stack([RAMP, RAMP // 2, 255 - RAMP], 2)
    values = np.rint(rgb.astype(float) / 255 * 4095).astype(np.uint16)
    path = tmp_path / f"x.{suffix}"
    if suffix == "tif":
        tiff(path, values.astype("<u2"), 16, 1, bands=3, photometric=2)
    else:
        write_png(path, values)
    picture = open_picture(path)
    np.testing.assert_array_equal(np.asarray(picture.rgb), rgb)
    assert "4095 as white" in picture.note
    clipped = np.asarray(open_picture(path, range=(0, 2047)).rgb)
    np.testing.assert_allclose(clipped, (rgb.astype(float) * 4095 / 2047).clip(0, 255), atol=1.5)


def test_full_16_bits_stay_as_they_were_without_a_note(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "x.png")
    picture = open_picture(tmp_path / "x.png")
    np.testing.assert_array_equal(shown(picture), RAMP)
    assert picture.note == ""


@pytest.mark.parametrize("top", [1.0, 37.2, 255.0, 3000.5])
def test_floats(tmp_path, top):
    path = tmp_path / "x.tif"
    Image.fromarray((RAMP / 255 * top).astype(np.float32)).save(path)
    picture = open_picture(path)
    np.testing.assert_allclose(shown(picture), RAMP, atol=0.51)
    assert bool(picture.note) == (top != 1.0)


def test_the_files_own_tags_say_what_is_white(tmp_path):
    dim = (RAMP // 2).astype("<u2") * 4  # its largest value, 508, would be taken for 10 bits
    path = tiff(tmp_path / "x.tif", dim, 16, 1, tags=[(341, 3, [1023])])
    np.testing.assert_allclose(shown(open_picture(path)), dim * (255 / 1023), atol=0.5)
    path = tiff(tmp_path / "y.tif", dim, 16, 1, tags=[(341, 3, [4095])])
    picture = open_picture(path)
    np.testing.assert_allclose(shown(picture), dim * (255 / 4095), atol=0.5)
    assert "as its file declares" in picture.note


def test_a_pngs_significant_bits_say_what_is_white(tmp_path):
    dim = (RAMP // 4).astype(np.uint16) * 16  # at most 1008 of 4095

    write_png(tmp_path / "x.png", dim, sbit=b"\x0c")
    picture = open_picture(tmp_path / "x.png")
    np.testing.assert_allclose(shown(picture), dim * (255 / 4095), atol=0.5)
    assert "4095 as white (as its file declares)" in picture.note


def test_only_a_png_of_16_bits_is_decoded_twice(tmp_path, monkeypatch):
    """The second decoder may end the process over a damaged file."""
    asked = []
    monkeypatch.setattr("torchvision.io.decode_image", lambda *_: asked.append(1))
    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "dark.png")
    assert open_picture(tmp_path / "dark.png").rgb.getpixel((0, 0)) == (9, 9, 9)
    assert asked == []
    write_png(tmp_path / "deep.png", np.full((4, 4, 3), 900, np.uint16))
    open_picture(tmp_path / "deep.png")
    assert asked == [1]


def test_range_says_what_is_black_and_white(tmp_path):
    path = tiff(tmp_path / "x.tif", RAMP.astype("<i2") * 8 - 1024, 16, 2)  # as a tomograph writes them
    with pytest.raises(PictureError, match=r"from -1024 to 1016.*range=\(black, white\)"):
        open_picture(path)
    picture = open_picture(path, range=(-160, 240))
    expected = ((RAMP.astype(float) * 8 - 1024 + 160) / 400).clip(0, 1) * 255
    np.testing.assert_allclose(shown(picture), expected, atol=0.5)
    assert picture.note == ""


@pytest.mark.parametrize("wrong", [(1, 0), (0, 0), (0,), 5, (0, float("nan")), "ab"])
def test_a_range_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidValue, match="range must be two finite numbers"):
        open_picture(RAMP, range=wrong)


def test_a_range_for_8_bits_is_refused():
    with pytest.raises(InvalidValue, match="the array has 8-bit pixels"):
        open_picture(RAMP, range=(0, 100))


def test_the_note_reaches_the_explanation_and_a_picture_is_taken_as_it_is(tmp_path):
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 3))
    model = pellucid.Model(net, preprocess=pellucid.Preprocess((32, 32), 32))
    Image.fromarray(RAMP.astype(np.uint16) * 16).save(tmp_path / "x.png")
    e = pellucid.explain(model, [tmp_path / "x.png", "sample:cat"], "saliency", target=0)
    assert ["4095 as white" in " ".join(notes) for notes in e.notes] == [True, False]
    assert any(text.startswith("x: The picture's uint16 values, 0 to 4080") for text in e.warnings)
    picture = pellucid.open_picture(tmp_path / "x.png", range=(0, 4080))
    assert isinstance(picture, Picture)
    named = pellucid.explain(model, picture, "saliency", target=0)
    assert named.warnings == []
    assert named.pictures[0].name == "x"
    assert (model.prepare(picture) - model.prepare(RAMP)).abs().max() < 1.6 / 255 / 0.224  # not rounded


def test_several_pages_are_refused_and_copies_of_one_are_not(tmp_path):
    pages = [Image.fromarray(np.full((48, 64), value, np.uint8)) for value in (10, 200, 200, 200, 200)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(PictureError, match=r"pages\.tif has 5 pages.*uint8 array.*float tensor"):
        open_picture(tmp_path / "pages.tif")
    with AppendingTiffWriter(tmp_path / "pyramid.tif", new=True) as file:
        Image.fromarray(RAMP).save(file, "tiff")
        file.newFrame()
        Image.fromarray(RAMP).resize((32, 24)).save(file, "tiff", tiffinfo={254: 1})  # a reduced copy
    np.testing.assert_array_equal(shown(open_picture(tmp_path / "pyramid.tif")), RAMP)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("bands", [2, 5, 7])
@pytest.mark.parametrize("photometric", [1, 2])
def test_bands_are_refused(tmp_path, planar, bands, photometric):
    if photometric == 2 and bands < 3:
        return  # RGB has three
    pixels = np.stack([RAMP] * bands, 0 if planar == 2 else 2)
    extra = (0,) * (bands - (1 if photometric == 1 else 3))
    path = tiff(
        tmp_path / "x.tif", pixels, 8, 1, bands=bands, planar=planar, photometric=photometric, extra=extra
    )
    with pytest.raises(PictureError, match=f"{bands} bands.*uint8 array"):
        open_picture(path)


@pytest.mark.parametrize("planar", [1, 2])
def test_colours_and_cmyk_still_work(tmp_path, planar):
    rgb = np.stack([RAMP, RAMP // 2, 255 - RAMP], 0 if planar == 2 else 2)
    path = tiff(tmp_path / "x.tif", rgb, 8, 1, bands=3, planar=planar, photometric=2)
    expected = rgb if planar == 1 else rgb.transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(open_picture(path).rgb), expected)
    Image.fromarray(expected).convert("CMYK").save(tmp_path / "cmyk.tif")
    assert open_picture(tmp_path / "cmyk.tif").rgb.mode == "RGB"


@pytest.mark.parametrize(
    ("pixels", "bits", "kind"),
    [(RAMP, 8, 1), (RAMP.astype("<u2") * 257, 16, 1), ((RAMP / 255).astype("<f4"), 32, 3)],
    ids=["8 bits", "16 bits", "float"],
)
def test_where_a_tiff_says_that_its_lowest_value_is_white_it_is(tmp_path, pixels, bits, kind):
    for photometric, expected in ((1, RAMP), (0, 255 - RAMP)):
        path = tiff(tmp_path / "a.tif", pixels, bits, kind, photometric=photometric)
        np.testing.assert_array_equal(shown(open_picture(path)), expected)
        if bits > 8:
            ends = (0, 65535) if bits == 16 else (0, 1)
            np.testing.assert_array_equal(shown(open_picture(path, range=ends)), expected)


def test_signed_values_of_8_bits_are_refused_until_their_range_is_said(tmp_path):
    path = tiff(tmp_path / "a.tif", (RAMP.astype(int) - 128).astype(np.int8), 8, 2)
    with pytest.raises(PictureError, match=r"int8 values from -128 to 127.*range"):
        open_picture(path)
    np.testing.assert_array_equal(shown(open_picture(path, range=(-128, 127))), RAMP)


@pytest.mark.parametrize("scale", [257, 16], ids=["16 bits", "12 bits"])
@pytest.mark.parametrize("colours", [False, True], ids=["grey", "colours"])
def test_the_transparent_value_of_16_bits_is_as_that_of_8(tmp_path, scale, colours):
    values = RAMP.astype(np.uint16) * scale
    clear = int(values[0, 31])
    values = np.stack([values] * 3, 2) if colours else values
    path = tmp_path / "a.png"
    write_png(path, values, trns=struct.pack(">H", clear) * (3 if colours else 1))
    picture = open_picture(path)
    assert picture.rgba is not None
    np.testing.assert_array_equal(np.asarray(picture.rgba)[0, [30, 31, 32], 3], [255, 0, 255])
    assert np.asarray(picture.rgb)[0, 31].tolist() == [255] * 3
