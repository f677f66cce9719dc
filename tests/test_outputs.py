"""What a model gives: scales, several outputs, squeezed heads, per-image targets, further inputs."""

from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import nn

import pellucid
from pellucid import Model
from pellucid.errors import InvalidType, InvalidValue, ModelError
from zoo import seeded


class Body(nn.Module):
    """A small network; `head` makes the output of its features (N, 6) and logits (N, K)."""

    def __init__(self, classes=4, head=lambda f, z: z, channels=3):
        super().__init__()
        self.conv, self.fc, self.head = nn.Conv2d(channels, 6, 3, 2, 1), nn.Linear(6, classes), head

    def forward(self, x):
        f = self.conv(x).relu().mean((2, 3))
        return self.head(f, self.fc(f))


def network(classes=4, head=lambda f, z: z, **kwargs):
    return seeded(Body, classes, head, **kwargs)


def images(n=2, channels=3):
    return torch.rand(n, channels, 12, 12, generator=torch.Generator().manual_seed(1))


def explain(model, x, method="saliency", **options):
    return pellucid.explain(model, x, method, progress=False, **options)


def odds(e, i=0):
    return {p.index: p.probability for p in e.prediction[i]}


def scale(e):
    return e.details["chosen"]["output_scale"]


# --- scales -------------------------------------------------------------------------------------------------

HEADS = {
    "sigmoid": (lambda f, z: z.sigmoid(), "probability", True),
    "by hand": (lambda f, z: 1 / (1 + (-z).exp()), "probability", True),
    "of tanh": (lambda f, z: z.tanh() * 0.5 + 0.5, "probability", True),
    "hard": (lambda f, z: F.hardsigmoid(z), "probability", True),
    "softmax": (lambda f, z: z.softmax(1), "probability", False),
    "softmax by hand": (lambda f, z: z.exp() / z.exp().sum(1, keepdim=True), "probability", False),
    "mean of two": (lambda f, z: (z.softmax(1) + (2 * z).softmax(1)) / 2, "probability", False),
    "product of means": (
        lambda f, z: torch.stack([z.sigmoid(), (2 * z).sigmoid()], 2) @ torch.tensor([0.5, 0.5]),
        "probability",
        True,
    ),
    "mean of a stack": (
        lambda f, z: torch.stack([z.sigmoid(), (2 * z).sigmoid()]).mean(0),
        "probability",
        True,
    ),
    "pooled": (
        lambda f, z: F.adaptive_avg_pool2d(z.sigmoid()[..., None, None].expand(-1, -1, 2, 2), 1).flatten(1),
        "probability",
        True,
    ),
    "from ones": (lambda f, z: torch.ones(1) - z.sigmoid(), "probability", True),
    "either": (lambda f, z: torch.where(z > 0, z.sigmoid(), 1 - (-z).sigmoid()), "probability", True),
    "log_softmax": (lambda f, z: F.log_softmax(z, 1), "log-probability", False),
    "log of softmax": (lambda f, z: (z.softmax(1) + 1e-9).log(), "log-probability", False),
    "logsigmoid": (lambda f, z: F.logsigmoid(z), "log-probability", True),
    "logits": (lambda f, z: z, "logit", False),
    "logits in [0, 1]": (lambda f, z: F.linear(z.sigmoid(), torch.eye(z.shape[1]) * 0.9), "logit", False),
}


@pytest.mark.parametrize("name", list(HEADS))
def test_the_largestof_outputs_is_found_and_their_probabilities_are_the_models_own(name):
    head, kind, many = HEADS[name]
    module, x = network(head=head), images()
    e = explain(module, x, target=1)
    assert (scale(e)["choice"], scale(e)["multi_label"]) == (kind, many)
    with torch.no_grad():
        y = module(x)
    p = {"probability": y, "log-probability": y.exp(), "logit": y.softmax(1)}[kind]
    for i in range(2):
        assert odds(e, i) == pytest.approx(dict(enumerate(p[i].tolist())), abs=1e-5)
    assert any("explained, as there are no logits" in text for text in e.warnings) == (kind != "logit")
    by_name = explain(module, x, target=1, output="probability")
    torch.testing.assert_close(by_name.score, p[:, 1], rtol=1e-4, atol=1e-6)
    loss = explain(module, x, target=1, output="loss")
    torch.testing.assert_close(loss.score, -p[:, 1].log(), rtol=1e-4, atol=1e-5)


