"""Units of a hand-made linear network, whose truth can be written down."""

import numpy as np
import pytest
import torch
from dots import Dots

from pellucid.errors import NotFound
from pellucid.truth.tasks import TASKS, as_inputs
from pellucid.truth.units import Interventions, carrier, intervene, is_diffuse, units

SIDE = 8


def test_the_truth_is_where_the_element_is_that_the_network_counts():
    found = units(Dots([2]), 2)
    assert (found.seen, found.right, found.decisions, len(found)) == (
        3,
        2,
        2,
        2,
    )  # every other label is wrong
    unit = found[0]
    assert (unit.task, unit.number, unit.target, unit.carrier, unit.rival) == ("dots", 0, 0, 1, 1)
    assert found[1].number == 2
    assert unit.drops == pytest.approx([0.0, 16.0])  # 4 pixels of (1 / 0.5)^2
    truth = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    truth[0:4, 0:4] = True  # the dot at 1, 1 and a pixel around it
    assert unit.truth.equal(truth)
    assert unit.decoys == [0]
    assert unit.inputs.shape == (3, SIDE, SIDE)
    assert unit.scores.tolist() == pytest.approx([16.0, 4.0, 0.0])
    others = torch.tensor([4.0, 0.0]).logsumexp(0)
    assert unit.margin_drops[1] == pytest.approx(16.0)
    assert unit.margin_drops[0] == pytest.approx(float(torch.tensor([0.0, 0.0]).logsumexp(0) - others))


def test_two_dots_that_share_are_no_place_but_diffuse():
    assert len(units(Dots([2, 2]), 1)) == 0
    found = units(Dots([2, 2], localised=False), 1)
    assert found[0].truth is None
    assert found[0].carrier is None
    assert found[0].drops == pytest.approx([0.0, 16.0, 16.0])


def test_one_that_drops_a_little_more_than_the_other_does_not_carry_it_alone():
    assert len(units(Dots([3, 2]), 1)) == 0  # 36 against 16: less than 2.5 times
    assert len(units(Dots([3, 1]), 1)) == 1  # 36 against 4


def test_no_more_scenes_are_looked_at_than_are_likely_to_do():
    found = units(Dots([2, 2]), 1)
    assert (found.seen, found.right) == (20, 10)


def test_the_first_units_do_not_depend_on_how_many_are_wanted():
    few, many = units(Dots([2]), 1), units(Dots([2]), 5)
    assert few[0].inputs.equal(many[0].inputs)
    assert [unit.number for unit in many] == [0, 2, 4, 6, 8]
    assert few.seen == 1


def whole(*drops: float, score: float = 10.0, empty: float = 0.0) -> Interventions:
    away = torch.tensor([[score - drop, 0.0] for drop in drops])
    return Interventions(torch.tensor([score, 0.0]), away, torch.tensor([empty, 0.0]))


@pytest.mark.parametrize(
    ("drops", "expected"),
    [
        ([0.1, 5.0, 1.9], 1),
        ([0.1, 5.0, 2.1], None),  # less than 2.5 times as much
        ([0.0, 0.9, 0.0], None),  # less than a logit
        ([-3.0, 2.0, -1.0], 1),  # what speaks against the class is no evidence for it
        ([4.0], 0),
    ],
)
def test_what_carries_a_decision_alone(drops: list[float], expected: int | None):
    assert carrier(whole(*drops), 0) == expected


def test_the_margin_must_agree():
    away = torch.tensor([[5.0, 0.0], [9.0, 8.0]])  # the second raises the other class
    assert carrier(Interventions(torch.tensor([10.0, 0.0]), away, torch.zeros(2)), 0) is None


@pytest.mark.parametrize(
    ("drops", "areas", "expected"),
    [
        ([9.0, 0.2], [1.0, 0.1], True),  # all over the picture
        ([9.0, 0.2], [0.2, 0.1], False),  # in one small place
        ([4.0, 3.0, 0.0], [0.1] * 3, True),  # two share
        ([4.0, 2.0, 0.0], [0.1] * 3, False),
        ([0.4] * 20, [0.01] * 20, True),
        ([3.4, 0.0], [0.1, 0.1], True),  # no more than 0.35 of all
        ([3.6, 0.0], [0.1, 0.1], False),
    ],
)
def test_what_is_diffuse(drops: list[float], areas: list[float], expected: bool):
    assert is_diffuse(whole(*drops), 0, areas) is expected


def test_a_decision_that_nothing_carries_is_not_diffuse():
    assert not is_diffuse(whole(0.1, 0.1, empty=9.5), 0, [0.1, 0.1])


def test_scores_belong_to_their_scenes():
    task = Dots([2])
    scenes = [task.scene(0, 0), Dots([1, 3]).scene(0, 0)]
    first, second = intervene(task.model, scenes)
    assert first.without[:, 0].tolist() == pytest.approx([16.0, 0.0])
    assert second.without[:, 0].tolist() == pytest.approx([40.0, 36.0, 4.0])
    assert first.empty.tolist() == second.empty.tolist() == [0.0, 0.0, 0.0]


def test_pictures_become_inputs_by_the_models_own_numbers():
    picture = np.array([[[0, 51, 255]]], np.uint8)
    assert as_inputs(Dots([1]).model, picture).ravel().tolist() == pytest.approx([0.0, 0.4, 2.0])


def test_a_name_that_is_no_task_says_which_there_are():
    with pytest.raises(NotFound, match=r"task must be one of glyph-plain, .*; got 'cats'"):
        units("cats", 1)


def test_both_halves_have_places_and_diffuse_decisions_and_every_family_of_networks():
    for half in ("development", "held-out"):
        tasks = [task for task in TASKS.values() if task.half == half]
        assert {task.localised for task in tasks} == {True, False}
        assert any(task.name.startswith("pasted") for task in tasks)
    assert {name.partition("-")[2] for name in TASKS} >= {"plain", "residual", "depthwise", "attention"}
