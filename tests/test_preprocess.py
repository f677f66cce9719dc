"""Preprocessing: input against its source's own pipeline, boxes against ramps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.errors import InvalidValue, ModelError, PictureError
from pellucid.images import Box, Picture, open_picture
from pellucid.preprocess import Preprocess

# Landscape, portrait, needles and specks: the shapes at which roundings differ.
SIZES = [(451, 300), (37, 211), (211, 37), (1, 40), (40, 1), (1, 1), (225, 224), (223, 257), (500, 333)]


def noise(size: tuple[int, int]) -> Picture:
    return open_picture(np.random.default_rng(size).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


RGB = np.asarray(noise((13, 9)).rgb)

# --- equal to the source ---------------------------------------------------------------------------------

TIMM = {
    "tf_efficientnet_lite0": {},
    "vit_base_patch16_224.augreg2_in21k_ft_in1k": {},
    "convnext_tiny.fb_in1k": {},
    "convnext_large.fb_in22k_ft_in1k_384": {},  # crop_pct 1.0, squash
    "resnet18": {"crop_pct": 1.0},
    "resnet34": {"crop_mode": "squash"},
    "resnet50": {"crop_mode": "border", "interpolation": "lanczos"},
    "resnet101": {"input_size": (3, 160, 224)},
    "resnet152": {"input_size": (3, 161, 225), "crop_mode": "border"},
    "seresnet50": {"input_size": (1, 90, 90), "mean": (0.5,), "std": (0.25,)},
    "resnext50_32x4d": {"input_size": (4, 90, 91), "mean": (0.5,), "std": (0.25,)},
}


@pytest.mark.parametrize("name", TIMM)
def test_from_timm_equals_timm(name: str):
    from timm.data import create_transform, resolve_data_config
    from timm.data.transforms import str_to_interp_mode
    from timm.models import get_pretrained_cfg

    config = resolve_data_config(TIMM[name], pretrained_cfg=get_pretrained_cfg(name).to_dict())
    transform = create_transform(**config, is_training=False)
    resize = transform.transforms[0]
    if type(resize).__name__ == "ResizeKeepRatio" and resize.interpolation != str_to_interp_mode(
        config["interpolation"]
    ):
        pytest.skip("this timm resizes by another interpolation than its config says")
    ours = Preprocess.from_timm(config)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[config["input_size"][0]]
    sizes = [
        size for size in SIZES if config["crop_mode"] != "border" or 1 not in size
    ]  # there timm divides by 0
    for picture in (open_picture("sample:cat"), *map(noise, sizes)):
        expected = transform(picture.rgb.convert(mode))
        assert torch.equal(ours(picture), expected), picture.rgb.size


def test_from_timm_spreads_statistics_over_other_channels():
    config = {
        "input_size": (3, 64, 64),
        "interpolation": "bicubic",
        "mean": (0.4, 0.5, 0.6),
        "std": (0.1, 0.2, 0.3),
    }
    assert Preprocess.from_timm(config, channels=3).mean == (0.4, 0.5, 0.6)
    assert Preprocess.from_timm(config, channels=1).mean == pytest.approx((0.5,))
    assert Preprocess.from_timm(config, channels=4).std == pytest.approx((0.1, 0.2, 0.3, 0.2))
    with pytest.raises(ModelError, match=r"1 \(grey\), 3 \(RGB\) or 4"):
        Preprocess.from_timm(config, channels=2)


@pytest.mark.parametrize(
    "bad", [{"crop_mode": "spiral"}, {"crop_border_pixels": 3}, {"interpolation": "random"}]
)
def test_from_timm_refuses_what_it_does_not_know(bad: dict[str, object]):
    config = {"input_size": (3, 64, 64), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(ModelError, match="not understood"):
        Preprocess.from_timm(config | bad)


@pytest.mark.parametrize(
    "name",
    [
        "ResNet50_Weights.IMAGENET1K_V1",
        "ResNet50_Weights.IMAGENET1K_V2",
        "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
        "Swin_T_Weights.IMAGENET1K_V1",
        "EfficientNet_B0_Weights.IMAGENET1K_V1",
        "EfficientNet_V2_S_Weights.IMAGENET1K_V1",
    ],
)
def test_from_torchvision_equals_torchvision(name: str):
    import torchvision.models

    owner, weights = name.split(".")
    transforms = getattr(torchvision.models, owner)[weights].transforms()
    ours = Preprocess.from_torchvision(transforms)
    for picture in (open_picture("sample:rocket"), *map(noise, SIZES)):
        assert torch.equal(ours(picture), transforms(picture.rgb)), picture.rgb.size


def test_a_picture_smaller_than_the_crop_is_padded_as_torchvision_pads():
    from torchvision.transforms._presets import ImageClassification

    transforms = ImageClassification(crop_size=64, resize_size=31)
    ours = Preprocess.from_torchvision(transforms)
    for size in SIZES:
        assert torch.equal(ours(noise(size)), transforms(noise(size).rgb)), size
    box = ours.box(noise((31, 31)))
    assert box == Box(-16.0, -16.0, 48.0, 48.0)


def test_from_torchvision_refuses_other_pipelines():
    from torchvision.transforms import Compose
    from torchvision.transforms._presets import ImageClassification

    class Flipped(ImageClassification):
        def forward(self, img: Image.Image) -> torch.Tensor:
            return super().forward(img).flip(2)

    with pytest.raises(ModelError, match="Compose"):
        Preprocess.from_torchvision(Compose([]))
    with pytest.raises(ModelError, match="Flipped does more"):
        Preprocess.from_torchvision(Flipped(crop_size=64))


PROCESSORS = {
    "ViTImageProcessor": {},
    "DeiTImageProcessor": {},
    "BitImageProcessor": {},
    "CLIPImageProcessor": {},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 224}},
    "ConvNextImageProcessor ": {"size": {"shortest_edge": 384}},
    "PoolFormerImageProcessor": {},
    "LevitImageProcessor": {},
    "MobileNetV2ImageProcessor": {"crop_size": {"height": 225, "width": 223}},
    "MobileViTImageProcessor": {},  # padded, and blue first
    "EfficientNetImageProcessor": {"rescale_offset": True, "rescale_factor": 1 / 127.5, "resample": 0},
    "SiglipImageProcessor": {"do_normalize": False},
    "BeitImageProcessor": {"do_rescale": False},
}


def of_pillow(name: str) -> type:
    """A processor's class that works on Pillow: an older transformers has no other of the plain name."""
    import transformers

    return getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)


