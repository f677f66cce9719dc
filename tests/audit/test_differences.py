"""Where two runs differ: movement by hand, matching by a slow twin, tests by scipy, and what is written."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import scipy.stats
import torch
from PIL import Image
from pyarrow import parquet
from torch import Tensor
from typer.testing import CliRunner

import pellucid
from pellucid.audit.differences import Gathered, Largest, classes, movement, movement_between, numbers
from pellucid.audit.pairing import FINEST, Kept, Pairing, Rows, Waiting, coarse
from pellucid.cli import app
from pellucid.errors import FileMissing, InvalidType, InvalidValue
from pellucid.intervals import bootstrap, mcnemar, mean_interval, proportion
from pellucid.runner.maps import encode_map
from pellucid.runner.schema import row_schema
from runner.conftest import write_pictures
from runner.victim import make


def row(i: int, map: Tensor | None, **changed: Any) -> dict[str, Any]:
    """A row of a run over pictures of 40 x 40 pixels that the model sees whole."""
    known = {
        "row": i, "id": f"p{i}.png", "digest": f"d{i}", "label": "cat", "width": 40, "height": 40,
        "prediction": 0, "prediction_label": "cat", "probability": 0.9, "method": "grad-cam",
        "target_asked": "predicted", "target": 0, "target_label": "cat", "output": "logit", "score": 1.0,
        "input_height": 20, "input_width": 20, "seen": [0.0, 0.0, 40.0, 40.0],
    }  # fmt: skip
    stored = {"error": "no map"} if map is None else encode_map(map)
    return {**known, **stored, **changed}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=row_schema())


def corner(at: int, side: int = 2) -> Tensor:
    """A map with all its evidence in one cell."""
    map = torch.zeros(side, side)
    map.view(-1)[at] = 3.0
    return map


# --- movement -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "moved"),
    [
        ([1.0, 0, 0, 0], [0.0, 0, 0, 1], 1.0),
        ([1.0, 1, 1, 1], [2.0, 0, 0, 0], 0.75),
        ([1.0, 1, 0, 0], [0.0, 1, 1, 0], 0.5),
        ([2.0, 1, 0, 1], [20.0, 10, 0, 10], 0.0),
        ([1.0, 1, 0, 0], [1.0, -1, 0, 0], 0.5),
        ([1.0, 2, 0, 0], [-1.0, -2, 0, 0], 1.0),
        ([0.0, 0, 0, 0], [1.0, 0, 0, 0], 1.0),
        ([0.0, 0, 0, 0], [0.0, 0, 0, 0], 0.0),
    ],
)
def test_movement_is_the_share_of_evidence_that_would_have_to_be_moved(a, b, moved: float):
    assert movement(torch.tensor(a), torch.tensor(b)) == pytest.approx(moved)
    assert movement(torch.tensor(b), torch.tensor(a)) == pytest.approx(moved)


def test_maps_of_other_grain_and_crop_are_compared_where_both_looked():
    fine = torch.zeros(8, 8)
    fine[:4, :4] = 1.0
    same = movement_between(Kept.of(row(0, corner(0))), Kept.of(row(0, fine)))
    assert same == pytest.approx(0, abs=1e-6)
    # The right half alone: of both maps only what lies there counts.
    half = Kept.of(row(0, torch.ones(2, 1), seen=[20.0, 0.0, 40.0, 40.0]))
    whole = Kept.of(row(0, torch.tensor([[9.0, 1.0], [9.0, 0.0]])))
    assert movement_between(half, whole) == pytest.approx(0.5)


def test_fine_maps_are_kept_four_cells_to_each_of_the_common_grid():
    map = torch.rand(3, 2 * FINEST, FINEST, generator=torch.Generator().manual_seed(0))
    kept = coarse(map)
    assert tuple(kept.shape) == (FINEST, FINEST // 2)
    torch.testing.assert_close(kept, map.sum(0).reshape(FINEST, 2, FINEST // 2, 2).mean((1, 3)))
    other = torch.rand(3, 2 * FINEST, FINEST, generator=torch.Generator().manual_seed(1))
    size = {"width": 20, "height": 40, "seen": [0.0, 0.0, 20.0, 40.0]}
    pair = Kept.of(row(0, map, **size)), Kept.of(row(0, other, **size))
    cells = [m.sum(0).double().reshape(14, 8, 7, 8).sum((1, 3)).flatten() for m in (map, other)]
    assert movement_between(*pair) == pytest.approx(movement(*cells), abs=2e-3)  # float16's digits


# --- matching -----------------------------------------------------------------------------------------------


def pairs_of(a: pa.Table, b: pa.Table) -> tuple[list[tuple[str, str]], Pairing]:
    pairing = Pairing(Rows.of(a, "a"), Rows.of(b, "b"), "grad-cam", "grad-cam", "predicted", "predicted")
    return [(one.row["id"], other.row["id"]) for one, other in pairing], pairing


def twin(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Pairs by trying every row against every other: by digest where both have one, else by id."""
    found, used = set(), set()
    for one in a:
        for i, other in enumerate(b):
            key = "id" if None in (one["digest"], other["digest"]) else "digest"
            if i not in used and one[key] == other[key]:
                found.add((one["id"], other["id"]))
                used.add(i)
                break
    return found


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_those_of_a_slow_twin_in_any_order(seed: int):
    source = random.Random(seed)
    map = corner(0)
    a = [row(i, map) for i in range(60)]
    b = [row(i, map) for i in range(20, 80)]
    for one in source.sample(a, 10) + source.sample(b, 10):
        one["digest"] = None
    for one in source.sample(b, 10):  # renamed: known by its digest, if it has one
        one["id"] = f"renamed-{one['id']}"
    source.shuffle(a)
    source.shuffle(b)
    batches = [pa.Table.from_batches(table(side).to_batches(max_chunksize=7)) for side in (a, b)]
    found, pairing = pairs_of(*batches)
    assert len(found) == len(set(found))
    assert set(found) == twin(a, b)
    assert (pairing.only_a, pairing.only_b) == (60 - len(found), 60 - len(found))


