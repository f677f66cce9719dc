"""What became of a picture before the model saw it is told with its explanation, once."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid
from pellucid.images import notes, open_picture


def model(channels: int = 3, **options) -> pellucid.Model:
    net = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    made = pellucid.Preprocess((32, 32), 36, mean=(0.5,) * channels, std=(0.5,) * channels)
    return pellucid.Model(net, preprocess=options.get("preprocess", made))


def of(picture, **options) -> list[str]:
    return pellucid.explain(model(**options), picture, "saliency", target=0).warnings


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).normal(128, 60, (height, width)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def colours_of_16_bits(path: Path, values: np.ndarray) -> None:
    """A PNG, which Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame_is_explained(tmp_path, suffix):
    frames = [noise(40, 40), Image.new("RGB", (40, 40), "red")]
    frames[0].save(tmp_path / f"moves.{suffix}", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / f"still.{suffix}")
    assert of(tmp_path / f"moves.{suffix}") == [notes.FIRST_FRAME]
    assert of(tmp_path / f"still.{suffix}") == []


def test_transparency_lies_on_white_unless_the_model_sees_it(tmp_path):
    clear = noise(40, 40, "RGBA")
    clear.putpixel((3, 3), (9, 9, 9, 0))
    assert of(clear) == [notes.FLATTENED]
    assert of(noise(40, 40, "RGBA")) == []  # opaque
    assert of(clear, channels=4) == []
    palette = noise(40, 40).convert("P")
    palette.save(tmp_path / "p.png", transparency=int(np.asarray(palette)[0, 0]))
    assert of(tmp_path / "p.png") == [notes.FLATTENED]


@pytest.mark.parametrize(("side", "told"), [(1, True), (3, True), (4, False), (32, False)])
def test_a_picture_of_few_pixels_is_told(side, told):
    # The shorter side becomes 36: 12 of the input's pixels for one of three, 9 for one of four.
    assert of(noise(side, side)) == ([notes.ENLARGED] if told else [])


def test_long_pictures_are_told():
    squashing = pellucid.Preprocess((32, 32), 32, fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    padding = pellucid.Preprocess((32, 32), 32, fit="pad", mean=(0.5,) * 3, std=(0.5,) * 3)
    for size in ((200, 40), (40, 200)):
        assert of(noise(*size)) == [notes.CROPPED]
        assert of(noise(*size), preprocess=squashing) == [notes.SQUASHED]
        assert of(noise(*size), preprocess=padding) == []
    assert of(noise(160, 40)) == of(noise(160, 40), preprocess=squashing) == []


def test_colours_of_16_bits_are_cut_and_grey_is_not(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (40, 40, 4)).astype(np.uint16)
    values[..., 3] = 65535
    colours_of_16_bits(tmp_path / "c.png", values[..., :3])
    colours_of_16_bits(tmp_path / "a.png", values)
    Image.fromarray(values[..., 0]).save(tmp_path / "g.png")
    assert of(tmp_path / "c.png") == of(tmp_path / "a.png") == of(values[..., :3]) == [notes.CUT]
    assert of(tmp_path / "g.png") == []
    colours_of_16_bits(tmp_path / "dark.png", values[..., :3] // 16)
    note, cut = of(tmp_path / "dark.png")
    assert "4095 as white" in note
    assert cut == notes.CUT
    assert np.abs(np.asarray(open_picture(tmp_path / "c.png").rgb) - (values[..., :3] >> 8)).max() <= 1


def test_notes_of_several_pictures_are_one_text_and_are_stored(tmp_path):
    made = model()
    clear = noise(40, 40, "RGBA")
    clear.putpixel((3, 3), (9, 9, 9, 0))
    for name in ("a", "b"):
        clear.save(tmp_path / f"{name}.png")
    noise(40, 40).save(tmp_path / "c.png")
    e = pellucid.explain(made, tmp_path, "saliency", target=0)
    assert e.warnings == [f"a, b: {notes.FLATTENED}"]
    loaded = pellucid.Explanation.load(e.save(tmp_path / "e.npz"))
    assert loaded.pictures[0].notes == [notes.FLATTENED]
    assert loaded.warnings == e.warnings


def test_what_pictures_are_read_with_is_not_changed_by_notes():
    inputs = model().prepare(noise(200, 40))
    assert inputs.shape == (1, 3, 32, 32)
    assert torch.isfinite(inputs).all()
