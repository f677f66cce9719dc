"""Rows of a run become evidence: what counts, what is left out, what is drawn."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.audit import collecting
from pellucid.audit.collecting import Collector
from pellucid.errors import InvalidValue


def row(number: int, **known: Any) -> dict[str, Any]:
    """One row of a shard; what is not said is as in a plain run."""
    label = known.get("label_index", number % 3)
    return {
        "row": number, "id": f"{number}.png", "label": None if label is None else f"c{label}",
        "label_index": label, "boxes": None, "prediction": label, "prediction_label": f"c{label}",
        "probability": 0.9, "method": "grad-cam", "target": label, "input_height": 32, "input_width": 32,
        "seen": [0.0, 0.0, 32.0, 32.0], "inside": None, "error": None, **known,
    }  # fmt: skip


def peak(row: int = 1, column: int = 1) -> Tensor:
    map = torch.zeros(4, 4)
    map[row, column] = 2.0
    return map


def collected(rows: list[dict[str, Any]], maps: list[Tensor | None] | None = None, **asked: Any) -> Collector:
    return Collector("grad-cam", **asked).read([(rows, maps or [peak() for _ in rows])])


def test_failed_rows_and_those_of_other_methods_are_left_out():
    rows = [row(0), row(1, error="it broke"), row(2), row(3, method="saliency"), row(4)]
    found = collected(rows, [peak(), None, peak(), peak(), torch.full((4, 4), -1.0)])
    assert found.sums.counts == {
        "in the run": 4, "failed": 1, "without evidence": 1, "of another target": 0, "read": 2,
    }  # fmt: skip
    assert found.evidence.ids == ["0.png", "2.png"]
    assert found.evidence.grids[0, 4:8, 4:8].sum() == pytest.approx(1)


def test_maps_of_another_class_than_the_pictures_own_are_left_out():
    rows = [row(0), row(3, target=2, prediction=2, prediction_label="c2"), row(6, target=1)]
    found = collected(rows)
    assert found.sums.counts["of another target"] == 2
    assert found.evidence.rows.tolist() == [0]


def test_without_labels_the_prediction_is_the_class():
    rows = [row(0, label=None, label_index=None, prediction=7, prediction_label="dog", target=7)]
    found = collected(rows).evidence
    assert found.names == {7: "dog"}
    assert found.classes.tolist() == [7]


def test_labels_that_the_model_does_not_know_are_classes_of_their_own():
    rows = [row(n, label="ward", label_index=None, prediction=n % 2, target=n % 2) for n in (0, 1, 2)]
    found = collected(rows).evidence
    number = int(found.classes[0])
    assert found.names == {number: "ward"}
    assert found.target[number] == 0  # what most of its maps explain


def test_a_mean_map_is_that_of_all_pictures_though_few_are_drawn():
    rows = [row(3 * n) for n in range(50)]
    maps = [peak(n % 4, 0) for n in range(50)]
    found = collected(rows, maps, per_class=5, grid=4)
    assert len(found.evidence) == 5
    assert found.sums.sizes == {0: 50}
    assert torch.allclose(found.sums.means[0][:, 0], torch.tensor([13, 13, 12, 12]).double() / 50)
    assert "at most 5 pictures were drawn (seed 0)" in found.sums.notes[0]


def test_the_draw_depends_on_seed_and_row_alone():
    rows = [row(3 * n) for n in range(60)]
    once = collected(rows, per_class=8).evidence.rows
    again = Collector("grad-cam", per_class=8).read(
        [(rows[30:], [peak()] * 30), (rows[:30], [peak()] * 30)]
    ).evidence.rows  # fmt: skip
    other = collected(rows, per_class=8, seed=1).evidence.rows
    fewer = collected(rows, per_class=4).evidence.rows
    assert once.equal(again)
    assert not once.equal(other)
    assert set(fewer.tolist()) < set(once.tolist())


def test_as_many_are_drawn_of_each_part_as_chance_gives():
    rows = [row(3 * n) for n in range(4000)]
    drawn = collected(rows, per_class=400, grid=2).evidence.rows // 3
    counts = torch.histc(drawn.float(), 8, 0, 4000)
    assert ((counts - 50).abs() < 5 * 6.3).all()


def test_pictures_are_held_to_a_limit_over_all_classes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(collecting, "MOST", 300)
    rows = [row(n, label_index=n % 100, prediction=n % 100, target=n % 100) for n in range(2000)]
    found = collected(rows, per_class=50, grid=2)
    evidence = found.evidence
    assert len(evidence) <= 300
    assert evidence.classes.bincount().tolist() == [evidence.classes.bincount()[0].item()] * 100
    assert found.sums.sizes[5] == 20


def test_pictures_outside_their_boxes_are_listed_the_furthest_first():
    rows = [row(3 * n, inside=n / 10, boxes=[[0.0, 0.0, 16.0, 32.0]]) for n in range(5)]
    found = collected(rows, grid=4)
    assert [one.value for one in found.sums.outside] == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6])
    assert found.evidence.objects is not None
    assert found.evidence.objects[0, 0].tolist() == [1, 1, 0, 0]


def test_confident_mistakes_are_ranked_by_how_their_evidence_differs():
    right = [row(2 + 3 * n) for n in range(4)]  # of class 2
    wrong = [
        row(n, target=2, prediction=2, prediction_label="c2", probability=p)
        for n, p in [(0, 0.95), (3, 0.7), (6, 0.3)]
    ]
    found = collected([*right, *wrong], [peak()] * 4 + [peak(), peak(3, 3), peak(3, 3)])
    assert [(one.row, one.value) for one in found.sums.mistakes] == [
        (3, 1.0),
        (0, pytest.approx(0, abs=1e-6)),
    ]


def test_the_grid_has_no_more_cells_than_inputs_have_pixels():
    assert collected([row(0, input_height=5, input_width=9)]).evidence.grids.shape == (1, 5, 5)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "the run has none yet"),
        ([row(0, error="it broke")], "of 1 rows 1 failed, 0 explain another class"),
        ([row(0, target=1)], "0 failed, 1 explain another class"),
    ],
)
def test_rows_without_evidence_are_refused_with_the_reason(rows: list[dict[str, Any]], said: str):
    with pytest.raises(InvalidValue, match=said):
        collected(rows).evidence  # noqa: B018


def test_rows_are_read_as_they_come():
    held = 0

    def stream() -> Iterator[tuple[list[dict[str, Any]], list[Tensor]]]:
        nonlocal held
        for n in range(20):
            held = n
            yield [row(n)], [peak()]

    assert len(Collector("grad-cam", per_class=2).read(stream()).evidence) == 6
    assert held == 19