def test_a_single_probability_is_no_logit():
    module = network(1, head=lambda f, z: (z - 3).sigmoid())
    x = images()
    p = module(x)[:, 0].tolist()
    e = explain(module, x)
    assert e.labels == ["negative", "negative"]
    assert odds(e) == pytest.approx({0: 1 - p[0], 1: p[0]}, abs=1e-6)
    assert e.score.tolist() == pytest.approx([1 - q for q in p], abs=1e-6)
    assert "ends in a sigmoid: a probability is explained" in e.warnings[0]


def test_a_largestcan_be_given_and_must_hold():
    module, x = network(), images()
    many = explain(Model(module, output_scale="logit", multi_label=True), x, target=2)
    assert odds(many)[2] == pytest.approx(module(x).sigmoid()[0, 2].item(), abs=1e-6)
    assert "output_scale" not in many.details.get("chosen", {})
    with pytest.raises(InvalidValue, match="needs outputs from 0 to 1; they go from"):
        explain(Model(network(head=lambda f, z: z + 5), output_scale="probability"), x)
    with pytest.raises(InvalidValue, match="output_scale must be one of"):
        Model(module, output_scale="sigmoid")


def test_outputs_that_nothing_explains_are_taken_as_logits_with_a_word():
    def black_box(x):
        return np.asarray(x.mean((2, 3)))

    e = explain(black_box, images(), "occlusion", window=6, stride=6)
    assert any("taken as logits" in text and "output_scale=" in text for text in e.warnings)
    given = explain(Model(black_box, output_scale="probability"), images(), "occlusion", window=6, stride=6)
    assert not any("taken as logits" in text for text in given.warnings)


# --- several outputs ----------------------------------------------------------------------------------------

Pair = namedtuple("Pair", ["embedding", "classes"])


@pytest.mark.parametrize("method", ["saliency", "lrp"])
@pytest.mark.parametrize(
    "head",
    [
        lambda f, z: (f, z),
        lambda f, z: (z, f),
        lambda f, z: [z.softmax(1), z],
        lambda f, z: {"features": f, "head": z},
        lambda f, z: {"logits": z, "other": z * 2},
        lambda f, z: Pair(f, z),
        lambda f, z: {"a": f, "b": z},
    ],
)
def test_the_scores_are_chosen_among_several_outputs_where_that_is_proven(head, method):
    options = {"window": 6, "stride": 6} if method == "occlusion" else {}
    x = images(1)
    e = explain(network(head=head), x, method, target=3, output="logit", **options)
    expected = explain(network(), x, method, target=3, output="logit", **options)
    torch.testing.assert_close(e.score, expected.score)
    assert e.details["chosen"]["output"]["alternatives"]


def test_several_outputs_without_a_proof_are_refused_until_one_is_named():
    module, x = network(head=lambda f, z: [z, 2 * z + 1, z.flip(1)][::2]), images()
    with pytest.raises(ModelError, match=r"\[0\] \(2, 4\), \[1\] \(2, 4\): say which .*output_key=1"):
        explain(module, x)
    e = explain(Model(module, output_key=1), x, target=0)
    torch.testing.assert_close(e.score, network()(x)[:, 3].detach())
    by_function = explain(Model(module, output_key=lambda raw: raw[1]), x, target=0)
    assert torch.equal(by_function.raw, e.raw)
    labelled = network(head=lambda f, z: (f.detach() * 2, z.detach() * 0 + z))
    assert explain(Model(labelled, labels=list("abcd")), x, target="d").target == [3, 3]


# --- squeezed heads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 4, 5])
@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("method", ["saliency", "occlusion", "ablation-cam"])
def test_a_squeezed_axis_of_one_image_or_class_is_put_back(n, classes, method):
    options = {"window": 6, "stride": 6} if method == "occlusion" else {}
    x = images(n)
    e = explain(network(classes, head=lambda f, z: z.squeeze()), x, method, target=0, **options)
    expected = explain(network(classes), x, method, target=0, **options)
    assert torch.equal(e.score, expected.score)
    torch.testing.assert_close(e.raw, expected.raw)


# --- callables ----------------------------------------------------------------------------------------------

Y, REFS = torch.tensor([0, 1, 2, 3, 0, 1]), torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
TARGETS = {
    "cross-entropy": lambda o: -F.cross_entropy(o, Y, reduction="none"),
    "gather": lambda o: o.gather(1, Y[:, None])[:, 0],
    "first ones": lambda o: o[range(len(o)), Y[: len(o)]],
    "references": lambda o: F.cosine_similarity(o, REFS),
    "indices": lambda o, indices: o.gather(1, Y[indices, None])[:, 0],
}


