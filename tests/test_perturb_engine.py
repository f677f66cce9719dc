"""How perturbed inputs are scored: in chunks, by any model, in low precision only where it does no harm."""

import gc
import re
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import unchecked
from pellucid.engine import run
from pellucid.engine.pace import CPU_WAYS, Pace, Way, pace_of
from pellucid.engine.perturb import score_perturbed
from pellucid.engine.run import Engine
from pellucid.errors import InvalidType, InvalidValue, ModelError, PellucidError
from pellucid.methods.perturb.surrogate import fit
from pellucid.model import Model
from pellucid.probe import Probe, screening
from pellucid.probe.sampling import ALLOWED, Estimate, affine_fit, bf16_error
from pellucid.probe.screening import ScoreUse, screened
from zoo import GapNet, assert_close, images, seeded

SIZE, LARGE = (16, 20), (24, 30)
EVERY: list[tuple[str, dict[str, Any]]] = [
    ("rise", {"samples": 50}),
    ("occlusion", {"window": 8, "stride": 4}),
    ("lime", {"samples": 50, "segments": "grid:3"}),
    ("baylime", {"samples": 50, "segments": "grid:3"}),
    ("kernel-shap", {"samples": 50, "segments": "grid:3"}),
]
every = pytest.mark.parametrize(("method", "options"), EVERY, ids=[name for name, _ in EVERY])


def scored(
    engine: Engine, x: Tensor, copies: Any, total: int, targets: tuple[int, ...] = (0,), low: bool = False
) -> Tensor:
    scorers = [lambda raw, _, c=c: raw[:, c] for c in targets]
    with engine.session(0):
        return score_perturbed(engine, x, copies, 0, total, scorers, low=low)


def scaled(x: Tensor) -> Any:
    """Copy number i is x times i."""
    return lambda start, stop: x * torch.arange(start, stop).to(x)[:, None, None, None]


# --- chunks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 64, "auto"])
def test_each_copy_gets_its_own_score_in_order(batch_size):
    net, x = seeded(GapNet).double(), images(1, SIZE)
    found = scored(Engine(Model.wrap(net), batch_size=batch_size), x, scaled(x), 50, (0, 3))
    expected = torch.stack([net(x * i)[0, [0, 3]] for i in range(50)], 1).detach()
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float64


@pytest.mark.parametrize("total", [40, 400])
def test_one_chunk_is_held_however_many_copies_there_are(total):
    net, x = seeded(GapNet), images(1, SIZE).float()
    made, most, largest = [], 0, 0

    def copies(start, stop):
        nonlocal most, largest
        most = max(most, sum(ref() is not None for ref in made))
        batch = scaled(x)(start, stop)
        largest = max(largest, len(batch))
        made.append(weakref.ref(batch))
        return batch

    net.register_forward_hook(lambda m, args, out: made.extend([weakref.ref(args[0]), weakref.ref(out)]))
    gc.disable()
    try:
        scored(Engine(Model.wrap(net), batch_size=8), x, copies, total)
    finally:
        gc.enable()
    assert most == 0  # when a chunk is made, nothing of those before it is left
    assert largest == 8


@every
def test_no_method_holds_more_than_a_chunk(method, options):
    """The memory of all tensors that live at once during a pass does not grow with the samples."""
    x = images(1, SIZE).float()

    def peak(options):
        most = 0

        def look(*_: Any) -> None:
            nonlocal most
            tensors = {o.untyped_storage().data_ptr(): o.untyped_storage().nbytes()
                       for o in gc.get_objects() if type(o) is Tensor and o.ndim >= 3}  # fmt: skip
            most = max(most, sum(tensors.values()))

        net = seeded(GapNet)
        net.register_forward_hook(look)
        gc.collect()
        pellucid.explain(net, x, method, batch_size=16, progress=False, **options)
        return most

    more = {"window": 2, "stride": 2} if method == "occlusion" else options | {"samples": 300}
    few, many = peak(options), peak(more)
    assert many <= few + 16 * x.nbytes


