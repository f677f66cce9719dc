"""What grids of several methods and pictures look like, and what stands in them."""

import re

import pytest
from PIL import Image

import pellucid
from pellucid.explanation import maps_of
from pellucid.render.views import sheet
from test_compare import pictured, small_net


def texts(path) -> list[str]:
    """The lines of an SVG, from above to below as they were written."""
    return re.findall(r"<text\b[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


@pytest.fixture
def pair():
    """Pictures of two sizes."""
    return [Image.effect_noise(size, 60).convert("RGB") for size in ((40, 30), (24, 24))]


# --- captions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_below_a_grid_stands_its_caption_and_nothing_else(pair, tmp_path, count):
    c = pellucid.compare(pictured(small_net(), 16), pair[:count], ["grad-cam", "saliency"])
    lines = texts(c.save(tmp_path / "c.svg", width=18))
    assert any(re.match(r"[abcd] \d+", line) for line in lines)  # what the model predicts, below the picture
    assert not re.match(r"[abcd] \d+", lines[-1])
    told = sheet([maps_of(e) for e in c], caption="Three maps.").items
    assert [item.text for item in told if getattr(item, "text", "")][-1] == "Three maps."
