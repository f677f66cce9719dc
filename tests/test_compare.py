"""Comparisons: agreement, what is refused, several models and targets, and one bill for shared evidence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.stats import rankdata
from torch import nn

import pellucid
from pellucid.errors import InvalidValue, ModelError, NotFound
from pellucid.ranks import rank_correlation

METHODS = ["grad-cam", "hirescam", "layer-cam", "random-cam", "saliency", "input-x-gradient"]


def small_net(seed=0, classes=4):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, classes),
    ).eval()


def flat_net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 16, 4)).eval()


def pictured(net, side, name="net"):
    preprocess = pellucid.Preprocess(size=(side, side), scale_to=side)
    return pellucid.Model(net, preprocess=preprocess, labels=list("abcd"), name=name)


@pytest.fixture
def inputs():
    return torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def photograph():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((80, 60))


# --- agreement -------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.tuples(st.just(3), st.integers(3, 30)), elements=st.integers(-3, 3)))
def test_tied_values_share_their_mean_rank(rows):
    ranks = np.stack([rankdata(row) for row in rows])
    found = rank_correlation(torch.from_numpy(rows))
    for i, a in enumerate(ranks):
        for j, b in enumerate(ranks):
            constant = np.ptp(a) == 0 or np.ptp(b) == 0
            assert found[i, j] == pytest.approx(0 if constant else np.corrcoef(a, b)[0, 1], abs=1e-12)


def test_a_constant_map_agrees_with_none():
    found = rank_correlation(torch.tensor([[1.0, 1, 1], [1, 2, 3]], dtype=torch.float64))
    assert found.tolist() == [[0, 0], [0, pytest.approx(1)]]


def test_models_of_different_input_sizes_are_compared_on_what_all_see(photograph):
    """Valleys in the picture's own coordinates: alike at one place, opposite as hills, unrelated across."""
    squashed = pellucid.Preprocess(size=(32, 40), scale_to=(32, 40), fit="squash")
    models = [
        pictured(small_net(), 24, "cropped"),
        *(pellucid.Model(small_net(), preprocess=squashed, name=name) for name in ("across", "down", "back")),
    ]
    c = pellucid.compare(models, photograph, ["grad-cam"], target=2)
    assert len({e.boxes[0] for e in c.explanations}) == 2
    # Of 80 x 60 pixels one model sees the columns 10 to 70 as 24, the others all as 40.
    cropped = (10 + 2.5 * (torch.arange(24) + 0.5) - 55).abs().expand(24, 24)
    whole = (2 * (torch.arange(40) + 0.5) - 55).abs().expand(32, 40)
    maps = [cropped, whole, torch.arange(32.0)[:, None].expand(32, 40), -whole]
    entries = [
        replace(entry, explanation=replace(entry.explanation, attribution=map[None, None].clone()))
        for entry, map in zip(c.entries, maps, strict=True)
    ]
    found = replace(c, entries=tuple(entries)).agreement()
    assert found[0].tolist() == pytest.approx([1, 1, 0, -1], abs=0.01)


# --- refusals --------------------------------------------------------------------------------------------


def test_a_method_that_cannot_explain_a_model_is_refused_and_the_others_are_unharmed(inputs):
    alone = pellucid.explain(flat_net(), inputs, "saliency", target=0)
    c = pellucid.compare(flat_net(), inputs, ["grad-cam", "saliency"], target=0)
    assert [entry.title for entry in c.entries] == ["saliency"]
    assert [(r.title, r.model) for r in c.refusals] == [("grad-cam", "Sequential")]
    assert "layer" in c.refusals[0].reason
    torch.testing.assert_close(c.explanations[0].attribution, alone.attribution, rtol=0, atol=0)


def test_only_refusals_raise_the_first_of_them(inputs):
    with pytest.raises(ModelError, match="layer"):
        pellucid.compare(flat_net(), inputs, ["grad-cam", "hirescam"])


def test_no_methods_and_unknown_methods_are_refused(inputs):
    with pytest.raises(InvalidValue, match="at least one method"):
        pellucid.compare(small_net(), inputs, [])
    with pytest.raises(InvalidValue, match="It is 'grad-cam' here"):
        pellucid.compare(small_net(), inputs, ["gradcam"])


# --- several models and targets --------------------------------------------------------------------------


