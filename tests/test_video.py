"""Films of an optimised mask: what each frame shows, and files that play or are absent."""

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

import pellucid
from nets import CHEAP, net, pictures
from pellucid.engine.cost import Cost
from pellucid.errors import ExtraMissing, InvalidValue
from pellucid.explanation import Explanation
from pellucid.files import atomic_write
from pellucid.filming import keeps_course
from pellucid.images import Box, Picture
from pellucid.methods import METHODS
from pellucid.prediction import Prediction
from pellucid.render.curves import COLOURS, Chart, curves, shown
from pellucid.render.video import Film

LEFT, MIDDLE, TOP, SIDE = 24, 336, 82, 288  # where the panels of a square picture are
STEPS = 6


def course(steps=STEPS, size=8):
    """The left half hidden more and more."""
    mask = torch.ones(1, steps, size, size)
    mask[0, :, :, : size // 2] = 1 - torch.linspace(0, 1, steps)[:, None, None]
    falling = torch.linspace(0.9, 0.1, steps)[None]
    return {"mask": mask, "deletion": falling, "insertion": 1 - falling, "loss": 10 * falling}


def explanation(trace=None, *, box=None, size=(48, 36), **changes):
    trace = course() if trace is None else trace
    evidence = 1 - trace["mask"][0][-1][None] if "mask" in trace else torch.rand(1, 8, 8)
    noise = np.random.default_rng(0).integers(60, 200, (size[1], size[0], 3), dtype=np.uint8)
    rgb = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))
    parts = {
        "method": "i-gos",
        "options": {"baseline": "blur"},
        "attribution": evidence[None],
        "raw": evidence,
        "target": [281],
        "labels": ["tiger cat"],
        "score": torch.tensor([0.9]),
        "output": "probability",
        "prediction": [[Prediction(281, "tiger cat", 0.9)]],
        "model": "tiny",
        "paper": "",
        "seed": 0,
        "precision": "float32",
        "versions": {},
        "cost": Cost(1, 1, 0.5),
        "pictures": [Picture(rgb, "cat")],
        "boxes": [box or Box(6.0, 0.0, 42.0, 36.0)],  # 36 pixels, eight times as large in a frame
        "trace": trace,
    }
    return Explanation(**(parts | changes))


def twice(one, trace):
    """A batch of one image and itself."""
    tensors = {name: torch.cat([getattr(one, name)] * 2) for name in ("attribution", "raw", "score")}
    lists = {name: getattr(one, name) * 2 for name in ("target", "labels", "prediction", "pictures", "boxes")}
    return replace(one, **tensors, **lists, trace=trace)


def curves_of(one, index=0):
    panel = one.panel(index)
    return curves(panel.trace, panel.output)


def pixels(image):
    return np.asarray(image.convert("RGB")).astype(int)


def panels(frame):
    """The two pictures of a frame."""
    return [pixels(frame.crop((x, TOP, x + SIDE, TOP + SIDE))) for x in (LEFT, MIDDLE)]


# --- what a frame shows ----------------------------------------------------------------------------------


def test_the_first_frame_is_the_picture_twice():
    film = Film(explanation().panel())
    seen = pixels(film.seen)
    heat, left = panels(film.frame(0))
    assert np.array_equal(heat, seen)
    assert np.array_equal(left, seen)


def test_what_the_last_mask_hides_is_hot_on_the_left_and_blurred_in_the_middle():
    film = Film(explanation().panel())
    seen, blurred = pixels(film.seen), pixels(film.hidden)
    heat, left = panels(film.frame(film.last))
    assert np.array_equal(left[:, 170:], seen[:, 170:])
    assert np.array_equal(left[:, :110], blurred[:, :110])
    assert seen[:, :110].std() > 1.5 * blurred[:, :110].std()
    assert np.array_equal(heat[:, 170:], seen[:, 170:])
    assert (heat[:, :110, 0] - heat[:, :110, 2]).min() > 40  # turbo's last colour is a dark red


def test_heat_grows_with_the_mask_on_one_scale():
    film = Film(explanation().panel())
    change = [np.abs(panels(frame)[0] - pixels(film.seen))[:, :110].mean() for frame in film]
    # Red over grey noise: the last steps differ in colour more than in size.
    assert all(later > before - 0.2 for before, later in pairwise(change))
    assert change[1] < change[-1] / 2


def test_a_map_of_what_must_stay_is_shown_as_what_the_mask_keeps():
    trace = course()
    film = Film(explanation(trace, attribution=trace["mask"][:, -1:]).panel())
    heat, _ = panels(film.frame(film.last))
    seen = pixels(film.seen)
    assert np.array_equal(heat[:, :110], seen[:, :110])
    assert (heat[:, 170:, 0] - heat[:, 170:, 2]).min() > 40


