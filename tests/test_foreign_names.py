"""Who writes as for another library is told what it is called here."""

import socket

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.errors import InvalidType, InvalidValue, ModelError
from pellucid.methods import METHODS, foreign
from pellucid.methods.definition import WRAPPERS
from pellucid.target import _one as one_target

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("method", "option", "words"),
    [
        ("grad-cam", {"target_layers": [NET[0]]}, "no option 'target_layers'. That is layer= here"),
        ("grad-cam", {"targets": [1]}, "That is target= of explain here"),
        ("grad-cam", {"relu_attributions": True}, "That is signed= here"),
        ("grad-cam", {"aug_smooth": True}, "That is augment= here"),
        ("integrated-gradients", {"n_steps": 5}, "That is steps= here"),
        ("integrated-gradients", {"baselines": 0}, "That is baseline= here"),
        ("integrated-gradients", {"internal_batch_size": 4}, "That is batch_size= of explain here"),
        ("occlusion", {"sliding_window_shapes": (3, 8, 8)}, "That is window= here"),
        ("occlusion", {"perturbations_per_eval": 4}, "That is batch_size= of explain here"),
        ("occlusion", {"use_cuda": True}, "use_cuda is not needed here"),
        ("kernel-shap", {"nsamples": 4}, "That is samples= here"),
        ("saliency", {"n_steps": 5}, "no option 'n_steps'. It takes"),
    ],
)
def test_options_of_other_libraries(method, option, words):
    with pytest.raises(InvalidType) as error:
        pellucid.explain(NET, torch.rand(1, 3, 8, 8), method, **option)
    assert words in str(error.value)


def test_every_name_leads_to_one_that_is_here():
    options = {option.name for method in METHODS.values() for option in (*method.options, *WRAPPERS)}
    assert set(foreign.OPTIONS.values()) <= options | set(foreign.VERBS) | {""}
    assert set(foreign.METHODS.values()) <= set(METHODS)


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("GradCAM", "grad-cam"), ("GradCAMPlusPlus", "grad-cam++"), ("EigenGradCAM", "eigen-grad-cam"),
        ("ScoreCAM", "score-cam"), ("HiResCAM", "hirescam"), ("IntegratedGradients", "integrated-gradients"),
        ("GuidedGradCam", "guided-grad-cam"), ("KernelShap", "kernel-shap"), ("DeepLift", "deep-lift"),
        ("InputXGradient", "input-x-gradient"), ("LRP", "lrp"), ("NoiseTunnel", "smooth-grad"),
        ("GradCAMElementWise", "grad-cam-elementwise"), ("grad_cam", "grad-cam"), ("FullGrad", "full-grad"),
    ],
)  # fmt: skip
def test_methods_of_other_libraries(name, here):
    with pytest.raises(InvalidValue) as error:
        pellucid.explain(NET, torch.rand(1, 3, 8, 8), name)
    assert f"no method {name!r}. It is {here!r} here." in str(error.value)


class ClassifierOutputTarget:
    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        return output[self.category]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (ClassifierOutputTarget(2), "got ClassifierOutputTarget: pass its class, target=2"),
        (lambda o: o[1], r"list of callables.*target=lambda outputs: outputs\[:, 3\]"),
    ],
)
def test_lists_of_targets_as_pytorch_grad_cam_has_them(target, words):
    with pytest.raises(InvalidType, match=words):
        one_target(target, 0, [0], pellucid.Model(NET), 3)


def test_a_callable_for_one_row_is_told_the_form():
    with pytest.raises(
        InvalidValue, match=r"must score each row by itself, as lambda outputs: outputs\[:, 3\]"
    ):
        pellucid.explain(NET, torch.rand(1, 3, 8, 8), target=lambda o: o[1])


def test_the_version_is_where_one_looks():
    assert pellucid.__version__.count(".") >= 2


def test_forward_kwargs_follow_their_pictures():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = NET

        def forward(self, x: torch.Tensor, *, shift: torch.Tensor, gain: float) -> torch.Tensor:
            return gain * self.net(x) * shift[:, None]

    x, shift = torch.rand(3, 3, 8, 8), torch.tensor([1.0, -2.0, 3.0])
    kwargs = {"shift": shift, "gain": 2.0}
    e = pellucid.explain(Shifted().eval(), x, "occlusion:window=4,stride=4", target=1, forward_kwargs=kwargs,
                         output="logit", batch_size=2)  # fmt: skip
    plain = pellucid.explain(NET.eval(), x, "occlusion:window=4,stride=4", target=1, output="logit")
    expected = 2 * shift[:, None, None, None] * plain.attribution
    assert torch.allclose(e.attribution, expected, atol=1e-6)


