"""A preprocess of the user's own is given a picture as Pillow opens it: upright, in its own mode."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

import pellucid
from pellucid import Model, Preprocess

T = v2

DEEP = (np.arange(120, dtype=np.uint16).reshape(10, 12) * 400).astype(np.uint16)
PALETTE = Image.fromarray(DEEP.astype(np.uint8)).convert("P")


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("suffix", "image", "mode"),
    [
        ("png", Image.fromarray(DEEP), "I;16"),
        ("tiff", Image.fromarray(DEEP.astype(np.float32) / 47600), "F"),
        ("tiff", Image.fromarray(DEEP.astype(np.int32)), "I"),
        ("png", Image.new("RGBA", (12, 10), (9, 8, 7, 6)), "RGBA"),
        ("png", Image.new("L", (12, 10), 77), "L"),
        ("png", PALETTE, "P"),
        ("png", Image.new("RGB", (12, 10), (9, 8, 7)), "RGB"),
    ],
)
def test_a_callable_gets_the_picture_as_pillow_opens_it(tmp_path, suffix, image, mode):
    path = saved(tmp_path / f"one.{suffix}", image)
    seen = []

    def preprocess(picture):
        seen.append(picture)
        return torch.from_numpy(np.asarray(picture).astype(np.float32)).reshape(10, 12, -1).permute(2, 0, 1)

    expected = preprocess(Image.open(path))
    for source in (path, Image.open(path)):
        assert torch.equal(Model(nn.Flatten(), preprocess=preprocess).prepare(source)[0], expected)
    assert [one.mode for one in seen] == [mode] * 3


def test_a_number_is_a_square_where_all_of_a_picture_is_kept():
    assert Preprocess((6, 8), 9, fit="squash") == Preprocess((6, 8), (9, 9), fit="squash")


def test_it_is_upright_and_the_first_frame(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = saved(tmp_path / "a.jpg", Image.new("L", (12, 10), 50), exif=exif)
    film = [Image.new("P", (12, 10), n) for n in (3, 5)]
    frames = saved(tmp_path / "b.gif", film[0], save_all=True, append_images=film[1:])
    opened = pellucid.open_picture(turned).opened
    assert (opened.mode, opened.size) == ("L", (10, 12))
    with Image.open(frames) as first:
        assert np.array_equal(np.asarray(pellucid.open_picture(frames).opened), np.asarray(first))


def test_what_a_callable_does_to_its_picture_does_not_reach_the_callers():
    mine = Image.fromarray(DEEP.astype(np.uint8))

    def preprocess(picture):
        picture.paste(0, (0, 0, 12, 10))
        return torch.zeros(1, 10, 12)

    Model(nn.Flatten(), preprocess=preprocess).prepare(mine)
    assert np.array_equal(np.asarray(mine), DEEP.astype(np.uint8))


def test_a_compose_that_was_proven_on_8_bits_reads_deeper_pictures_itself(tmp_path):
    path = saved(tmp_path / "deep.tiff", Image.fromarray(DEEP.astype(np.float32) / 100))
    compose = T.Compose([T.Resize(8), T.CenterCrop(8), T.ToImage(), T.ToDtype(torch.float32)])
    scaled = T.Compose([*compose.transforms[:-1], T.ToDtype(torch.float32, scale=True)])
    model = Model(nn.Flatten(), preprocess=scaled)
    assert model.preprocess == Preprocess((8, 8), 8, mean=(0.0,) * 3, std=(1.0,) * 3)
    batch = model.read(path)
    assert torch.equal(batch.inputs[0], scaled(Image.open(path)))  # one channel, up to 476
    assert batch.inputs.shape == (1, 1, 8, 8)
    assert batch.inputs.max() > 400
    assert batch.boxes == [model.preprocess.box(pellucid.open_picture(path))]
    model.preprocess = Preprocess((8, 8), 8)  # said otherwise since then
    assert torch.equal(model.prepare(path)[0], model.preprocess(pellucid.open_picture(path)))


def test_a_compose_that_does_not_take_a_mode_is_told_and_read_off(tmp_path):
    path = saved(tmp_path / "deep.png", Image.fromarray(DEEP))
    compose = transforms.Compose(
        [
            transforms.Resize(8),
            transforms.CenterCrop(8),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    batch = Model(nn.Flatten(), preprocess=compose).read(path)
    assert batch.inputs.shape == (1, 3, 8, 8)
    assert "does not take pictures of mode I;16, as Pillow opens this one" in batch.pictures[0].remarks[0]
