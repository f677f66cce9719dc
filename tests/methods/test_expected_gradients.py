"""Expected Gradients and GradientSHAP: closed forms, a literal twin, honest standard errors, references."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import pellucid
from nets import net as small
from nets import pictures, watched
from pellucid.errors import FileMissing, InvalidType, InvalidValue
from pellucid.methods.path import expected_gradients, gradient_shap
from pellucid.methods.path.expected_gradients import stratified
from zoo import LinearNet, Quadratic, ResidualNet, images, seeded

BOTH = pytest.mark.parametrize("method", ["expected-gradients", "gradient-shap"])


def explain(net, x, method="expected-gradients", **options) -> pellucid.Explanation:
    return pellucid.explain(net, x, method, progress=False, **{"target": 1, **options})


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(ResidualNet).double()


@pytest.fixture(scope="module")
def quadratic() -> nn.Module:
    return seeded(Quadratic, 48).double()


def line(net: nn.Module, x: Tensor, r: Tensor, a: Tensor) -> Tensor:
    """(x - r) dS/dx at r + a (x - r), for the score of class 1."""
    point = (r + a * (x - r)).requires_grad_()
    return (x - r) * torch.autograd.grad(net(point[None])[0, 1], point)[0]


# --- the estimate -------------------------------------------------------------------------------------------


def test_of_a_linear_score_it_is_the_weights_times_the_way_from_the_mean_reference():
    x, references = images(), images(5, seed=7)
    linear = seeded(LinearNet, x[0].numel()).double()
    e = explain(linear, x, references=references, samples=20)
    expected = linear.fc.weight[1].detach().view(x[0].shape) * (x - references.mean(0))
    torch.testing.assert_close(e.raw, expected)
    assert e.delta.abs().max() < 1e-10
    assert e.stderr.abs().max() < 1e-10  # all references are drawn as often: chance has no say


@BOTH
def test_it_is_the_mean_over_its_draws(net, method, monkeypatch):
    x, references = images(2), images(4, seed=7)
    which, a = torch.tensor([3, 0, 0, 2, 3, 1]), torch.linspace(0.1, 0.9, 6)
    monkeypatch.setattr(expected_gradients, "stratified", lambda *_: (which, a))
    monkeypatch.setattr(gradient_shap, "independent", lambda *_: (which, a))
    e = explain(net, x, method, references=references, samples=6)
    for image in range(2):
        draws = [line(net, x[image], references[k], t) for k, t in zip(which, a.double(), strict=True)]
        torch.testing.assert_close(e.raw[image], torch.stack(draws).mean(0))
        squares = sum((draws[i] - draws[i + 1]) ** 2 for i in (0, 2, 4))
        torch.testing.assert_close(e.stderr[image], (squares.sqrt() / 6).float())
        with torch.no_grad():
            change = net(x[image : image + 1])[0, 1] - net(references[which])[:, 1].mean()
        torch.testing.assert_close(e.delta[image].double(), e.raw[image].sum() - change)


@BOTH
def test_many_draws_are_the_mean_of_integrated_gradients_over_the_references(net, method):
    x, references = images(2), images(3, seed=7)
    e = explain(net, x, method, references=references, samples=300, batch_size=64)
    lines = [
        explain(net, x, "integrated-gradients", baseline=r, steps=60, quadrature="middle", batch_size=64).raw
        for r in references
    ]
    apart = (e.raw - torch.stack(lines).mean(0)).norm() / e.stderr.norm()
    assert 0.4 < float(apart) < 2  # about a standard error


@pytest.mark.parametrize(
    ("method", "references", "samples", "noise"),
    [
        ("expected-gradients", 3, 30, None),  # five pairs for each reference
        pytest.param(
            *("expected-gradients", 3, 26, None), marks=pytest.mark.full
        ),  # four pairs for each, and one left over
        pytest.param(
            *("expected-gradients", 400, 20, None), marks=pytest.mark.full
        ),  # more references than draws
        pytest.param(*("gradient-shap", 3, 30, 0.0), marks=pytest.mark.full),
        ("gradient-shap", 3, 30, 0.2),
    ],
)
def test_standard_errors_are_what_seeds_differ_by(quadratic, method, references, samples, noise):
    x, r = images(2, (4, 4)), images(references, (4, 4), seed=7)
    options = {} if noise is None else {"noise": noise}
    found = [
        explain(quadratic, x, method, references=r, samples=samples, seed=s, batch_size=64, **options)
        for s in range(40)
    ]
    maps = torch.stack([e.raw for e in found]), torch.stack([e.stderr for e in found])
    deltas = torch.stack([e.delta for e in found]), torch.stack([e.details["delta_stderr"] for e in found])
    for values, told in (maps,) if noise else (maps, deltas):  # noise changes what a map sums to as well
        ratio = float(told.double().square().mean() / values.double().var(0).mean())
        assert 0.6 < ratio < 1.6


def test_strata_leave_less_to_chance(net):
    """At the same cost as independent draws."""
    x, references = images(1), images(3, seed=7)
    spread = {
        method: torch.stack(
            [
                explain(net, x, method, references=references, samples=60, seed=s, batch_size=64).raw
                for s in range(12)
            ]
        ).var(0)
        for method in ("expected-gradients", "gradient-shap")
    }
    assert float(spread["expected-gradients"].mean()) < 0.5 * float(spread["gradient-shap"].mean())


def test_noise_is_of_the_image_and_a_share_of_its_range(quadratic):
    """For S = sum a x^2 / 2 + b x, E[map] = that without noise + a sigma^2 / 2."""
    x, zero = images(1, (4, 4)), torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    sigma = 0.1 * float(x.max() - x.min())
    e = explain(quadratic, x, "gradient-shap", references=zero, samples=1000, noise=0.1, batch_size=64)
    a, b = (p[1].detach().view(x.shape) for p in (quadratic.a, quadratic.b))
    expected = a * (x**2 + sigma**2) / 2 + b * x
    assert ((e.raw - expected).abs() < 5 * e.stderr).all()
    clean = explain(quadratic, x, "gradient-shap", references=zero, samples=1000, batch_size=64)
    assert (e.stderr > clean.stderr).all()


# --- the draws ----------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(references=st.integers(1, 30), pairs=st.integers(1, 60), seed=st.integers(0, 9))
def test_every_line_is_cut_into_as_many_parts_as_it_has_pairs(references, pairs, seed):
    which, a = stratified(references, 2 * pairs, torch.Generator().manual_seed(seed))
    assert len(which) == len(a) == 2 * pairs
    assert ((a >= 0) & (a < 1)).all()
    rounds = pairs // references
    full = 2 * rounds * references
    cells = list(zip(which[:full].tolist(), (a[:full] * rounds).floor().tolist(), strict=True))
    assert all(cells[i] == cells[i + 1] for i in range(0, full, 2))  # both of a pair
    assert len(set(cells[::2])) == full // 2 == rounds * references  # and each pair has its own
    rest = which[full:]
    assert rest.bincount(minlength=references).max() <= math.ceil(len(rest) / references)
    parts = (a[full:] * (len(rest) // 2)).floor().tolist()
    assert parts == [float(i // 2) for i in range(len(rest))]


@BOTH
def test_a_seed_gives_the_same_map_and_another_one_another(net, method):
    x, references = images(2), images(3, seed=7)
    one, again, other = (
        explain(net, x, method, references=references, samples=8, seed=seed) for seed in (3, 3, 4)
    )
    assert torch.equal(one.raw, again.raw)
    assert not torch.allclose(one.raw, other.raw)


@pytest.mark.full
@pytest.mark.parametrize(
    ("spec", "options"),
    [("zero,mean,noise,blur", {"samples": 10}), ("tensor", {"samples": "auto", "tolerance": 0.1})],
)
@BOTH
def test_neither_the_batch_nor_its_size_matters(method, spec, options):
    x, module = pictures("in-place"), small("in-place")
    given = {"references": pictures("in-place", 5, seed=9) if spec == "tensor" else spec, **options}
    together = explain(module, x, method, **given)
    for size in (1, 5):
        other = explain(module, x, method, batch_size=size, **given)
        torch.testing.assert_close(together.raw, other.raw)
    for i in range(len(x)):
        single = explain(module, x[i : i + 1], method, **given)
        torch.testing.assert_close(together.raw[i], single.raw[0])
        torch.testing.assert_close(together.delta[i], single.delta[0])
        assert together.details["samples"][i] == single.details["samples"][0]


def test_auto_draws_until_the_map_is_settled(net):
    x, references = images(1), images(3, seed=7)
    counts = []
    for tolerance in (0.5, 0.05):
        module, counter = watched(net)
        e = explain(module, x, references=references, samples="auto", tolerance=tolerance)
        counts.append(int(e.details["samples"]))
        assert sum(counter.backward) == counts[-1]
        assert sum(counter.forward) == counts[-1] + 3 + 1  # and each score but once
        assert not e.warnings
    assert 32 <= counts[0] < counts[1] < 1000
    apart = e.raw - explain(net, x, references=references, samples=1000).raw
    assert float(apart.square().mean()) < 2 * float(e.stderr.double().square().mean())


@pytest.mark.parametrize(("samples", "references", "scores"), [(6, 2, 2), (5, 2, 2), (4, 30, 4)])
def test_passes_are_those_of_the_draws_and_of_the_references_drawn(net, samples, references, scores):
    module, counter = watched(net)
    x = images(2)
    e = explain(module, x, references=images(references, seed=7), samples=samples)
    drawn = samples + samples % 2
    assert e.details["samples"].tolist() == [drawn, drawn]
    assert sum(counter.forward) == e.cost.forward == 2 * (drawn + scores + 1)
    assert sum(counter.backward) == e.cost.backward == 2 * drawn


# --- references ---------------------------------------------------------------------------------------------


@pytest.fixture
def camera() -> pellucid.Model:
    """A model that takes pictures of 8 x 8 pixels."""
    preprocess = pellucid.Preprocess(size=(8, 8), scale_to=(8, 8), fit="squash", mean=(0.4, 0.5, 0.6))
    return pellucid.Model(seeded(LinearNet, 192), preprocess=preprocess)


@pytest.fixture
def folder(tmp_path):
    """Three pictures."""
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


def test_references_may_be_given_in_many_ways(camera, folder):
    x = camera.prepare(np.full((8, 8, 3), 100, np.uint8))
    files = sorted(folder.iterdir())
    inputs = camera.prepare([str(file) for file in files])
    weights = camera.module.fc.weight[1].detach().view(1, 3, 8, 8)
    ways = (folder, str(folder), f"{folder}/*.png", files, [Image.open(file) for file in files],
            ",".join(map(str, files)), inputs, inputs.numpy())  # fmt: skip
    for references in ways:
        e = explain(camera, x, references=references, samples=12)
        assert torch.allclose(e.raw, weights * (x - inputs.mean(0)), atol=1e-5), references
    named = explain(camera, x, references=["black", "white"], samples=4)
    ends = torch.cat([explain(camera, x, "integrated-gradients", baseline=b).raw for b in ("black", "white")])
    assert torch.allclose(named.raw[0], ends.mean(0), atol=1e-5)


@BOTH
def test_references_that_are_the_image_give_zero_and_a_word(net, method):
    x = images(2)
    e = explain(net, x, method, references=x[:1], samples=2)
    assert not e.raw[0].any()
    assert e.raw[1].any()
    assert [any("there is no path between them" in note for note in notes) for notes in e.notes] == [1, 0]


def test_the_references_stay_as_they_are(net):
    references = images(3, seed=7)
    before = references.clone()
    explain(net, images(1), references=references, samples=4)
    assert torch.equal(references, before)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"references": None}, InvalidValue, "There are no references: pass references="),
        ({"references": []}, InvalidValue, "references must hold at least one picture; got none"),
        ({"references": torch.empty(0, 3, 12, 17)}, InvalidValue, "with R at least 1"),
        ({"references": torch.zeros(2, 3, 5, 5)}, InvalidValue, "references must be as large as the inputs"),
        ({"references": torch.full((2, 3, 12, 17), torch.nan)}, InvalidValue, "references must be finite"),
        ({"references": 7}, InvalidType, "references must be pictures, a folder of them"),
        ({"references": "zero", "samples": 0}, InvalidValue, "samples must be 'auto' or at least 1; got 0"),
        (
            {"references": "zero", "samples": "auto", "tolerance": 1.0},
            InvalidValue,
            "tolerance must be between 0 and 1",
        ),
    ],
)
@BOTH
def test_what_does_not_hold_is_said_in_a_sentence(net, method, options, error, words):
    with pytest.raises(error, match=words):
        explain(net, images(1), method, **options)


def test_an_empty_folder_and_negative_noise_are_refused(net, tmp_path):
    with pytest.raises(FileMissing, match="no picture in this folder"):
        explain(net, images(1), references=tmp_path)
    with pytest.raises(InvalidValue, match="noise must be at least 0, a share of the input's range; got -1"):
        explain(net, images(1), "gradient-shap", references="zero", noise=-1)


def test_both_promise_what_each_draw_has():
    assert {"dummy", "linearity"} <= set(expected_gradients.PROMISES)
    assert "completeness" not in expected_gradients.PROMISES  # in expectation only