@pytest.mark.parametrize("batch_size", ["auto", 6])
@pytest.mark.parametrize("name", list(TARGETS))
@pytest.mark.parametrize("method", ["saliency", "smooth-grad:samples=3", "occlusion:window=6,stride=6"])
def test_a_callable_with_a_reference_per_image_meets_its_own_image(name, method, batch_size):
    module, x, target = network(), images(6), TARGETS[name]
    whole = target(module(x), torch.arange(6)) if name == "indices" else target(module(x))
    e = explain(module, x, method, target=target, batch_size=batch_size)
    torch.testing.assert_close(e.score, whole.detach())
    if method == "saliency":
        leaf = x.clone().requires_grad_()
        scores = target(module(leaf), torch.arange(6)) if name == "indices" else target(module(leaf))
        (slope,) = torch.autograd.grad(scores.sum(), leaf)
        torch.testing.assert_close(e.raw, slope.abs().amax(1, keepdim=True))


@pytest.mark.parametrize(
    "target", [lambda o: o[1], lambda o: (o - o.mean(0))[:, 1], lambda o: o[[0, 0, 1, 1]][:, 0]]
)
def test_a_callable_that_mixes_images_is_refused(target):
    with pytest.raises(InvalidValue, match="must score each row by itself"):
        explain(network(), images(4), target=target)


# --- further inputs -----------------------------------------------------------------------------------------