def test_entries_come_by_models_then_targets_then_methods(inputs):
    models = [pellucid.Model(small_net(i), name=f"net {i}") for i in range(2)]
    c = pellucid.compare(models, inputs, ["saliency", "grad-cam"], targets=[3, [0, 1]])
    order = [(e.model, tuple(e.target), e.method) for e in c.explanations]
    assert order == [
        (model, target, method)
        for model in ("net 0", "net 1")
        for target in ((3, 3), (0, 1))
        for method in ("saliency", "grad-cam")
    ]
    assert len(c) == 8


def test_each_entry_is_what_explain_gives(inputs):
    models = [small_net(0), small_net(1)]
    methods = ["grad-cam", "input-x-gradient", "smooth-grad:samples=3", ("grad-cam", {"layer": "1"})]
    c = pellucid.compare(models, inputs, methods, targets=[None, 2], seed=7)
    for i, entry in enumerate(c.entries):
        model, target = models[i // 8], (None, 2)[i // 4 % 2]
        method, options = (methods[i % 4], {}) if isinstance(methods[i % 4], str) else methods[i % 4]
        alone = pellucid.explain(model, inputs, method, target=target, seed=7, **options)
        torch.testing.assert_close(entry.explanation.attribution, alone.attribution, rtol=1e-5, atol=1e-7)
        assert entry.explanation.target == alone.target
    assert c.entries[3].title == "grad-cam:layer=1"


def test_models_of_one_name_are_told_apart_and_left_as_they_were(inputs):
    models = [pellucid.Model(small_net(i), name="net") for i in range(2)]
    c = pellucid.compare([*models, flat_net()], inputs, ["saliency"])
    assert [e.model for e in c.explanations] == ["net (1)", "net (2)", "Sequential"]
    assert [m.name for m in models] == ["net", "net"]


# --- cost ------------------------------------------------------------------------------------------------


def test_shared_evidence_is_run_once_and_billed_to_each(inputs):
    counted = []
    net = small_net()
    net.register_forward_hook(lambda module, args, output: counted.append(len(args[0])))
    c = pellucid.compare(net, inputs, METHODS, target=1, verdict=False)
    assert (c.cost.forward, c.cost.backward) == (2, 2)
    assert sum(counted) == 2
    bills = {e.method: (e.cost.forward, e.cost.backward) for e in c.explanations}
    assert bills["grad-cam"] == bills["saliency"] == (2, 2)


def test_each_target_costs_one_backward_pass_more(inputs):
    c = pellucid.compare(small_net(), inputs, ["grad-cam", "saliency"], targets=[0, 1, 2])
    assert (c.cost.forward, c.cost.backward) == (2, 6)


# --- files -----------------------------------------------------------------------------------------------


def test_png_is_the_grid_of_all_explanations(tmp_path, inputs):
    one = pellucid.compare(small_net(), inputs, ["grad-cam", "saliency"], target=0)
    more = pellucid.compare(small_net(), inputs, ["grad-cam", "saliency", "hirescam"], targets=[0, 1])
    small = Image.open(one.save(tmp_path / "one.png", caption=False))
    large = Image.open(more.save(tmp_path / "more.png", caption=False))
    assert small.format == "PNG"
    assert large.width > 1.6 * small.width  # two targets
    assert large.height > 1.2 * small.height  # one method more


def test_other_suffixes_are_refused(tmp_path, inputs):
    c = pellucid.compare(small_net(), inputs, ["grad-cam"])
    with pytest.raises(InvalidValue, match=r"must end in \.png, \.jpg, .*\.pdf, \.svg, .*; got 'map\.txt'"):
        c.save(tmp_path / "map.txt")
    with pytest.raises(InvalidValue, match=r"A video shows how one mask.* 0 have a course"):
        c.save(tmp_path / "new" / "map.gif")
    assert list(tmp_path.iterdir()) == []


def test_explanations_are_found_by_method_target_and_position(inputs):
    c = pellucid.compare(small_net(), inputs, ["grad-cam", "rise:samples=4"], targets=[0, 1])
    assert [e.method for e in c] == ["grad-cam", "rise"] * 2
    assert c[1] is c.explanations[1]
    assert [e.method for e in c[-2:]] == ["grad-cam", "rise"]
    first, second = c[0].labels[0], c[2].labels[0]
    assert c["rise", second] is c[3]
    assert c[first, "rise:samples=4"] is c[1]
    with pytest.raises(
        IndexError, match=r"'grad-cam' must name one explanation; 2 are called that: \[0\] is"
    ):
        c["grad-cam"]
    with pytest.raises(IndexError, match=r"^There .* called 'lime'; there are grad-cam, rise:samples=4"):
        c["lime"]
    for wrong, message in ((9, "from -4 to 3, for 4 explanations; got 9"), (1.5, "must be .*; got 1.5")):
        with pytest.raises(NotFound, match=message):
            c[wrong]
    for names, of in ((c, "lime"), (c[0], "lime")):
        with pytest.raises(KeyError):
            names[of]


def test_a_single_method_is_a_list_of_one(inputs):
    c = pellucid.compare(small_net(), inputs, "rise:samples=4", target=0)
    assert [entry.title for entry in c.entries] == ["rise:samples=4"]


def test_a_comparison_says_what_it_is_in_a_line_and_in_a_notebook(inputs):
    c = pellucid.compare(small_net(), inputs, ["grad-cam", "saliency"], target=0)
    assert repr(c).startswith("Comparison(grad-cam, saliency of ")
    assert len(repr(c)) < 120
    text = c._repr_html_()
    assert text.count("<figure>") == len(inputs) * 3
    assert text.count("<b>saliency</b>") == len(inputs)


def test_to_dict_is_plain_json_of_everything(inputs):
    c = pellucid.compare(small_net(), inputs, ["grad-cam", "saliency"], target=0)
    told = json.loads(json.dumps(c.to_dict()))
    assert [one["title"] for one in told["explanations"]] == ["grad-cam", "saliency"]
    assert told["explanations"][0]["score"] == c[0].score.tolist()
    assert told["images"] == list(range(len(inputs)))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_saved_comparison_is_loaded_whole(tmp_path, inputs, suffix):
    c = pellucid.compare(small_net(), inputs, ["grad-cam", "saliency"], target=0)
    again = pellucid.Comparison.load(c.save(tmp_path / f"c{suffix}"))
    assert [entry.title for entry in again.entries] == ["grad-cam", "saliency"]
    for before, after in zip(c, again, strict=True):
        assert torch.equal(before.attribution, after.attribution)
        assert before.names == after.names
    assert (again.cost, again.images) == (c.cost, c.images)
    with pytest.raises(InvalidValue, match="must be an explanation saved by Pellucid"):
        pellucid.Explanation.load(tmp_path / f"c{suffix}")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_pictures_are_stored_once_whatever_number_of_methods_show_them(tmp_path, suffix):
    noise = [Image.effect_noise((200, 180), 60 + i).convert("RGBA") for i in range(2)]
    noise[1].putalpha(Image.effect_noise((200, 180), 90))
    made = [pellucid.Model(small_net(), preprocess=pellucid.Preprocess((n, n), n)) for n in (9, 12)]
    sizes = []
    for methods in (["grad-cam"], ["grad-cam", "hirescam", "layer-cam", "eigen-cam"]):
        c = pellucid.compare(made, noise, methods, target=0)
        sizes.append(c.save(tmp_path / f"c{suffix}").stat().st_size)
        again = pellucid.Comparison.load(tmp_path / f"c{suffix}")
        for before, after in zip(c, again, strict=True):
            assert before.names == after.names
            for one, other in zip(before.pictures, after.pictures, strict=True):
                assert one.rgb.tobytes() == other.rgb.tobytes()
                assert one.in_mode("RGBA").tobytes() == other.in_mode("RGBA").tobytes()
    assert sizes[1] < 1.2 * sizes[0]  # six more maps, of a few cells


def test_comparisons_that_hold_their_pictures_once_for_each_method_are_read():
    c = pellucid.Comparison.load(Path(__file__).with_name("comparison_pictures_twice.npz"))
    assert [entry.title for entry in c.entries] == ["grad-cam", "saliency"]
    assert c[0].names == c[1].names == ["image 0", "image 1"]
    assert [picture.rgb.size for picture in c[0].pictures] == [(5, 6)] * 2
    assert c[0].pictures[1].rgb.tobytes() == c[1].pictures[1].rgb.tobytes()
