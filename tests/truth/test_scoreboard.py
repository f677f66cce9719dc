"""The scoreboard: rates of hand-made trials, whose interventions follow from where the evidence is."""

import json
import math

import pytest
import torch
from dots import Dots
from torch import Tensor

from pellucid.metrics.grid import Grid
from pellucid.metrics.hiding import draw_boxes
from pellucid.metrics.interventions import BLOCK, Interventions
from pellucid.truth.intervals import mean_over_pictures, rate_over_pictures
from pellucid.truth.kinds import KINDS
from pellucid.truth.quality import GRID
from pellucid.truth.rates import judge_trial
from pellucid.truth.scoreboard import Scoreboard
from pellucid.truth.trials import BLOCKS, Session, Trial, TriedMap, first, run_session
from pellucid.truth.units import Unit


def interventions(evidence: Tensor, seed: int, spread: float = 0.0) -> Interventions:
    """What hiding does to a score that is the sum of the evidence in all cells, and `spread` for each."""
    draw = torch.Generator().manual_seed(seed)
    grid, count = Grid.over((64, 64)), BLOCKS * BLOCK
    hidden = draw_boxes(grid, count, draw)
    each = evidence.double() + spread
    drop = hidden.flatten(1).double() @ each + 0.01 * torch.randn(count, generator=draw, dtype=torch.float64)
    return Interventions(grid, hidden, torch.arange(count) % 3, drop, float(each.sum()), float(each.sum()))


def trial(number: int, *, spread: float = 0.0, role: str = "class") -> Trial:
    """The evidence lies on the first element; one map says so, one says the second, one is noise."""
    scene = KINDS["shortcut" if role == "tag" else "glyph"].scene(2, 0, number)
    inside = [torch.from_numpy(scene.region(i)).float() for i in range(len(scene.elements))]
    at = [Grid.over((64, 64)).sums(one[None])[0] / 16 for one in inside]
    none = (0.0,) * len(scene.elements)
    truth = None if spread else inside[0].bool()
    unit = Unit("glyph", number, torch.zeros(3, 64, 64), 0, truth, none, none, 0, scene, torch.zeros(4), 1)
    noise = torch.rand(GRID**2, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
    nan = float("nan")
    maps = (
        TriedMap("right", "method", at[0], 2, 1.0, 1.0, 0, {"good": 2.0, "bad": 0.0}),
        TriedMap("wrong", "method", at[1], 2, 0.0, 0.0, 1, {"good": 1.0, "bad": 2.0}),
        TriedMap("noise", "floor", noise, 0, 0.1, 0.1, 2, {"good": 0.0, "bad": 1.0}),
        TriedMap("right", "other class", at[1], 2, 0.0, 0.0, 1),
    )
    if spread:
        maps = tuple(TriedMap(m.title, m.origin, m.evidence, m.passes, nan, nan, m.points_at) for m in maps)
    return Trial(unit, "development", maps, interventions(at[0], number, spread), {"blob": noise.roll(5)}, {})


def session(trials: list[Trial], localised: bool = True, half: str = "development") -> Session:
    return Session("glyph-plain", half, localised, 0.99, True, 9, 8, 8, tuple(trials))


@pytest.fixture(scope="module")
def board() -> Scoreboard:
    local, diffuse = [trial(n) for n in range(6)], [trial(n, spread=2.0) for n in range(4)]
    return Scoreboard(
        [session(local), session(diffuse, localised=False), session([trial(9, role="tag")], half="held-out")]
    )


def rate(board: Scoreboard, what: str, half: int = 0) -> float:
    (found,) = [one for one in board.halves[half].rates if one.what == what]
    return found.found.value


def test_what_is_said_of_a_map_that_is_right_and_of_one_that_is_not():
    said = judge_trial(trial(0))
    assert said.localised
    assert said.states == ("supported", "not supported", "not supported", "not supported")
    assert said.q[0] > 0.98


def test_what_is_spread_is_said_to_have_no_place():
    said = judge_trial(trial(0, spread=2.0))
    assert not said.localised
    assert set(said.states) == {"not judged"}


def test_rates_are_counted_over_the_maps_that_they_are_about(board: Scoreboard):
    assert rate(board, "maps of methods are right") == 0.5
    assert rate(board, "supported maps of methods are right") == 1.0
    assert rate(board, "right maps are supported") == 1.0
    assert rate(board, "grossly wrong maps are supported") == 0.0
    assert rate(board, "wrong maps of methods are said not to be supported") == 1.0
    assert rate(board, "wrong maps for another class are said not to be supported") == 1.0
    assert rate(board, "right maps are said not to be supported") == 0.0
    assert rate(board, "decisions that have a place are said not to be localised") == 0.0
    assert rate(board, "diffuse decisions are said not to be localised") == 1.0
    assert rate(board, "a supported map points at what carries the decision") == 1.0
    assert rate(board, "a supported map points at another element") == 0.0
    first_rate = board.halves[0].rates[0].found
    assert (first_rate.count, first_rate.pictures) == (12, 6)


def test_what_should_be_reached_is_said(board: Scoreboard):
    rates = {one.what: one for one in board.halves[0].rates}
    assert rates["supported maps of methods are right"].goal == "≥ 0.95"
    assert rates["supported maps of methods are right"].met is True
    assert rates["maps of methods are right"].met is None


def test_the_halves_are_kept_apart_and_shortcuts_are_counted_where_a_tag_decides(board: Scoreboard):
    assert [half.half for half in board.halves] == ["development", "held-out"]
    assert not any("shortcut" in one.what for one in board.halves[0].rates)
    assert rate(board, "a supported map points at the shortcut", 1) == 1.0
    assert rate(board, "a supported map points at another element than the shortcut", 1) == 0.0


def test_methods_and_metrics_are_ranked_by_what_they_are_worth(board: Scoreboard):
    methods = board.halves[0].methods
    assert [row.title for row in methods] == ["right", "wrong"]
    assert [row.hit.value for row in methods] == [1.0, 0.0]
    assert methods[1].supported_right.count == 0
    good, bad = board.halves[0].metrics
    assert (good.title, good.rho.value, bad.rho.value) == ("good", 1.0, -1.0)
    assert (good.regret.value, bad.regret.value) == (0.0, -1.0)
    assert (good.floor_preferred.value, bad.floor_preferred.value) == (0.0, 1.0)


def test_it_is_plain_json_and_tables(board: Scoreboard):
    stored = json.loads(json.dumps(board.to_dict()))
    assert stored["halves"][0]["rates"][1]["found"]["value"] == 1.0
    assert stored["halves"][0]["methods"][1]["supported_right"]["value"] is None
    page = board.to_markdown()
    assert page.startswith("## Development tasks\n")
    assert "| right | 1.000 [1.000, 1.000] | 1.000 [.500, 1.000]" not in page
    assert "| glyph-plain | 0.990 | 9 | 8 | 6 | .500 [.500, .500] | 1.000 [.500, 1.000] |" in page
    assert "| supported maps of methods are right | 1.000 [.500, 1.000] | ≥ 0.95 | yes | 6 |" in page


def test_the_first_blocks_are_what_would_have_been_drawn_alone():
    done = interventions(torch.ones(GRID**2), 0)
    assert len(first(done, 2)) == 2 * BLOCK
    assert first(done, 2).drop.equal(done.drop[: 2 * BLOCK])
    assert first(done, BLOCKS).hidden.equal(done.hidden)


def test_a_mean_over_pictures_varies_with_pictures_not_with_maps():
    apart = mean_over_pictures([[1.0] * 50, [0.0] * 50] * 10)
    assert apart.value == 0.5
    assert apart.high - apart.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 20), abs=0.1)
    together = mean_over_pictures([[1.0, 0.0] * 50] * 20)
    assert (together.low, together.high) == (0.5, 0.5)
    assert (apart.count, apart.pictures) == (1000, 20)


