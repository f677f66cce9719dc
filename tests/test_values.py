"""Outputs that are values, as of a regression: explained as they are, with no class and no probability."""

import pytest
import torch
from torch import nn

import pellucid
from pellucid.errors import InvalidValue

X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Age(nn.Module):
    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *pool, nn.Linear(4, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 43 + 10 * self.net(x)


def model(outputs: int = 1, **options: object) -> pellucid.Model:
    return pellucid.Model(Age(outputs).eval(), output_scale="value", **options)


@pytest.mark.parametrize(
    "method", ["grad-cam", "saliency", "occlusion:window=4,stride=4", "lime:samples=64,segments=grid:3"]
)
def test_a_value_is_explained_as_it_is(method):
    e = pellucid.explain(model(), X, method)
    assert e.output == "value"
    assert torch.allclose(e.score, Age().eval()(X)[:, 0].detach(), rtol=1e-5)
    assert e.labels == ["value", "value"]
    assert e.prediction == [[], []]
    assert e.attribution.abs().amax((1, 2, 3)).min() > 0


def test_occlusion_is_the_change_of_the_value():
    e = pellucid.explain(model(), X, "occlusion:window=12,stride=12,baseline=zero")
    with torch.no_grad():
        change = (Age().eval()(X) - Age().eval()(torch.zeros_like(X)))[:, 0]
    torch.testing.assert_close(e.attribution[:, 0, 0, 0], change, rtol=1e-4, atol=1e-4)


def test_several_values_have_names_and_none_is_predicted():
    two = model(2, labels=["age", "weight"])
    assert pellucid.explain(two, X, "saliency", target="weight").labels == ["weight", "weight"]
    with pytest.raises(InvalidValue, match="2 values, none of which is predicted: pass target="):
        pellucid.explain(two, X, "saliency")
    with pytest.raises(InvalidValue, match="tells 1 classes apart, there are 2 names"):
        pellucid.explain(model(labels=["a", "b"]), X, "saliency")
    with pytest.raises(InvalidValue, match="A loss needs classes"):
        pellucid.explain(model(), X, "saliency", output="loss")


def test_a_logit_that_is_too_sure_is_noted():
    bare = nn.Sequential(nn.Flatten(), nn.Linear(432, 1))
    nn.init.constant_(bare[1].bias, 43.0)
    notes = pellucid.explain(bare.eval(), X, "saliency").warnings
    assert any("output_scale='value'" in text for text in notes)
    assert not pellucid.explain(model(), X, "saliency").warnings


def test_results_say_what_is_explained():
    sigmoid = nn.Sequential(Age(3).net, nn.Sigmoid()).eval()
    assert pellucid.explain(sigmoid, X, "saliency", target=1).output == "probability"
    logs = nn.Sequential(Age(3).net, nn.LogSoftmax(1)).eval()
    assert pellucid.explain(logs, X, "saliency").output == "log-probability"
    e = pellucid.explain(Age(3).eval(), X, "saliency", target=lambda outputs: outputs[:, 0])
    assert (e.output, e.score.requires_grad) == ("score", False)
    assert pellucid.explain(Age(3).eval(), X, "saliency").output == "logit"


def test_it_is_examined():
    from pellucid.doctor import examine

    d = examine(model(), X)
    assert (d.classes, d.prediction.label) == (1, "value")