class Two(Body):
    """A network of a picture and five numbers."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(5, 4)

    def forward(self, x, meta, scale=1.0):
        return super().forward(x) * self.extra(meta) * scale


@pytest.mark.parametrize(
    "method",
    ["grad-cam", "saliency", "smooth-grad:samples=3", "occlusion:window=6,stride=6", "ablation-cam", "lrp"],
)
def test_rows_of_further_inputs_follow_their_images(method):
    module, x = seeded(Two), images(6)
    meta = torch.rand(6, 5, generator=torch.Generator().manual_seed(3))
    several = {
        "tuple": lambda: explain(module, (x, meta), method, target=1),
        "mapping": lambda: explain(module, {"x": x, "meta": meta}, method, target=1),
        "keywords": lambda: explain(module, x, method, target=1, forward_kwargs={"meta": meta, "scale": 1.0}),
    }
    found = {name: run() for name, run in several.items()}
    for i in range(6):

        class Bound(nn.Module):
            def __init__(self, row):
                super().__init__()
                self.net, self.row = module, row

            def forward(self, x):
                return self.net(x, self.row.expand(len(x), -1))

        alone = explain(Bound(meta[i : i + 1]), x[i : i + 1], method, target=1)
        for name, e in found.items():
            assert torch.allclose(e.score[i], alone.score[0], atol=1e-6), name
            if "smooth" not in method:
                largest = alone.raw.abs().max().item()
                assert torch.allclose(e.raw[i], alone.raw[0], atol=1e-4 * largest), name
    assert found["keywords"].details["chosen"]["further inputs"]["meta"] == "one row per image"


def test_a_model_that_holds_rows_of_its_own_is_told_how_to_pass_them():
    module, meta = seeded(Two), torch.rand(6, 5)
    with pytest.raises(ModelError, match=r"4 inputs of 6 images.*forward_kwargs="):
        explain(lambda x: module(x, meta), images(6))
    with pytest.raises(InvalidType, match=r"a tuple \(images, further inputs\)"):
        explain(module, [images(6), meta])


# --- channels, preprocessing, labels ------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6, 9, 12])
def test_any_number_of_channels_is_shown_without_pretending(channels):
    x = images(2, channels)
    e = explain(network(channels=channels), x)
    assert e.pictures[0].rgb.size == (12, 12)
    if channels > 1:
        assert e.details["chosen"]["picture"]["choice"] == f"the mean of {channels} channels, in grey"
        mean = x[0].double().mean(0)
        grey = ((mean - mean.min()) / (mean.max() - mean.min()) * 255).round().numpy()
        assert np.array_equal(np.asarray(e.pictures[0].rgb)[..., 0], grey)


@pytest.mark.parametrize("channels", [6, 12])
def test_timms_networks_of_many_channels_are_no_rgb(channels):
    timm = pytest.importorskip("timm")
    assert Model.wrap(timm.create_model("resnet10t", in_chans=channels)).preprocess is None


def test_any_callable_makes_inputs_of_pictures():
    T = pytest.importorskip("torchvision.transforms")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    steps = T.Compose([T.Resize(16), T.CenterCrop(12), T.ToTensor(), T.Normalize([0.5] * 3, [0.2] * 3)])
    known = Model(network(), preprocess=steps)
    assert known.preprocess == pellucid.Preprocess((12, 12), 16, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert torch.equal(known.prepare(picture)[0], steps(picture))
    e = explain(Model(network(), preprocess=lambda image: steps(image).flip(-1)), picture)
    assert torch.equal(e.attribution, explain(network(), steps(picture).flip(-1)).attribution)
    assert e.pictures[0].rgb.size == (12, 12)
    assert e.details["chosen"]["picture"]["choice"] == "the input itself"
    assert sum("does not tell which part of the picture" in warning for warning in e.warnings) == 1
    with pytest.raises(ModelError, match="it gave int"):
        explain(Model(network(), preprocess=lambda image: 1), picture)


@pytest.mark.parametrize(
    "labels",
    [list("abcd"), np.array(list("abcd")), dict(enumerate("abcd")), {n: i for i, n in enumerate("abcd")}],
    ids=["list", "array", "by index", "by name"],
)
def test_labels_may_come_in_any_form_that_names_each_class_once(labels):
    assert explain(Model(network(), labels=labels), images(), target="c").target == [2, 2]


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ({"a", "b"}, InvalidType, "got set"),
        ({0: "a", 2: "b"}, InvalidValue, "each class from 0 to 1 once"),
        (["a", "b"], InvalidValue, "tells 4 classes apart, there are 2 names"),
    ],
)
def test_labels_that_name_other_classes_are_refused(labels, error, words):
    with pytest.raises(error, match=words):
        explain(Model(network(), labels=labels), images())


# --- subclasses ---------------------------------------------------------------------------------------------


class Meta(torch.Tensor):
    """As MONAI's and fastai's: every result is one again."""


@pytest.mark.parametrize("method", ["grad-cam", "saliency", "rise:samples=8", "ablation-cam", "deep-lift"])
def test_subclasses_of_tensors_go_in_and_plain_tensors_come_out(method, tmp_path):
    module, x = network(), images()
    expected = explain(module, x, method, target=1)
    wrapped = network(head=lambda f, z: z.as_subclass(Meta))
    if method != "deep-lift":  # whose rules do not follow what such weights do to every result
        wrapped.fc.bias = nn.Parameter(wrapped.fc.bias.detach().as_subclass(Meta))
    found = explain(wrapped, x.as_subclass(Meta), method, target=1)
    assert type(found.raw) is type(found.attribution) is type(found.score) is torch.Tensor
    torch.testing.assert_close(found.raw, expected.raw)
    found.save(tmp_path / "e.npz")


def test_means_of_logits_are_logits_without_a_word():
    for head in (lambda f, z: (z + 0.1 * (z - 1)) / 2, lambda f, z: torch.stack([z, z / 2]).mean(0)):
        e = explain(network(head=lambda f, z, head=head: 0.1 * head(f, z) + 0.5), images(), target=1)
        assert scale(e)["choice"] == "logit"
        assert e.warnings == []


def test_known_bounds_are_told():
    e = explain(network(1, head=lambda f, z: 100 * z.sigmoid()), images())
    assert scale(e)["choice"] == "logit"
    assert "can only lie between 0 and 100" in e.warnings[0]
    averages = torch.tensor([[0.4, 0.1], [0.1, 0.4]])
    e = explain(network(2, head=lambda f, z: z.sigmoid() @ averages), images())
    assert "lie between 0 and 1" in e.warnings[0]


def test_a_number_about_the_scores_is_not_the_scores():
    aside = seeded(nn.Linear, 4, 1)
    for last in (lambda z: aside(z), lambda z: aside(z).sigmoid()):
        module, x = network(head=lambda f, z, last=last: (z, last(z))), images()
        with pytest.raises(ModelError, match=r"several outputs .*output_key=0"):
            explain(module, x)
        assert len(odds(explain(Model(module, output_key=0), x))) == 4
    e = explain(network(1, head=lambda f, z: (f, z)), images())
    assert e.details["chosen"]["output"]["choice"] == "[1]"