def test_a_rate_of_none_or_all_keeps_an_interval():
    never, always = rate_over_pictures([[False]] * 60), rate_over_pictures([[True, True]] * 60)
    assert (never.value, never.low, never.high) == (0.0, 0.0, 0.05)
    assert (always.value, always.low, always.high) == (1.0, 0.95, 1.0)
    assert rate_over_pictures([[True], [False]]).value == 0.5


def test_a_mean_that_is_one_is_no_rate():
    """Such as a rank correlation of 1 in each picture, or a regret of 0."""
    assert (mean_over_pictures([[1.0]] * 60).low, mean_over_pictures([[0.0]] * 60).high) == (1.0, 0.0)


def test_of_nothing_there_is_no_mean():
    assert mean_over_pictures([]).count == 0
    assert math.isnan(mean_over_pictures([[]]).value)


@pytest.fixture(scope="module")
def tried() -> Session:
    return run_session(
        Dots([12], side=64), 2, methods=["saliency", "input-x-gradient", "grad-cam"],
        metrics=["intervention:blocks=1", "deletion:steps=4"], progress=False,
    )  # fmt: skip


def test_a_session_tries_methods_floors_another_class_and_a_redrawn_network(tried: Session):
    assert (tried.task, tried.half, tried.localised, tried.seen) == ("dots", "development", True, 3)
    maps = {(one.title, one.origin): one for one in tried.trials[0].maps}
    assert {title for title, origin in maps if origin == "method"} == {"saliency", "input-x-gradient"}
    assert {title for title, origin in maps if origin == "other class"} == {"saliency", "input-x-gradient"}
    assert ("saliency", "redrawn") in maps
    assert ("decoy", "decoy") in maps
    assert ("edges", "floor") in maps
    assert list(tried.trials[0].failures) == ["grad-cam"], "a network without layers has no feature maps"


def test_a_map_of_a_linear_network_is_right_supported_and_preferred(tried: Session):
    for one in tried.trials:
        maps = {(map.title, map.origin): map for map in one.maps}
        exact, decoy = maps["input-x-gradient", "method"], maps["decoy", "decoy"]
        assert (exact.points_at, decoy.points_at) == (1, 0)
        assert exact.share > 0.9  # the cells at its edges are true in part
        assert exact.hit > 0.9
        assert exact.metrics["intervention:blocks=1"] > 0.9
        assert exact.metrics["intervention:blocks=1"] > decoy.metrics["intervention:blocks=1"] + 0.5
        assert exact.metrics["deletion:steps=4"] < 0, "less is better: its sign is turned"
        assert maps["input-x-gradient", "other class"].hit < 0.25
        said = judge_trial(one)
        states = {(m.title, m.origin): s for m, s in zip(one.maps, said.states, strict=True)}
        q = {(m.title, m.origin): q for m, q in zip(one.maps, said.q, strict=True)}
        assert q["input-x-gradient", "method"] > 0.9
        assert states["input-x-gradient", "other class"] == "not supported"
        assert states["random", "floor"] == "not supported"