def test_a_file_that_is_there_twice_is_paired_with_its_namesake():
    a = [row(0, corner(0), digest="same"), row(1, corner(1), digest="same")]
    found, _ = pairs_of(table(a), table(a))
    assert sorted(found) == [("p0.png", "p0.png"), ("p1.png", "p1.png")]
    found, _ = pairs_of(table(a), table(a[::-1]))
    assert sorted(found) == [("p0.png", "p0.png"), ("p1.png", "p1.png")]
    waiting = Waiting()
    for one in a:
        waiting.keep(Kept.of(one))
    assert waiting.take(row(9, None, digest="same")).row["id"] == "p0.png"  # neither is its namesake
    assert waiting.take(row(1, None, digest="same")).row["id"] == "p1.png"
    assert (len(waiting), waiting.digests, waiting.ids) == (0, {}, {})
    assert waiting.take(row(1, None, digest="same")) is None


def test_another_picture_under_the_same_name_is_another_picture():
    found, pairing = pairs_of(table([row(0, corner(0))]), table([row(0, corner(0), digest="other")]))
    assert found == []
    assert (pairing.only_a, pairing.only_b) == (1, 1)


def test_next_to_nothing_waits_where_the_order_is_the_same():
    rows = [row(i, corner(0)) for i in range(500)]
    part = pa.Table.from_batches(table(rows).to_batches(max_chunksize=10))
    other = pa.Table.from_batches(table(rows[5:]).to_batches(max_chunksize=10))
    found, pairing = pairs_of(part, other)
    assert len(found) == 495
    assert pairing.most <= 15
    _, backwards = pairs_of(part, pa.Table.from_batches(table(rows[::-1]).to_batches(max_chunksize=10)))
    assert backwards.most > 400


def test_rows_without_a_map_are_counted():
    a = table([row(0, corner(0)), row(1, None), row(2, corner(0))])
    b = table([row(0, corner(0)), row(1, corner(0)), row(2, None)])
    found = pellucid.diff(a, b)
    assert (found.matched, found.failed_a, found.failed_b, found.only_a, found.only_b) == (1, 1, 1, 1, 1)
    assert "1 have no map in the first" in found.sentences[-1]


# --- numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 9), (3, 30), (25, 25), (1000, 1100), (0, 40)])
def test_mcnemar_is_scipys_binomial_test(one: int, other: int):
    expected = scipy.stats.binomtest(one, one + other, 0.5).pvalue
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(other, one) == pytest.approx(expected, rel=1e-9)