@pytest.mark.parametrize("name", PROCESSORS)
def test_from_transformers_equals_the_pillow_processors(name: str):
    processor = of_pillow(name.strip())(**PROCESSORS[name])
    ours = Preprocess.from_transformers(processor)
    folded = name.startswith(("Efficient", "Beit"))  # their rescaling is folded into mean and std
    for picture in (open_picture("sample:coffee"), *map(noise, SIZES[:3] + SIZES[6:])):
        expected = processor(picture.rgb, return_tensors="pt")["pixel_values"][0]
        found = ours(picture)
        if folded:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(found, expected), picture.rgb.size


@pytest.mark.parametrize("name", ["ViTImageProcessor", "BitImageProcessor", "ConvNextImageProcessor"])
def test_from_transformers_equals_the_torch_processors_within_two_grey_levels(name: str):
    import transformers

    processor = getattr(transformers, name)()
    ours = Preprocess.from_transformers(processor)
    std = torch.tensor(ours.std)[:, None, None]
    for picture in (open_picture("sample:coffee"), noise((37, 211)), noise((223, 257))):
        expected = processor(picture.rgb, return_tensors="pt")["pixel_values"][0]
        assert ((ours(picture) - expected) * std).abs().max() <= 2.01 / 255


def test_from_transformers_reads_a_wrapped_timm_model():
    import transformers

    processor = transformers.TimmWrapperImageProcessor({"input_size": (3, 96, 96), "crop_pct": 0.9})
    expected = processor(noise((120, 100)).rgb)["pixel_values"][0]
    assert torch.equal(Preprocess.from_transformers(processor)(noise((120, 100))), expected)


def test_from_transformers_refuses_what_it_cannot_do():
    with pytest.raises(ModelError, match=r"PerceiverImageProcessor(Pil)? does more"):
        Preprocess.from_transformers(of_pillow("PerceiverImageProcessor")())
    with pytest.raises(ModelError, match="sizes are not understood"):
        Preprocess.from_transformers(of_pillow("BitImageProcessor")(do_center_crop=False))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean": (0.5, 0.5)}, "mean and std"),
        ({"mean": (0.5,)}, "mean and std"),
        ({"std": (1.0, 0.0, 1.0)}, "std must not be 0"),
        ({"scale_to": 0}, "at least 1"),
        ({"size": (0, 9)}, "at least 1"),
        ({"interpolation": "cubic"}, "nearest, bilinear"),
        ({"fit": "stretch"}, "crop, squash, pad"),
        ({"rounding": "up"}, "nearest, floor, zero"),
        ({"bgr": True, "mean": (0.5,), "std": (0.5,)}, "3 channels"),
    ],
)
def test_settings_that_do_not_hold_are_refused(settings: dict[str, object], words: str):
    with pytest.raises(InvalidValue, match=words):
        Preprocess(**({"size": (8, 8), "scale_to": 9} | settings))  # type: ignore[arg-type]


