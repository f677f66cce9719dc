"""What is decided follows from image, model and device: not from the clock, nor from other images."""

import itertools
import time

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import CHEAP, TinyCNN
from pellucid.engine import mixing, run
from pellucid.errors import ModelError
from zoo import seeded, swept

ALL = [m.name for m in pellucid.methods() if m.family != "attention" and m.name != "cam"]


def pictures(n: int, size: int = 12) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def lowering(monkeypatch):
    monkeypatch.setattr(run, "bfloat16_pays", lambda device: True)


def test_a_batch_equals_its_images_alone_bit_for_bit():
    net, x = seeded(TinyCNN), pictures(2)
    requests = [(name, CHEAP[name]) for name in ALL]
    how = {"batch_size": 1, "progress": False}
    together = pellucid.compare(net, x, requests, **how, verdict=False)
    assert len(together) > 50
    for image in range(2):
        alone = pellucid.compare(net, x[image : image + 1], requests, **how, verdict=False)
        for a, b in zip(together.entries, alone.entries, strict=True):
            one = a.explanation[image]
            assert a.title == b.title
            assert torch.equal(one.raw, b.explanation.raw), a.title
            assert one.precision == b.explanation.precision
            assert one.notes == b.explanation.notes, a.title
            if one.stderr is not None:
                assert torch.equal(one.stderr, b.explanation.stderr), a.title


class Mixed(nn.Module):
    """Goes wrong in bfloat16 where an image is dark, not where it is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3 * 144, 32), nn.Linear(32, 3)
        self.fc.weight.data *= 4
        self.out.weight.data *= 3

    def forward(self, x: Tensor) -> Tensor:
        low, dark = torch.is_autocast_enabled("cpu"), x[:, 2, 0, 0] < 0
        with torch.autocast("cpu", enabled=False):
            y = self.out(torch.tanh(self.fc(x.flatten(1))))
            return torch.where(dark[:, None], torch.sin(1e4 * y), y) if low else y


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_precision_is_decided_by_the_image_itself(order, lowering):
    x = pictures(2) * 0.2 + 0.5
    x[1, 2] -= 1.0  # hidden cells show the mean, so that this holds of all its copies
    x = x[order]
    how = {"samples": 700, "segments": "grid:3", "target": 0, "baseline": "mean", "batch_size": 64}
    both = pellucid.explain(seeded(Mixed), x, "lime", progress=False, **how)
    ran = []
    for image in range(2):
        alone = pellucid.explain(seeded(Mixed), x[image : image + 1], "lime", progress=False, **how)
        ran.append(alone.precision)
        assert both[image].precision == alone.precision
        assert torch.equal(both[image].raw, alone.raw)
    assert sorted(ran) == ["float32", "float32 and bfloat16"]
    assert both.precision == "float32 and bfloat16"


def test_no_decision_follows_from_the_clock(lowering, monkeypatch):
    x = pictures(1)
    requests = [("rise", {"samples": 700}), ("lime", {"samples": 700, "segments": "grid:3"}),
                ("occlusion", {"window": 3, "stride": 1}), ("smooth-grad", {"samples": "auto"})]  # fmt: skip
    found = []
    for ticks in (0.001, -0.0005):  # a clock that runs on, and one that runs backwards
        clock = itertools.count()
        monkeypatch.setattr(time, "perf_counter", lambda c=clock, t=ticks: next(c) * t)
        found.append(
            pellucid.compare(
                seeded(TinyCNN), x, requests, target=0, progress=False, verdict=False
            ).explanations
        )
    for a, b in zip(*found, strict=True):
        assert a.precision == b.precision
        assert a.cost.forward == b.cost.forward
        torch.testing.assert_close(a.raw, b.raw, rtol=1e-3, atol=1e-4 * float(a.raw.abs().max()))


# --- models that have no bfloat16 ---------------------------------------------------------------------------


LOWERED = [0]
"""Samples that ran in bfloat16."""


class Fragile(nn.Module):
    """Fails in bfloat16: at once, at a later chunk, or with a score that is not finite."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = seeded(TinyCNN), how
        LOWERED[:] = [0]

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(x)
        if torch.is_autocast_enabled("cpu"):
            LOWERED[0] += len(x)
            if self.how == "at once" or (self.how == "later" and LOWERED[0] > 200):
                raise RuntimeError("mixed dtypes")
            if self.how == "infinite":
                y = y * torch.inf
        return y


LOW = [("rise", {"samples": 600}), ("lime", {"samples": 600, "segments": "grid:3"}),
       ("occlusion", {"window": 3, "stride": 1}), ("score-cam", {"layer": "net.bn2"}),
       ("score-cam", {"layer": "net.conv1"})]  # fmt: skip


@pytest.mark.parametrize("how", ["at once", "later", "infinite"])
@pytest.mark.parametrize(("method", "options"), LOW[:4], ids=["rise", "lime", "occlusion", "score-cam"])
def test_a_model_that_fails_in_bfloat16_runs_in_float32(method, options, how, lowering, monkeypatch):
    from pellucid.probe import sampling, screening

    monkeypatch.setattr(screening, "PILOT", 2)
    monkeypatch.setattr(screening, "_pays", lambda *_: True)
    monkeypatch.setattr(sampling, "ALLOWED", 1e9)
    full = {"target": 0, "progress": False, "batch_size": 32, **options}
    e = pellucid.explain(Fragile(how), pictures(1), method, **full)
    exact = pellucid.explain(Fragile(how), pictures(1), method, precision="float32", **full)
    tried = how != "later" or method in ("rise", "lime")
    if tried:
        assert e.precision == "float32"
        assert torch.equal(e.raw, exact.raw)
        assert e.details["chosen"]["precision"].startswith("float32, as bfloat16 failed")
    assert not [text for text in e.warnings if "bfloat16" in text]


