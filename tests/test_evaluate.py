"""`evaluate`: methods by metrics over pictures, with intervals, resumed, and with objects of every form."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from torch import Tensor, nn

import pellucid
from pellucid.errors import InvalidValue, NotFound
from pellucid.evaluate import evaluate
from pellucid.evaluation.objects import Objects
from pellucid.images import Box, open_picture
from pellucid.intervals import bootstrap, holm, paired
from pellucid.measure import measure
from pellucid.totals import Totals

METHODS = ["saliency", "input-x-gradient"]
METRICS = ["deletion:steps=4", "sparseness"]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3)).eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(4, 3, 10, 10, generator=torch.Generator().manual_seed(1))


def test_its_numbers_are_those_of_measure(net: nn.Module, x: Tensor):
    found = evaluate(net, x, METHODS, METRICS, target=1, progress=False)
    for method in METHODS:
        maps = pellucid.explain(net, x, method, target=1, progress=False).attribution
        for metric in METRICS:
            values = measure(net, x, maps, metric, target=1).value
            at = found.values[METHODS.index(method), METRICS.index(metric)]
            assert at.tolist() == pytest.approx(values.tolist(), abs=1e-6)
            assert found[method, metric].mean == pytest.approx(float(values.mean()), abs=1e-6)
    assert found.labels == ("class 1",) * 4
    with pytest.raises(NotFound, match="must be a method and a metric"):
        found["rise", "deletion"]


def test_a_store_goes_on_where_it_stopped_and_refuses_another_request(
    net: nn.Module, x: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = tmp_path / "new" / "run.jsonl"
    whole = evaluate(net, x, METHODS, METRICS, target=1, progress=False)
    stopped = {"after": 2}
    import importlib

    from pellucid import evaluate as module_or_function  # noqa: F401

    module = importlib.import_module("pellucid.evaluate")
    one = module._one

    def some(*args: object) -> dict[str, object]:
        if stopped["after"] == 0:
            raise KeyboardInterrupt
        stopped["after"] -= 1
        return one(*args)

    monkeypatch.setattr(module, "_one", some)
    with pytest.raises(KeyboardInterrupt):
        evaluate(net, x, METHODS, METRICS, target=1, store=store, progress=False)
    assert len(store.read_text().splitlines()) == 3
    with store.open("a") as file:
        file.write('{"key": "2", "pict')  # cut off as by a crash
    stopped["after"] = 2
    resumed = evaluate(net, x, METHODS, METRICS, target=1, store=store, progress=False)
    assert stopped["after"] == 0
    assert torch.equal(resumed.values, whole.values)
    stopped["after"] = 0
    assert torch.equal(
        evaluate(net, x, METHODS, METRICS, target=1, store=store, progress=False).values, whole.values
    )
    with pytest.raises(InvalidValue, match="another request: target differ"):
        evaluate(net, x, METHODS, METRICS, target=2, store=store, progress=False)
    other = tmp_path / "other.jsonl"
    other.write_text("hello\n")
    with pytest.raises(InvalidValue, match="must be a store"):
        evaluate(net, x, METHODS, METRICS, target=1, store=other, progress=False)


@pytest.mark.parametrize("suffix", ["csv", "json", "md", "parquet"])
def test_tables_are_written_and_hold_no_nan(net: nn.Module, x: Tensor, tmp_path: Path, suffix: str):
    blank = x.clone()
    blank[2] = 0
    found = evaluate(
        net, blank, ["input-x-gradient"], ["sparseness", "deletion:steps=4"], target=1, progress=False
    )
    path = found.save(tmp_path / f"table.{suffix}")
    if suffix == "parquet":
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
        assert len(rows) == 8
        return
    text = path.read_text("utf-8")
    assert "nan" not in text.lower()
    if suffix == "json":
        stored = json.loads(text)
        assert len(stored["values"]) == 8
        assert stored["metrics"][1]["protocol"]["steps"] == "4"
    if suffix == "md":
        assert text.startswith("| method | sparseness ↑ | deletion:steps=4 ↓ | seconds |")
        assert "95 % bootstrap" in text


def test_bootstrap_covers_the_mean_and_of_nothing_says_so():
    random = np.random.default_rng(0)
    inside = 0
    for i in range(200):
        found = bootstrap(torch.from_numpy(random.normal(3, 1, 30)), seed=i)
        inside += found.low <= 3 <= found.high
    assert 0.88 <= inside / 200 <= 0.98
    assert str(bootstrap(torch.tensor([torch.nan], dtype=torch.float64))) == "–"
    assert bootstrap(torch.tensor([2.0, torch.nan], dtype=torch.float64)).count == 1


def test_paired_is_scipys_permutation_test():
    random = np.random.default_rng(0)
    a, b = random.normal(0.5, 1, 10), random.normal(0, 1, 10)
    _, p = paired(torch.from_numpy(a), torch.from_numpy(b))
    expected = scipy.stats.permutation_test(
        (a - b,), lambda d: d.mean(), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert p == pytest.approx(expected)
    long_a, long_b = random.normal(0.2, 1, 40), random.normal(0, 1, 40)
    _, p = paired(torch.from_numpy(long_a), torch.from_numpy(long_b))
    expected = scipy.stats.permutation_test(
        (long_a - long_b,), lambda d: d.mean(), permutation_type="samples", n_resamples=20000
    ).pvalue
    assert p == pytest.approx(expected, abs=0.02)


def test_holm_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_no_method_is_best_among_equals_and_a_clear_one_is():
    from pellucid.engine.cost import Cost
    from pellucid.evaluation.record import Column, Evaluation

    random = torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.01
    values = torch.stack([random, random + noise - 0.005, random - 0.3])[:, None]
    column = Column("deletion", "deletion", False, "probability", {})
    names = ("a", "b", "c")
    found = Evaluation(
        "net", names, (column,), ("p",) * 30, ("l",) * 30, values, {}, Cost(), dict.fromkeys(names, 0.1)
    )
    assert found.best("deletion") == ("c",)
    assert [round(d.mean.mean, 1) for d in found.differences] == [0.0, 0.3, 0.3]


def test_totals_of_shards_add_up_exactly():
    values = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = Totals.of(values, (0.0, 1.0))
    parts = Totals.of(values[:311], (0.0, 1.0)) + Totals.of(values[311:], (0.0, 1.0))
    assert parts.histogram == whole.histogram
    assert parts.count == whole.count == 1000
    assert parts.mean == pytest.approx(float(values.mean()), rel=1e-12)
    assert parts.std == pytest.approx(float(values.std()), rel=1e-9)
    assert parts.quantile(0.5) == pytest.approx(float(values.median()), abs=1 / 256)
    endless = Totals.of(values * 3, (-torch.inf, torch.inf))
    assert endless.quantile(0.5) == pytest.approx(float(values.median()) * 3, abs=0.2)
    assert Totals.of(values[:0], (0.0, 1.0)).mean is None


# --- where objects are


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "pictures" / "cat.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    return path


BOX = (10.0, 4.0, 30.0, 20.0)


def coco(folder: Path) -> Path:
    file = folder / "instances.json"
    left, top, right, bottom = BOX
    file.write_text(json.dumps({
        "images": [{"id": 7, "file_name": "val/cat.png"}],
        "annotations": [
            {"image_id": 7, "bbox": [left, top, right - left, bottom - top]},
            {"image_id": 7, "bbox": [50, 30, 9, 9], "iscrowd": 1},
        ],
    }))  # fmt: skip
    return file


def voc(folder: Path) -> Path:
    (folder / "voc").mkdir()
    left, top, right, bottom = (int(side) for side in BOX)
    entry = "<object><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"  # noqa: E501
    objects = entry.format(0, left + 1, top + 1, right, bottom) + entry.format(1, 41, 31, 50, 40)
    (folder / "voc" / "cat.xml").write_text(f"<annotation>{objects}</annotation>")
    return folder / "voc"


def masks(folder: Path) -> Path:
    (folder / "masks").mkdir()
    mask = np.zeros((40, 60), np.uint8)
    left, top, right, bottom = (int(side) for side in BOX)
    mask[top:bottom, left:right] = 255
    Image.fromarray(mask).save(folder / "masks" / "cat.png")
    return folder / "masks"


@pytest.mark.parametrize(
    "make", [coco, voc, masks, lambda folder: {"cat": [BOX]}], ids=["coco", "voc", "masks", "mapping"]
)
def test_the_same_object_in_every_form_is_the_same_mask(make: object, photo: Path, tmp_path: Path):
    objects = Objects.of(make(tmp_path))  # type: ignore[operator]
    picture = open_picture(photo)
    # The input is the picture's middle 40 x 40, drawn as 20 x 20.
    mask = objects.mask(picture, Box(10.0, 0.0, 50.0, 40.0), (20, 20))
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[2:10, 0:10] = True
    assert mask is not None
    assert torch.equal(mask, expected)
    assert objects.mask(open_picture("sample:coins"), Box(0.0, 0.0, 9.0, 9.0), (4, 4)) is None


def test_objects_that_are_none_are_refused(tmp_path: Path, photo: Path):
    with pytest.raises(FileNotFoundError, match="there is nothing"):
        Objects.of(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidValue, match="holds none"):
        Objects.of(tmp_path / "empty")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(InvalidValue, match="must be a COCO file"):
        Objects.of(bad)
    small = tmp_path / "small"
    small.mkdir()
    Image.new("L", (3, 3)).save(small / "cat.png")
    with pytest.raises(InvalidValue, match="as large as its picture"):
        Objects.of(small).mask(open_picture(photo), Box(0.0, 0.0, 60.0, 40.0), (4, 4))


def test_a_store_is_of_one_place_of_the_object(net: nn.Module, x: Tensor, tmp_path: Path):
    truth = torch.zeros(4, 10, 10, dtype=torch.bool)
    truth[:, 2:5, 2:5] = True
    asked = {"target": 1, "store": tmp_path / "run.jsonl", "progress": False}
    evaluate(net, x, ["saliency"], ["relevance-mass"], boxes=truth, **asked)
    evaluate(net, x, ["saliency"], ["relevance-mass"], boxes=truth.clone(), **asked)
    with pytest.raises(InvalidValue, match="another request: boxes differ"):
        evaluate(net, x, ["saliency"], ["relevance-mass"], boxes=truth.roll(3, 1), **asked)


def test_nothing_to_do_is_refused(net: nn.Module, x: Tensor):
    with pytest.raises(InvalidValue, match="at least one method and one metric"):
        evaluate(net, x, [], METRICS)
    with pytest.raises(InvalidValue, match="There must be one target per image"):
        evaluate(net, x, METHODS, METRICS, target=[1, 2], progress=False)
