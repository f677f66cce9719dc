"""Baselines: what stands for nothing, in the model's input space."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from pellucid import Model, Preprocess
from pellucid.baselines import NAMES, baseline
from pellucid.errors import FileMissing, InvalidType, InvalidValue, ModelError
from pellucid.options.parts import Baseline, SegmentBaseline
from pellucid.options.types import Option

PREPROCESS = Preprocess((12, 10), scale_to=None, fit="squash")
MODEL = Model(nn.Flatten(), preprocess=PREPROCESS)
BARE = Model(nn.Flatten())


def make(spec, inputs, model=MODEL, seed=0):
    return baseline(spec, inputs, model, torch.Generator().manual_seed(seed))


@pytest.fixture
def x():
    return torch.randn(3, 3, 12, 10) * torch.tensor([1.0, 2.0, 0.0])[:, None, None, None] + 0.5


@pytest.mark.parametrize(
    "spec", [*NAMES, 0.25, torch.zeros(3, 12, 10), np.zeros((12, 10)), Image.new("L", (9, 9))]
)
def test_every_baseline_is_a_new_tensor_like_the_inputs(x, spec):
    before = x.clone()
    made = make(spec, x.double())
    assert made.shape == x.shape
    assert made.dtype == torch.float64
    assert made.isfinite().all()
    made += 1
    assert x.equal(before)
    assert not isinstance(spec, torch.Tensor) or not spec.any()


@pytest.mark.parametrize(("name", "level"), [("black", 0), ("grey", 127.5), ("white", 255)])
def test_colours_are_what_preprocessing_makes_of_such_a_picture(x, name, level):
    dark, light = (
        PREPROCESS(MODEL.read(Image.new("RGB", (5, 5), (v, v, v))).pictures[0])
        for v in (int(level), -int(-level // 1))
    )
    torch.testing.assert_close(make(name, x), ((dark + light) / 2).expand_as(x))


def test_black_stays_opaque_for_models_with_an_alpha_channel():
    model = Model(nn.Flatten(), preprocess=Preprocess((4, 4), None, mean=(0.0,) * 4, std=(1.0,) * 4))
    made = baseline("black", torch.rand(1, 4, 4, 4), model, torch.Generator())
    assert made[0, :, 0, 0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ["black", "grey", "white"])
@pytest.mark.parametrize(
    "model", [BARE, Model(nn.Flatten(), preprocess=Preprocess((4, 4), None, mean=(0.5,), std=(1.0,)))]
)
def test_colours_need_a_preprocess_for_the_inputs_channels(x, name, model):
    with pytest.raises(ModelError, match="use 'zero', 'mean', 'blur', 'noise', a number or a tensor"):
        make(name, x, model)


def test_zero_and_numbers_are_of_the_input_space(x):
    assert not make("zero", x).any()
    assert (make(-1.5, x) == -1.5).all()
    assert (make("-1.5", x) == -1.5).all()


def test_mean_is_each_images_own_mean_colour(x):
    torch.testing.assert_close(make("mean", x)[1, :, 3, 4], x[1].mean((1, 2)))


@pytest.mark.parametrize("size", [(60, 80), (224, 40)])
def test_blur_is_torchvisions_with_kernel_51_and_sigma_50(size):
    from torchvision.transforms.functional import gaussian_blur

    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(make("blur", x), gaussian_blur(x, [51, 51], [50.0, 50.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(60, 80), (224, 40), (3, 7), (1, 1)])
def test_median_is_scipys_of_the_pixels(size):
    from scipy.ndimage import median_filter

    model = Model(nn.Flatten(), preprocess=Preprocess(size, scale_to=None, fit="squash"))
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    x, expected = (
        model.prepare(Image.fromarray(p))
        for p in (pixels, median_filter(pixels, (11, 11, 1), mode="nearest"))
    )
    torch.testing.assert_close(make("median", x, model), expected)


def test_mixed_is_the_mean_of_blur_and_median(x):
    torch.testing.assert_close(make("mixed", x), (make("blur", x) + make("median", x)) / 2)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30))
def test_blur_keeps_constants_and_stays_within_the_images_range_at_every_size(height, width):
    x = torch.rand(1, 2, height, width)
    x[:, 1] = 0.75
    made = make("blur", x)
    torch.testing.assert_close(made[:, 1], x[:, 1])
    assert made[:, 0].min() >= x[:, 0].min() - 1e-6
    assert made[:, 0].max() <= x[:, 0].max() + 1e-6


def test_noise_is_one_draw_with_each_images_mean_and_spread():
    x = torch.randn(2, 3, 200, 200) * torch.tensor([1.0, 4.0])[:, None, None, None] + 2
    made = make("noise", x)
    std, mean = torch.std_mean(x, (2, 3), correction=0, keepdim=True)
    drawn = (made - mean) / std
    torch.testing.assert_close(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.mean(), torch.tensor(0.0), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.std(), torch.tensor(1.0), atol=0.01, rtol=0)
    assert make("noise", x).equal(made)
    assert not make("noise", x, seed=1).equal(made)
    assert make("noise", x[1:]).equal(made[1:])  # whichever images share the batch


def test_noise_of_a_constant_image_is_that_constant():
    assert (make("noise", torch.full((1, 3, 1, 1), 2.0)) == 2).all()


@pytest.mark.parametrize(
    "shape", [(), (10,), (12, 10), (3, 1, 1), (3, 12, 10), (1, 3, 12, 10), (3, 3, 12, 10)]
)
def test_tensors_and_arrays_broadcast_to_the_inputs(x, shape):
    values = torch.randn(shape)
    assert make(values, x).equal(values.expand_as(x))
    assert make(values.numpy(), x).equal(values.expand_as(x))


def test_a_picture_is_read_as_the_model_reads_pictures(x, tmp_path, cat):
    cat.save(tmp_path / "c.png")
    expected = MODEL.prepare(cat).expand_as(x)
    for spec in (cat, str(tmp_path / "c.png"), tmp_path / "c.png", np.array(cat), "sample:cat"):
        assert make(spec, x).equal(expected)


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("blck", InvalidValue, "Did you mean 'black'"),
        ("gone.png", FileMissing, "no such file"),
        (float("nan"), InvalidValue, "must be finite; got nan"),
        ("inf", InvalidValue, "must be finite; got inf"),
        (torch.tensor([[float("nan")]]), InvalidValue, "some of its values are not"),
        (np.array([[np.inf]]), InvalidValue, "some of its values are not"),
        (torch.zeros(3, 12, 11), InvalidValue, r"\(3, 3, 12, 10\), or broadcast to that; got \(3, 12, 11\)"),
        (torch.zeros(2, 3, 12, 10), InvalidValue, "broadcast"),
        (torch.zeros(1, 3, 3, 12, 10), InvalidValue, "broadcast"),
        (torch.zeros(3, 12, 10, dtype=torch.uint8), InvalidType, "must be floating"),
        (np.zeros((12, 10), int), InvalidType, "uint8 pixels"),
        (True, InvalidType, "got bool"),
        (None, InvalidType, "got NoneType"),
        (["black"], InvalidType, "got list"),
    ],
)
def test_what_is_no_baseline_is_refused(x, spec, error, words):
    with pytest.raises(error, match=words):
        make(spec, x)


def test_a_picture_needs_a_model_that_reads_pictures(x, cat):
    with pytest.raises(ModelError, match="how a picture becomes its input"):
        make(cat, x, BARE)


def test_the_option_reads_numbers_and_names_from_text():
    option = Option("baseline", Baseline, "zero")
    assert option.check("0.5") == 0.5
    assert option.check("blur") == "blur"
    assert option.kind.startswith("zero | black | grey | white | mean | blur | noise")
    with pytest.raises(InvalidValue, match="'noise'"):
        option.check("nois")


def test_superpixels_may_be_hidden_behind_their_own_mean_colour():
    option = Option("baseline", SegmentBaseline, "segment-mean")
    assert option.check("segment-mean") == "segment-mean"
    assert option.check("0.5") == 0.5
    assert option.check(values := np.zeros((12, 10))) is values
    with pytest.raises(InvalidValue, match="Did you mean 'black'"):
        option.check("blak")