class Limited(nn.Module):
    """Memory for `most` samples."""

    def __init__(self, net: nn.Module, most: int) -> None:
        super().__init__()
        self.net, self.most = net, most
        self.seen = SimpleNamespace(samples=[])  # what runs is a shadow, with lists of its own

    def forward(self, x: Tensor) -> Tensor:
        self.seen.samples.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.net(x)


@pytest.mark.parametrize("batch_size", [16, "auto"])
@pytest.mark.parametrize("most", [1, 3, 5])
@every
def test_when_memory_runs_out_the_chunk_shrinks_and_the_map_is_the_same(method, options, most, batch_size):
    net, x = Limited(seeded(GapNet).double(), most), images(1, SIZE)
    e = pellucid.explain(net, x, method, batch_size=batch_size, progress=False, **options)
    expected = pellucid.explain(net.net, x, method, batch_size=1, progress=False, **options)
    assert_close(e.raw, expected.raw, 1e-6)
    failed = [n for n in net.seen.samples if n > most]
    assert 0 < len(failed) < 10
    assert e.cost.forward == expected.cost.forward  # what failed is not counted


def test_memory_that_does_not_suffice_for_one_sample_is_said():
    with pytest.raises(torch.OutOfMemoryError):
        pellucid.explain(Limited(seeded(GapNet), 0), images(1, SIZE).float(), "rise", samples=8)


# --- the pace -----------------------------------------------------------------------------------------------


def test_each_way_is_tried_twice_and_the_fastest_of_the_second_runs_is_kept():
    pace, seen = Pace(CPU_WAYS), []
    seconds = dict(zip(CPU_WAYS, (2.0, 1.0, 3.0, 4.0), strict=True))
    for i in range(12):
        way = pace.way
        seen.append(way)
        pace.took(way, seconds[way] if i % 2 else 0.01)  # warm-ups are not believed
    assert seen == [way for way in CPU_WAYS for _ in range(2)] + [CPU_WAYS[1]] * 4


def test_chunks_that_ran_out_of_memory_are_not_tried_again():
    pace = Pace(CPU_WAYS)
    assert pace.ran_out(Way(8))
    assert {way.chunk for way in pace.ways} == {4}
    assert pace.ran_out(Way(4))
    assert pace.way.chunk == 2
    assert pace.ran_out(pace.way)
    assert not pace.ran_out(pace.way)


def test_the_pace_is_kept_for_a_model_and_its_precision_and_forgotten_with_it():
    net, x = seeded(GapNet), images(1, SIZE).float()
    pace = pace_of(net, x, "float32", "auto")
    assert pace_of(net, x, "float32", "auto") is pace
    assert pace_of(net, x, "bfloat16", "auto") is not pace
    assert pace_of(net, x[..., :8], "float32", "auto") is not pace
    assert pace_of(seeded(GapNet), x, "float32", "auto") is not pace
    assert pace_of(net, x, "float32", 5).ways == (Way(5),)
    there = weakref.ref(pace)
    del net, pace
    gc.collect()
    assert there() is None


def test_what_bfloat16_takes_is_not_taken_for_what_float32_takes():
    net, x = seeded(GapNet), images(1, SIZE).float()
    pellucid.explain(net, x, "rise", samples=40, precision="bfloat16", progress=False)
    assert not pace_of(net, x, "float32", "auto").seconds
    assert pace_of(net, x, "bfloat16", "auto").seconds


# --- callables ----------------------------------------------------------------------------------------------


def session_like(x):
    """As an ONNX Runtime session: NumPy in, NumPy out, no gradient."""
    light = x.detach().numpy().mean((1, 2, 3))
    right = x.detach().numpy()[..., 10:].mean((1, 2, 3))
    return np.stack([light, 3 * right, 0 * light], 1).astype(np.float32)


@every
def test_a_function_of_arrays_is_explained(method, options):
    x = images(2, SIZE).float().abs()
    options = options | {"baseline": "zero", "target": 1, "output": "logit", "progress": False}
    e = pellucid.explain(session_like, x, method, **options)
    assert e.precision == "float32"
    assert e.raw[..., 12:].mean() > e.raw[..., :8].mean() + 0.01

    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(session_like(x))

    of_module = pellucid.explain(Same(), x, method, **options)
    assert_close(e.raw, of_module.raw, 1e-4)


