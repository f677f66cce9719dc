"""What pictures look like: captions, scales, cells, small inputs, print: golden by structure."""

import json
import re
import sys
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import FileMissing, InvalidValue
from pellucid.explanation import maps_of
from pellucid.images import Box, Picture, place
from pellucid.render import blocks, metadata, superpixels
from pellucid.render.drawing import about, enlarged
from pellucid.render.paper import Paper
from pellucid.render.style import Style
from pellucid.render.text import typeface, unbroken, wrap
from pellucid.render.views import sheet
from test_render import GREY, explanation, one_hot, pixels, segmented

LARGE = Picture(Image.new("RGB", (300, 180), (100, 100, 100)), "large")
WHOLE = Box(0.0, 0.0, 300.0, 180.0)


def large(values, **changes):
    count = len(values)
    return explanation(values, **({"pictures": [LARGE] * count, "boxes": [WHOLE] * count} | changes))


def coarse(raw, size=64):
    """A map of cells over an input of `size` pixels, as CAMs give it."""
    raw = torch.as_tensor(raw, dtype=torch.float32)
    fine = interpolate(raw[:, None], (size, size), mode="bilinear", align_corners=False)
    return large(fine, raw=raw)


def is_blocks(shown, by):
    """Whether a picture is made of squares of one colour, `by` pixels wide."""
    return (shown == np.kron(shown[::by, ::by], np.ones((by, by, 1)))).all()


# --- interpolation ---------------------------------------------------------------------------------------


def test_nearest_shows_the_cells_as_they_are():
    e = coarse(torch.rand(1, 4, 4), size=96)
    shown = pixels(e.map(interpolation="nearest", cmap="gray"))
    middles = shown[22::45, 37::75, 0]
    expected = (e.raw[0] / e.limit() * 255).clamp(0, 255)
    assert np.abs(middles - expected.numpy()).max() <= 2
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 16
    smooth = pixels(e.map(interpolation="bilinear", cmap="gray"))
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > 100


def test_coarse_maps_have_no_creases():
    raw = torch.zeros(1, 7, 7)
    raw[0, 3, 3] = 1
    e = coarse(raw, size=224)

    assert np.array_equal(pixels(e.map()), pixels(e.map(interpolation="bicubic")))
    rows = [
        np.asarray(e.map(cmap="gray", interpolation=how).convert("L"), float)
        for how in ("bilinear", "bicubic")
    ]
    # A crease is a corner of the slope: at the cell's centre bilinear maps have a tip, bicubic ones are flat.
    tips = [row[90, 150] - row[90, 140] for row in rows]
    assert tips[1] < 0.5 * tips[0]


def test_bicubic_stays_within_the_maps_own_range_and_meets_its_cells():
    grid = torch.rand(5, 6, dtype=torch.float64)
    placed = place(grid, Box(0.0, 0.0, 66.0, 55.0), (66, 55), "bicubic")
    np.testing.assert_allclose(placed[5::11, 5::11], grid, atol=1e-12)
    assert placed.min() >= grid.min()
    assert placed.max() <= grid.max()


# --- scales ----------------------------------------------------------------------------------------------


def test_one_scale_for_all_pictures_on_request():
    values = torch.stack([one_hot(4, 4), one_hot(4, 4) * 0.5])[:, None]
    e = large(values)
    own = [pixels(e.map(i, cmap="gray")).max() for i in range(2)]
    shared = [pixels(e.map(i, cmap="gray", scale="shared")).max() for i in range(2)]
    assert own == [255, 255]
    assert shared[0] == 255
    assert 120 <= shared[1] <= 135
    both = large(torch.stack([one_hot(4, 4), -one_hot(4, 4) * 2])[:, None])
    for i in range(2):  # one has evidence against, so that all are drawn with it
        assert both._style({"scale": "shared"}).ends(both.panel(i).values, signed=True, percentile=100) == (
            -2,
            2,
        )


def test_vmin_vmax_and_percentile_say_what_the_ends_are():
    ramp = large(torch.linspace(0, 1, 101).expand(1, 1, 101, 101).clone())
    scale = ramp.panel().scale(Style(vmin=0.25, vmax=0.5))
    assert (scale.low, scale.high) == (0.25, 0.5)
    shown = pixels(ramp.map(cmap="gray", vmin=0.25, vmax=0.5))[90, :, 0]
    assert (shown[:70] == 0).all()
    assert (shown[155:] == 255).all()
    half = pixels(ramp.map(cmap="gray", percentile=50))[90, :, 0]
    assert (half[155:] == 255).all()
    assert half[60] < 120
    signed = large((torch.linspace(-1, 3, 101)).expand(1, 1, 101, 101).clone())
    shown = pixels(signed.map(vmin=-1, vmax=3))[90]
    zero = shown[75]
    assert zero.min() > 245  # zero stays white, though the ends are not alike
    assert shown[0, 2] > shown[0, 0]
    assert shown[-1, 0] > shown[-1, 2]
    against = pixels(ramp.map(vmin=-1, vmax=1))  # a scale below zero is signed
    assert against[90, 0].min() > 245


