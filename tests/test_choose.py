"""`choose` and `explain(method="auto")`, and Pellucid as Quantus's explain_func."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.choice import Candidate, Choice
from pellucid.errors import InvalidValue
from pellucid.fingerprint import fingerprint
from pellucid.intervals import Interval
from pellucid.model import Model

SIDE = 16


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Looks at one window."""
    made = nn.Sequential(
        nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2 * SIDE * SIDE, 2, bias=False)
    )
    nn.init.constant_(made[0].weight, 1 / 3)
    weight = torch.zeros(2, 2, SIDE, SIDE)
    weight[0, :, 3:7, 9:13] = 1.0
    made[3].weight.data = weight.flatten(1)
    return made.eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    noise = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.1
    noise[:, :, 3:7, 9:13] += 1.0
    return noise


METHODS = ["input-x-gradient", "elsewhere", "occlusion:window=2,stride=2"]


@pytest.fixture(scope="module")
def choice(net: nn.Module, x: Tensor) -> Choice:
    @pellucid.method("elsewhere", family="gradient", paper="Nobody 2026", passes=(0, 0))
    def elsewhere(probe: object) -> Tensor:
        map = torch.zeros(1, 1, SIDE, SIDE)
        map[:, :, 10:14, 1:8] = 1.0
        return map

    try:
        return pellucid.choose(net, x, METHODS, target=0, progress=False)
    finally:
        del pellucid.METHODS["elsewhere"]


def test_the_cheapest_of_those_not_beaten_is_chosen(choice: Choice):
    assert choice.chosen.title == "input-x-gradient"
    assert choice.pictures == 4
    assert choice.diffuse == 0
    assert choice.candidates[0].q.mean == max(one.q.mean for one in choice.candidates)
    assert choice.chosen.supported == 1
    assert choice.sentences[0].startswith("input-x-gradient suits Sequential: q ")


def candidate(title: str, q: float, passes: int, *, beaten: bool) -> Candidate:
    return Candidate(title, title, {}, Interval(q, q - 0.1, q + 0.1, 9), 0.5, 0.1, passes, beaten)


def test_a_dear_method_is_chosen_only_where_it_beats_the_cheap_one():
    cheap, dear = candidate("cheap", 0.7, 2, beaten=False), candidate("dear", 0.75, 400, beaten=False)
    assert Choice("net", "", (dear, cheap), 9, 0).chosen is cheap
    worse = candidate("cheap", 0.2, 2, beaten=True)
    assert Choice("net", "", (dear, worse), 9, 0).chosen is dear


def test_explain_reads_the_file_and_refuses_it_for_another_model(
    choice: Choice, net: nn.Module, x: Tensor, tmp_path: Path
):
    path = choice.save(tmp_path / "choice.json")
    e = pellucid.explain(net, x[:1], "auto", choice=path, target=0, progress=False)
    assert e.method == "input-x-gradient"
    again = Choice.load(path)
    assert again.to_dict() == choice.to_dict()
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
    with pytest.raises(InvalidValue, match="made for this model"):
        pellucid.explain(other, x[:1], "auto", choice=path, target=0)
    with pytest.raises(InvalidValue, match="needs choice="):
        pellucid.explain(net, x[:1], "auto")
    with pytest.raises(InvalidValue, match="is for method='auto'"):
        pellucid.explain(net, x[:1], "saliency", choice=path)
    with pytest.raises(FileNotFoundError, match=r"pellucid\.choose makes it"):
        pellucid.explain(net, x[:1], "auto", choice=tmp_path / "none.json")
    (tmp_path / "other.json").write_text(json.dumps({"format": "something"}))
    with pytest.raises(InvalidValue, match="must be a choice"):
        Choice.load(tmp_path / "other.json")


def test_weights_tell_models_apart(net: nn.Module):
    one = fingerprint(Model.wrap(net))
    assert one == fingerprint(Model.wrap(net))
    changed = nn.Sequential(nn.Linear(2, 2))
    before = fingerprint(Model.wrap(changed))
    changed[0].bias.data[0] += 1
    assert fingerprint(Model.wrap(changed)) != before
    assert fingerprint(Model.wrap(lambda batch: batch)) == ""


def test_nothing_but_diffuse_decisions_is_refused(x: Tensor):
    constant = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))
    nn.init.zeros_(constant[1].weight)
    with pytest.raises(InvalidValue, match="whose decision has a place"):
        pellucid.choose(constant, x[:2], ["saliency"], target=0, progress=False)


def test_quantus_gets_the_same_maps(net: nn.Module, x: Tensor):
    quantus = pytest.importorskip("quantus")
    targets = np.zeros(len(x), int)
    metric = quantus.Sparseness(abs=True, normalise=False, disable_warnings=True, display_progressbar=False)
    kwargs = {"method": "input-x-gradient"}
    scores = metric(
        model=net, x_batch=x.numpy(), y_batch=targets, a_batch=None, device="cpu",
        explain_func=pellucid.quantus_explain, explain_func_kwargs=kwargs,
    )  # fmt: skip
    maps = pellucid.explain(net, x, "input-x-gradient", target=[0] * len(x), progress=False).attribution
    direct = metric(model=net, x_batch=x.numpy(), y_batch=targets, a_batch=maps.numpy(), device="cpu")
    assert scores == pytest.approx(direct)
    assert kwargs["method"] == "input-x-gradient"  # left as it was
