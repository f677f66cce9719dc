"""What a user sees of an error: where the verb was called, and the lines of their own code; nothing else."""

import inspect
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

import pellucid
from pellucid.doctor import examine
from pellucid.errors import FileMissing, InvalidValue, ModelError, ModelFailed, in_own_code


class Wrong(nn.Module):
    """Its last layer does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())), nn.Linear(7, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).mean((2, 3)))  # here


X = torch.rand(2, 3, 8, 8)
VERBS = {
    "explain": lambda net: pellucid.explain(net, X, "saliency"),
    "rise": lambda net: pellucid.explain(net, X, "rise", samples=4),
    "compare": lambda net: pellucid.compare(net, X, ["grad-cam", "saliency"], verdict=False),
    "axioms": lambda net: pellucid.axioms(net, X[:1], ["saliency"]),
    "examine": lambda net: examine(net, X),
}


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def frames(error: BaseException) -> list[str]:
    """The functions on an error's way that are of PyTorch or Pellucid; tests wrap both in their own."""
    ours = (str(Path(module.__file__).parent) for module in (torch, pellucid))
    found = traceback.extract_tb(error.__traceback__)
    places = tuple(ours)
    return [frame.name for frame in found if frame.filename.startswith(places)]


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_that_fails_is_told_in_its_own_line(verb: str):
    with pytest.raises(ModelFailed) as failed:
        VERBS[verb](Wrong())
    assert "self.fc(self.body(x).mean((2, 3)))  # here" in told(failed.value)
    assert told(failed.value).count("Traceback") == 2  # the model's, and ours
    assert (frames(failed.value), frames(failed.value.__cause__)) == ([], [])


def test_other_errors_are_told_where_the_verb_was_called():
    def wrong(image: object) -> None:
        raise KeyError("no such key")  # here

    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(FileMissing) as failed:
        pellucid.explain(pellucid.Model(net, preprocess=pellucid.Preprocess((8, 8), 8)), "nope.jpg")
    assert told(failed.value).count("Traceback") == 1
    with pytest.raises(InvalidValue) as failed:
        pellucid.explain(net, X, target=7)
    assert frames(failed.value) == []
    with pytest.raises(ModelError, match="KeyError: 'no such key'") as failed:
        pellucid.explain(pellucid.Model(net, preprocess=wrong), "sample:cat")
    assert "# here" in told(failed.value)
    assert (frames(failed.value), frames(failed.value.__cause__)) == ([], [])


def test_where_no_line_is_a_users_the_last_one_stays():
    with pytest.raises(RuntimeError) as failed:
        nn.Linear(3, 2)(torch.rand(1, 4))
    failed.value.__traceback__ = failed.value.__traceback__.tb_next  # without this line
    assert frames(in_own_code(failed.value)) == ["forward"]


def test_verbs_keep_their_signatures():
    assert list(inspect.signature(pellucid.explain).parameters)[:3] == ["model", "images", "method"]
    assert pellucid.compare.__doc__.startswith("Explains the same images")
