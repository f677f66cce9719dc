"""Rendering: colours where the evidence is, pictures at their own size, grids and pages that are whole."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from pellucid.certainty import typical
from pellucid.engine.cost import Cost
from pellucid.errors import InvalidValue
from pellucid.explanation import Explanation, maps_of
from pellucid.images import Box, Picture
from pellucid.prediction import Prediction
from pellucid.render import blocks, heat, html, sheet, superpixels, views, words
from pellucid.render.blocks import paint
from pellucid.render.sheet import Cell, Metrics
from pellucid.render.text import typeface, wrap

WIDTH, HEIGHT = 30, 18
CROP = Box(6.0, 0.0, 24.0, 18.0)  # what the model saw: the middle square
GREY = Image.new("RGB", (WIDTH, HEIGHT), (100, 100, 100))


def one_hot(row, column, size=18):
    values = torch.zeros(size, size)
    values[row, column] = 1
    return values


def explanation(values, **changes):
    attribution = torch.as_tensor(values, dtype=torch.float32)
    count = len(attribution)
    parts = {
        "method": "grad-cam",
        "options": {},
        "attribution": attribution,
        "raw": attribution if attribution.shape[1] > 1 else attribution[:, 0],
        "target": [1] * count,
        "labels": ["cat"] * count,
        "score": torch.full((count,), -0.5),
        "output": "logit",
        "prediction": [[Prediction(1, "cat", 0.621), Prediction(0, "dog", 0.0004)]] * count,
        "model": "tiny",
        "paper": "someone 2017",
        "seed": 0,
        "precision": "float32",
        "versions": {},
        "cost": Cost(1, 1, 0.25),
        "pictures": [Picture(GREY, "grey")] * count,
        "boxes": [CROP] * count,
    }
    return Explanation(**(parts | changes))


def sheet_of(explanations, **options):
    return paint(views.sheet([maps_of(e) for e in explanations], **options))


def grid(cells, *, cell=280, **options):
    return paint(sheet.grid(cells, metrics=Metrics.screen(cell), **options))


def own_pixels(image, size=(WIDTH, HEIGHT)):
    """A picture of few pixels as it was before it was enlarged: the middle of each square."""
    by = image.width // size[0]
    assert image.size == (size[0] * by, size[1] * by)
    return pixels(image)[by // 2 :: by, by // 2 :: by]


def pixels(image):
    return np.asarray(image).astype(int)


# --- colours ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cmap", [None, "jet", "viridis"])
def test_colours_are_matplotlibs_in_rgb_order(cmap):
    import matplotlib

    table = matplotlib.colormaps[cmap or "turbo"]
    got = heat.colours(torch.tensor([[0.0, 1.0]]), cmap)
    expected = [table(0.0, bytes=True)[:3], table(1.0, bytes=True)[:3]]
    np.testing.assert_allclose(got[0], np.array(expected, dtype=int), atol=1)


def test_signed_zero_is_white_for_is_red_and_against_is_blue():
    against, zero, for_it = heat.colours(torch.tensor([[-0.6, 0.0, 0.6]]), signed=True)[0].int().tolist()
    assert zero == [255, 255, 255]
    assert for_it[0] > for_it[2] + 80
    assert against[2] > against[0] + 80


def test_signed_colours_depend_on_the_magnitude_alone_but_for_hue():
    import matplotlib

    values = torch.linspace(-1, 1, 101)[None]
    there = heat.colours(values, "seismic", signed=True).int()
    table = matplotlib.colormaps["seismic"].resampled(257)(np.linspace(0, 1, 101), bytes=True)[:, :3]
    np.testing.assert_allclose(there[0], table.astype(int), atol=4)
    assert (there[0, 50] >= 253).all()


def test_unknown_colour_map_is_refused_with_close_names():
    with pytest.raises(InvalidValue, match=r"'virids': did you mean .*viridis"):
        heat.colormap("virids")


# --- overlays --------------------------------------------------------------------------------------------


def test_hottest_colour_is_exactly_at_the_evidence_and_nothing_is_transposed():
    shown = pixels(heat.overlay(one_hot(4, 11), GREY, CROP, alpha=1.0))
    assert shown.shape == (HEIGHT, WIDTH, 3)
    hottest = heat.colours(torch.ones(1, 1))[0, 0].int().numpy()
    at = np.argwhere((shown == hottest).all(-1))
    assert at.tolist() == [[4, 6 + 11]]
    inside = np.delete(shown[1:-1, 7:23].reshape(-1, 3), 3 * 16 + 10, axis=0)
    assert (inside == 100).all()


def test_what_the_model_did_not_see_is_dimmed_and_the_crop_is_outlined():
    shown = pixels(heat.overlay(torch.zeros(18, 18), GREY, CROP))
    assert (shown[:, :6] == 50).all()
    assert (shown[:, 24:] == 50).all()
    assert (shown[:, [6, 23]] == 255).all()
    assert (shown[1:-1, 7:23] == 100).all()


def test_a_map_over_the_whole_picture_gets_no_outline():
    whole = Box(0.0, 0.0, float(WIDTH), float(HEIGHT))
    assert (pixels(heat.overlay(torch.zeros(18, 30), GREY, whole)) == 100).all()


def test_classic_look_is_the_mean_of_picture_and_jet():
    values = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    whole = Box(0.0, 0.0, float(WIDTH), float(HEIGHT))
    shown = pixels(heat.overlay(values, GREY, whole, cmap="jet", alpha=0.5, fade=False))
    expected = 0.5 * 100 + 0.5 * heat.colours(values, "jet").float().numpy()
    np.testing.assert_allclose(shown, expected, atol=1.01)


def test_alpha_zero_is_the_picture_and_other_alphas_are_checked():
    whole = Box(0.0, 0.0, float(WIDTH), float(HEIGHT))
    assert (pixels(heat.overlay(torch.ones(2, 2), GREY, whole, alpha=0.0)) == 100).all()
    with pytest.raises(InvalidValue, match="alpha must be"):
        heat.overlay(torch.ones(2, 2), GREY, whole, alpha=1.5)


def test_signed_overlay_tints_red_for_and_blue_against_and_zero_not_at_all():
    values = torch.zeros(HEIGHT, WIDTH)
    values[3, 4], values[9, 20] = 0.7, -0.7
    shown = pixels(heat.overlay(values, GREY, Box(0.0, 0.0, float(WIDTH), float(HEIGHT)), signed=True))
    red, blue, none = shown[3, 4], shown[9, 20], shown[0, 0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert len(set(none)) == 1


def test_box_reaching_outside_the_picture_is_drawn():
    padded = Box(0.0, -6.0, 30.0, 24.0)
    shown = heat.overlay(one_hot(15, 15, 30), GREY, padded, alpha=1.0)
    assert shown.size == (WIDTH, HEIGHT)
    assert np.argwhere((pixels(shown) != 100).any(-1)).tolist() == [[9, 15]]


def test_a_map_finer_than_the_picture_is_averaged_not_sampled():
    fine = torch.zeros(180, 300)
    fine[::10, ::10] = 1  # one in a hundred, at the corner of each picture pixel
    shown = pixels(heat.draw_map(fine, GREY, Box(0.0, 0.0, 30.0, 18.0), cmap="gray"))
    np.testing.assert_allclose(shown[1:-1, 1:-1], 255 * 0.01, atol=1)
    assert (shown[1:-1, 1:-1] > 0).all()


def test_masked_shows_the_evidence_and_hides_the_rest(unchecked):
    red = Image.new("RGB", (60, 60), (200, 40, 40))
    values = torch.zeros(60, 60)
    values[20:40, 10:50] = 1
    whole = Box(0.0, 0.0, 60.0, 60.0)
    for fill, hidden in (("grey", (128, 128, 128)), ("blur", (200, 40, 40))):
        shown = heat.masked(values, red, whole, fill=fill)
        assert shown.getpixel((30, 30)) == (200, 40, 40)
        assert shown.getpixel((5, 5)) == hidden
    dim = heat.masked(values, red, whole).getpixel((5, 5))
    assert len(set(dim)) == 1
    assert dim[0] < 60
    with pytest.raises(InvalidValue, match="fill must be"):
        heat.masked(values, red, whole, fill="black")


def test_contours_follow_the_level():
    size = 101
    x = torch.arange(size, dtype=torch.float32)
    values = (x / (size - 1)).expand(size, size)  # the level v is the column 100 v
    black = Image.new("RGB", (size, size))
    shown = pixels(heat.contours(values, black, Box(0.0, 0.0, float(size), float(size)), levels=(0.25, 0.75)))
    columns = np.flatnonzero(shown[50].sum(-1) > 100)
    assert {25, 75} <= set(columns)
    assert all(min(abs(c - 25), abs(c - 75)) <= 2 for c in columns)
    turned = pixels(heat.contours(values.T, black, Box(0.0, 0.0, 101.0, 101.0), levels=(0.25,)))
    assert abs(np.flatnonzero(turned[:, 50].sum(-1) > 100) - 25).max() <= 2


def test_contours_of_an_empty_map_are_the_picture_and_bad_levels_are_refused():
    whole = Box(0.0, 0.0, float(WIDTH), float(HEIGHT))
    assert (pixels(heat.contours(torch.zeros(3, 3), GREY, whole)) == 100).all()
    with pytest.raises(InvalidValue, match="levels must lie"):
        heat.contours(torch.zeros(3, 3), GREY, whole, levels=(25.0,))


def test_contours_ignore_a_users_matplotlib_style():
    import matplotlib

    values, whole = torch.rand(9, 9), Box(0.0, 0.0, float(WIDTH), float(HEIGHT))
    plain = pixels(heat.contours(values, GREY, whole))
    with matplotlib.rc_context({"savefig.bbox": "tight", "figure.dpi": 33, "figure.facecolor": "red"}):
        np.testing.assert_array_equal(pixels(heat.contours(values, GREY, whole)), plain)


def test_boxed_draws_on_the_box_only():
    big = Image.new("RGB", (60, 40), (100, 100, 100))
    changed = np.argwhere((pixels(heat.boxed(big, Box(10.0, 5.0, 50.0, 35.0))) != 100).any(-1))
    assert changed.min(0).tolist() == [5, 10]
    assert changed.max(0).tolist() == [34, 49]
    assert (pixels(heat.boxed(big, None)) == 100).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 2)])
def test_tiny_pictures_render(size):
    rgb, box = Image.new("RGB", size), Box(0.0, 0.0, *map(float, size))
    values = torch.rand(7, 7)
    for image in (
        heat.overlay(values, rgb, box),
        heat.draw_map(values, rgb, box),
        heat.masked(values, rgb, box),
        heat.contours(values, rgb, box),
        heat.boxed(rgb, Box(0.0, 0.0, 0.2, 0.2)),
    ):
        assert image.size == size


# --- views -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "remark"),
    [(0.0, "zero everywhere"), (2.0, "the same everywhere"), (-2.0, "the same everywhere")],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_degenerate_maps_render_neutrally_with_a_caption(value, remark, channels):
    e = explanation(torch.full((1, channels, 18, 18), value))
    cell = views.cell(e.panel())
    assert remark in cell.caption
    inside = pixels(cell.image)[1:-1, 7:23].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) == 1
    assert channels == 3 or len(set(inside[0])) == 1  # the picture's own grey: no colour
    for look in (e.overlay, e.map, e.masked, e.contours, e.boxed, e.plot, e._repr_html_):
        look()


def test_map_with_evidence_only_against_says_so():
    values = -torch.rand(1, 1, 18, 18) - 0.1
    assert "only against" in views.cell(explanation(values).panel()).caption


def test_maps_of_pixels_stand_alone_and_those_of_layers_lie_over_the_picture():
    smooth, fine = explanation(one_hot(4, 4)[None, None]), explanation(torch.rand(1, 3, 18, 18))
    assert own_pixels(smooth.view())[10, 10].tolist() == [100, 100, 100]
    np.testing.assert_array_equal(pixels(fine.view()), pixels(fine.map()))


def test_cells_carry_their_scale_unless_captions_are_not_wanted():
    values = one_hot(4, 4)[None, None] * 3
    assert views.cell(explanation(values).panel()).scale == blocks.Scale(0, 3, "turbo", False)
    assert views.cell(explanation(-values).panel()).scale == blocks.Scale(-3, 3, "signed", True)
    bare = views.cell(explanation(values).panel(), captions=False)
    assert (bare.scale, bare.caption) == (None, "")


def test_of_one_picture_model_and_target_the_maps_follow_in_lines_of_at_most_four():
    one = explanation(one_hot(4, 4)[None, None])
    five = [replace(one, method=f"m{i}") for i in range(5)]
    two_lines = sheet_of(five, cell_size=100)
    gap, crisp = 100 // 18, 3 * WIDTH
    assert two_lines.width == 3 * crisp + 2 * gap + 2 * gap  # six pictures are two lines of three
    assert two_lines.height > 1.7 * sheet_of(five[:3], cell_size=100).height
    two_targets = sheet_of([*five, *(replace(e, labels=["dog"]) for e in five)], cell_size=100)
    assert two_targets.width < two_lines.width  # two columns: methods go down


# --- grids -----------------------------------------------------------------------------------------------


def test_grid_size_follows_from_the_cell():
    cells = [[Cell(GREY), Cell(GREY), Cell(GREY)]] * 2
    small, large = grid(cells, cell=100), grid(cells, cell=200)
    gap = 100 // 18
    assert small.width == 3 * 90 + 2 * gap + 2 * gap  # three pixels for each of thirty
    assert small.height == 2 * (54 + 1) + 3 * gap
    assert large.width == pytest.approx(2 * small.width, abs=6)


def test_grid_puts_every_picture_in_its_place():
    hues = [(200, 0, 0), (0, 200, 0), (0, 0, 200), None]
    cells = [[Cell(Image.new("RGB", (50, 50), h)) if h else None for h in hues[i : i + 2]] for i in (0, 2)]
    shown = pixels(grid(cells, cell=100))
    gap = 100 // 18
    for index, hue in enumerate(hues):
        x, y = gap + (index % 2) * (100 + gap) + 50, gap + (index // 2) * (101 + gap) + 50
        assert tuple(shown[y, x]) == (hue or (255, 255, 255))


def test_grid_text_does_not_overlap_pictures_or_leave_the_sheet():
    black = Image.new("RGB", (80, 80))
    long = "a very long class name, with many synonyms, that no column could hold in one line"
    plain = grid([[Cell(black)]], cell=120)
    told = grid(
        [[Cell(black, long, blocks.Scale(-0.5, 0.5, "signed", True))]],
        rows=["supercalifragilistic-method"],
        columns=[long],
        title=long,
        caption=long,
        cell=120,
    )
    assert (pixels(plain) == 0).all(-1).sum() == 120 * 120
    assert (pixels(told) == 0).all(-1).sum() == 120 * 120
    edge = 120 // 18
    frame = pixels(told)
    for border in (frame[:edge], frame[-edge // 2 :], frame[:, : edge - 1], frame[:, -(edge - 1) :]):
        assert (border == 255).all()


def test_neighbours_share_a_heading():
    cells = [[Cell(GREY)] * 2]
    shared = pixels(grid(cells, columns=[("cat", "a"), ("cat", "b")], cell=100))
    apart = pixels(grid(cells, columns=[("cat", "a"), ("rat", "b")], cell=100))
    middle = shared.shape[1] // 2
    ruled = lambda sheet: (sheet[:60, middle] == [200, 204, 208]).all(-1).any()  # noqa: E731
    assert ruled(shared)
    assert not ruled(apart)


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        ([], {}, "at least one picture"),
        ([[Cell(GREY)]], {"rows": ["a", "b"]}, "rows must have 1 titles"),
        ([[Cell(GREY)]], {"columns": []}, None),
        ([[Cell(GREY)]], {"columns": ["a", "b"]}, "columns must have 1 titles"),
        ([[Cell(GREY)]], {"cell": 5}, "at least 32 pixels"),
    ],
)
def test_grid_checks_what_it_is_given(cells, options, message):
    if message is None:
        assert grid(cells, **options).width
    else:
        with pytest.raises(InvalidValue, match=message):
            grid(cells, **options)


@pytest.mark.parametrize(
    "words", ["", "one", "two words", "x" * 200, "grad-cam-elementwise\nnew line", "a  b\tc"]
)
@pytest.mark.parametrize("width", [5, 40, 150])
def test_wrapped_lines_fit_and_keep_every_letter(words, width):
    font: ImageFont.FreeTypeFont = typeface(12, False)
    lines = wrap(words, width, font)
    assert all(font.getlength(line) <= width or len(line) == 1 for line in lines)
    assert "".join("".join(lines).split()) == "".join(words.split())


def test_long_words_break_after_hyphens():
    font = typeface(12, False)
    assert wrap("grad-cam-elementwise", int(font.getlength("grad-cam-ele")), font)[0] == "grad-cam-"


def test_sheet_has_methods_down_and_pictures_models_targets_across():
    values = torch.rand(2, 1, 18, 18)
    pictures = [Picture(GREY, "a"), Picture(GREY, "b")]
    many = [
        explanation(values, method=method, model=model, labels=[target] * 2, pictures=pictures)
        for method in ("cam", "grad-cam", "saliency")
        for model in ("m1", "m2")
        for target in ("cat", "dog")
    ]
    shown = sheet_of(many, cell_size=40)
    columns = 2 * 2 * 2
    assert shown.width > columns * WIDTH  # as they are: twice would not fit a cell of 40
    assert shown.width < columns * 42 + 100
    assert shown.height > 4 * 24  # the pictures, and three methods
    with pytest.raises(InvalidValue, match="at least one"):
        views.sheet([])


def test_settings_of_one_method_get_rows_of_their_own():
    few, many = (explanation(torch.rand(1, 1, 4, 4), options={"samples": n, "seed": 0}) for n in (10, 50))
    other = explanation(torch.rand(1, 1, 4, 4), method="cam")
    assert views.row_titles([(e.method, e.options) for e in (few, many, other)]) == [
        ("grad-cam", "samples=10"),
        ("grad-cam", "samples=50"),
        ("cam",),
    ]


def test_columns_are_grouped_by_picture_whatever_the_order():
    pictures = [Picture(GREY, "a"), Picture(GREY, "b")]
    asked = [explanation(torch.rand(2, 1, 4, 4), labels=[t] * 2, pictures=pictures) for t in ("cat", "dog")]
    seen = []

    def note(cells, *, columns, title, **_):
        seen.extend([title, *columns])
        return blocks.Block(1, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "grid", note)
        sheet_of(asked)
    assert seen == ["tiny", ("a", "cat"), ("a", "dog"), ("b", "cat"), ("b", "dog")]


# --- figures and pages -----------------------------------------------------------------------------------


def test_plot_has_the_maps_numbers_on_its_colour_bar():
    figure = explanation(torch.stack([one_hot(3, 3) * 4, one_hot(3, 3) * -2])[:, None]).plot()
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    map_and_overlay = [(0, 4)] * 2 + [(-2, 2)] * 2
    assert [bar.get_xlim() for bar in bars] == map_and_overlay


def test_plot_leaves_no_trace_in_matplotlib():
    import matplotlib
    from matplotlib import pyplot

    pyplot.get_backend()  # chosen on first use, by anyone
    before = matplotlib.rcParams.copy()
    explanation(torch.rand(1, 1, 4, 4)).plot().canvas.draw()
    assert pyplot.get_fignums() == []
    assert matplotlib.rcParams == before


def test_fragment_escapes_what_users_wrote():
    evil = "<script>alert('x')</script>&\""
    e = explanation(
        torch.rand(1, 1, 18, 18),
        method=evil,
        model=evil,
        labels=[evil],
        paper=evil,
        layer=[evil],
        notes=[[evil]],
        pictures=[Picture(GREY, evil)],
        prediction=[[Prediction(0, evil, 0.5)]],
    )
    for text in (e._repr_html_(), html.page(evil, e._repr_html_())):
        assert "<script" not in text
        assert "&lt;script&gt;" in text
        assert not re.search(r'alt="[^"]*<', text)


def test_fragment_needs_nothing_else_and_tells_cost_prediction_and_warnings():
    e = explanation(torch.rand(1, 1, 18, 18), notes=[["score did not depend on the layer"]])
    text = e._repr_html_()
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert text.count("<figure>") == 3
    for told in (
        "1 forward, 1 backward, 0.25 s",
        "cat 62 %",
        "dog &lt;0.1 %",
        "score did not depend",
        "logit −0.5",
    ):
        assert told in text.replace("\N{NO-BREAK SPACE}", " ")


def test_in_long_batches_all_pictures_are_reached_by_name():
    pictures = [Picture(GREY, f"grey {i}") for i in range(11)]
    text = explanation(torch.rand(11, 1, 4, 4), pictures=pictures)._repr_html_()
    head, fold, small = text.partition("<details><summary>3 more pictures</summary>")
    assert fold
    assert (head.count("<figure>"), small.count("<figure>")) == (8 * 3, 3)
    assert [f"<b>grey {i}</b>" in (head if i < 8 else small) for i in range(11)] == [True] * 11
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "FOLDED", 10)
        text = explanation(torch.rand(11, 1, 4, 4), pictures=pictures)._repr_html_()
    assert "and 1 more: [10:]" in text


def test_data_uri_holds_the_picture():
    from base64 import b64decode
    from io import BytesIO

    head, data = html.data_uri(GREY).split(",")
    assert head == "data:image/png;base64"
    assert (pixels(Image.open(BytesIO(b64decode(data)))) == 100).all()


def test_saved_png_is_the_view_at_the_pictures_size(tmp_path):
    e = explanation(torch.rand(1, 1, 18, 18))
    with Image.open(e.save(tmp_path / "e.png")) as saved:
        np.testing.assert_array_equal(pixels(saved), pixels(e.view()))
    with Image.open(explanation(torch.rand(2, 1, 18, 18)).save(tmp_path / "two.png")) as both:
        assert both.width > 2 * 280


# --- segments and errors ---------------------------------------------------------------------------------


def segmented(coefficients=(2.0, -1.0, 0.5, 0.0), errors=0.25, side=200, **changes):
    """Quarters of a picture with a weight each: for, against, weakly for, none."""
    cells = torch.arange(20) // 10
    labels, weights = cells[:, None] * 2 + cells, torch.tensor(coefficients)
    details = {"segments": labels[None], "coefficients": [weights]}
    if errors is not None:
        details["coefficient_stderr"] = [torch.full((4,), errors)]
    picture = Picture(Image.new("RGB", (side, side), (120, 120, 120)), "grey")
    whole = Box(0.0, 0.0, float(side), float(side))
    parts = {"details": details, "pictures": [picture], "boxes": [whole]} | changes
    return explanation(weights[labels][None, None], **parts)


def test_strong_segments_are_tinted_by_sign_and_strength_and_others_keep_their_grey():
    shown = pixels(segmented().outlined())
    for_it, against, weak, none = (shown[y, x] for y, x in ((15, 15), (15, 185), (185, 15), (185, 185)))
    assert for_it[0] - for_it[2] > 40
    assert against[2] - against[0] > 40
    assert 0 < weak[0] - weak[2] < for_it[0] - for_it[2]
    assert none.tolist() == [120, 120, 120]
    only = pixels(segmented().outlined(top=1))
    assert only[15, 15].tolist() == for_it.tolist()
    assert only[15, 185].tolist() == [120, 120, 120]


def test_outlines_lie_between_segments_alone():
    shown = pixels(segmented((0.0,) * 4).outlined())
    grey = (shown == 120).all(2)
    assert not grey[:, 98:102].all(1).any()
    assert not grey[98:102].all(0).any()
    assert grey[:95, :95].all()
    assert grey[105:, 105:].all()


def test_weights_are_written_in_their_segments_with_errors_and_equal_decimals():
    written = segmented().panel().segments.weights(8, 12)
    assert [(w.text, w.error) for w in written] == [("+2.0", "±0.2"), ("−1.0", "±0.2"), ("+0.5", "±0.2")]
    assert [(w.x > 100, w.y > 100) for w in written] == [(False, False), (True, False), (False, True)]
    assert [w.error for w in segmented(errors=None).panel().segments.weights(8, 12)] == ["", "", ""]
    tiny = segmented((3e-9, 0.0, 0.0, 0.0)).panel().segments.weights(8, 12)
    assert tiny[0].text == "+3e−09"


def test_weights_that_do_not_fit_or_would_overlap_are_left_out():
    assert segmented(side=30).panel().segments.weights(8, 12) == []
    labels = torch.arange(20).expand(20, 20) // 2
    e = segmented(details={"segments": labels[None], "coefficients": [torch.linspace(1, 2, 10)]})
    written = e.panel().segments.weights(10, 10)
    assert 0 < len(written) < 10
    assert not any(a.overlaps(b) for a in written for b in written if a is not b)


def test_the_widest_place_of_a_bent_segment_is_inside_it():
    bent = torch.zeros(40, 40, dtype=torch.long)
    bent[:30, 10:] = 1  # an L of zeros, whose centroid lies outside
    e = segmented(details={"segments": bent[None], "coefficients": [torch.tensor([1.0, 0.0])]})
    (weight,) = e.panel().segments.weights(1, 8)
    assert bent[int(weight.y) // 5, int(weight.x) // 5] == 0


def test_labels_lie_where_the_model_looked():
    e = segmented(pictures=[Picture(GREY, "grey")], boxes=[CROP])
    placed = e.panel().segments.placed()
    assert (placed[:, :6] == -1).all()
    assert (placed[:, 24:] == -1).all()
    assert placed[0, [6, 14, 15, 23]].tolist() == [0, 0, 1, 1]
    assert placed[[0, 8, 9, 17], 6].tolist() == [0, 0, 2, 2]


def test_an_outline_path_draws_exactly_the_edges():
    labels = torch.randint(0, 3, (6, 7))
    drawn = set()
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([vh])(\d+)", superpixels.outline_path(labels)):
        for n in range(int(length)):
            drawn.add((int(x) + n * (way == "h"), int(y) + n * (way == "v"), way))
    upright = {(x, y, "v") for y in range(6) for x in range(1, 7) if labels[y, x] != labels[y, x - 1]}
    level = {(x, y, "h") for y in range(1, 6) for x in range(7) if labels[y, x] != labels[y - 1, x]}
    assert drawn == upright | level


def test_outlines_and_errors_need_segments_and_samples():
    e = explanation(torch.rand(1, 1, 4, 4))
    with pytest.raises(
        InvalidValue, match="a method that explains segments, such as lime; grad-cam does not"
    ):
        e.outlined()
    with pytest.raises(InvalidValue, match="a method that draws samples, such as rise; grad-cam draws none"):
        e.uncertainty()
    assert e.relative_error() is None


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 2)])
def test_tiny_pictures_of_segments_render(size):
    picture, box = Picture(Image.new("RGB", size), "tiny"), Box(0.0, 0.0, float(size[0]), float(size[1]))
    e = segmented(pictures=[picture], boxes=[box], stderr=torch.rand(1, 1, 20, 20))
    by = 400 // max(size)
    assert e.outlined().size == (by * size[0], by * size[1])
    assert e.uncertainty().width == by * size[0]


def test_relative_error_is_that_of_the_top_decile_over_its_height():
    values = torch.full((1, 1, 10, 10), 3.0)
    values[0, 0, 0] = 5.0
    errors = torch.full_like(values, 9.0)
    errors[0, 0, 0] = 0.5
    assert explanation(values, stderr=errors).relative_error() == pytest.approx(0.25)
    assert explanation(torch.ones(1, 1, 4, 4), stderr=torch.ones(1, 1, 4, 4)).relative_error() is None


def test_error_maps_grow_brighter_up_to_half_of_what_stands_out():
    values = torch.zeros(1, 1, 18, 18)
    values[0, 0, :2] = 4.0
    errors = torch.linspace(0, 4, 18).expand(1, 1, 18, 18).clone()
    by = 400 // WIDTH
    shown = pixels(explanation(values, stderr=errors).uncertainty())[9 * by + by // 2, by // 2 :: by][
        7:23
    ].sum(1)
    assert (np.diff(shown) >= 0).all()
    assert np.ptp(shown[-6:]) == 0
    assert shown[0] < shown[-1] - 150


def test_plot_and_fragment_show_errors_of_sampled_maps_alone():
    e = explanation(torch.rand(2, 1, 18, 18), stderr=torch.rand(2, 1, 18, 18))
    e.details["samples"] = torch.tensor([100, 300])
    figure = e.plot()
    assert len([axes for axes in figure.axes if axes.images]) == 2 * 4
    assert len([axes for axes in figure.axes if axes.get_label() == "<colorbar>"]) == 2 * 3
    told = " ".join(one.get_text() for one in figure.texts).replace("\N{NO-BREAK SPACE}", " ")
    assert "standard error · 100 samples" in told
    assert "300 samples" in told
    assert e._repr_html_().count("<figure>") == 2 * 4
    assert "300\N{NO-BREAK SPACE}samples, ±" in e._repr_html_()


def test_cells_tell_samples_error_and_local_fit():
    e = segmented(stderr=torch.full((1, 1, 20, 20), 0.25))
    e.details |= {"samples": torch.tensor([300]), "r2": torch.tensor([0.456])}
    share = words.percent(e.relative_error())
    assert words.reliability(e.panel()) == f"300 samples, ±{share}, R² 0.46"
    assert views.cell(e.panel()).caption == f"logit −0.5 · 300 samples, ±{share}, R² 0.46"
    np.testing.assert_array_equal(pixels(e.view()), pixels(e.outlined()))
    assert words.reliability(explanation(torch.rand(1, 1, 4, 4)).panel()) == ""


def test_captions_tell_how_complete_a_map_is():
    e = explanation(torch.full((1, 3, 18, 18), 1 / 972 * 4), delta=torch.tensor([-1.0]))  # 4 instead of 5
    assert words.reliability(e.panel()) == "sum off by 20 %"
    assert views.cell(e.panel()).caption.endswith(" · sum off by 20 % · constant map: the same everywhere")
    assert (
        "constant map: the same everywhere · sum off by 20 %".replace(" %", "\N{NO-BREAK SPACE}%").replace(
            "by ", "by\N{NO-BREAK SPACE}"
        )
        in e._repr_html_()
    )
    assert typical(e.to_dict()["certainty"])["relative_delta"] == pytest.approx(0.2)
