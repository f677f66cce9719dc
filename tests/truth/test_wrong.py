"""Maps that are wrong in a known way."""

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.model import Model
from pellucid.truth.kinds import KINDS
from pellucid.truth.networks import NETWORKS
from pellucid.truth.quality import evidence, quality
from pellucid.truth.scenes import render
from pellucid.truth.tasks import as_inputs
from pellucid.truth.training import Trained
from pellucid.truth.units import Unit
from pellucid.truth.wrong import decoy, redrawn, uninformed


@pytest.fixture(scope="module")
def unit() -> Unit:
    """A scene whose class glyph is said to carry the decision."""
    scene = KINDS["glyph"].scene(2, 0, 4)
    picture = Trained(nn.Identity(), 1.0).model()
    none = (0.0,) * len(scene.elements)
    truth = torch.from_numpy(scene.region(0))
    inputs = as_inputs(picture, render(scene))
    return Unit("glyph", 4, inputs, scene.labels[0], truth, none, none, 0, scene, torch.zeros(4), 1)


def test_a_decoy_lies_on_one_of_the_other_elements(unit: Unit):
    lying = set()
    for seed in range(20):
        map = decoy(unit, seed)[0].numpy()
        inside = [map[unit.scene.region(i)].mean() for i in range(len(unit.scene.elements))]
        lying.add(int(np.argmax(inside)))
        assert inside[int(np.argmax(inside))] > 0.5
        assert quality(evidence(torch.from_numpy(map)[None, None]), unit.truth).hit < 0.25
    assert lying == set(unit.decoys), "each of them, some time"
    assert decoy(unit, 3).equal(decoy(unit, 3))


def test_what_knows_nothing_is_the_floors_and_a_decoy(unit: Unit):
    found = uninformed(unit)
    assert list(found) == ["random", "smooth random", "blob", "edges", "colour", "decoy"]
    assert all(map.shape == (1, 64, 64) and bool((map >= 0).all()) for map in found.values())
    again = uninformed(unit)
    assert all(found[name].equal(again[name]) for name in found)
    assert not uninformed(unit, 1)["random"].equal(found["random"])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_redrawn_network_shares_no_weight_and_leaves_the_first_alone(name: str):
    net = NETWORKS[name](4).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    model = Model(net, labels=["a", "b", "c", "d"])
    state = torch.get_rng_state()
    other, again = redrawn(model, 7), redrawn(model, 7)
    assert torch.get_rng_state().equal(state)
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())
    for (key, one), two in zip(other.module.named_parameters(), again.module.parameters(), strict=True):
        assert one.equal(two)
        constant = bool((before[key] == before[key].flatten()[0]).all())  # scales and shifts
        assert one.equal(before[key]) == constant, key
    assert other.labels == model.labels
    assert not other.module.training