@pytest.mark.parametrize("method", ["score-cam", "grad-cam", "saliency"])
def test_what_needs_more_than_scores_refuses_a_function_of_arrays(method):
    with pytest.raises(PellucidError) as refused:
        pellucid.explain(session_like, images(1, SIZE).float(), method)
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) > 40


# --- low precision ------------------------------------------------------------------------------------------


class Sensitive(nn.Module):
    """The small difference of two large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * SIZE[0] * SIZE[1], 1)
        self.large = nn.Parameter(torch.tensor(1000.0))

    def forward(self, x: Tensor) -> Tensor:
        score = self.fc(x.flatten(1)) + self.large
        return torch.cat([score - self.large, -score], 1)


SAMPLED = [
    ("rise", {"samples": 700}),
    ("lime", {"samples": 700, "segments": "grid:3"}),
    ("baylime", {"samples": 700, "segments": "grid:3"}),
    ("kernel-shap", {"samples": 2000, "segments": "grid:4"}),
]
sampled = pytest.mark.parametrize(("method", "options"), SAMPLED, ids=[name for name, _ in SAMPLED])


class Bent(nn.Module):
    """Far from linear, so that samples scatter."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3 * SIZE[0] * SIZE[1], 32), nn.Linear(32, 3)
        self.fc.weight.data *= 4
        self.out.weight.data *= 3

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.fc(x.flatten(1))))


def bent() -> nn.Module:
    return seeded(Bent)


def rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


@sampled
def test_bfloat16_where_it_pays_adds_less_than_half_of_the_standard_error(method, options, monkeypatch):
    net, x = bent(), images(1, SIZE).float()
    how = options | {"target": 0, "progress": False, "batch_size": 64}
    exact = pellucid.explain(net, x, method, precision="float32", **how)
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: False)
    assert torch.equal(pellucid.explain(net, x, method, **how).raw, exact.raw)
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: True)
    low = pellucid.explain(net, x, method, **how)
    assert low.precision == "float32 and bfloat16"
    assert not torch.equal(low.raw, exact.raw)
    assert rms(low.raw - exact.raw) < ALLOWED * rms(exact.stderr)
    assert low.cost.forward > exact.cost.forward  # the pilot is scored in both
    assert 0.95 < rms(low.stderr) / rms(exact.stderr) < 1.15  # it holds both errors


@sampled
def test_bfloat16_that_does_harm_is_not_used(method, options, monkeypatch):
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: True)
    net, x = seeded(Sensitive), images(2, SIZE).float()
    how = options | {"target": 0, "output": "logit", "progress": False, "batch_size": 64}
    e = pellucid.explain(net, x, method, **how)
    assert e.precision == "float32"
    assert torch.equal(e.raw, pellucid.explain(net, x, method, precision="float32", **how).raw)


@sampled
def test_few_samples_stay_in_float32(method, options, monkeypatch):
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: True)
    e = pellucid.explain(bent(), images(1, SIZE).float(), method, **(options | {"samples": 150}))
    assert e.precision == "float32"


@sampled
def test_float64_and_functions_are_never_lowered(method, options, monkeypatch):
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: True)
    how = options | {"progress": False, "batch_size": 64}
    assert pellucid.explain(bent().double(), images(1, SIZE), method, **how).precision == "float64"
    assert pellucid.explain(session_like, images(1, SIZE).float(), method, **how).precision == "float32"


