"""Pictures of more than 8 bits: one black and white for all that are read together, and no bits lost."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid
from pellucid import Model, Preprocess
from pellucid.images import open_picture

DARK = (np.arange(120).reshape(10, 12) * 8).astype(np.uint16)  # up to 952: guessed as 10 bits
BRIGHT = DARK * 4  # up to 3808: as 12
RAW = Preprocess((10, 12), None, mean=(0.0,), std=(1.0,))


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "dark.png", tmp_path / "bright.png"]
    for path, values in zip(paths, (DARK, BRIGHT), strict=True):
        Image.fromarray(values).save(path)
    return paths


def test_pictures_read_together_have_the_widest_of_the_guessed_ranges(pair):
    batch = Model(nn.Flatten(), preprocess=RAW).read(pair)
    expected = torch.from_numpy(np.stack([DARK, BRIGHT]).astype(np.float32) / 4095)
    torch.testing.assert_close(batch.inputs[:, 0], expected, atol=1e-6, rtol=0)
    assert "4095 as white" in batch.pictures[0].note
    assert "all pictures read with it" in batch.pictures[0].note
    assert open_picture(pair[0]).guessed == (0, 1023)


def test_a_models_range_is_for_its_deep_pictures(pair, tmp_path):
    Image.fromarray(DARK.astype(np.uint8)).save(tmp_path / "eight.png")
    model = Model(nn.Flatten(), preprocess=RAW, range=(0, 16383))
    inputs = model.prepare([*pair, tmp_path / "eight.png"])
    torch.testing.assert_close(inputs[1, 0], torch.from_numpy(BRIGHT / np.float32(16383)))
    torch.testing.assert_close(inputs[2, 0], torch.from_numpy(DARK.astype(np.uint8) / np.float32(255)))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_a_deep_picture_lies_where_its_8_bits_would(interpolation, fit):
    smooth = (np.outer(np.linspace(1, 60, 40), np.linspace(3, 60, 60))).astype(np.uint16)
    picture = open_picture(smooth, range=(0, 4095))
    preprocess = Preprocess((16, 20), 18, fit=fit, interpolation=interpolation)
    coarse = preprocess(open_picture(picture.rgb))
    assert (preprocess(picture) - coarse).abs().max() < 1.6 / 255 / 0.224
    assert len(preprocess(picture)[0].unique()) > len(coarse[0].unique())


def test_arrays_of_16_bits_are_pictures():
    model = Model(nn.Flatten(), preprocess=RAW, range=(0, 4095))
    torch.testing.assert_close(model.prepare(BRIGHT)[0, 0], torch.from_numpy(BRIGHT / np.float32(4095)))
    assert torch.equal(model.prepare(BRIGHT[:, :, None]), model.prepare(BRIGHT))
    colours = np.stack([BRIGHT, DARK, 4095 - BRIGHT], 2)
    expected = np.rint(colours / 4095 * 255).astype(np.uint8)
    assert np.array_equal(np.asarray(open_picture(colours, range=(0, 4095)).rgb), expected)
    assert open_picture(colours).guessed == (0, 4095)
    opaque = np.concatenate([colours, np.full((10, 12, 1), 4095, np.uint16)], 2)
    assert np.array_equal(np.asarray(open_picture(opaque, range=(0, 4095)).rgb), expected)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert pellucid.explain(Model(net, preprocess=RAW), BRIGHT, "saliency").pictures[0].guessed == (0, 4095)


def test_the_command_line_takes_a_range_and_shares_white_as_python_does(pair, monkeypatch):
    from typer.testing import CliRunner

    from pellucid.cli import app

    monkeypatch.chdir(pair[0].parent)
    Path("nets.py").write_text(
        "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
        "def grey(): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    asked = ["explain", "dark.png", "bright.png", "--model", "nets.py:grey", "--size", "8", "--channels", "1"]
    model = Model(nn.Conv2d(1, 1, 1), preprocess=pellucid.Preprocess((8, 8), 9, mean=(0.45,), std=(0.226,)))
    shared = [picture.rgb.tobytes() for picture in model.read(pair).pictures]
    for verb, method in (("explain", ["saliency"]), ("compare", ["saliency", "input-x-gradient"])):
        options = [part for name in method for part in ("-m", name)]
        kinds = ["--save", "npz", "--batch-size", "1"]
        found = CliRunner().invoke(app, [verb, *asked[1:], *options, *kinds])
        assert (found.exit_code, found.stderr) == (0, ""), found.output
        (line,) = [line for line in found.stdout.splitlines() if "as white" in line]
        assert line.startswith(f"dark, bright · {', '.join(method)}: The picture's values are shown with 0")
        assert "4095 as white (the smallest usual white that holds the values of all pictures" in line
    for name, expected in zip(("dark", "bright"), shared, strict=True):
        stored = pellucid.Explanation.load(f"pellucid-out/{name}.saliency.npz")
        assert stored.pictures[0].rgb.tobytes() == expected
    compared = pellucid.Comparison.load("pellucid-out/compare.npz")
    assert [picture.rgb.tobytes() for picture in compared[0].pictures] == shared
    again = [*asked, "-m", "saliency", "--save", "npz", "--skip-existing", "--json"]
    assert json.loads(CliRunner().invoke(app, again).stdout)["cost"]["forward"] == 0
    Path("dark.png").unlink()  # what is left shares its white with none
    alone = CliRunner().invoke(app, [one for one in again if one != "dark.png"])
    assert json.loads(alone.stdout)["cost"]["forward"] == 1
    Image.fromarray(DARK).save("dark.png")
    ranged = CliRunner().invoke(app, [*asked, "-m", "saliency", "-q", "--range", "0,4095"])
    assert (ranged.exit_code, ranged.stderr) == (0, "")
    refused = CliRunner().invoke(app, [*asked, "--range", "9"])
    assert refused.exit_code == 2
    assert "range must be two finite numbers" in " ".join(refused.stderr.split())
