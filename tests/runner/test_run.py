"""A run's rows: what they say, that nothing is lost, and that they are the same however it went."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid
from pellucid.errors import FileMissing, InvalidType, InvalidValue, NotFound
from pellucid.runner.maps import decode_map, encode_map, inside, statistics
from runner.victim import make


def bytes_of(run: pellucid.Run) -> str:
    """A digest of all shards."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in run.store.files())).hexdigest()


@pytest.fixture(scope="module")
def done(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> pellucid.Run:
    """A run with two methods, two targets and a metric."""
    return pellucid.run(
        make(), pictures, ["grad-cam", "saliency"], target=[None, "label"], metrics="deletion:steps=4",
        store=tmp_path_factory.mktemp("store") / "run", shard_size=25, thumbnails=True, progress=False,
    )  # fmt: skip


def test_every_picture_method_and_target_has_one_row(done: pellucid.Run):
    table = done.to_arrow(["row", "method", "target_asked"])
    keys = list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    assert len(keys) == len(set(keys)) == 61 * 4
    assert [row for row, _, _ in keys] == sorted(row for row, _, _ in keys)
    assert done.complete
    assert done.count == 61


def test_rows_say_what_explain_and_measure_say(done: pellucid.Run, pictures: Path):
    model = make()
    rows = [row for row in done.to_arrow().to_pylist() if row["error"] is None]
    for row in rows[:: len(rows) // 12]:
        target = None if row["target_asked"] == "predicted" else row["label"]
        alone = pellucid.explain(model, pictures / row["id"], row["method"], target=target)
        scale = float(alone.raw.abs().max())
        kept = decode_map(row)
        expected = alone.raw[0]
        assert torch.allclose(kept, expected.reshape(kept.shape), atol=scale * 2**-10)
        assert row["score"] == pytest.approx(float(alone.score[0]), rel=1e-5)
        assert (row["target"], row["target_label"]) == (alone.target[0], alone.labels[0])
        assert (row["prediction"], row["prediction_label"]) == (
            alone.prediction[0][0].index, alone.prediction[0][0].label,
        )  # fmt: skip
        box = alone.boxes[0]
        assert row["seen"] == [box.left, box.top, box.right, box.bottom]
        inputs = model.prepare(pictures / row["id"])
        deletion = pellucid.measure.measure(
            model, inputs, alone.attribution, "deletion", target=alone.target, steps=4
        )
        assert row["deletion:steps=4"] == pytest.approx(float(deletion.value[0]), rel=1e-4)


def test_a_picture_that_cannot_be_read_has_rows_that_say_why(done: pellucid.Run):
    rows = [row for row in done.to_arrow().to_pylist() if row["error"] is not None]
    assert {row["id"] for row in rows} == {"c1/broken.png"}
    assert len(rows) == 4
    assert rows[0]["error"] == "c1/broken.png is not a picture in a format that Pillow reads"
    assert {row["error_kind"] for row in rows} == {"picture"}
    assert done.failed == {rows[0]["error"]: 4}


def test_thumbnails_stand_once_a_picture(done: pellucid.Run):
    rows = done.to_arrow(["row", "thumbnail"]).to_pylist()
    first = [row for row in rows if row["thumbnail"] is not None]
    assert len(first) == len({row["row"] for row in first}) == 60


def test_a_second_call_changes_no_byte_and_runs_no_model(done: pellucid.Run, pictures: Path):
    before = bytes_of(done), [os.stat(file).st_mtime_ns for file in done.store.files()]
    again = pellucid.run(
        make(), pictures, ["grad-cam", "saliency"], target=[None, "label"], metrics="deletion:steps=4",
        store=done.folder, thumbnails=True, progress=False,
    )  # fmt: skip
    assert (bytes_of(again), [os.stat(file).st_mtime_ns for file in again.store.files()]) == before


def test_arrow_pandas_polars_and_sql_give_the_same_rows(done: pellucid.Run):
    scores = done.to_arrow(["score"])["score"].to_pylist()
    assert done.to_pandas(["score"])["score"].isna().sum() == 4
    assert done.to_polars().select("score").collect()["score"].to_list() == scores
    (row,) = done.sql("SELECT count(*) AS n, sum(score) AS s FROM run WHERE error IS NULL").to_pylist()
    assert row["n"] == 240
    assert row["s"] == pytest.approx(math.fsum(s for s in scores if s is not None))
    with pytest.raises(InvalidValue, match="SQL"):
        done.sql("SELEKT 1")
    with pytest.raises(NotFound, match="column"):
        done.to_arrow(["nothing"])


def test_an_explanation_comes_back(done: pellucid.Run, pictures: Path):
    back = done.explanation("c0/0000.png", "grad-cam", "predicted")
    alone = pellucid.explain(make(), pictures / "c0/0000.png", "grad-cam")
    assert torch.allclose(back.attribution, alone.attribution, atol=float(alone.raw.abs().max()) / 1024)
    assert back.labels == alone.labels
    assert back.layer == alone.layer
    assert back.options == alone.options | {"layout": back.options["layout"]}
    assert min(back.overlay().size) >= 40
    assert done.explanation(0, "grad-cam", "label").method == "grad-cam"
    with pytest.raises(NotFound, match="not a picture"):
        done.explanation("c1/broken.png", "grad-cam", "predicted")
    with pytest.raises(NotFound, match="there are none"):
        done.explanation("nobody.png", "grad-cam", "predicted")
    with pytest.raises(NotFound, match="target must be one of"):
        done.explanation(0, "grad-cam")


@pytest.mark.parametrize("size", [1, 7, 61, 1000])
def test_rows_are_the_same_whatever_the_shards(size: int, pictures: Path, tmp_path: Path):
    run = pellucid.run(
        make(), pictures, "saliency", store=tmp_path, shard_size=size, batch_size=1, progress=False
    )
    whole = pellucid.run(
        make(), pictures, "saliency", store=tmp_path / "b", shard_size=30, batch_size=1, progress=False
    )
    assert len(run.store.files()) == -(-61 // size)
    drop = [name for name in run.schema.names if name not in ("map_sum", "map")]
    a, b = run.to_arrow(drop), whole.to_arrow(drop)
    assert a.select(["row", "id", "digest", "error"]).equals(b.select(["row", "id", "digest", "error"]))
    ours, theirs = a["score"].to_pylist(), b["score"].to_pylist()
    assert [x is None for x in ours] == [x is None for x in theirs]
    assert [x for x in ours if x is not None] == pytest.approx([x for x in theirs if x is not None])


def test_totals_are_exact_whatever_the_shards(pictures: Path, tmp_path: Path):
    """Against the sum of fractions, of shards added up and of all at once."""
    runs = [
        pellucid.run(
            make(),
            pictures,
            "saliency",
            metrics="deletion:steps=4",
            store=tmp_path / str(size),
            shard_size=size,
            batch_size=4,
            progress=False,
        )
        for size in (32, 64)
    ]
    at = ("saliency", "deletion:steps=4")
    first, second = (run.totals()[at] for run in runs)
    assert first == second
    values = [
        v for v in runs[0].to_arrow(["deletion:steps=4"])["deletion:steps=4"].to_pylist() if v is not None
    ]
    assert first.count == len(values) == 60
    assert first.mean == math.fsum(values) / 60


# --- what is refused ----------------------------------------------------------------------------------------


def test_another_request_is_refused_and_named(done: pellucid.Run, pictures: Path):
    with pytest.raises(InvalidValue, match=r"another request: .*seed \(0 there, 1 now\)"):
        pellucid.run(
            make(), pictures, ["grad-cam", "saliency"], target=[None, "label"], metrics="deletion:steps=4",
            store=done.folder, thumbnails=True, seed=1, progress=False,
        )  # fmt: skip
    other = make()
    with torch.no_grad():
        next(other.module.parameters()).add_(1e-3)
    with pytest.raises(InvalidValue, match="another request: weights"):
        pellucid.run(
            other, pictures, ["grad-cam", "saliency"], target=[None, "label"], metrics="deletion:steps=4",
            store=done.folder, thumbnails=True, progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"engine": "spark"}, InvalidValue, "engine must be one of local, processes, ray; got 'spark'"),
        ({"maps": "half"}, InvalidValue, "maps must be one of raw, full, none; got 'half'"),
        ({"methods": []}, InvalidValue, "at least one method"),
        ({"methods": ["saliency", "saliency"]}, InvalidValue, "'saliency' twice"),
        ({"methods": ["sailency"]}, InvalidValue, "saliency"),
        ({"target": "c9"}, InvalidValue, "c9"),
        ({"target": lambda outputs: outputs}, InvalidType, "a store cannot name"),
        ({"target": [0, 0]}, InvalidValue, "several that differ"),
        ({"workers": 2}, InvalidValue, "workers is for engine='processes' or 'ray'"),
        ({"workers": 0, "engine": "processes"}, InvalidValue, "at least 1"),
        ({"shard_size": 0}, InvalidValue, "shard_size must be 'auto' or"),
        ({"store": "s3://bucket/run"}, InvalidValue, "object stores cannot"),
        ({"address": "127.0.0.1:1", "engine": "ray"}, InvalidValue, "nothing does"),
        ({"address": "nowhere", "engine": "ray"}, InvalidValue, "host:port"),
        ({"methods": "attention-rollout"}, InvalidValue, "attention"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(changed, error, says, pictures: Path, tmp_path: Path):
    asked = {
        "source": pictures,
        "methods": ["saliency"],
        "store": tmp_path / "s",
        "progress": False,
        **changed,
    }
    with pytest.raises(error, match=says):
        pellucid.run(make(), **asked)


def test_a_folder_with_something_else_in_it_is_refused(pictures: Path, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InvalidValue, match=r"something else \(thesis.tex\)"):
        pellucid.run(make(), pictures, "saliency", store=tmp_path, progress=False)


def test_open_run_refuses_what_is_no_run(done: pellucid.Run, tmp_path: Path):
    with pytest.raises(FileMissing, match=r"no run\.json"):
        pellucid.open_run(tmp_path)
    known = json.loads((done.folder / "run.json").read_text())
    for broken, says in (("{", "cannot be read"), ("[]", "another file")):
        (tmp_path / "run.json").write_text(broken)
        with pytest.raises(InvalidValue, match=says):
            pellucid.open_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({**known, "schema_version": 99}))
    with pytest.raises(InvalidValue, match="schema version 1; got 99"):
        pellucid.open_run(tmp_path)


def test_a_damaged_shard_is_named_and_done_again(pictures: Path, tmp_path: Path):
    asked = {"methods": "saliency", "store": tmp_path, "shard_size": 20, "progress": False}
    run = pellucid.run(make(), pictures, **asked)
    whole = bytes_of(run)
    first, second, *_ = map(Path, run.store.files())
    first.write_bytes(first.read_bytes()[:500])
    flipped = bytearray(second.read_bytes())
    flipped[200] ^= 0xFF  # within a page, which only its checksum tells
    second.write_bytes(bytes(flipped))
    with pytest.raises(InvalidValue, match="must be readable"):
        run.to_arrow()
    with pytest.warns(UserWarning, match="is damaged; its pictures are done again") as warned:
        again = pellucid.run(make(), pictures, **asked)
    assert sorted(str(one.message).split("'")[1] for one in warned) == [str(first), str(second)]
    assert bytes_of(again) == whole


def test_a_flipped_bit_is_found_or_changes_nothing(pictures: Path, tmp_path: Path):
    run = pellucid.run(make(), pictures / "c0", "saliency", store=tmp_path, progress=False)
    from pyarrow import parquet

    (file,) = map(Path, run.store.files())
    whole = file.read_bytes()
    known = parquet.read_metadata(file)
    columns = [known.row_group(0).column(i) for i in range(known.num_columns)]
    ends = [(c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size for c in columns]
    read = []
    for at in range(50, max(ends), 997):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        file.write_bytes(bytes(flipped))
        read.append(run.store.read_shard(0))
    file.write_bytes(whole)
    rows = run.store.read_shard(0)
    assert rows is not None
    # A page's header has statistics that its checksum does not cover, and that no value comes from.
    assert all(one is None or one.equals(rows) for one in read)
    assert sum(one is None for one in read) > 0.7 * len(read)


def test_retry_errors_does_failed_pictures_again_and_only_those(pictures: Path, tmp_path: Path):
    folder = tmp_path / "pictures"
    for number in range(9):
        (folder / "c0").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (number * 20, 0, 0)).save(folder / f"c0/{number}.png")
    good = (folder / "c0/4.png").read_bytes()
    (folder / "c0/4.png").write_bytes(b"")
    asked = {"methods": "saliency", "store": tmp_path / "run", "shard_size": 3, "progress": False}
    run = pellucid.run(make(), folder, **asked)
    assert len(run.failed) == 1
    (folder / "c0/4.png").write_bytes(good)
    same = pellucid.run(make(), folder, **asked)
    assert same.failed == run.failed, "not asked for"
    stamps = [os.stat(file).st_mtime_ns for file in run.store.files()]
    mended = pellucid.run(make(), folder, **asked, retry_errors=True)
    assert mended.failed == {}
    assert mended.to_arrow(["row"])["row"].to_pylist() == list(range(9))
    now = [os.stat(file).st_mtime_ns for file in mended.store.files()]
    assert [a == b for a, b in zip(stamps, now, strict=True)] == [True, False, True]


# --- data of every kind -------------------------------------------------------------------------------------


def _net(channels: int, classes: int) -> nn.Module:
    torch.manual_seed(0)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), pool, nn.Linear(4, classes)).eval()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_one_and_four_channels(channels: int, mode: str, tmp_path: Path):
    (tmp_path / "p").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 20, channels), dtype=np.uint8)
        Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels, mode).save(tmp_path / f"p/{i}.png")
    preprocess = pellucid.Preprocess((16, 16), scale_to=16, mean=(0.5,) * channels, std=(0.5,) * channels)
    model = pellucid.Model(_net(channels, 3), preprocess=preprocess)
    run = pellucid.run(model, tmp_path / "p", ["saliency", "grad-cam"], store=tmp_path / "r", progress=False)
    assert run.failed == {}
    row = run.to_arrow(["map_shape"]).to_pylist()[0]
    assert row["map_shape"] == ([16, 16] if channels == 1 else [1, 16, 16]) or row["map_shape"] == [16, 16]