def test_what_would_not_show_makes_no_map_one_of_both_signs():
    ramp = torch.linspace(0, 1, 100)
    for lowest, both in ((0.0, False), (-1e-7, False), (-1 / 300, False), (-1 / 200, True)):
        ramp[0] = lowest
        e = large(ramp.reshape(1, 1, 10, 10).clone())
        assert e.has_negative() == both, lowest
        assert e.panel(0).drawn(e._style({})).signed == both


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "all"}, 'scale must be "own" or "shared"; got \'all\''),
        ({"interpolation": "cubic"}, 'interpolation must be "nearest", "bilinear" or "bicubic"'),
        ({"vmax": 0.0}, "vmax must be above 0 and above vmin"),
        ({"vmin": 2.0, "vmax": 1.0}, "vmax must be above 0 and above vmin; got 1.0 and 2.0"),
        ({"vmax": inf}, "vmax must be a finite number"),
        ({"percentile": 0.0}, "percentile must be above 0"),
        ({"vmin": -1.0, "signed": False}, "vmin must be 0 or above where signed=False"),
        ({"interpolaton": "nearest"}, "no option 'interpolaton': did you mean interpolation"),
        ({"ax": None}, "no option 'ax': there are cmap, alpha, fade,"),
        ({"cmap": "trubo"}, "did you mean turbo"),
    ],
)
def test_drawing_options_that_do_not_hold_are_refused(unchecked, tmp_path, options, message):
    e = explanation(one_hot(4, 4)[None, None])
    for draw in (e.overlay, e.map, e.view, e.plot):
        with pytest.raises(InvalidValue, match=re.escape(message)):
            draw(**options)
    with pytest.raises(InvalidValue, match=re.escape(message)):
        e.save(tmp_path / "e.png", **options)
    assert list(tmp_path.iterdir()) == []


