"""Where looks go: a folder that is gone on with, TensorBoard, Weights & Biases, functions, and films."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from monitor.watched import new_net, shown, train
from pellucid.errors import ExtraMissing, InvalidValue, MonitorWarning
from pellucid.images import find_pictures
from pellucid.monitor.board import Board
from pellucid.monitor.page import page


def index(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "looks.jsonl").read_text("utf-8").splitlines()]


def test_a_folder_has_numbers_maps_sheets_and_a_page(tmp_path: Path):
    net, folder = new_net(), tmp_path / "deep" / "looks"
    with pellucid.monitor(net, shown(), every=2, to=folder, target=1, labels=["a", "b", "<c>"]) as watch:
        train(net, 4, watch.step)
    entries = index(folder)
    assert [entry["step"] for entry in entries] == [0, 2, 4]
    for look, entry in zip(watch.history.looks, entries, strict=True):
        first = entry["pictures"][0]
        assert (first["name"], first["target"], first["label"]) == ("image 0", 1, "b")
        assert first["score"] == look.pictures[0].score
        assert first["agreement"] == look.pictures[0].agreement
        with np.load(folder / entry["maps"]) as archive:
            assert np.array_equal(archive["maps"], look.maps.numpy())
        assert Image.open(folder / entry["sheet"]).size == Board(watch._about, watch.history.looks).size
    written = (folder / "index.html").read_text("utf-8")
    assert written == page(watch._about, watch.history, {e["step"]: e["sheet"] for e in entries})
    assert written.count('"sheet": "looks/step-') == 3
    assert "Net in training, steps 0 to 4" in written
    assert "<c>" not in written
    assert "http" not in written
    with pytest.raises(pellucid.errors.PellucidError):
        find_pictures([str(folder)])  # sheets are results, not pictures


def test_a_training_that_goes_on_goes_on_in_its_folder(tmp_path: Path):
    net = new_net()
    first = pellucid.monitor(net, shown(), every=2, to=tmp_path)
    train(net, 4, first.step)
    kept = {path: path.read_bytes() for path in (tmp_path / "looks").iterdir() if path.suffix == ".png"}
    with (tmp_path / "looks.jsonl").open("a") as file:
        file.write('{"step": 6, "pictu')  # killed while it was written
    again = pellucid.monitor(net, shown(), every=2, to=tmp_path)
    assert again.history.steps.tolist() == [0, 2, 4]
    torch.testing.assert_close(again.history.maps, first.history.maps, rtol=0, atol=0)
    torch.testing.assert_close(
        again.history.agreements, first.history.agreements, rtol=0, atol=0, equal_nan=True
    )
    with pytest.warns(MonitorWarning, match="looks up to step 4, and steps are counted on from there"):
        again.step()
    assert again.step().step == 6
    assert again.history.steps.tolist() == [0, 2, 4, 6]
    assert pellucid.monitor(net, shown(), every=2, to=tmp_path).history.steps.tolist() == [0, 2, 4, 6]
    assert again.history.last.pictures[0].agreement is not None
    resumed = pellucid.monitor(net, shown(), every=2, to=tmp_path, start=3)  # from a checkpoint at step 3
    assert resumed.step().step == 4
    assert resumed.history.steps.tolist() == [0, 2, 4]
    names = {path.name for path in (tmp_path / "looks").iterdir()}
    assert {"step-0000004.png", "step-0000004-2.png", "step-0000006.png"} <= names
    assert all(path.read_bytes() == data for path, data in kept.items())
    last = pellucid.monitor(net, shown(), every=2, to=tmp_path)
    assert last.history.steps.tolist() == [0, 2, 4]
    assert "looks/step-0000004-2.png" in (tmp_path / "index.html").read_text("utf-8")
    assert "step-0000006" not in (tmp_path / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"method": "grad-cam:layer=conv1"}, 'method "grad-cam", not "grad-cam:layer=conv1"'),
        ({"target": 2}, "target 1, not 2"),
        ({"seed": 5}, "seed 0, not 5"),
        ({"pictures": shown(3)}, 'pictures ["image 0", "image 1"], not'),
        ({"pictures": shown() + 1}, "inputs"),
        ({"output": "probability"}, 'output "logit", not "probability"'),
    ],
)
def test_a_folder_of_another_request_is_refused(change: dict[str, Any], told: str, tmp_path: Path):
    request = {"pictures": shown(), "method": "grad-cam", "target": 1, "to": tmp_path}
    pellucid.monitor(new_net(), **request)
    before = (tmp_path / "looks.jsonl").read_bytes()
    with pytest.raises(InvalidValue, match="must be new or hold looks of this very request") as caught:
        pellucid.monitor(new_net(), **{**request, **change})
    assert told in str(caught.value)
    assert (tmp_path / "looks.jsonl").read_bytes() == before
    (tmp_path / "watch.json").write_text("{")
    with pytest.raises(InvalidValue, match="cannot be read: choose another folder"):
        pellucid.monitor(new_net(), **request)


def test_a_look_whose_maps_are_damaged_is_left_out(tmp_path: Path):
    net = new_net()
    train(net, 2, pellucid.monitor(net, shown(), every=1, to=tmp_path).step)
    (tmp_path / "looks/step-0000001.npz").write_bytes(b"no archive")
    assert pellucid.monitor(net, shown(), every=1, to=tmp_path).history.steps.tolist() == [0, 2]


def test_what_cannot_be_written_is_told_and_kept(tmp_path: Path):
    net = new_net()
    watch = pellucid.monitor(net, shown(), every=1, to=tmp_path)
    os.rename(tmp_path / "looks", tmp_path / "elsewhere")
    (tmp_path / "looks").write_text("a file is in the way")
    with pytest.warns(MonitorWarning, match="What was seen at step 1 could not be written"):
        look = watch.step()
    assert look.step == 1
    assert watch.history.steps.tolist() == [0, 1]
    assert "error" in index(tmp_path)[-1]


def test_tensorboard_reads_what_was_written(tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    net = new_net()
    with pellucid.monitor(net, shown(), every=2, to=f"tensorboard:{tmp_path}", target=0) as watch:
        train(net, 4, watch.step)
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["images"]) == {"pellucid/image 0", "pellucid/image 1"}
    scores = events.Scalars("pellucid score/image 1")
    assert [one.step for one in scores] == [0, 2, 4]
    assert [one.value for one in scores] == pytest.approx(watch.history.scores[:, 1].tolist(), rel=1e-5)
    assert [one.step for one in events.Scalars("pellucid agreement/image 0")] == [2, 4]


def test_a_users_own_writer_stays_open():
    calls: list[tuple[Any, ...]] = []
    writer = SimpleNamespace(
        add_image=lambda tag, pixels, step, dataformats: calls.append((tag, pixels.shape, step, dataformats)),
        add_scalar=lambda tag, value, step: calls.append((tag, value, step)),
        close=lambda: calls.append(("close",)),
    )
    watch = pellucid.monitor(new_net(), shown(1), to=writer)
    watch.close()
    assert ("pellucid/image", (216, 216, 3), 0, "HWC") in calls
    assert ("pellucid score/image", watch.history.last.pictures[0].score, 0) in calls
    assert ("close",) not in calls


class Run:
    """As a W&B run counts: `log` joins what comes until a commit, which is one step."""

    def __init__(self) -> None:
        self.step, self.pending, self.committed = 0, {}, []
        self.defined: list[Any] = []

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.defined.append((name, step_metric))

    def log(self, entry: dict[str, Any], commit: bool = True) -> None:
        self.pending |= entry
        if commit:
            self.committed.append(self.pending)
            self.pending, self.step = {}, self.step + 1


def test_weights_and_biases_keeps_its_own_count_of_steps_and_loses_no_look(monkeypatch: pytest.MonkeyPatch):
    run, net = Run(), new_net()
    watch = pellucid.monitor(net, shown(1), every=1, to=run)
    assert ("pellucid/*", "pellucid/step") in run.defined
    run.log({"loss": 1.0})
    watch.step()
    run.log({"loss": 0.5})
    watch.step()
    watch.step()  # nothing was logged in between
    watch.close()
    assert [entry["pellucid/step"] for entry in run.committed] == [0, 1, 2, 3]
    assert [entry.get("loss") for entry in run.committed] == [1.0, 0.5, None, None]
    assert run.committed[1]["pellucid/score/image"] == watch.history.looks[1].pictures[0].score
    assert isinstance(run.committed[1]["pellucid/maps/image"], Image.Image)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run, Image=lambda image, caption: caption))
    pellucid.monitor(net, shown(1), to="wandb", target=0).close()
    assert run.committed[-1]["pellucid/maps/image"].startswith("step 0: class 0 ")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ExtraMissing, match="pip install wandb"):
        pellucid.monitor(net, shown(1), to="wandb")


def test_a_function_is_given_each_look_and_may_fail(tmp_path: Path):
    steps: list[int] = []

    def take(look: Any) -> None:
        steps.append(look.step)
        if look.step == 1:
            raise OSError("no room")

    watch = pellucid.monitor(new_net(), shown(1), every=1, to=[take, tmp_path / "looks"])
    with pytest.warns(MonitorWarning, match="could not be written: OSError: no room"):
        watch.step()
    watch.step()
    assert steps == [0, 1, 2]
    assert [entry["step"] for entry in index(tmp_path / "looks") if "sheet" in entry] == [0, 1, 2]


# --- pictures of looks --------------------------------------------------------------------------------------


def test_a_film_shows_each_look(tmp_path: Path):
    net = new_net()
    watch = pellucid.monitor(net, shown(), every=1, target=1)
    train(net, 5, watch.step)
    path = watch.film(tmp_path / "moved.gif")
    film = Image.open(path)
    board = Board(watch._about, watch.history.looks, [False, False])
    assert film.size == board.size
    assert film.n_frames == 6
    for number in (0, 5):
        film.seek(number)
        drawn = np.asarray(board.draw(watch.history.looks[number]).convert("RGB"), dtype=float)
        assert np.abs(np.asarray(film.convert("RGB"), dtype=float) - drawn).mean() < 8
    with pytest.raises(InvalidValue, match=r"must end in .mp4 or .gif"):
        watch.film(tmp_path / "moved.avi")


def test_an_mp4_has_the_frames_of_the_board(tmp_path: Path):
    reader = pytest.importorskip("imageio_ffmpeg")
    net = new_net()
    watch = pellucid.monitor(net, shown(1), every=1, target=1)
    train(net, 3, watch.step)
    frames = reader.read_frames(str(watch.film(tmp_path / "moved.mp4")))
    size = next(frames)["size"]
    board = Board(watch._about, watch.history.looks, [False])
    assert size == board.size
    shown_frames = [np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3) for frame in frames]
    assert len(shown_frames) == 4 + 2 * 3  # the last stays for two seconds
    for look, frame in zip(watch.history.looks, shown_frames, strict=False):
        drawn = np.asarray(board.draw(look), dtype=float)
        assert np.abs(frame.astype(float) - drawn).mean() < 6


def test_a_board_says_what_is_explained_and_predicted():
    labels = ["ant", "bee", "cow"]
    watch = pellucid.monitor(new_net(), shown(), target=["bee", "cow"], labels=labels)
    look = watch.history.last
    board = Board(watch._about, watch.history.looks)
    (name, _, bold), (explained, *_), (predicted, colour, _), _ = board._lines(look, 0)
    assert (name, bold) == ("image 0", True)
    assert explained == f"explained: bee: logit {look.pictures[0].score:.3g}".replace("-", "−")
    best = look.pictures[0]
    assert predicted.startswith(f"predicted: {best.predicted} ")
    wrong = [board._lines(look, i)[2][1] == "#b3470c" for i in range(2)]
    assert wrong == [not one.right for one in look.pictures]
    assert colour == board._lines(look, 0)[2][1]


def test_more_pictures_than_a_sheet_has_room_for_are_counted():
    watch = pellucid.monitor(new_net(), shown(14))
    board = Board(watch._about, watch.history.looks)
    assert len(watch._about.panels) == 12
    assert board.rows == 3
    assert watch.history.maps.shape[1] == 14
