"""Networks learn as much as they should, the same each time, however often they are interrupted."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from digit_sets import few, learned

from nets import unchecked
from pellucid.digits import training
from pellucid.digits.data import Digits, bundled
from pellucid.digits.training import Epoch, Plan, train
from pellucid.errors import InvalidValue
from pellucid.networks.architectures import ARCHITECTURES

TINY = Plan("cnn", epochs=3, batch=16)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(module: torch.nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in module.state_dict().values())


def test_a_small_budget_reaches_the_accuracy_it_should():
    trained = learned("cnn", epochs=2)
    assert trained.accuracy.mean >= 0.9  # by chance 0.1; all digits and epochs give 0.98
    assert trained.course[1].loss < trained.course[0].loss
    assert not trained.module.training
    assert all(parameter.grad is None for parameter in trained.module.parameters())


@pytest.mark.parametrize(("architecture", "epochs", "least"), [("residual", 2, 0.5), ("vit", 4, 0.5)])
def test_the_other_networks_learn_too(architecture: str, epochs: int, least: float):
    assert learned(architecture, epochs=epochs).accuracy.mean >= least


def test_the_classic_network_is_the_classic_one():
    shapes = {name: tuple(value.shape) for name, value in ARCHITECTURES["cnn"](10).named_parameters()}
    assert shapes["conv1.weight"] == (32, 1, 5, 5)
    assert shapes["conv2.weight"] == (64, 32, 5, 5)
    assert shapes["fc1.weight"] == (1024, 64 * 7 * 7)
    assert shapes["fc2.weight"] == (10, 1024)


def test_training_is_the_same_each_time_and_touches_nothing_else():
    before = torch.get_rng_state()
    first, second = (train(few(64, 20), TINY, progress=False) for _ in range(2))
    assert torch.get_rng_state().equal(before)
    assert weights(first.module) == weights(second.module)
    assert weights(train(few(64, 20), replace(TINY, seed=1), progress=False).module) != weights(first.module)


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from digit_sets import few
from pellucid.digits import training
from pellucid.digits.training import Plan, train
step, done = training._step, 0
def mortal(*args):
    global done
    done += 1
    if done == 7:  # in the second of epochs of four steps
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args)
training._step = mortal
train(few(64, 20), Plan("cnn", epochs=3, batch=16), checkpoint=Path({checkpoint!r}), progress=False)
"""


def test_a_training_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path: Path):
    checkpoint = tmp_path / "digits.partial.safetensors"
    script = KILLED.format(tests=str(Path(__file__).parent), checkpoint=str(checkpoint))
    source = str(Path(training.__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]
    resumed = train(few(64, 20), TINY, checkpoint=checkpoint, progress=False)
    whole = train(few(64, 20), TINY, progress=False)
    assert resumed.resumed == 1
    assert weights(resumed.module) == weights(whole.module)
    assert [epoch.loss for epoch in resumed.course] == [epoch.loss for epoch in whole.course]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path):
    checkpoint = tmp_path / "c.safetensors"
    train(few(64, 20), replace(TINY, epochs=1), checkpoint=checkpoint, progress=False)
    with pytest.raises(
        InvalidValue, match=r"another training \(architecture is cnn, not vit; epochs is 1, not"
    ):
        train(few(64, 20), Plan("vit", batch=16), checkpoint=checkpoint, progress=False)
    with pytest.raises(
        InvalidValue, match=r"another training \(digits is .{16}, not .{16}\): finish that one"
    ):
        train(few(48, 20), replace(TINY, epochs=1), checkpoint=checkpoint, progress=False)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(
        InvalidValue, match="must be the checkpoint of an interrupted training; it is damaged"
    ):
        train(few(64, 20), TINY, checkpoint=checkpoint, progress=False)


def test_training_ends_early_where_the_loss_no_longer_falls():
    plan = Plan("cnn", epochs=9, patience=2)
    falling, risen = [Epoch(1.0, 0, 0.0), Epoch(0.5, 0, 0.0)], Epoch(0.6, 0, 0.0)
    assert not plan.ended([])
    assert not plan.ended([*falling, risen])
    assert plan.ended([*falling, risen, risen])
    assert plan.ended([falling[0]] * 9)


def test_held_out_pictures_take_no_part_in_training():
    digits, other = few(64, 20), bundled().test.chosen(slice(100, 130))
    mine = train(digits, TINY, progress=False)
    theirs = train(Digits("others", digits.train, other), TINY, progress=False)
    assert weights(mine.module) == weights(theirs.module)


def test_a_rate_at_which_nothing_is_learned_is_said():
    with pytest.raises(InvalidValue, match=r"The loss is (nan|inf) in epoch \d: try a learning rate below"):
        train(few(64, 20), Plan("cnn", epochs=30, rate=1e30, patience=30), progress=False)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"architecture": "mlp"}, "The architecture must be one of cnn, residual, vit; got 'mlp'"),
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"batch": 0}, "batch must be at least 1; got 0"),
        ({"rate": -1.0}, r"The learning rate must be above 0; got -1\.0"),
    ],
)
def test_a_plan_that_does_not_hold_is_refused(asked: dict[str, object], said: str):
    with unchecked(), pytest.raises(InvalidValue, match=said):
        Plan(**asked)


def test_accuracy_is_counted_on_the_held_out_pictures():
    trained = learned("cnn", epochs=2)
    outputs = training.scores(trained.module, trained.digits.test.inputs)
    right = np.mean(outputs.argmax(1).numpy() == trained.digits.test.labels)
    assert trained.accuracy.mean == pytest.approx(right)
    assert trained.accuracy.low < right < trained.accuracy.high