def test_four_channels_see_the_pictures_own_transparency():
    clear = np.dstack([RGB, np.full(RGB.shape[:2], 51, np.uint8)])
    preprocess = Preprocess((9, 13), None, mean=(0.0,) * 4, std=(1.0,) * 4)
    np.testing.assert_array_equal(preprocess(open_picture(clear)).permute(1, 2, 0) * 255, clear)
    assert preprocess(open_picture(RGB))[3].unique().tolist() == [1.0]


@pytest.mark.parametrize("bgr", [False, True])
def test_undo_inverts_normalisation(bgr: bool):
    preprocess = Preprocess((9, 13), scale_to=None, bgr=bgr)
    [picture] = preprocess.undo(preprocess(open_picture(RGB))[None])
    np.testing.assert_array_equal(np.asarray(picture.rgb), RGB)
    grey = Preprocess((9, 13), None, mean=(0.5,), std=(0.2,))
    [picture] = grey.undo(grey(open_picture(RGB[:, :, 0]))[None])
    np.testing.assert_array_equal(np.asarray(picture.rgb)[:, :, 2], RGB[:, :, 0])
    with pytest.raises(InvalidValue, match="3 channels"):
        preprocess.undo(torch.zeros(1, 1, 9, 13))


def test_undo_clips_what_no_picture_holds():
    [picture] = Preprocess((1, 3), None, mean=(0.5,), std=(0.5,)).undo(
        torch.tensor([[[[-9.0, 9.0, torch.nan]]]])
    )
    assert np.asarray(picture.rgb)[0, :, 0].tolist() == [0, 255, 0]


# --- boxes -----------------------------------------------------------------------------------------------

side = st.integers(9, 250)


@settings(max_examples=80, deadline=None)
@given(
    picture_size=st.tuples(side, side),
    size=st.tuples(st.integers(8, 96), st.integers(8, 96)),
    scale=st.none() | st.integers(8, 120) | st.tuples(st.integers(8, 120), st.integers(8, 120)),
    fit=st.sampled_from(["crop", "squash", "pad"]),
    rounding=st.sampled_from(["nearest", "floor", "zero"]),
)
def test_an_input_pixel_shows_what_its_box_says(picture_size, size, scale, fit, rounding):
    if fit != "crop":
        scale = (scale, scale) if isinstance(scale, int) else scale
    width, height = picture_size
    y, x = np.mgrid[:height, :width].astype(np.uint8)  # the red and green of a pixel say where it is
    picture = open_picture(np.dstack([x, y, np.full_like(x, 255)]))
    preprocess = Preprocess(size, scale, fit, mean=(0.0,) * 3, std=(1.0,) * 3, rounding=rounding)
    red, green, inside = preprocess(picture) * 255
    box = preprocess.box(picture)
    at_x = box.left + (torch.arange(size[1]) + 0.5) * (box.right - box.left) / size[1] - 0.5
    at_y = box.top + (torch.arange(size[0]) + 0.5) * (box.bottom - box.top) / size[0] - 0.5
    shown = inside > 127
    expected = ((at_y > -0.5) & (at_y < height - 0.5))[:, None] & ((at_x > -0.5) & (at_x < width - 0.5))
    assert torch.equal(shown, expected)
    # Near the picture's edge antialiasing averages fewer pixels, on one side.
    reach_x, reach_y = ((box.right - box.left) / size[1], (box.bottom - box.top) / size[0])
    core_x = (at_x >= reach_x) & (at_x <= width - 1 - reach_x)
    core_y = (at_y >= reach_y) & (at_y <= height - 1 - reach_y)
    core = core_y[:, None] & core_x
    if core.any():
        assert (red - at_x)[core].abs().max() <= 1
        assert (green - at_y[:, None])[core].abs().max() <= 1


def test_a_needle_that_a_model_would_blow_up_is_refused():
    with pytest.raises(PictureError, match="1 x 9000, too long"):
        Preprocess((224, 224), scale_to=256)(noise((1, 9000)))