@pytest.mark.parametrize(("baseline", "colour"), [("black", 0), ("grey", 128), ("white", 255)])
def test_hidden_parts_have_the_baselines_colour(baseline, colour):
    film = Film(explanation(options={"baseline": baseline}).panel())
    _, left = panels(film.frame(film.last))
    assert (left[:, :110] == colour).all()


def test_hidden_parts_have_the_pictures_mean_colour_where_that_is_the_baseline():
    film = Film(explanation(options={"baseline": "mean"}).panel())
    _, left = panels(film.frame(film.last))
    assert np.abs(left[:, :110] - pixels(film.seen).mean((0, 1))).max() <= 1


@pytest.mark.parametrize(
    ("box", "wide", "high"),
    [
        (Box(0.0, 0.0, 40.0, 10.0), 280, 70),  # whole factors
        (Box(0.0, 0.0, 10.0, 30.0), 90, 270),
        (Box(-5.0, -5.0, 35.0, 35.0), 280, 280),
        (Box(0.0, 0.0, 96.0, 24.0), 288, 72),  # more than 64 pixels
        (Box(3.2, 4.9, 3.4, 5.0), 288, 288),
    ],
)
def test_pictures_of_any_shape_fit_and_frames_have_even_sides(box, wide, high):
    film = Film(explanation(box=box).panel())
    assert film.seen.size == (wide, high)
    assert film.size[0] == 960
    assert film.size[1] % 2 == 0
    assert film.frame(film.last).size == film.size


def test_long_names_are_cut_and_leave_the_step_readable():
    named, plain = (Film(explanation(labels=[text]).panel()).frame(3) for text in ("cat " * 60, ""))
    step = (800, 0, 960, 46)
    assert np.array_equal(pixels(named.crop(step)), pixels(plain.crop(step)))
    assert (pixels(named.crop((700, 0, 770, 46))) < 128).any()


@pytest.mark.parametrize("steps", [1, 2, 119, 120, 121, 800])
def test_long_courses_are_thinned_evenly_between_first_and_last(steps):
    film = Film(explanation(course(steps, 2)).panel())
    assert len(film) == min(steps, 120)
    assert film.steps[0] == 0
    assert film.steps[-1] == steps - 1
    gaps = set(np.diff(film.steps).tolist())
    assert len(gaps) <= 2
    assert 0 not in gaps
    assert 3 <= film.rate <= 15


def test_courses_of_different_lengths_are_told_apart_by_image():
    short, long = course(3), course(9)
    trace = {name: [short[name][0], long[name][0]] for name in short}
    both = twice(explanation(), trace)
    assert [len(Film(e.panel())) for e in both] == [3, 9]
    assert curves_of(both, 1).last == 8


def test_filming_changes_nothing():
    e = explanation()
    before = {name: value.clone() for name, value in e.trace.items()}, e.pictures[0].rgb.tobytes()
    list(Film(e.panel()))
    assert all(torch.equal(e.trace[name], value) for name, value in before[0].items())
    assert e.pictures[0].rgb.tobytes() == before[1]


# --- curves ----------------------------------------------------------------------------------------------


def test_scores_are_drawn_up_to_the_step_and_no_further():
    panel = Chart(curves_of(explanation()), (SIDE, SIDE))
    blank = pixels(panel.axes)
    inside = slice(panel.top - 4, panel.top + panel.height + 5)
    for step in range(STEPS):
        changed = np.abs(pixels(panel.draw(step)) - blank)[inside].sum((0, 2)).nonzero()[0]
        assert changed[-1] == pytest.approx(panel.left + panel.width * step / (STEPS - 1), abs=5)


def test_lines_pass_through_their_scores_in_their_colours():
    c = curves_of(explanation())
    panel = Chart(c, (SIDE, SIDE))
    drawn = pixels(panel.draw(STEPS - 1))
    for name, first in (("insertion", 0.1), ("deletion", 0.9)):
        assert c.points(name, panel.width, panel.height)[0] == (0, pytest.approx(panel.height * (1 - first)))
        colour = [int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5)]
        for x, y in c.points(name, panel.width, panel.height):
            at = drawn[round(panel.top + y) - 1 : round(panel.top + y) + 2, round(panel.left + x)]
            assert np.abs(at - colour).sum(1).min() < 30


def test_insertion_and_deletion_are_shown_and_the_loss_only_without_them():
    e = explanation()
    assert list(curves_of(e).lines) == ["insertion", "deletion"]
    assert (curves_of(e).ticks[0], curves_of(e).ticks[-1]) == (0.0, 1.0)
    loss = replace(e, trace={"loss": e.trace["loss"]})
    assert list(curves_of(loss).lines) == ["loss"]
    assert curves_of(loss).ticks[-1] >= 9
    assert curves_of(replace(e, trace={"mask": e.trace["mask"]})) is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32) | st.sampled_from([float("nan"), float("inf")]), min_size=1),
    st.sampled_from(["logit", "loss"]),
)
def test_axes_hold_all_finite_scores_and_every_step(values, output):
    c = curves_of(explanation({"deletion": torch.tensor([values])}, output=output))
    finite = [value for value in values if abs(value) < float("inf")]
    assert len(c.ticks) >= 2
    assert c.ticks == sorted(c.ticks)
    assert len(c.points("deletion", 10, 5)) == len(finite)
    assert all(-1e-6 <= x <= 10 + 1e-6 and -1e-3 <= y <= 5 + 1e-3 for x, y in c.points("deletion", 10, 5))
    assert c.step_ticks[0] == 0
    assert c.step_ticks[-1] <= c.last == len(values) - 1


