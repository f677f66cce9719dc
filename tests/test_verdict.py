"""The verdict: which maps interventions support, against networks whose evidence is known."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.budget import Budget
from pellucid.compare import compare
from pellucid.comparison import Comparison
from pellucid.engine.cost import Cost
from pellucid.errors import InvalidType, InvalidValue, NotFound
from pellucid.metrics.grid import Grid
from pellucid.metrics.hiding import Hider, draw_boxes, push_pull
from pellucid.metrics.interventions import BLOCK, Interventions, partial_correlation, resampled
from pellucid.verdict import Verdict
from pellucid.verdict.decide import (
    REJECTED,
    STRONGEST,
    SUPPORTED,
    JudgedMap,
    judge_maps,
    not_localised,
    strongest_cells,
)
from pellucid.verdict.record import _runs
from pellucid.verdict.sentences import sentences

SIDE = 32
METHODS = ["saliency", "input-x-gradient", "occlusion:window=4,stride=4"]


class Window(nn.Module):
    """The first class is the brightness of one window; the second, of another or of the whole picture."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        weight = torch.zeros(2, 1, SIDE, SIDE)
        weight[0, :, rows, columns] = 1.0
        weight[1] = 0.05
        self.conv = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 3)
        self.relu = nn.ReLU()
        self.head = nn.Linear(SIDE * SIDE, 2, bias=False)
        self.head.weight.data = weight.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(x)).flatten(1))


@pytest.fixture(scope="module")
def picture() -> Tensor:
    noise = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) * 0.2
    noise[:, :, 6:14, 18:28] += 1.0
    noise[:, :, 22:28, 2:10] += 1.0  # as bright, and not looked at
    return noise


@pytest.fixture(scope="module")
def local() -> Window:
    return Window(slice(4, 16), slice(16, 30)).eval()


@pytest.fixture(scope="module")
def compared(local: Window, picture: Tensor) -> Comparison:
    return compare(local, picture, METHODS, target=0, output="logit", progress=False)


def test_right_maps_are_supported_and_floors_are_lower(compared: Comparison):
    verdict = compared.verdict
    assert verdict.localised
    assert "occlusion:window=4,stride=4" in verdict.supported
    assert "input-x-gradient" in verdict.supported
    assert set(verdict.floors) == {"random", "smooth random", "blob", "edges", "colour"}
    best = max(q for q, _, _ in verdict.scores.values())
    assert best > SUPPORTED
    assert best > max(verdict.floors.values())
    assert max(verdict.floors[name] for name in ("random", "smooth random", "blob")) < REJECTED
    for q, low, high in verdict.scores.values():
        assert -1 <= low <= q <= high <= 1


def test_the_cheapest_supported_map_is_recommended_and_no_winner_is_named(compared: Comparison):
    verdict = compared.verdict
    assert verdict.recommended == "saliency"  # as cheap as input-x-gradient, and asked for before it
    assert "The cheapest of them is saliency." in verdict.sentences


def test_sentences_tell_numbers_and_what_they_rest_on(compared: Comparison):
    text = str(compared.verdict)
    assert f"supported by {len(compared.verdict.interventions)} interventions (q " in text
    assert str(compared.verdict) == "\n".join(compared.verdict.sentences)


def test_a_map_of_the_wrong_place_is_not_supported(local: Window, picture: Tensor):
    @pellucid.method("elsewhere", family="gradient", paper="Nobody 2026", passes=(0, 0))
    def elsewhere(probe: object) -> Tensor:
        map = torch.zeros(1, 1, SIDE, SIDE)
        map[:, :, 20:30, 0:12] = 1.0
        return map

    try:
        c = compare(local, picture, ["elsewhere"], target=0, progress=False)
        verdict = c.verdict
    finally:
        del pellucid.METHODS["elsewhere"]
    assert verdict.rejected == ("elsewhere",)
    assert verdict.recommended is None
    said = [text for text in verdict.sentences if text.startswith("elsewhere is not supported")]
    (own,) = [text for text in c[0].warnings if "Not supported by" in text]
    assert f"q {verdict.maps[0].q:.2f}" in own
    assert not any("Not supported" in text for text in c.warnings)  # the verdict says it
    assert len(said) == 1
    assert "no better than" in said[0]
    assert "elsewhere shows the same for another class" in str(verdict)