def test_ten_thousand_classes_and_labels_out_of_range(tmp_path: Path):
    (tmp_path / "p").mkdir()
    lines = ["path,label,camera"]
    for i, label in enumerate(["9999", "10000", "", "banana"]):
        Image.new("RGB", (20, 20), (50 * i, 9, 9)).save(tmp_path / f"p/{i}.png")
        lines.append(f"p/{i}.png,{label},cam{i}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    names = [f"class number {i}" for i in range(10_000)]
    preprocess = pellucid.Preprocess((16, 16), scale_to=16)
    model = pellucid.Model(_net(3, 10_000), preprocess=preprocess, labels=names)
    run = pellucid.run(
        model,
        tmp_path / "list.csv",
        "saliency",
        target=["predicted", "label"],
        store=tmp_path / "r",
        progress=False,
    )
    rows = run.to_arrow().to_pylist()
    assert [row["label_index"] for row in rows[::2]] == [9999, None, None, None]
    assert [row["camera"] for row in rows[::2]] == ["cam0", "cam1", "cam2", "cam3"]
    assert all(row["error"] is None for row in rows[::2])
    by_label = [row["error"] for row in rows[1::2]]
    assert by_label[0] is None
    assert by_label[1] == "The target is the picture's label: '10000' is none of the model's classes."
    assert by_label[2] == "The target is the picture's label: it has none."
    assert {row["error_kind"] for row in rows[3::2]} == {"label"}
    assert any("10000" in note for note in rows[2]["notes"])


def test_pictures_of_several_shapes_without_preprocessing(tmp_path: Path):
    """Ready inputs in memory; each is explained as it would be alone."""
    inputs = torch.rand(5, 3, 12, 12)
    run = pellucid.run(_net(3, 2), inputs, "saliency", store=tmp_path, progress=False)
    maps = run.maps(run.to_arrow())
    alone = pellucid.explain(_net(3, 2), inputs, "saliency").raw
    for kept, expected in zip(maps, alone, strict=True):
        assert kept is not None
        assert torch.allclose(kept, expected.reshape(kept.shape), atol=float(expected.abs().max()) / 1024)


@pytest.mark.parametrize("maps", ["full", "none"])
def test_other_maps(maps: str, pictures: Path, tmp_path: Path):
    run = pellucid.run(make(), pictures / "c0", "grad-cam", maps=maps, store=tmp_path, progress=False)
    row = run.to_arrow().to_pylist()[0]
    if maps == "full":
        assert row["map_shape"] == [32, 32]
    else:
        assert row["map"] is None
        assert row["map_max"] is not None
        with pytest.raises(InvalidValue, match="maps='none'"):
            run.explanation(0)


class Fails(nn.Module):
    """Raises an error where a condition on its inputs holds."""

    def __init__(self, net: nn.Module, when: Callable[[torch.Tensor], bool], error: Exception) -> None:
        super().__init__()
        self.net, self.when, self.error = net, when, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        if self.when(x):
            raise self.error
        return self.net(x)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_where_memory_runs_out_fewer_pictures_go_together(error: Exception, tmp_path: Path):
    inputs = torch.rand(7, 3, 12, 12)
    model = Fails(_net(3, 2), lambda x: len(x) > 1, error).eval()
    run = pellucid.run(model, inputs, "saliency", batch_size=4, store=tmp_path, progress=False)
    assert run.failed == {}
    expected = pellucid.explain(_net(3, 2), inputs, "saliency").score.tolist()
    assert run.to_arrow(["score"])["score"].to_pylist() == pytest.approx(expected)


def test_a_picture_on_which_the_model_fails_costs_the_others_nothing(tmp_path: Path):
    inputs = torch.rand(7, 3, 12, 12)
    inputs[4, 0, 0, 0] = 9
    model = Fails(_net(3, 2), lambda x: bool((x[:, 0, 0, 0] == 9).any()), ValueError("no nines")).eval()
    run = pellucid.run(model, inputs, ["saliency", "grad-cam"], store=tmp_path, progress=False)
    rows = run.to_arrow(["row", "error", "error_kind"]).to_pylist()
    failed = [row for row in rows if row["error"] is not None]
    assert {row["row"] for row in failed} == {4}
    assert len(rows) == 14
    assert len(failed) == 2
    assert {row["error_kind"] for row in failed} == {"method"}
    assert "no nines" in failed[0]["error"]


# --- numbers of a map ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("peak", [1e-30, 6e-8, 1.0, 65504.0, 1e30])
def test_maps_keep_eleven_bits_at_any_scale(peak: float):
    map = torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    map *= peak / map.abs().max()
    back = decode_map(encode_map(map))
    big = map.abs() > peak * 2**-10
    assert ((back - map).abs()[big] <= map.abs()[big] * 2**-11).all()
    assert (encode_map(torch.zeros(2, 2))["map_scale"], decode_map(encode_map(torch.zeros(2, 2))).sum()) == (
        1,
        0,
    )


def test_statistics_against_a_slow_twin():
    map = torch.randn(9, 7, generator=torch.Generator().manual_seed(1))
    found = SimpleNamespace(**statistics(map))
    h, w = map.shape
    total = sum(max(0.0, float(v)) for v in map.flatten())
    border = x_mean = y_mean = entropy = 0.0
    for y in range(h):
        for x in range(w):
            p = max(0.0, float(map[y, x])) / total
            x_mean += p * (x + 0.5) / w
            y_mean += p * (y + 0.5) / h
            entropy -= p * math.log(p) if p else 0.0
            inner = 0.0  # of the cell's area, by a fine grid of points
            for i in range(64):
                for j in range(64):
                    v, u = (y + (i + 0.5) / 64) / h, (x + (j + 0.5) / 64) / w
                    inner += 1 / 8 <= v <= 7 / 8 and 1 / 8 <= u <= 7 / 8
            border += p * (1 - inner / 4096)
    assert found.center_x == pytest.approx(x_mean)
    assert found.center_y == pytest.approx(y_mean)
    assert found.entropy == pytest.approx(entropy / math.log(h * w))
    assert found.border == pytest.approx(border, abs=0.01)
    assert found.positive == pytest.approx(total / float(map.double().abs().sum()))


def test_statistics_of_a_map_without_evidence_are_missing():
    found = statistics(-torch.ones(3, 3))
    assert (found["center_x"], found["border"], found["positive"]) == (None, None, 0.0)
    assert statistics(torch.zeros(3, 3))["positive"] is None


def test_inside_counts_cells_in_part():
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4] = True
    assert inside(torch.ones(3, 3), mask) == pytest.approx(0.5)
    assert inside(torch.tensor([[1.0, 1.0], [-5.0, 2.0]]), mask) == pytest.approx(0.5)
    assert inside(-torch.ones(2, 2), mask) is None
