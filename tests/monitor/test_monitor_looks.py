"""What a look gives: the explanation of that step's weights, counted as asked; what fails stops nothing."""

import sys
import warnings

import pytest
import torch
from torch import Tensor, nn

import pellucid
from monitor.watched import Net, new_net, shown, train
from pellucid.agreement import agreement
from pellucid.errors import InvalidType, InvalidValue, ModelError, MonitorWarning


def test_looks_are_explanations_of_the_weights_at_their_step():
    net, expected = new_net(), []
    watch = pellucid.monitor(net, shown(), every=2, target=[2, 0])

    def each() -> None:
        if watch.step() is not None:
            expected.append(pellucid.explain(net, shown(), target=[2, 0]))

    train(net, 5, each)
    watch.close()
    history = watch.history
    assert history.steps.tolist() == [0, 2, 4, 5]
    assert history.names == ("image 0", "image 1")
    assert history.targets.tolist() == [[2, 0]] * 4
    assert history.maps.dtype == torch.float32
    for t, e in enumerate(expected, 1):
        torch.testing.assert_close(history.maps[t], e.raw, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(history.scores[t], e.score.double(), rtol=1e-4, atol=1e-6)
        assert history.predictions[t].tolist() == [best[0].index for best in e.prediction]
        probabilities = [best[0].probability for best in e.prediction]
        assert history.probabilities[t].tolist() == pytest.approx(probabilities, rel=1e-4)
    assert history.agreements[0].isnan().all()
    for i in range(2):
        wanted = float(agreement([expected[0][i], expected[1][i]])[0, 1])
        assert float(history.agreements[2, i]) == pytest.approx(wanted, abs=0.25)  # of their own cells
    assert history.seconds == pytest.approx(sum(look.seconds for look in history.looks))


def test_the_last_look_is_taken_at_the_end_unless_training_failed():
    watch = pellucid.monitor(new_net(), shown(), every=10)
    with watch:
        watch.step()
    assert watch.history.steps.tolist() == [0, 1]
    assert watch.step(10) is None  # closed
    failed = pellucid.monitor(new_net(), shown(), every=10)
    failed.step()
    failed.__exit__(KeyError, KeyError(), None)
    assert failed.history.steps.tolist() == [0]


def test_steps_are_counted_or_given():
    watch = pellucid.monitor(new_net(), shown(), every=10, start=25)
    assert watch(29) is None
    assert watch(30).step == 30
    assert watch(30) is None
    assert watch(47).step == 47  # past 40, which was left out
    assert watch.step() is None
    assert watch.step(12) is None  # back at an earlier checkpoint
    assert watch.step(20).step == 20
    assert watch.step(35).step == 35
    assert watch.step(20).step == 20  # back, and due
    assert watch.look().step == 20
    assert watch.history.steps.tolist() == [20]  # what is behind it was of another course
    with pytest.raises(InvalidValue, match="every must be a whole number of steps, at least 1; got 0"):
        pellucid.monitor(new_net(), shown(), every=0)


class Brittle(Net):
    """Fails on request: always, or on dark pictures."""

    fails = ""

    def forward(self, x: Tensor) -> Tensor:
        if self.fails == "all" or (self.fails == "dark" and bool((x.sum((1, 2, 3)) == 0).any())):
            raise RuntimeError("out of luck")
        return super().forward(x)


def test_what_fails_is_told_once_and_training_goes_on():
    net = Brittle()
    watch = pellucid.monitor(net, shown(), every=1)
    net.fails = "all"
    with pytest.warns(MonitorWarning, match=r"look at step 1 failed: .*out of luck.*Training goes on"):
        assert watch.step() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert watch.step() is None
    assert list(watch.history.failures) == [1, 2]
    net.fails = ""
    assert watch.step().step == 3
    assert watch.history.steps.tolist() == [0, 3]


def test_warnings_that_are_errors_stop_nothing_either(capsys: pytest.CaptureFixture[str]):
    net = Brittle()
    watch = pellucid.monitor(net, shown(), every=1)
    net.fails = "all"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert watch.step() is None
    assert "The look at step 1 failed" in capsys.readouterr().err


def test_a_picture_that_fails_costs_the_others_nothing():
    net = Brittle()
    pictures = shown(3)
    pictures[1] = 0
    watch = pellucid.monitor(net, pictures, every=1)
    net.fails = "dark"
    look = watch.step()
    assert "out of luck" in look.pictures[1].error
    assert look.maps[1].isnan().all()
    assert look.maps[[0, 2]].isfinite().all()
    assert watch.history.scores[1].isnan().tolist() == [False, True, False]
    assert watch.history.predictions[1, 1] == -1
    net.fails = ""
    again = watch.step().pictures
    assert (again[1].error, again[1].agreement) == (None, None)  # there is no map before it
    assert again[0].agreement is not None


def test_a_training_that_diverged_is_said_to_have():
    net = new_net()
    watch = pellucid.monitor(net, shown(), every=1)
    with torch.no_grad():
        net.fc.bias.fill_(float("nan"))
    with pytest.warns(MonitorWarning, match="score must be finite; image 0 has nan. The first layer .* 'fc'"):
        assert watch.step() is None


def test_requests_that_do_not_hold_are_refused_before_training():
    with pytest.raises(InvalidValue, match="no-such-method"):
        pellucid.monitor(new_net(), shown(), "no-such-method")
    with pytest.raises(InvalidValue, match="99"):
        pellucid.monitor(new_net(), shown(), target=99)
    with pytest.raises(ModelError):
        pellucid.monitor(nn.Sequential(nn.Flatten(), nn.Linear(243, 2)), shown(), "grad-cam")
    with pytest.raises(InvalidType, match="to must be a folder, 'tensorboard:FOLDER', a SummaryWriter"):
        pellucid.monitor(new_net(), shown(), to=3)
    model = pellucid.Model(new_net(), labels=["a", "b", "c"])
    with pytest.raises(InvalidValue, match="class names and preprocessing of its own"):
        pellucid.monitor(model, shown(), labels=["a", "b", "c"])


def test_labels_and_preprocess_are_those_of_a_model():
    preprocess = pellucid.Preprocess(size=(9, 9), scale_to=(9, 9), mean=(0.5,) * 3, std=(0.5,) * 3)
    names = ["ant", "bee", "cow"]
    watch = pellucid.monitor(
        new_net(), ["sample:cat", "sample:coffee"], target="bee", labels=names, preprocess=preprocess
    )
    assert watch.history.names == ("cat", "coffee")
    assert [one.label for one in watch.history.last.pictures] == ["bee", "bee"]
    assert watch.history.last.pictures[0].predicted in names


def test_callbacks_need_their_libraries(monkeypatch: pytest.MonkeyPatch):
    watch = pellucid.monitor(new_net(), shown())
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(pellucid.errors.ExtraMissing, match="pip install lightning"):
        watch.lightning()
    with pytest.raises(pellucid.errors.ExtraMissing, match=r"pip install pellucid\[hf\]"):
        watch.hf()