class Weighed(nn.Module):
    def forward(self, x: torch.Tensor, *, meta: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * meta


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, lambda rows: np.array(rows, np.float64)])
def test_numbers_with_a_row_for_each_picture_become_tensors(kind):
    x, rows = torch.rand(3, 3, 8, 8), [[1.0, -2.0, 3.0], [0.5, 1.0, 2.0], [4.0, 5.0, 6.0]]
    model = pellucid.Model(Weighed())
    batch = model.read(x, {"meta": kind(rows)})
    assert torch.equal(batch.extras.keywords["meta"], torch.tensor(rows))
    assert batch.chosen["further inputs"] == {"meta": "one row per image"}
    e = pellucid.explain(model, x, "saliency", target=2, output="logit", forward_kwargs={"meta": kind(rows)})
    assert torch.allclose(e.score, x.mean((2, 3))[:, 2] * torch.tensor([3.0, 2.0, 6.0]))
    assert model.read(x, {"meta": kind(rows[:1])}).chosen["further inputs"] == {
        "meta": "one row for all images"
    }
    with pytest.raises(InvalidValue, match=r"meta must have one row for each image.*2 rows for 3 images"):
        model.read(x, {"meta": kind(rows[:2])})


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 3)

    def forward(self, tokens: torch.Tensor, x: torch.Tensor, scale: object = 1.0) -> torch.Tensor:
        return x.mean((2, 3)) * self.words(tokens).mean(1) * torch.as_tensor(scale).reshape(-1, 1)


def test_inputs_without_a_name_are_checked_as_those_with_one():
    torch.manual_seed(0)
    model, x = pellucid.Model(Tokens()), torch.rand(3, 3, 8, 8)
    words = [[1, 2], [3, 4], [5, 6]]
    batch = model.read((np.array(words), x, [1.0, 2.0, 3.0]))
    assert torch.equal(batch.extras.before[0], torch.tensor(words))
    assert torch.equal(batch.extras.after[0], torch.tensor([1.0, 2.0, 3.0]))
    assert batch.chosen["further inputs"] == {"input 0": "one row per image", "input 2": "one row per image"}
    e = pellucid.explain(model, (np.array(words), x), "saliency", target=2, output="logit")
    alone = pellucid.explain(model, (torch.tensor(words[1:2]), x[1:2]), "saliency", target=2, output="logit")
    torch.testing.assert_close(e.attribution[1], alone.attribution[0])
    for given in ((np.array(words[:2]), x), (torch.tensor(words[:2]), x)):
        with pytest.raises(InvalidValue, match=r"input 0 must have one row for each image.*2 rows for 3"):
            model.read(given)
    with pytest.raises(InvalidValue, match=r"input 2 must have one row.*partial\(model, argument=…\)"):
        model.read((np.array(words), x, [[1.0], [2.0]]))
    assert model.read((np.array(words), x, 2.0)).extras.after == (2.0,)


def test_whole_numbers_of_an_array_and_settings_stay_what_they_are():
    x = torch.rand(3, 3, 8, 8)
    given = {"index": np.array([2, 0, 1]), "ages": [30, 41, 52], "names": ["a", "b", "c"], "sizes": [1, 2]}
    found = pellucid.Model(Weighed()).read(x, given).extras.keywords
    assert torch.equal(found["index"], torch.tensor([2, 0, 1]))
    assert torch.equal(found["ages"], torch.tensor([30.0, 41.0, 52.0]))
    assert (found["names"], found["sizes"]) == (["a", "b", "c"], [1, 2])


def test_without_a_network_a_download_is_refused_at_once(monkeypatch):
    asked = []

    def refused(address: tuple[str, int], timeout: float) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr("pellucid.hub.getproxies", dict)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nowhere")
    with pytest.raises(ModelError, match=r"huggingface\.co cannot be reached.*--random-weights"):
        pellucid.load("timm:test_resnet")
    assert asked == [("huggingface.co", 443)]
    assert constants.HF_HUB_OFFLINE is False