def test_the_values_told_have_as_many_letters_at_every_step():
    assert {len(shown(value)) for value in torch.linspace(0, 1, 50).tolist()} == {5}


# --- files -----------------------------------------------------------------------------------------------


def test_an_mp4_plays_everywhere_and_ends_on_the_last_frame(tmp_path):
    from imageio_ffmpeg import read_frames

    e = explanation()
    path = e.save(tmp_path / "out.mp4")
    film = Film(e.panel())
    reader = read_frames(str(path))
    about = next(reader)
    frames = [np.frombuffer(frame, np.uint8).reshape(film.size[1], film.size[0], 3) for frame in reader]
    assert (about["codec"], about["size"], about["fps"]) == ("h264", film.size, film.rate)
    assert about["pix_fmt"].startswith("yuv420p(")
    assert "bt709" in about["pix_fmt"]
    assert len(frames) == STEPS + 2 * film.rate
    for got, step in ((frames[0], 0), (frames[STEPS - 1], film.last), (frames[-1], film.last)):
        assert np.abs(got - pixels(film.frame(step))).mean() < 3
    hot = frames[-1][TOP : TOP + SIDE, LEFT : LEFT + 110].mean((0, 1))
    assert np.abs(hot - panels(film.frame(film.last))[0][:, :110].mean((0, 1))).max() < 3  # the right reds
    assert path.read_bytes().find(b"moov") < path.read_bytes().find(b"mdat")
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_a_gif_has_every_frame_repeats_for_ever_and_holds_the_last(tmp_path):
    e = explanation()
    film = Film(e.panel())
    with Image.open(e.save(tmp_path / "OUT.GIF")) as gif:
        assert (gif.format, gif.n_frames, gif.size, gif.info["loop"]) == ("GIF", STEPS, film.size, 0)
        durations = []
        for step in range(STEPS):
            gif.seek(step)
            durations.append(gif.info["duration"])
            assert np.abs(pixels(gif) - pixels(film.frame(step))).mean() < 4
    assert durations == [330] * (STEPS - 1) + [2000]


def test_long_gifs_have_at_most_40_frames(tmp_path):
    with Image.open(explanation(course(90, 2)).save(tmp_path / "out.gif")) as gif:
        assert gif.n_frames == 40


def test_one_step_makes_a_film(tmp_path):
    for suffix in ("mp4", "gif"):
        assert explanation(course(1)).save(tmp_path / f"out.{suffix}").stat().st_size > 1000


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_film_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"out.{suffix}"
    with atomic_write(path) as temporary:
        temporary.write_text("old")
    frame = Film.frame

    def interrupted(film, step):
        if step == 3:
            raise KeyboardInterrupt
        return frame(film, step)

    monkeypatch.setattr(Film, "frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explanation().save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_the_extra_an_mp4_is_refused_in_a_sentence_and_a_gif_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ExtraMissing, match=r"pip install pellucid\[video\]\. A \.gif needs none\."):
        explanation().save(tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())
    assert explanation().save(tmp_path / "out.gif").exists()


def test_what_has_no_course_of_a_mask_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "new-one", replace(METHODS["saliency"], name="new-one", family="mask"))
    with pytest.raises(InvalidValue, match=r"optimises a mask \(.*new-one.*\), without .* got grad-cam\."):
        explanation({}, method="grad-cam").save(tmp_path / "out.gif")
    with pytest.raises(InvalidValue, match=r"one image; this explanation holds 2: save explanation\[0\]"):
        twice(explanation(), {}).save(tmp_path / "out.gif")
    assert not list(tmp_path.iterdir())


def test_every_method_that_is_said_to_keep_a_mask_does():
    for name in CHEAP:
        method = METHODS[name]
        options = method.resolve_options(CHEAP[name])
        if keeps_course(method, options):
            e = pellucid.explain(net("in-place"), pictures("in-place", 2), name, **CHEAP[name])
            for index in range(2):
                mask = e.trace["mask"][index]
                assert mask.ndim == 3
                assert 0 <= mask.min() <= mask.max() <= 1
                assert curves_of(e, index).last == len(mask) - 1
            assert Film(e[0].panel()).frame(0).width == 960
    assert not keeps_course(METHODS["saliency"], {})
    assert not keeps_course(replace(METHODS["saliency"], family="mask"), {"smooth": 2})