# --- small pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 28, 64])
def test_small_pictures_are_enlarged_with_crisp_pixels(side):
    grain = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    picture, box = Picture(Image.fromarray(grain), "digit"), Box(0.0, 0.0, float(side), float(side))
    values = torch.rand(1, 1, side, side)
    e = explanation(values, raw=values, pictures=[picture], boxes=[box])
    by = 400 // side
    for image in (e.map(), e.overlay(), e.overlay(alpha=0.0)):
        assert image.size == (by * side, by * side)
        assert is_blocks(pixels(image), by)
    assert (pixels(e.overlay(alpha=0.0))[::by, ::by] == grain).all()
    # In grids they are as large as whole pixels allow.
    shown = blocks.paint(sheet([maps_of(e)], captions=False))
    assert shown.width < 2 * 280 + 6 * 15
    assert blocks.shown_size((side, side), 280) == (280 // side * side, 280 // side * side)


def test_outlines_and_weights_of_small_pictures_are_in_proportion():
    shown = pixels(segmented((0.0,) * 4, side=28).outlined())
    assert shown.shape[:2] == (392, 392)
    line = (shown[100, 150:240] != 120).any(-1).sum()
    assert 1 <= line <= 8  # a line between segments, not a band
    segments = enlarged(segmented(side=28, errors=None).panel()).segments
    assert len(segments.weights(8, 392 // 22)) == 3


def test_weights_stay_in_the_crop_apart_and_say_something():
    segments = segmented((1.0, 0.002, -0.5, 0.3), side=400).panel().segments
    assert [w.text for w in segments.weights(8, 14)] == ["+1.0", "−0.5", "+0.3"]
    crop = Box(100.0, 100.0, 300.0, 300.0)
    inside = replace(segments, box=crop).weights(8, 14)
    assert inside
    for weight in inside:
        left, top, right, bottom = weight.room
        assert crop.left <= left < right <= crop.right
        assert crop.top <= top < bottom <= crop.bottom
    # What is written really stays in the room that is reserved for it.
    weight = inside[0]
    ground = Image.new("RGB", (400, 400), (255, 0, 255))
    superpixels.write(ground, weight)
    rows, columns = np.nonzero((pixels(ground) != [255, 0, 255]).any(-1))
    left, top, right, bottom = weight.room
    assert left - 1 <= columns.min() <= columns.max() <= right + 1
    assert top - 1 <= rows.min() <= rows.max() <= bottom + 1


# --- captions --------------------------------------------------------------------------------------------


def test_a_caption_adds_the_scale_and_what_is_shown():
    e = large(one_hot(3, 3)[None, None] * 4, layer=["features.8"])
    bare, told = e.overlay(), e.overlay(caption=True)
    edge = (told.width - bare.width) // 2
    assert edge > 0
    inner = pixels(told)[edge : edge + bare.height, edge : edge + bare.width]
    assert np.array_equal(inner, pixels(bare))
    below = pixels(told)[edge + bare.height :]
    bar = below[(below.std(-1) > 60).sum(1).argmax(), edge : edge + bare.width]
    assert np.abs(bar[2] - [48, 18, 59]).max() < 20  # the first and the last colour of turbo
    assert np.abs(bar[-3] - [122, 4, 3]).max() < 20
    assert about(e.panel()) == "grad-cam · tiny · layer features.8 · logit −0.5"


@pytest.mark.parametrize("width", range(40, 400, 24))
def test_lines_never_break_between_a_number_and_its_unit(width):
    text = "probability 0.393 · 200 samples, ±30 %, R² 0.62 · sum off by 20 %"
    lines = wrap(text, width, typeface(13, False))
    # Only what is wider than a whole line may be broken.
    if width > typeface(13, False).getlength("probability 0.393"):
        for together in ("0.393", "200 samples", "±30 %", "R² 0.62", "by 20 %"):
            assert any(together in line.replace("\N{NO-BREAK SPACE}", " ") for line in lines), together
    assert unbroken("R² 0.62") == "R²\N{NO-BREAK SPACE}0.62"


def test_thirty_pictures_are_a_grid():
    names = [Picture(LARGE.rgb, f"picture {i}") for i in range(30)]
    e = large(torch.rand(30, 1, 6, 6), pictures=names)
    shown = sheet([maps_of(e)])
    assert shown.width < 8 * 300 + 150
    assert 0.5 < shown.width / shown.height < 2
    titles = {item.text for item in shown.items if isinstance(item, blocks.Words) and item.bold}
    assert {one.name for one in names} <= {t.replace("\N{NO-BREAK SPACE}", " ") for t in titles} | {
        item.text for item in shown.items if isinstance(item, blocks.Words)
    }
    photos = [item for item in shown.items if isinstance(item, blocks.Photo)]
    assert len(photos) == 2 * 30
    assert max(one.x + one.width for one in photos) <= shown.width
    narrow = sheet([maps_of(e)], paper=Paper.of("column", None))
    assert narrow.width == pytest.approx(8.8 * 72 / 2.54, abs=0.01)


# --- print -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "centimetres"), [("column", 8.8), ("page", 18.0), (12, 12.0)])
def test_pdf_has_the_asked_width_truetype_fonts_and_real_text(tmp_path, width, centimetres):
    e = large(torch.rand(3, 1, 6, 6), layer=["features.8"])
    data = e.save(tmp_path / "e.pdf", width=width).read_bytes()
    left, bottom, right, _ = map(float, re.search(rb"/MediaBox \[([^\]]*)\]", data)[1].split())
    assert (left, bottom) == (0, 0)
    assert right == pytest.approx(centimetres * 72 / 2.54, abs=0.1)
    assert b"/FontFile2" in data  # TrueType inside
    assert b"/Subtype /Type3" not in data
    assert b"DejaVuSans" in data
    assert e.save(tmp_path / "again.pdf", width=width).read_bytes() == data


def test_svg_has_text_of_one_size_and_the_letters_it_needs(tmp_path):
    from fontTools.ttLib import TTFont

    e = large(torch.rand(1, 1, 6, 6), labels=["tiger $cat$ & <dog>"])
    text = e.save(tmp_path / "e.svg", width="column").read_text("utf-8")
    assert "tiger $cat$ &amp; &lt;dog&gt;" in text
    assert "<path" not in text.partition("</defs>")[0] or "glyph" not in text
    sizes = {float(size) for size in re.findall(r"(?:font-size: |font: (?:bold )?)([\d.]+)px", text)}
    assert sizes == {7.0}
    fonts = re.findall(r"font-weight:(\w+);src:url\(data:font/ttf;base64,([^)]*)\)", text)
    assert {weight for weight, _ in fonts} == {"normal", "bold"}
    letters = {chr(code) for _, font in fonts for code in TTFont(BytesIO(b64decode(font))).getBestCmap()}
    assert set("tiger$cat&<dog>0−") <= letters
    assert len(letters) < 80


def test_png_for_print_has_its_dots_and_no_margin(tmp_path):
    e = large(torch.rand(1, 1, 6, 6))
    with Image.open(e.save(tmp_path / "e.png", width=10, dpi=254, caption=False)) as shown:
        assert shown.size[0] == 1000
        assert shown.info["dpi"][0] == pytest.approx(254, abs=0.1)
        filled = (pixels(shown.convert("RGB")) < 250).any(-1)
    assert filled[:, :3].any()
    assert filled[:, -3:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"width": "wide"},
            'width must be "column" (8.8 cm), "page" (18 cm) or 2 to 200 centimetres; got \'wide\'',
        ),
        ({"width": 0.5}, "got 0.5"),
        ({"dpi": 5}, "dpi must be from 30 to 2400"),
    ],
)
def test_sizes_that_do_not_hold_are_refused(unchecked, tmp_path, options, message):
    with pytest.raises(InvalidValue, match=re.escape(message)):
        explanation(one_hot(4, 4)[None, None]).save(tmp_path / "e.pdf", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_a_plot_as_a_picture():
    figure = large(torch.rand(1, 1, 6, 6)).plot()
    with Image.open(BytesIO(figure._repr_png_())) as shown:
        assert shown.format == "PNG"
        assert shown.width == pytest.approx(figure.get_figwidth() * figure.dpi, abs=1)


# --- what files hold -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".html"])
def test_files_hold_all_that_they_show(tmp_path, suffix):
    e = large(
        one_hot(3, 3)[None, None] * 4, layer=["features.8"], labels=["tiger (cat) \\ ü"], options={"n": 3}
    )
    told = metadata.read(e.save(tmp_path / f"e{suffix}"))
    (one,) = told["explanations"]
    assert one["method"], one["options"] == ("grad-cam", {"n": 3})
    assert (one["model"], one["layer"], one["labels"]) == ("tiny", ["features.8"], ["tiger (cat) \\ ü"])
    assert one["score"] == [-0.5]
    assert one["limits"] == [{"vmin": 0, "vmax": 4}]
    assert one["pictures"] == [
        {"name": "large", "size": [300, 180], "note": "", "remarks": []}
    ]  # not where it lay
    assert "attribution" not in one
    shown = CliRunner().invoke(app, ["show", str(tmp_path / f"e{suffix}")])
    assert shown.exit_code == 0
    for line in (
        "method       grad-cam n=3",
        "explained    tiger (cat) \\ ü, logit −0.5",
        "colours      0 to 4",
    ):
        assert line in shown.stdout
    as_json = CliRunner().invoke(app, ["show", "--json", str(tmp_path / f"e{suffix}")])
    assert json.loads(as_json.stdout) == told


def test_show_reads_stored_explanations_and_refuses_others(tmp_path):
    e = large(one_hot(3, 3)[None, None] * 4)
    shown = CliRunner().invoke(app, ["show", str(e.save(tmp_path / "e.npz"))])
    assert "explained    cat, logit −0.5" in shown.stdout
    GREY.save(tmp_path / "foreign.png")
    with pytest.raises(InvalidValue, match="must be a file that Pellucid saved"):
        metadata.read(tmp_path / "foreign.png")
    with pytest.raises(FileMissing):
        metadata.read(tmp_path / "none.png")
    for name in ("foreign.png", "none.png", "notes.txt"):
        assert CliRunner().invoke(app, ["show", str(tmp_path / name)]).exit_code == 2


# --- in a notebook ---------------------------------------------------------------------------------------


def test_a_notebook_has_a_progress_bar_that_leaves_nothing(monkeypatch):
    from pellucid.engine import progress

    shown = []
    handle = SimpleNamespace(update=shown.append)

    def display(content, display_id):
        shown.append(content)
        return handle

    ipython = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel=object()),
        display=SimpleNamespace(display=display, HTML=str),
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.showing("rise <1>", 10, None) as bar:
        bar.advance(4)
        assert isinstance(bar, progress.NotebookBar)
    assert shown[0].startswith('rise &lt;1&gt; <progress value="4" max="10"></progress> 4/10')
    assert shown[-1] == ""
    ipython.get_ipython = lambda: SimpleNamespace()  # IPython in a terminal has no kernel
    with progress.showing("rise", 10, True) as bar:
        assert type(bar) is progress.Bar


def test_a_notebook_runs_and_shows_pictures_alone():
    import nbclient
    import nbformat

    cells = [
        "import torch, pellucid\n"
        "net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))\n"
        "e = pellucid.explain(net, torch.rand(2, 3, 8, 8), 'saliency', target=1)",
        "e.plot()",
        "e",
        "pellucid.compare(net, torch.rand(1, 3, 8, 8), ['saliency', 'input-x-gradient'], target=1)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    nbclient.NotebookClient(book, timeout=120).execute()
    outputs = [cell.outputs for cell in book.cells]
    assert outputs[0] == []
    assert [len(one) for one in outputs[1:]] == [1, 1, 1]  # one picture, and nothing beside it
    assert "image/png" in outputs[1][0].data
    assert all("<figure>" in one[0].data["text/html"] for one in outputs[2:])
