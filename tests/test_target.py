"""What is asked of a model: targets of every kind, and the number each stands for."""

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from nets import Around, TinyCNN, unchecked
from pellucid import Contrast, Model
from pellucid.errors import InvalidType, InvalidValue, ModelError
from pellucid.request import Request
from pellucid.target import resolve
from zoo import seeded

OUTPUTS = torch.tensor([[1.0, 4.0, -2.0], [3.0, 0.5, 0.0]], dtype=torch.float64)
NAMED = Model(nn.Flatten(), labels=["cat", "dog, hound", "owl"])
BARE = Model(nn.Flatten())


def values(target, output="logit", outputs=OUTPUTS, model=NAMED):
    return resolve(target, outputs, model, output)(outputs)


# --- kinds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "classes", "names"),
    [
        (None, [1, 0], ("dog", "cat")),
        (2, [2, 2], ("owl", "owl")),
        (np.int64(2), [2, 2], ("owl", "owl")),
        ("hound", [1, 1], ("dog", "dog")),
        ([2, None], [2, 0], ("owl", "cat")),
        (("owl", 1), [2, 1], ("owl", "dog")),
        (torch.tensor([0, 2]), [0, 2], ("cat", "owl")),
        (torch.tensor(2), [2, 2], ("owl", "owl")),
        (np.array([0, 2]), [0, 2], ("cat", "owl")),
    ],
)
def test_every_kind_of_class_target(target, classes, names):
    score = resolve(target, OUTPUTS, NAMED)
    assert score.classes.tolist() == classes
    assert score.names == names
    assert score(OUTPUTS).tolist() == [OUTPUTS[i, c].item() for i, c in enumerate(classes)]


def test_a_contrast_is_a_difference():
    score = resolve([Contrast("cat", 1), "owl"], OUTPUTS, NAMED)
    assert score.names == ("cat - dog", "owl")
    assert score(OUTPUTS).tolist() == [1.0 - 4.0, 0.0]
    assert values(Contrast(1, 0)).tolist() == [3.0, -2.5]


def test_a_callable_gets_the_raw_output():
    raw = {"logits": OUTPUTS, "features": OUTPUTS * 2}
    score = resolve(lambda raw: raw["features"].sum(1), raw, NAMED)
    assert score.classes is None
    assert score(raw).tolist() == [6.0, 7.0]


def test_a_callable_may_explain_a_model_that_is_no_classifier():
    module = Around(nn.Conv2d(3, 2, 3), after=lambda y: {"mask": y}).eval()
    e = pellucid.explain(
        module, torch.rand(2, 3, 8, 9), "saliency", target=lambda raw: raw["mask"].mean((1, 2, 3))
    )
    assert e.target == [None, None]
    assert e.prediction == [[], []]
    assert e.labels == ["<lambda>", "<lambda>"]
    assert (e.raw > 0).any()


def test_a_resolved_target_keeps_its_classes_when_the_outputs_change():
    score = resolve(None, OUTPUTS, NAMED)
    assert score(OUTPUTS.flip(1)).tolist() == [4.0, 0.0]


def test_repeated_copies_of_a_sample_are_adjacent():
    score = resolve([2, Contrast(0, 1)], OUTPUTS, NAMED).repeat(2)
    assert score.names == ("owl", "owl", "cat - dog", "cat - dog")
    assert score(OUTPUTS.repeat_interleave(2, 0)).tolist() == [-2.0, -2.0, 2.5, 2.5]


def test_picked_samples_come_in_the_order_and_as_often_as_they_are_named():
    score = resolve([2, Contrast(0, 1)], OUTPUTS, NAMED).pick([1, 0, 1])
    assert score.names == ("cat - dog", "owl", "cat - dog")
    assert score(OUTPUTS[[1, 0, 1]]).tolist() == [2.5, -2.0, 2.5]


def test_a_callable_is_one_question_however_its_samples_are_picked_or_repeated():
    score = resolve(lambda raw: raw[:, 1], OUTPUTS, NAMED).repeat(3).pick([5, 0])
    assert score.names == ("<lambda>", "<lambda>")
    assert score(OUTPUTS).tolist() == OUTPUTS[:, 1].tolist()