@pytest.mark.parametrize(("noise", "bias"), [(0.02, 0.0), (0.0, 0.01), (0.02, 0.01), (0.1, 0.0)])
def test_what_low_precision_is_said_to_bring_is_what_it_brings(noise, bias):
    """Against simulation: a linear estimate of scores whose coarse twins have noise, and a bias."""
    d, pilot, samples = 8, 160, 1600
    source = torch.Generator().manual_seed(0)
    slopes, off = torch.randn(2, d, generator=source, dtype=torch.float64)
    told, real, own = [], [], []
    for _ in range(60):
        z = torch.randint(0, 2, (samples, d), generator=source).double()
        exact = z @ slopes + torch.randn(samples, generator=source, dtype=torch.float64)
        error = bias * (z @ off) + noise * torch.randn(samples, generator=source, dtype=torch.float64)

        def estimate(scores, z=z):
            found = fit(z[: len(scores)], scores, torch.ones(len(scores)), ridge=0.0)
            return Estimate(found.coefficients, found.stderr, lambda: (found.coefficients,) * 2)

        told.append(bf16_error(estimate, exact[:pilot], (exact + error)[:pilot], samples))
        real.append(rms(estimate(exact + error).value - estimate(exact).value))
        own.append(rms(estimate(exact).stderr))
    real_share = rms(torch.tensor(real)) / rms(torch.tensor(own))
    shares = torch.tensor(told) / real_share
    assert (shares > 0.7).all()  # a pilot knows both errors to some ten per cent
    assert 0.85 < shares.median() < 4  # of noise alone it is careful: it might hide a bias


def test_an_estimate_that_shrinks_what_is_small_hides_no_harm():
    """BayLIME finds no signal in errors alone: the difference of two estimates tells what they change."""
    d, source = 6, torch.Generator().manual_seed(0)
    z = torch.randint(0, 2, (200, d), generator=source).double()
    exact = z @ torch.randn(d, generator=source, dtype=torch.float64)
    exact += 0.01 * torch.randn(200, generator=source, dtype=torch.float64)
    coarse = exact + 0.5 * z[:, 0]

    def estimate(scores):
        found = fit(z, scores, torch.ones(200), ridge=0.0)
        shrunk = found.coefficients * (found.coefficients.norm() > 0.7)
        return Estimate(shrunk, found.stderr, lambda: (shrunk, shrunk))

    assert bf16_error(estimate, exact, coarse, 2000) > 10 * ALLOWED


def test_the_line_takes_out_what_low_precision_does_to_all_alike():
    y = torch.randn(50, dtype=torch.float64)
    slope, offset = affine_fit(3 * y - 2, y)
    torch.testing.assert_close(slope * (3 * y - 2) + offset, y)
    assert affine_fit(torch.ones(4), torch.full((4,), 2.0)) == (1.0, 1.0)


# --- screening ----------------------------------------------------------------------------------------------


def paying(monkeypatch: pytest.MonkeyPatch, share: float = 0.1) -> None:
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: True)
    monkeypatch.setattr(screening, "BFLOAT16_SHARE", share)


