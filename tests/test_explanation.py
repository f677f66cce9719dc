"""Explanations: the heatmap's rules, one of many, and files that give everything back."""

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import config
from PIL import Image

import pellucid
from pellucid import bundle, record
from pellucid.engine.cost import Cost
from pellucid.errors import FileMissing, InvalidType, InvalidValue, SomeFailed
from pellucid.explanation import Explanation
from pellucid.files import atomic_write
from pellucid.images import Box, Picture
from pellucid.prediction import Prediction
from pellucid.render import scale


def picture(width=12, height=8, name="cat"):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Picture(Image.fromarray(pixels), name)


@pytest.fixture
def unchecked():
    """Run-time type checks off, where a wrong value should reach our own."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def explanation(attribution, **changes):
    attribution = torch.as_tensor(attribution, dtype=torch.float32)
    count = len(attribution)
    parts = {
        "method": "grad-cam",
        "options": {"layer": "auto"},
        "attribution": attribution,
        "raw": (attribution if attribution.shape[1] > 1 else attribution[:, 0]).clone(),
        "target": [281] * count,
        "labels": ["tabby"] * count,
        "score": torch.arange(count, dtype=torch.float32),
        "output": "logit",
        "prediction": [[Prediction(281, "tabby", 0.75)]] * count,
        "model": "tiny",
        "paper": "",
        "seed": 0,
        "precision": "float32",
        "versions": {"torch": "2"},
        "cost": Cost(1, 1, 0.5),
        "pictures": [picture()] * count,
        "boxes": [Box(2.0, 0.0, 10.0, 8.0)] * count,
    }
    return Explanation(**(parts | changes))


def tiny():
    torch.manual_seed(0)
    pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), pool, torch.nn.Linear(4, 2))


def one_map(values, **changes):
    return explanation(torch.tensor(values, dtype=torch.float32)[None, None], **changes)


# --- heatmap ---------------------------------------------------------------------------------------------


def test_heatmap_is_positive_evidence_over_its_maximum():
    heat = one_map([[-4.0, 0.0], [1.0, 2.0]]).heatmap()
    assert heat.tolist() == [[[0.0, 0.0], [0.5, 1.0]]]
    assert heat.dtype == torch.float32


def test_sign_picks_the_evidence():
    e = one_map([[-4.0, 0.0], [1.0, 2.0]])
    assert e.heatmap(sign="negative").tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
    assert e.heatmap(sign="absolute").tolist() == [[[1.0, 0.0], [0.25, 0.5]]]
    assert e.signed_heatmap().tolist() == [[[-1.0, 0.0], [0.25, 0.5]]]
    assert (e.limit(), e.limit(signed=True)) == (2.0, 4.0)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_map_without_positive_evidence_is_zeros(value):
    e = one_map([[value] * 3] * 2)
    assert not e.heatmap().any()
    assert not one_map([[0.0] * 3] * 2).signed_heatmap().any()


def test_channels_are_summed_with_their_sign_or_the_strongest_taken():
    e = explanation(torch.tensor([[[1.0, 2.0]], [[-3.0, 2.0]], [[1.0, 4.0]]])[None])
    assert e.heatmap(percentile=100.0).tolist() == [[[0.0, 1.0]]]
    assert scale.merge_channels(e.attribution).tolist() == [[[-1.0, 8.0]]]
    assert e.heatmap(reduce="max-abs", sign="negative", percentile=100.0).tolist() == [[[1.0, 0.0]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_of_pixels_are_clipped_at_the_99th_percentile_and_those_of_layers_are_not(channels):
    values = torch.arange(1.0, 1001.0).reshape(1, 1, 20, 50)
    assert explanation(values).heatmap().flatten()[-2] == pytest.approx(0.999)
    values = values.repeat(1, channels, 1, 1)
    clipped = explanation(values, raw=values).heatmap().flatten()
    values = values[:, 0]
    expected = (values.flatten().numpy() / np.percentile(np.arange(1, 1001), 99)).clip(max=1)
    np.testing.assert_allclose(clipped, expected, rtol=1e-6)


def test_sparse_map_does_not_vanish_under_its_percentile():
    values = torch.zeros(1, 3, 30, 30)
    values[0, 0, 4, 5] = 0.5
    heat = explanation(values).heatmap()
    assert heat[0, 4, 5] == 1
    assert heat.sum() == 1


def test_shared_scale_and_vmax_keep_images_comparable():
    e = explanation(torch.tensor([1.0, 4.0]).reshape(2, 1, 1, 1))
    assert e.heatmap().flatten().tolist() == [1.0, 1.0]
    assert e.heatmap(shared=True).flatten().tolist() == [0.25, 1.0]
    assert e.heatmap(vmax=2.0).flatten().tolist() == [0.5, 1.0]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 3, 4, 5), elements=st.floats(allow_nan=False, allow_infinity=False, width=32))
)
def test_heatmap_is_finite_and_in_range_for_every_finite_map(values):
    e = explanation(values)
    for sign in ("positive", "negative", "absolute"):
        heat = e.heatmap(sign=sign)
        assert heat.isfinite().all()
        assert ((heat >= 0) & (heat <= 1)).all()
    both = scale.merge_channels(e.attribution)
    assert (e.signed_heatmap()[both == 0] == 0).all()
    assert (e.signed_heatmap().sign().double() * both.sign() >= 0).all()


@pytest.mark.parametrize(
    "options", [{"sign": "up"}, {"reduce": "mean"}, {"percentile": 0}, {"percentile": 101}, {"vmax": 0.0}]
)
def test_wrong_heatmap_options_are_named(options, unchecked):
    with pytest.raises(InvalidValue, match=f"{next(iter(options))} must be"):
        one_map([[1.0]]).heatmap(**options)


# --- regions ---------------------------------------------------------------------------------------------


def test_top_share_takes_the_fewest_pixels_that_hold_it():
    values = torch.tensor([[5.0, 3.0], [2.0, -10.0]])
    assert scale.top_share(values, 0.5).tolist() == [[True, False], [False, False]]
    assert scale.top_share(values, 0.51).tolist() == [[True, True], [False, False]]
    assert scale.top_share(values, 1.0).tolist() == [[True, True], [True, False]]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int16, (4, 5), elements=st.integers(-50, 50)),
    st.sampled_from([0.1, 0.25, 0.5, 0.9, 1.0]),
)
def test_top_share_is_the_highest_level_set_that_reaches_the_share(values, share):
    chosen = scale.top_share(torch.from_numpy(values).float(), share).numpy()
    positive = values.clip(min=0).astype(int)
    levels = [np.where(positive >= level, positive, 0).sum() for level in sorted(set(positive[positive > 0]))]
    enough = [held for held in levels if held >= share * positive.sum()]
    assert positive[chosen].sum() == (min(enough) if enough else 0)
    assert not chosen[values <= 0].any()


def test_bounding_box_is_in_picture_pixels():
    values = torch.zeros(1, 1, 4, 8)
    values[0, 0, 1, 2:5] = 1
    e = explanation(values, boxes=[Box(10.0, 20.0, 26.0, 36.0)])  # 2 x 4 picture pixels per cell
    assert e.bounding_box() == Box(14.0, 24.0, 20.0, 28.0)
    assert explanation(-values).bounding_box() is None


# --- one of many -----------------------------------------------------------------------------------------


def test_indexing_gives_that_image_alone():
    e = explanation(
        torch.arange(12.0).reshape(3, 1, 2, 2),
        labels=["a", "b", "c"],
        delta=torch.tensor([1.0, 2.0, 3.0]),
        details={"weights": torch.eye(3), "note": "x", "k": torch.tensor(5)},
        trace={
            "loss": [torch.arange(2.0), torch.arange(3.0), torch.arange(4.0)],
            "mask": torch.rand(3, 2, 1, 1),
        },
    )
    last = e[-1]
    assert len(last) == 1
    assert last.labels == ["c"]
    assert last.delta.tolist() == [3.0]
    assert last.details["weights"].tolist() == [[0.0, 0.0, 1.0]]
    assert last.details["note"] == "x"
    assert [len(loss) for loss in last.trace["loss"]] == [4]
    assert torch.equal(last.trace["mask"], e.trace["mask"][2:])
    assert [one.labels[0] for one in e] == ["a", "b", "c"]
    assert torch.equal(last.attribution, e.attribution[2:])
    with pytest.raises(IndexError, match="from -3 to 2"):
        e[3]


def test_warnings_tell_which_images_they_are_about():
    e = explanation(torch.rand(3, 1, 2, 2), notes=[["odd", "flat"], ["odd"], ["odd", "flat"]])
    assert e.warnings == ["odd", "image 0, image 2: flat"]
    assert e[2].warnings == ["odd", "flat"]


# --- files -----------------------------------------------------------------------------------------------


def assert_equal(a, b):
    assert type(a) is type(b)
    match a:
        case torch.Tensor():
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        case Image.Image():
            assert (a.mode, a.size, a.tobytes()) == (b.mode, b.size, b.tobytes())
        case list() | tuple():
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                assert_equal(x, y)
        case dict():
            assert list(a) == list(b)
            for key in a:
                assert_equal(a[key], b[key])
        case Explanation() | Picture() | Box() | Cost() | Prediction():
            assert_equal(vars(a), vars(b))
        case float() if a != a:
            assert b != b
        case _:
            assert a == b


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.builds(
        lambda dtype, shape: torch.ones(shape).mul(1.37).to(dtype),
        st.sampled_from(DTYPES),
        hnp.array_shapes(min_dims=0),
    )
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.sampled_from(["$tensor", "a.b"]), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    details=st.dictionaries(st.text(), TREES, max_size=4),
    dtype=st.sampled_from(DTYPES[:4]),
    text=st.text(),
    target=st.none() | st.integers(0, 999),
    path=st.sampled_from([None, Path("a/cat.jpg")]),
)
def test_files_give_everything_back_exactly(tmp_path, suffix, details, dtype, text, target, path):
    clear = Image.new("RGBA", (3, 2), (9, 8, 7, 100))
    e = explanation(
        torch.tensor([[[[1.5, -2.0, 0.1]]]]),
        raw=torch.tensor([[[1.5, 0.1]]]).to(dtype),
        labels=[text],
        target=[target],
        details=details,
        trace=details,
        stderr=torch.rand(1, 1, 1, 3),
        pictures=[Picture(clear.convert("RGB"), text, path, clear)],
        boxes=[Box(-0.5, 0.1, 3.7, 2.0)],
    )
    assert_equal(Explanation.load(e.save(tmp_path / f"e{suffix}")), e)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".png", ".html"])
def test_saving_twice_replaces_and_leaves_one_file(tmp_path, suffix):
    path = tmp_path / f"e{suffix}"
    one_map([[1.0, 2.0]]).save(path)
    one_map([[3.0, 9.0]], method="cam").save(str(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix != ".png":
        assert b"cam" in path.read_bytes() or Explanation.load(path).method == "cam"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".png", ".html"])
def test_interrupted_saving_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"e{suffix}"
    e = one_map([[1.0, 2.0]])
    old = e.save(path).read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        e.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_removes_its_temporary_file_when_the_block_raises(tmp_path):
    def half_write():
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_write()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_written_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain.txt").write_text("")
    with atomic_write(tmp_path / "new.txt") as temporary:
        temporary.write_text("")
    assert (tmp_path / "new.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_unknown_suffixes_and_missing_files_are_refused(tmp_path):
    e = one_map([[1.0]])
    with pytest.raises(
        InvalidValue,
        match=r"end in \.npz, \.safetensors, \.png, \.jpg, \.jpeg, .*, \.mp4 or \.gif; got 'e\.bmp'",
    ):
        e.save(tmp_path / "e.bmp")
    with pytest.raises(InvalidValue, match=r"must end in \.npz or \.safetensors; got 'e\.png'"):
        Explanation.load(tmp_path / "e.png")
    with pytest.raises(FileMissing, match="there is none"):
        Explanation.load(tmp_path / "e.npz")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_foreign_damaged_and_newer_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"e{suffix}"
    one_map([[1.0]]).save(path)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InvalidValue, match="saved by Pellucid"):
            Explanation.load(path)
    bundle.write_bundle(path, {}, {"format": "other"})
    with pytest.raises(InvalidValue, match="it is another file"):
        Explanation.load(path)
    bundle.write_bundle(path, {}, {"format": "pellucid.explanation", "schema_version": 99})
    with pytest.raises(InvalidValue, match="upgrade to read it"):
        Explanation.load(path)


def test_foreign_archives_of_other_tools_are_refused(tmp_path):
    from safetensors.torch import save_file

    np.savez(tmp_path / "a.npz", x=np.ones(2))
    np.savez(tmp_path / "o.npz", metadata=np.array({"x": 1}, dtype=object))
    (tmp_path / "n.npz").write_bytes(b"")
    with (tmp_path / "n.npz").open("wb") as stream:
        np.save(stream, np.ones(3))
    save_file({"x": torch.ones(2)}, tmp_path / "s.safetensors")
    for name in ("a.npz", "o.npz", "n.npz", "s.safetensors"):
        with pytest.raises(InvalidValue, match="saved by Pellucid"):
            Explanation.load(tmp_path / name)


def test_details_that_no_file_can_hold_are_named(tmp_path):
    with pytest.raises(InvalidType, match=r"details\.hook must be made of .* got object"):
        one_map([[1.0]], details={"hook": object()}).save(tmp_path / "e.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_details_with_awkward_names_stay_apart(tmp_path, suffix):
    names = ["a", "a.npy", "a_npy", "\0", "/", "../x", "ü", "\ud800", "$tensor"]
    details = {name: torch.tensor(i) for i, name in enumerate(names)} | {
        "b": {"c": torch.ones(1)},
        "b.c": torch.ones(2),
    }
    back = Explanation.load(one_map([[1.0]], details=details).save(tmp_path / f"e{suffix}"))
    assert_equal(back.details, details)


def test_metadata_is_plain_json_with_a_schema_version(tmp_path):
    path = one_map([[1.0]], details={"nan": float("nan")}).save(tmp_path / "e.npz")

    def refuse(constant):
        raise AssertionError(constant)

    with np.load(path, allow_pickle=False) as archive:
        metadata = json.loads(archive["metadata"].item(), parse_constant=refuse)
    assert metadata["schema_version"] == 2
    assert metadata["explanation"]["method"] == "grad-cam"
    assert metadata["explanation"]["details"] == {"nan": {"$float": "nan"}}


def test_nothing_is_changed_by_looking(tmp_path):
    e = explanation(torch.randn(2, 3, 8, 8))
    before, pixels = e.attribution.clone(), e.pictures[0].rgb.tobytes()
    for look in (e.heatmap, e.overlay, e.map, e.masked, e.contours, e.boxed, e.view, e.plot, e._repr_html_):
        look()
    e.save(tmp_path / "e.png")
    assert torch.equal(e.attribution, before)
    assert e.pictures[0].rgb.tobytes() == pixels


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_segments_and_ragged_coefficients_are_saved_and_told_apart_by_image(tmp_path, suffix):
    e = explanation(
        torch.rand(2, 1, 2, 3),
        stderr=torch.rand(2, 1, 2, 3),
        details={
            "segments": torch.tensor([[[0, 0, 1], [0, 1, 1]], [[0, 1, 2], [0, 1, 2]]]),
            "coefficients": [torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.25, 0.0])],
            "r2": torch.tensor([0.9, 0.8]),
            "samples": torch.tensor([128, 256]),
        },
    )
    loaded = Explanation.load(e.save(tmp_path / f"e{suffix}"))
    assert_equal(loaded, e)
    assert loaded.segmented
    assert loaded[1].details["coefficients"][0].tolist() == [0.5, 0.25, 0.0]
    assert loaded[1].relative_error() == e.relative_error(1)
    assert loaded.outlined(1).tobytes() == e.outlined(1).tobytes() == e[1].outlined().tobytes()


def test_files_of_version_1_are_read():
    clear = Image.new("RGBA", (3, 2), (9, 8, 7, 100))
    wanted = Explanation(
        method="rise",
        options={"samples": 8, "window": [2, 2]},
        attribution=torch.tensor([[[[1.5, -2.0]]], [[[0.0, 0.5]]]]),
        raw=torch.tensor([[[1.5, -2.0]], [[0.0, 0.5]]], dtype=torch.bfloat16),
        target=[281, None],
        labels=["tabby", "score"],
        score=torch.tensor([0.5, 2.0]),
        output="logit",
        prediction=[[Prediction(281, "tabby", 0.75), Prediction(3, "dog", 0.25)], []],
        model="tiny",
        paper="arXiv:1806.07421",
        seed=3,
        precision="float32",
        versions={"torch": "2"},
        cost=Cost(8, 1, 0.5, 2),
        pictures=[
            Picture(clear.convert("RGB"), "cat", Path("a/cat.png"), clear),
            Picture(clear.convert("RGB")),
        ],
        boxes=[Box(-0.5, 0.0, 3.0, 2.0), Box(0.0, 0.0, 3.0, 2.0)],
        layer=["conv"],
        stderr=torch.full((2, 1, 1, 2), 0.25),
        delta=torch.tensor([0.0, 1.0]),
        details={
            "samples": torch.tensor([8, 8]),
            "shape": (1, 2),
            "worst": float("inf"),
            "chosen": {"layer": {"name": "conv"}},
        },
        notes=[["a note"], []],
        trace={"loss": torch.tensor([[2.0, 1.0], [1.0, 0.0]])},
    )
    assert_equal(Explanation.load(Path(__file__).with_name("explanation_v1.npz")), wanted)


def test_files_of_before_there_were_courses_have_none(tmp_path):
    tensors, metadata = bundle.read_bundle(Path(__file__).with_name("explanation_v1.npz"))
    metadata["fields"]["trace"] = None
    bundle.write_bundle(tmp_path / "e.safetensors", tensors, metadata)
    assert Explanation.load(tmp_path / "e.safetensors").trace == {}


# --- the record ------------------------------------------------------------------------------------------


def three():
    """Three images, each with an entry of its own in every field that is per image."""
    numbers = torch.arange(3, dtype=torch.float32)
    return explanation(
        numbers.reshape(3, 1, 1, 1) + torch.tensor([[0.0, 0.25]]),
        target=[0, 1, None],
        labels=["a", "b", "c"],
        prediction=[[Prediction(i, "x", 0.5)] for i in range(3)],
        pictures=[picture(name=name) for name in ("p", "q", "r")],
        boxes=[Box(float(i), 0.0, 10.0, 8.0) for i in range(3)],
        layer=["one", "two", "three"],  # as many as images, but not theirs
        versions={"a": "1", "b": "2", "c": "3"},
        stderr=numbers.reshape(3, 1, 1, 1) + torch.tensor([[1.0, 2.0]]),
        delta=numbers + 7,
        details={
            "samples": torch.tensor([4, 5, 6]),
            "layers": {"one": {"weights": [numbers[:1], numbers[:2], numbers]}},
            "precisions": ["float32", "float32 and bfloat16", "float32"],
            "chosen": {"layers": ["one", "two", "three"]},
            "size": 3,
        },
        notes=[["n"], [], ["m", "n"]],
        trace={"loss": torch.arange(6).reshape(3, 2), "mask": [numbers[:1], numbers[:2], numbers]},
        precision="float32 and bfloat16",
    )


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(None), [0, 1, 2]),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        ([], []),
    ],
)
def test_some_images_are_chosen_in_all_fields_that_are_per_image(index, rows):
    e, some = three(), three()[index]
    assert len(some) == len(rows)
    for name in record.PER_IMAGE:
        whole, part = getattr(e, name), getattr(some, name)
        if name in ("details", "trace"):
            continue
        assert len(whole) == 3, f"{name} has no entry per image in this test"
        assert len(part) == len(rows), name
        assert_equal(list(part), [whole[row] for row in rows])
    for name in {one.name for one in fields(Explanation)} - {*record.PER_IMAGE, "precision"}:
        assert_equal(getattr(some, name), getattr(e, name))
    assert some.details["samples"].tolist() == [[4, 5, 6][row] for row in rows]
    weights = some.details["layers"]["one"]["weights"]
    assert [len(weight) for weight in weights] == [row + 1 for row in rows]
    assert (some.details["chosen"], some.details["size"]) == (e.details["chosen"], 3)
    assert some.trace["loss"].tolist() == [[2 * row, 2 * row + 1] for row in rows]
    assert [len(mask) for mask in some.trace["mask"]] == [row + 1 for row in rows]
    ran = [e.details["precisions"][row] for row in rows]
    assert some.precision == (max(ran, key=len) if ran else e.precision)


def test_what_has_an_entry_per_image_is_declared():
    e = pellucid.explain(tiny(), torch.rand(5, 3, 9, 9), "rise:samples=8", target=1)
    lengths = {
        one.name: len(value)
        for one in fields(e)
        if isinstance(value := getattr(e, one.name), list | torch.Tensor)
    }
    alike = {name for name, length in lengths.items() if length == 5}
    assert alike == set(record.PER_IMAGE) - {"delta", "details", "trace"}


class Picky(torch.nn.Module):
    """A model that fails on bright images."""

    def __init__(self):
        super().__init__()
        self.net = tiny()

    def forward(self, x):
        if (x > 1).any():
            raise ValueError("too bright")
        return self.net(x)


def test_what_could_be_explained_has_an_entry_for_each_of_those_images():
    x = torch.rand(4, 3, 9, 9)
    x[2] += 9
    with pytest.raises(SomeFailed) as caught:
        pellucid.explain(Picky(), x, "rise:samples=8", target=1)
    part = caught.value.partial
    assert caught.value.images == (0, 1, 3)
    for name in record.PER_IMAGE:
        value = getattr(part, name)
        assert name in ("details", "trace") or value is None or len(value) == 3, name
    assert {len(rows) for name, rows in part.details.items() if name != "chosen"} == {3}


def test_the_json_is_plain_and_the_same_everywhere(tmp_path):
    e = three()
    told = json.loads(json.dumps(e.to_dict(), allow_nan=False))
    assert list(told) == [*(one.name for one in fields(e)), "warnings", "certainty"]
    assert told["target"] == [0, 1, None]
    assert told["score"] == [0.0, 1.0, 2.0]
    assert told["cost"] == {"forward": 1, "backward": 1, "seconds": 0.5, "resumed": 0}
    assert told["prediction"][2] == [{"index": 2, "label": "x", "probability": 0.5}]
    assert told["boxes"][1] == [1.0, 0.0, 10.0, 8.0]
    assert told["pictures"][0] == {"name": "p", "path": None, "size": [12, 8], "note": "", "remarks": []}
    assert told["attribution"] == e.attribution.tolist()
    assert [one["samples"] for one in told["certainty"]] == [4, 5, 6]
    with np.load(e.save(tmp_path / "e.npz"), allow_pickle=False) as archive:
        stored = json.loads(archive["metadata"].item())["explanation"]
    for name, value in told.items():
        if name not in ("attribution", "raw", "score", "stderr", "delta", "pictures", "details", "trace"):
            assert stored[name] == value, name
    assert stored["details"]["chosen"] == told["details"]["chosen"]
    assert stored["pictures"][0].items() >= told["pictures"][0].items()


def test_large_arrays_are_told_by_shape_and_what_is_no_json_as_text():
    told = one_map([[1.0] * 40] * 40, details={"unit": Path("a"), "worst": float("inf")}).to_dict()
    assert told["attribution"] == {"$array": {"shape": [1, 1, 40, 40], "dtype": "float32"}}
    assert told["details"] == {"unit": "a", "worst": {"$float": "inf"}}


def test_relative_delta_is_the_error_over_what_the_map_should_add_up_to():
    e = explanation(torch.tensor([[[[3.0, 1.5]]], [[[-2.0, 0.0]]], [[[1.0, 0.0]]]]))
    assert e.relative_delta() is None
    e.delta = torch.tensor([0.5, -1.0, 1.0])  # should be 4, -1 and 0
    assert [e.relative_delta(i) for i in range(3)] == [0.125, 1.0, None]