@pytest.mark.parametrize("target", [[0, 2, 1], torch.tensor([0, 2, 1]), ("cat", "owl", "dog")])
def test_targets_per_image_are_met_whatever_the_chunks(target):
    module, x = Model(seeded(TinyCNN, classes=3), labels=NAMED.labels), torch.rand(3, 3, 9, 9)
    for batch_size in (1, 2, 3):
        e = pellucid.explain(module, x, target=target, batch_size=batch_size)
        assert e.target == [0, 2, 1]
        assert e.labels == ["cat", "owl", "dog"]


# --- refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (3, InvalidValue, "from 0 to 2; got 3"),
        (-1, InvalidValue, "from 0 to 2; got -1"),
        (np.int64(3), InvalidValue, "from 0 to 2; got 3"),
        ([0, 9], InvalidValue, "from 0 to 2; got 9"),
        (Contrast(0, 3), InvalidValue, "from 0 to 2; got 3"),
        ("hownd", InvalidValue, "no class 'hownd': the closest are hound"),
        ([0], InvalidValue, "one target per image: 2 images, 1 targets"),
        (torch.tensor([0, 1, 2]), InvalidValue, "one target per image: 2 images, 3 targets"),
        (True, InvalidType, "got bool"),
        (1.0, InvalidType, "got float"),
        ([1.0, 2.0], InvalidType, "got float"),
        (torch.tensor([1.0, 0.0]), InvalidType, "whole class index"),
        (torch.tensor([True, False]), InvalidType, "got bool"),
        (torch.eye(2, dtype=torch.int64), InvalidType, "whole class index"),
        ({"cat": 1}, InvalidType, "got dict"),
        (lambda raw: raw, InvalidValue, r"one number per image, a tensor \(N,\); got \(\d, 3\)"),
        (lambda raw: raw.sum(), InvalidValue, r"one number per image, a tensor \(N,\); got \(\)"),
        (lambda raw: 1.0, InvalidValue, "got float"),
        (np.array([0.5, 1.0]), InvalidType, "whole class index"),
        (np.array([0, 1, 2]), InvalidValue, "one target per image: 2 images, 3 targets"),
    ],
)
def test_targets_that_do_not_hold_are_refused(target, error, words):
    module = Model(Around(nn.Identity(), after=lambda x: x.mean((2, 3))).eval(), labels=NAMED.labels)
    for batch_size in (1, 8):
        with unchecked(), pytest.raises(error, match=words):
            pellucid.explain(module, torch.rand(2, 3, 4, 4), "saliency", target=target, batch_size=batch_size)


@pytest.mark.parametrize("target", [lambda raw: raw[:1, 0], lambda raw: raw.flatten()])
def test_a_callable_must_give_as_many_scores_as_images(target):
    with pytest.raises(InvalidValue, match=r"one score per image: 2 images, (1|10) scores"):
        pellucid.explain(seeded(TinyCNN), torch.rand(2, 3, 9, 9), "saliency", target=target)


def test_a_model_must_give_as_many_rows_as_images():
    module = Around(seeded(TinyCNN), after=lambda y: y.mean(0, keepdim=True)).eval()
    with pytest.raises(InvalidValue, match="one score per image: 2 images, 1 scores"):
        pellucid.explain(module, torch.rand(2, 3, 9, 9), "saliency")


@pytest.mark.parametrize("target", [3, -1])
def test_a_class_out_of_range_is_refused_without_class_names(target):
    with pytest.raises(InvalidValue, match=r"A (target|class)"):
        resolve(target, OUTPUTS, BARE)


def test_a_name_needs_class_names():
    with pytest.raises(InvalidValue, match="no class names"):
        resolve("cat", OUTPUTS, BARE)


def test_fewer_outputs_than_names_are_refused():
    with pytest.raises(InvalidValue, match="tells 2 classes apart, there are 3 names"):
        resolve("owl", OUTPUTS[:, :2], NAMED)


# --- which number -------------------------------------------------------------------------------------------


def test_probability_and_loss_follow_their_formulas():
    p = OUTPUTS.exp() / OUTPUTS.exp().sum(1, keepdim=True)
    torch.testing.assert_close(values(1, "logit"), OUTPUTS[:, 1])
    torch.testing.assert_close(values(1, "probability"), p[:, 1])
    torch.testing.assert_close(values(1, "loss"), -p[:, 1].log())
    torch.testing.assert_close(values(Contrast(0, 2), "probability"), p[:, 0] - p[:, 2])