class Spot(nn.Module):
    """Very sure that there is nothing, unless a spot is hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * LARGE[0] * LARGE[1], 2)
        self.fc.weight.data *= 0.05
        where = torch.zeros(3, *LARGE)
        where[:, 6:10, 9:13] = 10 / 48
        self.fc.weight.data[0] -= where.flatten()
        self.fc.bias.data[:] = torch.tensor([10.0, 6.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


SCREENED = [
    ("occlusion", {"window": 6, "stride": 1}, lambda: seeded(Spot)),
    ("score-cam", {"layer": "relu", "signed": True}, lambda: seeded(GapNet, width=300)),
    ("score-cam", {"layer": "relu", "variant": "paper"}, lambda: seeded(GapNet, width=300)),
]


@pytest.mark.parametrize(("method", "options", "build"), SCREENED, ids=["occlusion", "score-cam", "paper"])
def test_screening_keeps_within_a_thousandth_and_says_what_ran(method, options, build, monkeypatch):
    net, x = build(), images(1, LARGE).float().abs().clamp(0.9, 1.1)
    how = options | {"target": 0, "progress": False, "batch_size": 64}
    exact = pellucid.explain(net, x, method, precision="float32", **how)
    low: list[int] = []
    net.register_forward_hook(
        lambda m, args, out: low.append(len(out)) if torch.is_autocast_enabled("cpu") else None
    )
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: False)
    assert pellucid.explain(net, x, method, **how).precision == "float32"
    assert not low
    paying(monkeypatch)
    e = pellucid.explain(net, x, method, **how)
    top = exact.raw.abs().max()
    assert (e.raw - exact.raw).abs().max() <= 1e-3 * top
    assert e.precision == "float32 and bfloat16"
    total = exact.cost.forward - 1
    assert sum(low) >= total
    assert e.cost.forward - sum(low) < total  # fewer than all are scored again


@pytest.mark.parametrize(("method", "options", "build"), SCREENED[:2], ids=["occlusion", "score-cam"])
def test_screening_is_left_where_it_would_save_nothing(method, options, build, monkeypatch):
    paying(monkeypatch, 0.9)
    net, x = build(), images(1, LARGE).float().abs().clamp(0.9, 1.1)
    e = pellucid.explain(net, x, method, batch_size=64, progress=False, **options)
    assert e.precision == "float32"
    monkeypatch.undo()
    paying(monkeypatch)
    e = pellucid.explain(net.double(), x.double(), method, batch_size=64, progress=False, **options)
    assert e.precision == "float64"


def test_screening_scores_again_what_matters_most_until_the_rest_is_hidden(monkeypatch):
    """Scores known beforehand: what is left coarse is never larger than what was had exactly."""
    paying(monkeypatch)
    true = torch.cat([torch.rand(300) * 0.01, torch.rand(20)])[torch.randperm(320)].double()

    class Known(nn.Module):
        weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            score = x[:, 0, 0, 0].float()
            error = 0.003 * torch.sin(1e4 * score) * score if torch.is_autocast_enabled("cpu") else 0
            return torch.stack([score + error, -score], 1)

    def copies(start: int, stop: int) -> Tensor:
        return true[start:stop].float()[:, None, None, None].expand(-1, 1, 2, 2).contiguous()

    use = ScoreUse(map=lambda w: w[:, None] * torch.eye(320), variance=lambda v: torch.diag(v).double(),
              max_effect=torch.ones(320))  # fmt: skip
    probe = Probe(Engine(Model.wrap(Known()), batch_size=32), torch.zeros(1, 1, 2, 2), 0, "logit")
    with probe.engine.session(0):
        found = screened(probe, copies, use, key=None)
    gap = (found - true).abs()
    assert gap.max() <= 1e-3 * true.max()
    again = gap < 1e-6
    assert 64 <= again.sum() < 320
    assert true[again & (true > 0.5)].numel() == (true > 0.5).sum()


# --- bad input ----------------------------------------------------------------------------------------------


def refusal(module: Any, x: Any, method: str, **options: Any) -> str:
    """The one sentence a request is refused with."""
    with unchecked(), pytest.raises(PellucidError) as refused:
        pellucid.explain(module, x, method, progress=False, **options)
    text = str(refused.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    return text


holes = np.ones(SIZE)
holes[0, 0] = -1
nan = np.ones(SIZE)
nan[3, 3] = np.nan


@pytest.mark.parametrize("method", ["lime", "baylime", "kernel-shap", "partition-shap"])
@pytest.mark.parametrize(
    ("segments", "words"),
    [
        (np.zeros(SIZE, int), "at least 2 segments; it gives 1"),
        (holes, "negative"),
        (nan, "not finite"),
        (np.ones((4, 4), int), "one label for each pixel of the input, 16 x 20; got 4 x 4"),
        (lambda rgb: rgb, "got 16 x 20 x 3"),
        ("quickshit", "Did you mean 'quickshift'"),
        ("grid:1", "N at least 2"),
        ("grid:40", "no more blocks along a side"),
        (7, "got int"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_segments_that_do_not_hold_are_refused(method, segments, words):
    assert words in refusal(seeded(GapNet), images(1, SIZE).float(), method, segments=segments, samples=40)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("rise", {"samples": 0}, "samples must be 'auto' or at least 1; got 0"),
        ("rise", {"samples": "many"}, "samples must be a number (int); got 'many'"),
        ("rise", {"samples": 1.5}, "whole number"),
        ("rise", {"keep": 0}, "keep must be between 0 and 1"),
        ("rise", {"keep": 1.0}, "keep must be between 0 and 1"),
        ("rise", {"cells": 0}, "cells must be at least 1; got 0"),
        ("rise", {"tolerance": 0}, "tolerance must be between 0 and 1; got 0"),
        ("lime", {"tolerance": 1.0}, "tolerance must be between 0 and 1; got 1.0"),
        ("rise", {"baseline": "blak"}, "Did you mean 'black'"),
        ("rise", {"baseline": "black"}, "says how pixels become its 3 input channels"),
        ("rise", {"baseline": torch.zeros(3, 5, 5)}, "as large as the inputs"),
        ("rise", {"baseline": float("nan")}, "baseline must be finite"),
        ("lime", {"samples": 0}, "samples must be 'auto' or at least 1"),
        ("lime", {"samples": 1}, "samples must be at least 2"),
        ("lime", {"width": 0}, "width must be positive"),
        ("lime", {"ridge": -1}, "ridge must be at least 0"),
        ("lime", {"features": -2}, "features must be at least 0, which is all of them; got -2"),
        ("baylime", {"prior": torch.zeros(9)}, "prior belongs to the modes informative"),
        ("baylime", {"mode": "informative", "prior": torch.zeros(4)}, "for each of 9 segments; got 4"),
        ("baylime", {"mode": "informative", "prior": torch.zeros(4, 5)}, "map of the input's size (16, 20)"),
        ("baylime", {"mode": "informative", "prior": "flat"}, "prior must be a tensor"),
        ("baylime", {"mode": "informative", "prior_precision": 0.0}, "prior_precision must be positive"),
        ("kernel-shap", {"samples": 8}, "samples must be at least 11 for 9 segments; got 8"),
        ("kernel-shap", {"samples": 12}, "raise samples, or use fewer segments"),
        ("occlusion", {"window": 0}, "window must be 'auto' or at least 1"),
        ("occlusion", {"window": 4, "stride": 5}, "stride from 1 to window; got window=4, stride=5"),
        ("occlusion", {"stride": 0}, "stride must be 'auto' or at least 1"),
        ("score-cam", {"variant": "best"}, "variant must be one of official | paper | pytorch-grad-cam"),
    ],
)  # fmt: skip
def test_options_that_do_not_hold_are_refused_before_a_copy_is_scored(method, options, words):
    net, calls = seeded(GapNet), []
    net.register_forward_hook(lambda m, args, out: calls.append(len(out)))
    if method in ("lime", "baylime", "kernel-shap"):
        options = {"segments": "grid:3"} | options
    assert words in refusal(net, images(1, SIZE).float(), method, **options)
    assert sum(calls) <= 1


@every
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda x: x.mean(), r"A model must give scores \(N, K\)"),
        (lambda x: x.mean((1, 2, 3))[:1], r"one (row of outputs|score) per image"),
        (
            lambda x: np.stack([np.zeros(len(x)), x.numpy().mean((1, 2, 3))], 1)[:1],
            r"one (row of outputs|score) per image",
        ),
        (lambda x: [["tabby", 0.9]] * len(x), r"A model must give scores \(N, K\)"),
        (lambda x: np.array([[281.0, 0.7]] * len(x)), "class"),
    ],
    ids=[
        "one number",
        "one number of many",
        "one row",
        "class name and probability",
        "class and probability",
    ],
)
def test_a_predict_function_that_does_not_give_a_row_per_picture_is_refused(method, options, build, words):
    assert re.search(words, refusal(build, images(2, SIZE).float(), method, **options))


@every
def test_a_score_that_is_not_finite_names_the_copy(method, options):
    def fragile(x):
        y = torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1)
        return torch.where((x == 0).flatten(1).any(1)[:, None], torch.nan, y)

    text = refusal(fragile, images(1, SIZE).float().abs() + 0.1, method, baseline="zero", **options)
    assert "perturbed input" in text
    assert "nan" in text
    assert "baseline" in text


@pytest.mark.parametrize("error", [ModelError, InvalidType, InvalidValue])
def test_errors_of_a_target_are_its_own(error):
    def target(raw):
        raise error("Mine.")

    with pytest.raises(error, match="Mine"):
        pellucid.explain(seeded(GapNet), images(1, SIZE).float(), "rise", samples=8, target=target)
