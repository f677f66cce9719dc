"""Model: reading images, naming classes, unwrapping outputs."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from pellucid.errors import FileMissing, InvalidType, InvalidValue, ModelError
from pellucid.images import Box
from pellucid.model import Model
from pellucid.outputs import outputs_of
from pellucid.preprocess import Preprocess

CATS = ("tabby, tabby cat", "tiger cat", "crane", "crane", "projectile, missile", "missile", "7")
SMALL = Preprocess(size=(6, 8), scale_to=(6, 8), fit="squash", mean=(0.5,) * 3, std=(0.5,) * 3)


def net(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


# ------------------------------------------------------------------------------------------ wrapping


def test_wrap_leaves_a_model_as_it_is() -> None:
    model = Model(net())
    assert Model.wrap(model) is model


@pytest.mark.parametrize("parallel", [nn.DataParallel, "distributed"])
def test_parallel_wrappers_are_taken_off(parallel: Any) -> None:
    module = net()
    if parallel == "distributed":  # without a process group: only its class and its `module` count
        wrapper = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
        nn.Module.__init__(wrapper)
        wrapper.module = module
    else:
        wrapper = parallel(module)
    assert Model.wrap(wrapper).module is module


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidType, match=r"nn\.Module or a callable; got str"):
        Model.wrap("resnet18")


def test_a_single_string_is_no_labels() -> None:
    with pytest.raises(InvalidType, match="one name per class"):
        Model(net(), labels="cat")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_device_and_dtype_are_those_of_the_first_floating_tensor(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.BatchNorm2d(3, affine=False)).to(dtype)  # has an integer buffer too
    assert (Model(module).dtype, Model(module).device) == (dtype, torch.device("cpu"))
    assert Model(nn.Flatten()).dtype == Model(torch.sum).dtype == torch.float32
    assert Model(net().to("meta")).device.type == "meta"


def test_a_callable_is_no_module() -> None:
    def score(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    model = Model.wrap(score)
    assert (model.is_module, model.name) == (False, "score")
    assert Model(net()).is_module
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(model(x), score(x))


def test_wrap_finds_timms_preprocessing_and_guesses_no_class_names() -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("mobilenetv3_small_050")
    module.classifier = nn.Linear(1024, 10)
    model = Model.wrap(module)
    assert model.preprocess == Preprocess.from_timm(timm.data.resolve_model_data_config(module))
    assert model.labels is None


@pytest.mark.parametrize("channels", [1, 4])
def test_wrap_counts_the_channels_of_a_timm_module(channels: int) -> None:
    timm = pytest.importorskip("timm")
    model = Model.wrap(timm.create_model("mobilenetv3_small_050", in_chans=channels))
    picture = np.zeros((30, 40), np.uint8) if channels == 1 else np.zeros((30, 40, 4), np.uint8)
    assert model.prepare(picture).shape == (1, channels, 224, 224)


def test_a_timm_module_of_five_channels_has_no_picture_preprocessing() -> None:
    timm = pytest.importorskip("timm")
    assert Model.wrap(timm.create_model("mobilenetv3_small_050", in_chans=5)).preprocess is None


# ------------------------------------------------------------------------------------------ reading


def test_kinds_of_pictures_can_be_mixed_and_equal_one_by_one(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    kinds = [str(tmp_path / "a.png"), tmp_path / "a.png", Image.fromarray(pixels), pixels]
    model = Model(net(), preprocess=SMALL)
    batch = model.read(kinds)
    assert batch.inputs.shape == (4, 3, 6, 8)
    assert all(torch.equal(one, batch.inputs[0]) for one in batch.inputs)
    assert torch.equal(model.prepare(kinds[0]), batch.inputs[:1])
    assert batch.boxes == [Box(0.0, 0.0, 10.0, 12.0)] * 4
    assert [picture.rgb.size for picture in batch.pictures] == [(10, 12)] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_get_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    model = Model(net().to(dtype), preprocess=SMALL)
    assert model.prepare(np.zeros((9, 9, 3), np.uint8)).dtype == dtype
    assert model(model.prepare(torch.rand(3, 6, 8))).dtype == dtype


def test_a_float_tensor_is_the_input_itself_and_stays_untouched() -> None:
    x = torch.randn(2, 3, 5, 7, requires_grad=True)
    before = x.detach().clone()
    batch = Model(net()).read(x)
    assert torch.equal(batch.inputs, before)
    batch.inputs.zero_()
    assert torch.equal(x, before)
    assert x.requires_grad
    assert not batch.inputs.requires_grad
    assert batch.boxes == [Box(0.0, 0.0, 7.0, 5.0)] * 2
    assert torch.equal(Model(net()).prepare(x[0]), before[:1])


def test_a_callable_gets_the_tensors_own_dtype() -> None:
    assert Model(torch.sum).prepare(torch.rand(1, 3, 4, 4, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_a_tensor_without_preprocessing_is_shown_from_black_to_white(channels: int) -> None:
    x = torch.linspace(-3, 5, channels * 20).reshape(1, channels, 4, 5)
    shown = np.asarray(Model(net(channels)).read(x).pictures[0].rgb)
    assert shown.shape == (4, 5, 3)
    assert (shown.min(), shown.max()) == (0, 255)
    grey = (shown == shown[..., :1]).all()
    assert grey == (channels != 3)  # the mean of channels that are no red, green and blue


def test_a_constant_tensor_is_shown_too() -> None:
    assert np.asarray(Model(net()).read(torch.full((3, 4, 4), 7.0)).pictures[0].rgb).max() == 0


def test_a_tensor_is_shown_as_the_preprocessing_undone() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    model = Model(net(), preprocess=SMALL)
    shown = model.read(model.prepare(pixels)).pictures[0].rgb
    assert np.array_equal(np.asarray(shown), pixels)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_pixel_that_is_not_finite_is_named(bad: float) -> None:
    x = torch.zeros(3, 3, 5, 7)
    x[1, 2, 3, 4] = bad
    with pytest.raises(InvalidValue, match=f"image 1 has {bad} at channel 2, row 3, column 4"):
        Model(net()).read(x)


def test_a_pixel_that_overflows_half_precision_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"inf at channel 0.*float16"):
        Model(net().half()).read(torch.full((1, 3, 4, 4), 1e6))


@pytest.mark.parametrize(
    ("images", "error", "text"),
    [
        ([], InvalidValue, "empty list"),
        (torch.zeros(0, 3, 4, 4), InvalidValue, r"got \(0, 3, 4, 4\)"),
        (torch.zeros(3, 0, 4), InvalidValue, "at least one pixel"),
        (torch.zeros(4, 4), InvalidValue, r"got \(4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), InvalidType, "torch.uint8"),
        ([torch.zeros(3, 4, 4)], InvalidType, "torch.stack"),
        (torch.zeros(1, 4, 6, 8), InvalidValue, "3 channels"),
        ("no/such.jpg", FileMissing, "no/such.jpg"),
        (7, InvalidType, "int"),
    ],
)
def test_what_is_no_image_is_refused(images: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Model(net(), preprocess=SMALL).read(images)


def test_a_picture_needs_preprocessing() -> None:
    with pytest.raises(ModelError, match=r"preprocess=pellucid\.Preprocess"):
        Model(net()).read(np.zeros((4, 4, 3), np.uint8))


# ------------------------------------------------------------------------------------------ classes


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (1, 1),
        (np.int64(5), 5),
        ("tabby", 0),
        ("Tabby_Cat", 0),
        ("tabby, tabby cat", 0),
        (" TIGER  cat ", 1),
        ("missile", 5),  # a whole label wins over another class's synonym
        ("projectile", 4),
        ("7", 6),  # a class of that name
        ("3", 3),
    ],
)
def test_a_class_is_found(asked: int | str, index: int) -> None:
    assert Model(net(), labels=CATS).class_index(asked) == index


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ("crane", InvalidValue, r"names 2 \(crane\), 3 \(crane\)"),
        ("tigr cat", InvalidValue, "closest are tiger cat"),
        ("xyzzy", InvalidValue, "see model.labels"),
        (7, InvalidValue, "from 0 to 6; got 7"),
        (-1, InvalidValue, "got -1"),
        ("12", InvalidValue, "got 12"),
        (True, InvalidType, "bool"),
    ],
)
def test_a_class_that_does_not_hold_is_refused(asked: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Model(net(), labels=CATS).class_index(asked)


def test_without_labels_a_class_has_only_its_index() -> None:
    model = Model(net())
    assert (model.class_index(282), model.class_index("282"), model.label(282)) == (282, 282, "class 282")
    with pytest.raises(InvalidValue, match="no class names"):
        model.class_index("tabby")


NAMES = st.text("abcXYZ ,_", max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=6), st.data())
def test_every_label_finds_its_class_unless_it_is_shared(labels: list[str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(labels) - 1))
    model = Model(net(), labels=labels)
    if labels.count(labels[index]) == 1:
        assert model.class_index(labels[index]) == index
    else:
        with pytest.raises(InvalidValue, match="pass the index"):
            model.class_index(labels[index])


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_two_classes_are_never_shown_alike_unless_their_labels_are(labels: list[str]) -> None:
    model = Model(net(), labels=labels)
    shown = [model.label(i) for i in range(len(labels))]
    assert len(set(shown)) == len(set(labels))


# ------------------------------------------------------------------------------------------ outputs

SCORES = torch.arange(6.0).reshape(2, 3)


@dataclass
class Record:
    logits: Tensor
    extra: int = 0


Pair = namedtuple("Pair", ["features", "scores"])


@pytest.mark.parametrize(
    "raw",
    [
        SCORES,
        {"logits": SCORES, "loss": torch.tensor(1.0)},
        OrderedDict(aux=SCORES + 1, out=SCORES),
        {"logits": None, "pred": SCORES},
        Record(SCORES),
        Pair(SCORES + 1, SCORES),
        (SCORES, SCORES),
        [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, dtype=torch.int64), SCORES],
    ],
)
def test_scores_are_found_in_what_a_model_returns(raw: Any) -> None:
    assert torch.equal(outputs_of(raw), SCORES)


def test_scores_are_found_in_a_transformers_output() -> None:
    transformers = pytest.importorskip("transformers")
    output = transformers.modeling_outputs.ImageClassifierOutput(logits=SCORES, hidden_states=(SCORES + 1,))
    assert torch.equal(outputs_of(output), SCORES)


def test_a_single_logit_head_becomes_one_column() -> None:
    assert torch.equal(outputs_of(SCORES[:, 0]), SCORES[:, :1])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (torch.zeros(1, 21, 8, 8), r"it gives \(1, 21, 8, 8\): pass target=callable"),
        ({"out": torch.zeros(1, 21, 8, 8)}, r"out: \(1, 21, 8, 8\)"),
        ({"boxes": torch.zeros(3, 4), "ids": [1]}, r"dict with boxes: \(3, 4\), ids: list of int"),
        ((torch.zeros(2, 3, 4),), r"tuple of \(2, 3, 4\)"),
        (torch.zeros(2, 3, dtype=torch.int64), "torch.int64"),
        (torch.tensor(1.0), r"it gives \(\)"),
        (None, "NoneType"),
        ((), "nothing"),
    ],
)
def test_outputs_that_are_no_scores_are_described(raw: Any, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        outputs_of(raw)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (torch.Tensor.to_sparse, r"sparse: pass images.to_dense\(\)"),
        (lambda x: x.to("meta"), "on the meta device"),
        (lambda x: torch.nested.nested_tensor([x[0], x[0]]), "nested"),
    ],
)
def test_tensors_without_a_value_for_every_pixel_are_refused(change, kind):
    with pytest.raises(InvalidType, match=f"densely; got one that is {kind}"):
        Model(nn.Flatten()).prepare(change(torch.rand(1, 3, 4, 4)))
