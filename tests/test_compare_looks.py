"""What grids of several methods and pictures look like, and what stands in them."""

import re
from itertools import pairwise

import pytest
import torch
from PIL import Image

import pellucid
from pellucid.explanation import maps_of
from pellucid.images import Picture
from pellucid.render import blocks, metadata, text
from pellucid.render.blocks import color_bar, paint, words
from pellucid.render.drawing import scale_of
from pellucid.render.text import face, legible, number, typeface
from pellucid.render.views import sheet
from test_compare import pictured, small_net
from test_render import segmented


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


# --- scales ----------------------------------------------------------------------------------------------


def test_pictures_of_one_method_share_a_scale_and_methods_do_not(pair, tmp_path):
    net = pictured(small_net(), 16)
    c = pellucid.compare(net, pair, ["grad-cam", "saliency"], target="a")
    for factor, e in zip((1, 1000), c, strict=True):
        e.attribution[:] = torch.tensor([1.0, 0.25])[:, None, None, None] * factor
        e.attribution[:, :, 0] = 0
    for suffix in (".png", ".svg", ".pdf"):
        file = c.save(tmp_path / f"c{suffix}", scale="shared")
        limits = [one["limits"] for one in metadata.read(file)["explanations"]]
        high = [[scale["vmax"] for scale in some] for some in limits]
        assert high == [[1, 1], [1000 * c[1].attribution.shape[1]] * 2]
    own = metadata.read(c.save(tmp_path / "own.png"))["explanations"]
    assert [scale["vmax"] for scale in own[0]["limits"]] == [1, 0.25]


def test_what_is_told_of_segments_is_the_scale_of_their_tints(tmp_path):
    e = segmented()
    (limits,) = metadata.read(e.save(tmp_path / "e.png"))["explanations"][0]["limits"]
    scale = scale_of(e.panel())
    assert limits == {"vmin": scale.low, "vmax": scale.high}
    assert scale.low == -scale.high < 0


@pytest.mark.parametrize("width", [8, 14, 20, 26, 32, 44, 62, 80, 122, 200])
@pytest.mark.parametrize(("low", "high"), [(0, 0.0349), (-0.0349, 0.0349), (-1.234e-07, 5.678e-05), (0, 412)])
def test_numbers_below_a_colour_bar_never_overlap(width, low, high):
    scale = blocks.Scale(low, high, "turbo", low < 0)
    written = [item for item in color_bar(scale, width, 9).items if isinstance(item, blocks.Words)]
    spans = []
    for item in written:
        long = typeface(item.size, False).getlength(item.text)
        start = item.x - {"l": 0, "m": long / 2, "r": long}[item.anchor]
        spans.append((start, start + long))
    assert all(start >= -0.01 and stop <= width + 0.01 for start, stop in spans)
    assert all(before[1] < after[0] - 1 for before, after in pairwise(spans))
    if width > 120:
        assert {number(low), number(high)} <= {item.text for item in written}
    if width == 32 and high == 0.0349:
        assert [item.text for item in written] == (["0.0349"] if low else ["0", "0.035"])


# --- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pdf", ".svg"])
def test_saving_for_print_says_nothing(pair, tmp_path, suffix, caplog):
    e = pellucid.explain(pictured(small_net(), 16), pair[0], "saliency")
    e.save(tmp_path / f"e{suffix}")
    assert not caplog.records


# --- letters ---------------------------------------------------------------------------------------------

CAT = "\u732b"  # which DejaVu Sans lacks


@pytest.fixture
def face_with_cat(tmp_path):
    """A font whose A is a cat, too."""
    from fontTools.ttLib import TTFont

    font = TTFont(face("", False))
    for table in font["cmap"].tables:
        table.cmap[ord(CAT)] = "A"
    font.save(tmp_path / "cat.ttf")
    return str(tmp_path / "cat.ttf")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_letters_that_no_face_has_are_written_as_escapes(pair, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(text, "_installed", lambda bold: ())
    named = [Picture(picture, name) for picture, name in zip(pair, (CAT, r"\u732b"), strict=True)]
    e = pellucid.explain(pictured(small_net(), 16), named, "saliency", target=0)
    file = e.save(tmp_path / f"e{suffix}", dpi=72)
    if suffix == ".svg":
        assert texts(file).count(r"\u732b") == 2
    boxes = [words(name, 80, 9) for name in (CAT, r"\u732b")]
    assert boxes[0] == boxes[1]


@pytest.mark.filterwarnings("error")
def test_letters_of_another_installed_face_are_drawn_by_that(pair, tmp_path, face_with_cat, monkeypatch):
    monkeypatch.setattr(text, "_installed", lambda bold: (face_with_cat,))
    drawn, same, usual = (paint(words(name, 80, 20)) for name in (f"{CAT} B", "A B", "B B"))
    assert drawn == same
    assert drawn != usual
    assert words("B", 80, 20).items[0].face == face("", False)
    e = pellucid.explain(pictured(small_net(), 16), Picture(pair[0], CAT), "saliency", target=0)
    e.labels[0] = CAT
    assert CAT in texts(e.save(tmp_path / "e.svg"))
    assert CAT not in legible(f"{CAT}\U000f0000")  # no face has both
    for suffix in (".pdf", ".png"):
        e.save(tmp_path / f"e{suffix}", dpi=72)


# --- pictures of one name ----------------------------------------------------------------------------------


def test_pictures_of_one_name_have_headings_and_names_of_their_own(pair, tmp_path):
    files = [tmp_path / "ok.jpg", tmp_path / "ok.png", tmp_path / "a" / "cat.png", tmp_path / "b" / "cat.png"]
    for file, picture in zip(files, pair * 2, strict=True):
        file.parent.mkdir(exist_ok=True)
        picture.save(file)
    c = pellucid.compare(pictured(small_net(), 16), files, ["grad-cam", "saliency"], target=0)
    names = ["ok.jpg", "ok.png", "a/cat", "b/cat"]
    assert [e.names for e in c] == [names] * 2
    lines = texts(c.save(tmp_path / "c.svg", caption=False))
    assert [line for line in lines if line in names] == names
    assert [c[0][name].pictures[0].path for name in names] == files
    with pytest.raises(KeyError, match=r"such as ok\.jpg, ok\.png, a/cat, b/cat; got 'ok'"):
        c[0]["ok"]


def test_one_file_twice_is_one_picture_and_namesakes_without_files_are_numbered(pair, tmp_path):
    pair[0].save(tmp_path / "cat.png")
    net = pictured(small_net(), 16)
    assert net.read([tmp_path / "cat.png"] * 2).pictures[1].name == "cat"
    namesakes = [Picture(picture, "cat") for picture in pair]
    assert [one.name for one in net.read([*namesakes, pair[0]]).pictures] == ["cat 0", "cat 1", "image 2"]