def test_a_decision_by_the_whole_picture_is_not_localised_and_no_map_is_judged(picture: Tensor):
    everywhere = Window(slice(0, SIDE), slice(0, SIDE)).eval()
    flat = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.1 + 1.0
    # By contrast to neighbours, so that a flat patch takes the evidence away wherever it lies.
    everywhere.conv = nn.Conv2d(3, 1, 3, padding=1, bias=False)
    kernel = torch.full((1, 3, 3, 3), -1 / 24)
    kernel[:, :, 1, 1] = 1 / 3
    everywhere.conv.weight.data = kernel
    verdict = compare(everywhere, flat, METHODS, target=0, progress=False).verdict
    assert not verdict.localised
    assert verdict.supported == verdict.rejected == ()
    assert {one.state for one in verdict.maps} == {"not judged"}
    assert verdict.sentences[0].startswith("This decision is not localised")


def test_a_score_that_nothing_changes_is_said_to_have_no_evidence(local: Window, picture: Tensor):
    constant = Window(slice(0, 0), slice(0, 0)).eval()
    verdict = compare(constant, picture, ["saliency"], target=0, progress=False).verdict
    assert not verdict.localised
    assert "does not lower the score" in verdict.why
    assert np.isfinite([q for ends in verdict.scores.values() for q in ends]).all()


def test_an_empty_and_a_constant_map_are_not_supported():
    done = planted()
    maps = [
        JudgedMap("empty", torch.zeros(256, dtype=torch.float64), 1),
        JudgedMap("constant", torch.ones(256, dtype=torch.float64), 1),
        JudgedMap("negative", -torch.rand(256, dtype=torch.float64), 1),
    ]
    said, _ = judge_maps(done, maps, floor(), None, torch.Generator(), localised=True)
    assert [one.state for one in said] == ["not supported"] * 3
    assert all(one.empty for one in said)
    assert all(one.q == pytest.approx(0, abs=1e-6) for one in said)


def planted(count: int = 240) -> Interventions:
    """Drops that are exactly the planted evidence in what is hidden, and what each replacement adds."""
    grid = Grid.over((64, 64))
    hidden = draw_boxes(grid, count, torch.Generator().manual_seed(0))
    kinds = torch.arange(count) % 3
    drop = hidden.flatten(1).double() @ EVIDENCE + kinds.double()
    return Interventions(grid, hidden, kinds, drop, 10.0, 10.0)


EVIDENCE = torch.zeros(16, 16, dtype=torch.float64)
EVIDENCE[3:6, 9:12] = 1.0
EVIDENCE = EVIDENCE.flatten()


def floor() -> dict[str, Tensor]:
    return {"random": torch.rand(256, dtype=torch.float64, generator=torch.Generator().manual_seed(5))}