def test_a_single_logit_has_two_classes():
    z = torch.tensor([[2.0], [-3.0]], dtype=torch.float64)
    s = 1 / (1 + (-z[:, 0]).exp())
    score = resolve(None, z, BARE)
    assert score.classes.tolist() == [1, 0]
    assert score.names == ("positive", "negative")
    assert score(z).tolist() == [2.0, 3.0]  # of its own sign, so that positive evidence speaks for it
    torch.testing.assert_close(values(1, "probability", z, BARE), s)
    torch.testing.assert_close(values(0, "probability", z, BARE), 1 - s)
    torch.testing.assert_close(values(1, "loss", z, BARE), -s.log())
    torch.testing.assert_close(values(0, "loss", z, BARE), -(1 - s).log())
    torch.testing.assert_close(values(Contrast(1, 0), "logit", z, BARE), 2 * z[:, 0])
    assert values(1, "logit", z[:, 0], BARE).tolist() == [2.0, -3.0]  # (N,) as (N, 1)
    assert resolve(None, z, Model(nn.Flatten(), labels=["ok", "scratched"])).names == ("scratched", "ok")
    with pytest.raises(InvalidValue, match="from 0 to 1; got 2"):
        resolve(2, z, BARE)


def test_a_model_that_ends_in_a_softmax_is_not_passed_through_another():
    p = OUTPUTS.softmax(1)
    torch.testing.assert_close(values(1, "probability", p), p[:, 1])
    torch.testing.assert_close(values(1, "loss", p), -p[:, 1].log())
    module = Around(seeded(TinyCNN), after=lambda y: y.softmax(1)).eval()
    e = pellucid.explain(module, torch.rand(2, 3, 9, 9), "saliency")
    assert any("softmax" in warning for warning in e.warnings)
    assert [row[0].probability for row in e.prediction] == pytest.approx(e.score.tolist())


@pytest.mark.parametrize("output", ["logit", "probability", "loss"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(output, dtype):
    for outputs in (torch.tensor([[60.0, -60.0, 0.0]]), torch.tensor([[80.0]]), torch.tensor([[-80.0]])):
        assert values(0, output, outputs.to(dtype), BARE).isfinite().all()


@pytest.mark.parametrize("output", ["logit", "probability", "loss"])
def test_explain_scores_what_output_names(output):
    module, x = seeded(TinyCNN).double(), torch.rand(2, 3, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        outputs = module(x)
    e = pellucid.explain(module, x, target=3, output=output)
    assert e.output == output
    torch.testing.assert_close(e.score, values(3, output, outputs, BARE).float())


@pytest.mark.parametrize("output", ["logits", "softmax", "", None])
def test_another_output_is_refused(output):
    if output is None:
        assert pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 9), output=None).output == "logit"
    else:
        with (
            unchecked(),
            pytest.raises(
                InvalidValue, match=f"output must be one of logit, probability, loss; got {output!r}"
            ),
        ):
            pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 9), output=output)


def test_losses_cannot_be_contrasted():
    with pytest.raises(InvalidValue, match="Contrast explains logits or probabilities"):
        values(Contrast(0, 1), "loss")


def test_an_output_that_is_no_scores_says_what_it_is():
    module = Around(seeded(TinyCNN), after=lambda y: {"boxes": y[None], "note": "x"}).eval()
    with pytest.raises(ModelError, match=r"dict with boxes: \(1, 2, 5\), note: str: pass target=callable"):
        pellucid.explain(module, torch.rand(2, 3, 9, 9), "saliency")


def test_targets_may_be_written_as_on_the_command_line():
    net, x = seeded(TinyCNN), torch.rand(1, 3, 9, 9)
    count = net(x).shape[1]
    model = Model(net, labels=["cat", "dog", *(f"class-{i}" for i in range(2, count))])
    written = pellucid.explain(model, x, "saliency", target="dog^cat")
    assert written.labels == ["dog - cat"]
    meant = pellucid.explain(model, x, "saliency", target=Contrast("dog", "cat"))
    assert torch.equal(written.attribution, meant.attribution)
    predicted = pellucid.explain(model, x, "saliency", target="predicted")
    assert predicted.target == pellucid.explain(model, x, "saliency").target


def test_several_methods_are_for_compare():
    with unchecked(), pytest.raises(InvalidType, match=r"got list: pellucid\.compare takes"):
        Request.of(["grad-cam", "saliency"])
