"""The probe: perturbed inputs are asked the question of the image that they are copies of."""

import pytest
import torch
from torch import nn

import pellucid.probe
from pellucid.engine.run import Engine
from pellucid.model import Model
from pellucid.probe import Probe
from pellucid.target import Contrast

TARGETS = [2, Contrast(0, 1), 1]


@pytest.fixture
def probe() -> Probe:
    """One on a model whose outputs are its three pixels."""
    engine = Engine(Model(nn.Flatten()))
    inputs = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]]).view(3, 3, 1, 1)
    return Probe(engine, inputs, TARGETS, seed=7, limit=5, numbers=[10, 11, 12])


def test_copies_are_of_all_images_in_order_unless_they_are_numbered(probe: Probe) -> None:
    copies = probe.inputs.repeat_interleave(2, 0)
    seen = probe.perturbed(copies)
    assert seen.score.tolist() == [4, 4, -8, -8, 128, 128]
    assert seen.numbers == [10, 10, 11, 11, 12, 12]
    some = torch.tensor([1, 2, 1, 0])
    seen = probe.perturbed(probe.inputs[[0, 0, 1, 2]], some)
    assert seen.score.tolist() == [1 - 2, 2, 8 - 16, 256]
    assert seen.numbers == [11, 12, 11, 10]
    assert (seen.seed, seen.limit) == (7, 5)


def test_gradients_of_numbered_copies_are_those_of_their_own_question(probe: Probe) -> None:
    gradient = probe.perturbed(probe.inputs[:2], torch.tensor([2, 1])).input_gradient()
    assert gradient.flatten(1).tolist() == [[0, 1, 0], [1, -1, 0]]


def test_copies_of_numbered_images_stand_for_themselves_when_asked_about_one_by_one(probe: Probe) -> None:
    seen = probe.perturbed(probe.inputs[[0, 0, 0]], torch.tensor([0, 1, 2]))
    assert [float(seen.one(i).score) for i in range(3)] == seen.score.tolist() == [4, -1, 2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("altered", "Probe.perturbed"),
        ("scores", "Probe.score_perturbed"),
        ("value", "Probe.score"),
        ("under", "pellucid.probe.run_with"),
        ("at", "pellucid.probe.layer_evidence"),
    ],
)
def test_old_names_are_refused_with_the_new_one(probe: Probe, old: str, new: str) -> None:
    home, _, name = new.rpartition(".")
    assert hasattr({"Probe": Probe, "pellucid.probe": pellucid.probe}[home], name)
    with pytest.raises(AttributeError, match=f"'Probe.{old}' is '{new}' now"):
        getattr(probe, old)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        probe.nothing  # noqa: B018