def test_the_planted_map_has_q_one_and_the_causes_fall_out():
    done = planted()
    noise = torch.rand(256, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    said, floors = judge_maps(
        done, [JudgedMap("right", EVIDENCE * 3, 1), JudgedMap("wrong", noise, 1)], floor(), None,
        torch.Generator(), localised=True,
    )  # fmt: skip
    assert said[0].q == pytest.approx(1)
    assert said[0].r == pytest.approx(1)
    assert said[0].state == "supported"
    assert said[1].state == "not supported"
    assert said[1].q < REJECTED
    assert floors["random"] < REJECTED


def test_a_map_whose_strongest_cells_lie_elsewhere_is_not_supported_yet():
    """It predicts most drops by faint evidence in the right place, but points to another."""
    done, order = planted(), EVIDENCE.argsort(descending=True)
    elsewhere = torch.zeros(256, dtype=torch.float64)
    elsewhere[order[-40::3][:14]] = float(EVIDENCE.max()) * 0.4  # 14 of the 16 strongest cells
    misleading = EVIDENCE.clamp(max=float(EVIDENCE.max()) * 0.35) + elsewhere
    said, _ = judge_maps(
        done, [JudgedMap("right", EVIDENCE, 1), JudgedMap("misleading", misleading, 1)], floor(), None,
        torch.Generator(), localised=True,
    )  # fmt: skip
    assert said[1].q >= SUPPORTED
    assert said[1].low > REJECTED
    assert said[1].strongest < STRONGEST < said[0].strongest
    assert [one.state for one in said] == ["supported", "undecided"]


def test_a_map_whose_strongest_cells_are_right_is_not_rejected():
    """Much evidence all around, a little fainter, spoils its q, not where it points."""
    done = planted()
    noise = torch.rand(256, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    buried = EVIDENCE + 0.99 * (noise > 0.5) * (EVIDENCE <= 0)
    map = JudgedMap("buried", buried, 1)
    (said,), _ = judge_maps(done, [map], floor(), None, torch.Generator(), localised=True)
    assert said.q < REJECTED
    assert said.high < SUPPORTED
    assert said.strongest > 0.9
    assert said.state == "undecided"
    literal = partial_correlation(done.predicted(strongest_cells(buried[None])), done.drop, done.causes)
    assert said.strongest == pytest.approx(float(literal))


def test_the_strongest_cells_are_a_sixteenth_and_ties_share():
    rows = torch.rand(5, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    rows[1] = rows[1].round(decimals=1)  # many ties
    rows[2, 10:] = 0  # fewer cells with evidence than are marked
    rows[3] = -rows[3]
    marked = strongest_cells(rows)
    assert marked.sum(1).tolist() == pytest.approx([16, 16, 10, 0, 16])
    for row, mark in zip(rows, marked, strict=True):
        for value in row.unique():
            assert mark[row == value].unique().numel() == 1  # as strong, as marked
    assert marked[0].nonzero().flatten().tolist() == rows[0].topk(16).indices.sort().values.tolist()
    assert strongest_cells(rows[:, :20]).sum(1)[0] == 1


def test_partial_correlation_is_that_of_the_residuals():
    random = np.random.default_rng(0)
    predicted, drop = random.random((3, 50)), random.random(50)
    causes = np.concatenate([np.eye(3)[np.arange(50) % 3], random.random((50, 1))], 1)
    weights = resampled(50, 2, torch.Generator().manual_seed(0))
    found = partial_correlation(*map(torch.from_numpy, (predicted, drop, causes)), weights)
    for b, repeats in enumerate(weights.long().numpy()):
        rows = np.repeat(np.arange(50), repeats)
        design = causes[rows]

        def residual(y: np.ndarray, design: np.ndarray = design) -> np.ndarray:
            return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]

        expected = [np.corrcoef(residual(p[rows]), residual(drop[rows]))[0, 1] for p in predicted]
        assert found[b].tolist() == pytest.approx(expected)


def test_drop_by_area_alone_is_diffuse_and_no_small_part_is_said():
    done = planted()
    spread = Interventions(done.grid, done.hidden, done.replacement, done.area * 10, 10.0, 10.0)
    assert "falls with the area" in not_localised(spread)
    weak = Interventions(done.grid, done.hidden, done.replacement, done.drop * 0.001, 10.0, 100.0)
    assert "no part of up to a sixteenth" in not_localised(weak)
    assert not_localised(done) == ""


def test_what_speaks_against_the_class_elsewhere_does_not_take_the_place_away():
    done = planted()
    balanced = Interventions(done.grid, done.hidden, done.replacement, done.drop, 10.0, -0.5)
    assert not_localised(balanced) == ""
    nothing = Interventions(done.grid, done.hidden, done.replacement, -done.drop - 1.0, 10.0, -0.5)
    assert "does not lower the score" in not_localised(nothing)


def test_boxes_are_drawn_evenly_and_each_hides_something():
    grid = Grid.over((224, 112))
    boxes = draw_boxes(grid, 2000, torch.Generator().manual_seed(0))
    assert boxes.shape == (2000, 16, 8)
    assert boxes.flatten(1).any(1).all()
    share = boxes.double().mean(0)
    assert share.min() > 0.4 * share.max()
    again = draw_boxes(grid, 10, torch.Generator().manual_seed(0))
    assert torch.equal(again, boxes[:10])


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (28, 28), (30, 60)])
def test_hidden_pixels_are_replaced_and_the_others_are_not(size: tuple[int, int]):
    x = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
    grid = Grid.over(size)
    hidden = draw_boxes(grid, 6, torch.Generator().manual_seed(1))
    names = ["mean", "blur", "inpainting"] * 2
    copies = Hider(x, grid, hidden, names, torch.Generator())(0, 6)
    pixels = grid.pixels(hidden)
    for copy, where, name in zip(copies, pixels, names, strict=True):
        assert torch.equal(copy[:, ~where], x[0][:, ~where])
        assert copy.isfinite().all()
        if name == "mean":
            assert torch.allclose(copy[:, where], x[0].mean((1, 2))[:, None].expand(2, int(where.sum())))