def test_an_interval_of_many_is_that_of_the_bootstrap():
    values = torch.rand(3000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 2
    one, other = mean_interval(values), bootstrap(values)
    assert one.mean == pytest.approx(other.mean)
    assert one.low == pytest.approx(other.low, abs=1e-3)
    assert one.high == pytest.approx(other.high, abs=1e-3)
    assert mean_interval(values[:100]) == bootstrap(values[:100])


def runs() -> tuple[pa.Table, pa.Table]:
    """Twenty cats whose evidence moves to another corner in six, and ten dogs whose evidence stays."""
    a, b = [], []
    for i in range(20):
        a.append(row(i, corner(0), score=1.0 + i, probability=0.5 + 0.01 * i))
        b.append(row(i, corner(3 if i < 6 else 0), score=1.5 + i))
    for i in range(20, 30):
        dog = {"label": "dog", "prediction": 1, "prediction_label": "dog", "target": 1, "target_label": "dog"}
        a.append(row(i, corner(1), **dog))
        changed = (
            {"prediction": 2, "prediction_label": "cow", "target": 2, "target_label": "cow"} if i < 24 else {}
        )
        b.append(row(i, corner(1), **{**dog, **changed}))
    wrong = {"prediction": 1, "prediction_label": "dog"}
    a[7] |= wrong  # becomes right
    return table(a), table(b)


def test_totals_flips_and_classes_are_those_counted_by_hand():
    found = pellucid.diff(*runs())
    assert found.matched == 30
    assert found.movement.mean == pytest.approx(6 / 30)
    assert found.same_class.count == 26
    assert found.same_class.mean == pytest.approx(6 / 26)
    assert found.score.mean == pytest.approx(20 * 0.5 / 26)
    flips = found.flips
    assert flips.count == 5
    assert flips.share == proportion(5, 30)
    assert (flips.to_wrong, flips.to_right) == (4, 1)
    assert flips.accuracy_a == proportion(29, 30)
    assert flips.accuracy_b == proportion(26, 30)
    assert flips.gain.mean == pytest.approx(-3 / 30)
    assert flips.p == pytest.approx(scipy.stats.binomtest(1, 5, 0.5).pvalue)
    cat, dog = found.classes
    assert (cat.name, cat.count, cat.movement.mean) == ("cat", 20, pytest.approx(0.3))
    assert cat.movement == mean_interval(torch.tensor([1.0] * 6 + [0.0] * 14, dtype=torch.float64))
    assert (dog.name, dog.count, dog.movement.mean) == ("dog", 10, 0)
    assert dog.flips == proportion(4, 10)
    assert dog.gain.mean == pytest.approx(-0.4)
    assert cat.score.mean == pytest.approx(0.5)
    assert dog.score.count == 6
    text = " ".join(found.sentences)
    assert "20.0 % [" in text
    assert "changed for 5 of 30 pictures" in text
    assert "1 became right and 4 wrong, no more than chance would make (McNemar p = 0.375)" in text
    assert "the evidence of “cat” moved most: 30.0 % [" in text


def test_pictures_are_ranked_by_movement_and_flips_by_how_sure_both_models_are():
    found = pellucid.diff(*runs(), top=3)
    assert [one.id for one in found.pictures] == ["p0.png", "p1.png", "p2.png"]
    assert [one.movement for one in found.pictures] == [1.0] * 3
    assert found.pictures[0].a.map.flatten().argmax() == 0
    assert found.pictures[0].b.map.flatten().argmax() == 3
    assert [one.id for one in found.flipped] == ["p20.png", "p21.png", "p22.png"]
    assert pellucid.diff(*runs(), top=0).pictures == ()


def test_the_largest_are_kept_however_many_come():
    source = random.Random(0)
    keys = [source.choice([0.1, 0.2, 1.0, float("nan"), source.random()]) for _ in range(500)]
    largest = Largest(9)
    for i, key in enumerate(keys):
        largest.take(key, (key, i))
    known = [(key, i) for i, key in enumerate(keys) if key == key]
    assert largest.best() == sorted(known, key=lambda one: (-one[0], one[1]))[:9]


def test_a_class_of_few_pictures_is_listed_last():
    a = [row(i, corner(0)) for i in range(6)] + [row(9, corner(0), label="rare")]
    b = [row(i, corner(i % 2)) for i in range(6)] + [row(9, corner(1), label="rare")]
    assert [one.name for one in pellucid.diff(table(a), table(b)).classes] == ["cat", "rare"]


def test_without_labels_and_classes_there_is_nothing_to_judge():
    bare = {
        "label": None, "prediction": None, "prediction_label": None, "probability": None, "target": None,
        "target_label": None,
    }  # fmt: skip
    a, b = (table([row(i, corner(at), **bare) for i in range(5)]) for at in (0, 1))
    found = pellucid.diff(a, b)
    assert found.movement.mean == 1
    assert found.flips.share.count == 0
    assert found.flips.p is found.flips.accuracy_a is None
    assert [one.name for one in found.classes] == ["no class"]
    assert "prediction" not in " ".join(found.sentences)
    assert found.save.__self__ is found


def test_a_control_says_how_far_maps_move_anyway():
    a = [row(i, corner(0)) for i in range(40)]
    noise = [row(i, torch.tensor([[3.0, 0.5 + 0.01 * i], [0.0, 0.0]])) for i in range(40)]
    far = [row(i, corner(3)) for i in range(40)]
    found = pellucid.diff(table(a), table(far), control=table(noise))
    control = found.control
    expected = [float((0.5 + 0.01 * i) / (3.5 + 0.01 * i)) for i in range(40)]
    assert control.movement.mean == pytest.approx(sum(expected) / 40, abs=1e-3)
    assert control.excess.mean == pytest.approx(1 - sum(expected) / 40, abs=1e-3)
    assert control.p < 0.001
    assert control.beyond == proportion(40, 40)
    assert "so it moved more than it does anyway (p < 0.001)" in found.sentences[1]
    same = pellucid.diff(table(a), table(noise), control=table(noise))
    assert same.control.p == 1
    assert same.control.beyond.mean <= 0.05
    assert "not known to have moved more" in same.sentences[1]
    with pytest.raises(InvalidValue, match="control must explain pictures of"):
        pellucid.diff(table(a), table(far), control=table([row(99, corner(0))]))


def test_methods_are_found_by_name_and_must_be_one():
    layered = [row(0, corner(0), method="grad-cam:layer=a"), row(0, corner(0), method="rise")]
    plain = [row(0, corner(1)), row(0, corner(2), method="rise")]
    found = pellucid.diff(table(layered), table(plain), method="grad-cam")
    assert (found.method_a, found.method_b) == ("grad-cam:layer=a", "grad-cam")
    with pytest.raises(
        InvalidValue, match="one method to compare; run a has grad-cam:layer=a, rise: say which"
    ):
        pellucid.diff(table(layered), table(plain))
    with pytest.raises(InvalidValue, match="none is 'lime'"):
        pellucid.diff(table(layered), table(plain), method="lime")
    two = [row(0, corner(0)), row(0, corner(0), target_asked="label")]
    with pytest.raises(InvalidValue, match="one target to compare"):
        pellucid.diff(table(two), table(two))
    assert pellucid.diff(table(two), table(two), target="label").matched == 1


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(InvalidType, match=r"A run must be a folder, a pellucid\.Run or an Arrow table"):
        pellucid.diff(3, table([row(0, corner(0))]))
    with pytest.raises(FileMissing):
        pellucid.diff(tmp_path, tmp_path)
    with pytest.raises(InvalidValue, match=r"must have the columns of a run .* digest, seen are missing"):
        pellucid.diff(table([]).drop_columns(["digest", "seen"]), table([]))
    with pytest.raises(InvalidValue, match="some of the same pictures; run a has 1 with a map, run b 1"):
        pellucid.diff(table([row(0, corner(0))]), table([row(1, corner(0))]))
    with pytest.raises(InvalidValue, match="top must be a whole number, at least 0; got -1"):
        pellucid.diff(*runs(), top=-1)


# --- what is written ----------------------------------------------------------------------------------------


def test_json_markdown_and_parquet_hold_what_was_found(tmp_path: Path):
    found = pellucid.diff(*runs(), top=2)
    known = json.loads(found.save(tmp_path / "diff.json").read_text("utf-8"))
    assert known["movement"]["mean"] == pytest.approx(0.2)
    assert known["pictures"][0]["id"] == "p0.png"
    assert known["pictures"][0]["map_b"] == [[0.0, 0.0], [0.0, 3.0]]
    assert known == json.loads(json.dumps(found.to_dict()))
    text = found.save(tmp_path / "diff.md").read_text("utf-8")
    assert "| cat | 20 | 30.0 % [" in text
    assert "| p0.png | cat | 100 % | cat | cat |" in text
    rows = parquet.read_table(found.save(tmp_path / "diff.parquet")).to_pylist()
    assert len(rows) == 30
    expected = {
        "id": "p20.png",
        "class": "dog",
        "movement": 0.0,
        "flipped": True,
        "right_a": True,
        "right_b": False,
    }
    assert expected.items() <= rows[20].items()


def test_a_page_of_tables_shows_thumbnails_and_needs_nothing_else(tmp_path: Path):
    stream = io.BytesIO()
    Image.new("RGB", (20, 20), "#00ff00").save(stream, "JPEG")
    evil = {"id": "<b>.png", "thumbnail": stream.getvalue()}
    a, b = (table([row(0, corner(at), **evil)]) for at in (0, 3))
    found = pellucid.diff(a, b)
    page = found.save(tmp_path / "diff.html").read_text("utf-8")
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "100 % of the evidence moved" in page
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "http" not in page
    from pellucid.audit.difference_page import Album, overlay

    album = Album(found.sources, found.pictures)
    picture = album.picture(0, found.pictures[0].a, found.pictures[0].b)
    assert picture.size == (40, 40)
    red, green, blue = picture.getpixel((5, 5))
    assert green > 200 > max(red, blue)
    drawn = overlay(found.pictures[0].a, picture)
    assert drawn.getpixel((5, 5)) != drawn.getpixel((drawn.width - 5, drawn.height - 5))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Runs of two networks over sixty pictures, and a file that is none."""
    pictures = write_pictures(tmp_path_factory.mktemp("pictures"), 60)
    (pictures / "c1" / "broken.png").write_bytes(b"not a picture")
    folders = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    for seed, folder in enumerate(folders):
        model = make()
        with torch.no_grad():
            for weight in model.module.parameters():
                weight += 0.1 * seed * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        pellucid.run(model, pictures, "grad-cam", store=folder, progress=False, shard_size=25)
    return folders


def test_runs_are_compared_as_their_tables_are(stores: tuple[Path, Path], tmp_path: Path):
    found = pellucid.diff(*stores, top=4)
    opened = [pellucid.open_run(store) for store in stores]
    tables = pellucid.diff(*(one.to_arrow() for one in opened), top=4)
    assert found.numbers.equals(tables.numbers)
    assert found.matched == 60
    assert (found.failed_a, found.failed_b) == (1, 1)
    assert found.flips.accuracy_a is not None
    kept = found.pictures[0]
    maps = [one.explanation(kept.id).raw[0] for one in opened]
    torch.testing.assert_close(kept.a.map, maps[0], rtol=1e-3, atol=1e-6)
    assert kept.movement == pytest.approx(movement_between(kept.a, kept.b))
    found.save(tmp_path / "diff.html")


def test_the_command_writes_and_tells(stores: tuple[Path, Path], tmp_path: Path):
    page = tmp_path / "moved.html"
    done = CliRunner().invoke(app, ["diff", *map(str, stores), "--out", str(page), "--top", "3"])
    assert done.exit_code == 0, done.output
    assert "On the 60 pictures that both explain" in done.output
    assert page.read_text("utf-8").count("of the evidence moved<div") >= 3
    done = CliRunner().invoke(
        app, ["diff", *map(str, stores), "--json", "-m", "grad-cam", "--out", str(tmp_path / "d.parquet")]
    )
    known = json.loads(done.stdout)
    assert known["matched"] == 60
    assert known["movement"]["count"] == 60
    same = CliRunner().invoke(app, ["diff", str(stores[0]), str(stores[0]), "--quiet", "--out", str(page)])
    assert (same.exit_code, same.stdout) == (0, "")
    for bad in (["--out", "d.txt"], ["-m", "lime"], ["--control", str(tmp_path / "none")]):
        done = CliRunner().invoke(app, ["diff", *map(str, stores), *bad])
        assert done.exit_code == 2
        assert "Traceback" not in done.output


def test_numbers_of_many_pictures_take_little():
    gathered = Gathered(5)
    one = Kept.of(table([row(0, corner(0))]).to_pylist()[0])
    for _ in range(5000):
        gathered.take(one, one)
    found = gathered.table()
    assert found.num_rows == 5000
    assert found.nbytes / 5000 < 150
    assert numbers(found, "movement").sum() == 0
    assert classes(found, 0)[0].count == 5000