@pytest.mark.parametrize("method", ["rise:samples=8", "grad-cam"])
def test_bfloat16_that_was_asked_for_and_fails_is_one_clear_error(method):
    with pytest.raises(ModelError, match=r"failed in bfloat16 \(precision='float32' may run\).*mixed dtypes"):
        pellucid.explain(Fragile("at once"), pictures(1), method, precision="bfloat16")


def test_whether_bfloat16_is_tried_is_a_fact_of_the_device():
    from pellucid.engine.pace import bfloat16_pays

    cpu = torch.device("cpu")
    assert bfloat16_pays(cpu) is (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    assert not bfloat16_pays(torch.device("meta"))


# --- samples that influence one another ---------------------------------------------------------------------


class Mixing(nn.Module):
    """Lets the samples of a batch influence one another, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.fc, self.how = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3), how
        self.bn = nn.BatchNorm2d(4, track_running_stats=how != "module")

    def forward(self, x: Tensor) -> Tensor:
        A = self.conv(x)
        if self.how == "module":
            A = self.bn(A)
        elif self.how == "functional":
            A = nn.functional.batch_norm(A, None, None, training=True)
        elif self.how == "centred":
            A = A - 0.5 * A.mean(0)
        elif self.how == "scaled":
            A = A / (1 + A.std())
        elif self.how == "attention":
            flat = A.flatten(1)
            A = ((0.01 * flat @ flat.T).softmax(-1) @ flat).view_as(A)
        y = self.fc(A.relu().mean((2, 3)))
        if self.how == "softmax":
            return y.softmax(0) * 3
        return y + 0.1 * y.cumsum(0) if self.how == "sum" else y


WAYS = ["module", "functional", "centred", "scaled", "attention", "softmax", "sum"]
ASKED = [("grad-cam", {"signed": True, "layer": "conv"}), ("saliency", {}), ("rise", {"samples": 12}),
         ("occlusion", {"window": 6, "stride": 6}), ("smooth-grad", {"samples": 3}),
         ("integrated-gradients", {"steps": 3}), ("ablation-cam", {"signed": True, "layer": "conv"}),
         ("lrp", {})]  # fmt: skip


@pytest.mark.parametrize("how", swept(WAYS, ["module", "centred", "attention"]))
def test_samples_that_influence_one_another_are_run_alone_and_it_is_said(how):
    net, x = seeded(Mixing, how).double().eval(), pictures(3).double()
    asked = [request for request in ASKED if request[0] != "lrp"]
    found = {
        size: pellucid.compare(
            net, x, asked, target=1, batch_size=size, progress=False, verdict=False
        ).explanations
        for size in ("auto", 1, 3)
    }
    for several in ("auto", 3):
        for a, b in zip(found[several], found[1], strict=True):
            assert torch.equal(a.raw, b.raw), a.method
            assert torch.equal(a.score, b.score)
            assert any("influence one another" in text for text in a.warnings), a.method
            assert not any("influence one another" in text for text in b.warnings)
    for image in range(3):
        alone = pellucid.compare(
            net, x[image : image + 1], asked, target=1, batch_size=1, progress=False, verdict=False
        )
        for a, b in zip(found["auto"], alone.explanations, strict=True):
            assert torch.equal(a[image].raw, b.raw), a.method
    truth = net(x[:1])[0, 1]
    torch.testing.assert_close(found["auto"][0].score[0].double(), truth.detach(), rtol=1e-6, atol=1e-7)


def test_a_model_that_keeps_its_samples_apart_takes_no_further_pass_and_says_nothing():
    x = pictures(3).double()
    for build, extra in ((lambda: seeded(TinyCNN).double().eval(), 0), (Turned, 1)):
        net = build()
        for further in (extra, 0):  # once a model
            e = pellucid.explain(net, x, "saliency", target=1)
            assert e.cost.forward == 3 + further
            assert not e.warnings


class Turned(nn.Module):
    """Turns the batch to the back and forth again, which mixes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(TinyCNN).double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.transpose(0, 1).contiguous().transpose(0, 1))


class Noisy(Turned):
    """Draws numbers, which no two passes share."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


def test_a_model_that_draws_numbers_is_not_taken_for_one_that_mixes():
    e = pellucid.explain(Noisy(), pictures(3).double(), "saliency", target=1)
    assert not e.warnings


def test_the_first_samples_of_a_batch_are_judged_by_the_last():
    assert not mixing.differ(torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0]]), -1)
    assert mixing.differ(torch.tensor([[2.0], [2.1]]), torch.tensor([[2.0]]), -1)
    assert not mixing.differ({"a": torch.tensor([[1.0], [2.0]])}, {"a": torch.tensor([[2.0 + 1e-6]])}, -1)