def test_inpainting_keeps_a_constant_and_takes_what_lies_near():
    known = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.3
    assert torch.allclose(push_pull(torch.full((1, 3, 16, 16), 2.5), known), torch.tensor(2.5))
    halves = torch.cat([torch.zeros(1, 1, 16, 8), torch.ones(1, 1, 16, 8)], 3)
    hole = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    hole[..., 4:8, 1:4] = False
    hole[..., 4:8, 12:15] = False
    filled = push_pull(halves, hole)
    assert filled[0, 0, 5, 2] < 0.2
    assert filled[0, 0, 5, 13] > 0.8


def test_one_verdict_for_each_target_and_picture(local: Window, picture: Tensor):
    two = torch.cat([picture, picture.flip(3)])
    c = compare(local, two, ["input-x-gradient"], targets=[0, 1], progress=False)
    assert len(c.verdicts) == 4
    assert [v.label for v in c.verdicts] == [c.verdicts[0].label] * 2 + [c.verdicts[2].label] * 2
    with pytest.raises(NotFound, match="There are 4 verdicts"):
        c.verdict  # noqa: B018
    (alone,) = compare(local, two[1:], ["input-x-gradient"], target=0, progress=False).verdicts
    assert alone.scores["input-x-gradient"] == pytest.approx(
        c.verdicts[1].scores["input-x-gradient"], abs=1e-3
    )


def test_maps_share_the_interventions(local: Window, picture: Tensor, compared: Comparison):
    one = compare(local, picture, METHODS[:1], target=0, progress=False).verdict
    # The class predicted, whether samples mix, everything hidden; and one pass of each for another class.
    assert one.cost.forward <= 4 * BLOCK + 3 + 3
    assert compared.verdict.cost.forward <= 4 * BLOCK + 3 + 3


def test_without_a_verdict_nothing_is_run_for_it(local: Window, picture: Tensor):
    c = compare(local, picture, ["saliency"], target=0, verdict=False, progress=False)
    assert c.verdicts == ()
    assert c.cost.forward == 1
    with pytest.raises(NotFound, match="verdict=True"):
        c.verdict  # noqa: B018


def test_a_budget_of_passes_is_kept_and_said(local: Window, picture: Tensor):
    c = compare(local, picture, ["saliency"], target=0, budget=70, progress=False)
    assert len(c.verdict.interventions) == BLOCK
    assert c.verdict.spent in ("", "70 passes")


def test_methods_that_do_not_fit_a_budget_of_seconds_are_left_out(local: Window, picture: Tensor):
    c = compare(
        local, picture, ["saliency", "rise:samples=4000000"], target=0, budget="5s", progress=False
    )  # fmt: skip
    assert [e.method for e in c] == ["saliency"]
    (refusal,) = c.refusals
    assert "left out, to fit the budget of 5 s" in refusal.reason


@pytest.mark.parametrize(
    ("given", "error"), [("fast", InvalidValue), ("0s", InvalidValue), (True, InvalidType), ([], InvalidType)]
)
def test_another_budget_is_refused(given: object, error: type[Exception]):
    with pytest.raises(error, match="budget must be"):
        Budget.of(given)  # type: ignore[arg-type]


def test_a_black_box_is_judged_like_the_network(local: Window, picture: Tensor):
    def box(x: Tensor) -> Tensor:
        with torch.no_grad():
            return local(x)

    method = ["occlusion:window=4,stride=4"]
    theirs = compare(box, picture, method, target=0, progress=False).verdict
    ours = compare(local, picture, method, target=0, progress=False).verdict
    assert theirs.scores[method[0]] == pytest.approx(ours.scores[method[0]], abs=1e-4)


def test_a_model_that_fails_on_hidden_parts_gives_maps_and_says_why(picture: Tensor):
    class Fragile(Window):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            return out if len(x) == 1 and torch.equal(x, picture) else out * torch.nan

    c = compare(Fragile(slice(4, 16), slice(16, 30)).eval(), picture, ["saliency"], target=0, progress=False)
    assert len(c) == 1
    assert c.verdicts == ()
    assert "has no verdict" in c.unjudged[0]
    assert "must be finite" in c.unjudged[0]


@pytest.mark.parametrize("make", [lambda v: v.to_dict(), lambda v: json.loads(json.dumps(v.to_dict()))])
def test_a_verdict_goes_through_json(compared: Comparison, make: Callable[[Verdict], dict[str, object]]):
    stored = make(compared.verdict)
    again = Verdict.from_dict(stored)
    assert again.to_dict() == compared.verdict.to_dict()
    assert torch.equal(again.interventions.hidden, compared.verdict.interventions.hidden)


def test_a_saved_comparison_keeps_its_verdict(compared: Comparison, tmp_path: object):
    path = compared.save(f"{tmp_path}/c.npz")
    assert Comparison.load(path).verdict.to_dict() == compared.verdict.to_dict()


def test_the_same_again_whatever_the_batch_size(local: Window, picture: Tensor, compared: Comparison):
    again = compare(local, picture, METHODS, target=0, output="logit", batch_size=3, progress=False).verdict
    for title, ends in compared.verdict.scores.items():
        assert again.scores[title] == pytest.approx(ends, abs=1e-4)


def test_runs():
    assert _runs([True, True, False]) == [(0, 2)]
    assert _runs([False]) == []


def test_several_undecided_maps_are_one_short_sentence():
    done = planted(60)
    noise = torch.rand(3, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    half = [EVIDENCE * 0.2 + row * 0.16 for row in noise[:2]]
    maps = [JudgedMap(name, row, 1) for name, row in zip("ab", half, strict=True)]
    said, levels = judge_maps(done, maps, floor(), None, torch.Generator(), localised=True)
    said = tuple(replace(one, state="undecided") for one in said)
    verdict = Verdict("p", "cat", "net", said, True, "", levels, torch.eye(2).double(), 1.0, done, Cost())
    (text,) = [text for text in sentences(verdict) if "undecided" in text]
    numbers = ", ".join(f"{one.q:.2f}" for one in said)
    parts = ", ".join(f"{one.strongest:.2f}" for one in said)
    assert text == (
        f"a and b are undecided after 60 interventions (q {numbers}; of the strongest parts alone {parts}): "
        "do not rest on them alone."
    )
    (text,) = [text for text in sentences(replace(verdict, maps=said[:1])) if "undecided" in text]
    assert f"95 % {said[0].low:.2f} to {said[0].high:.2f}" in text
