"""Architectures of timm, torchvision and transformers: the chosen layer lies in the picture as it is read.

The truth is had without Pellucid: a corner of the picture is changed, and the change of the raw output of the
layer, read as it was said to lie, must be in that corner. Networks whose random attention or gates carry a
change to all cells about alike cannot be told so: LeViT, halonet, bat, starnet, rexnet, efficientvit,
ghostnetv2. Others do so with some weights: what fails is tried with two more draws of its norms' weights.
"""

import re

import pytest
import torch

import pellucid
from nets import HF_VIT, WINDOWED, hf_model, timm_model
from test_layouts import chosen, landing
from zoo import trained_statistics

SIDE, LARGER = 96, 224
LIGHT = {
    "mobilenetv3_small_050", "lcnet_035", "mobilenetv4_conv_small_035", "tinynet_e", "semnasnet_075",
    "shvit_s1",
    "efficientnet_lite0", "tf_efficientnetv2_b0", "mnasnet_small", "fbnetc_100", "hardcorenas_a", "mixnet_s",
    "inception_v3", "inception_v4", "xception41", "convmixer_768_32", "rdnet_tiny",
}  # fmt: skip
"""Depthwise kernels, or attention, with random weights over few cells mix them up: these are given more."""
WINDOWS = {"botnet26t_256": 256}
"""Their windows must fit."""
TIMM = [
    "resnet10t", "resnet18", "resnet26d", "resnext26ts", "seresnext26ts", "skresnet18", "resnest14d",
    "res2net50_26w_4s", "resnetv2_50", "densenet121", "dla34", "dpn48b", "vgg11", "vgg11_bn",
    "mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "efficientnet_b0",
    "efficientnet_lite0", "tf_efficientnet_lite0", "tf_efficientnetv2_b0", "mnasnet_small", "fbnetc_100",
    "ghostnet_050", "hardcorenas_a", "mixnet_s", "lcnet_035", "tinynet_e", "semnasnet_075",
    "regnetx_002", "regnety_002", "regnetz_005", "cspresnet50", "cspdarknet53", "darknet17",
    "vovnet39a", "ese_vovnet19b_dw", "hrnet_w18_small", "hgnetv2_b0", "inception_v3", "inception_v4",
    "xception41", "selecsls42", "gernet_s", "repvgg_a0", "mobileone_s0", "nf_resnet26", "dm_nfnet_f0",
    "eca_nfnet_l0", "lambda_resnet26t", "botnet26t_256", "gcresnext26ts",
    "convnext_atto", "convnextv2_atto", "convnext_femto_ols", "fastvit_t8",
    "repvit_m0_9",
    "inception_next_atto", "convmixer_768_32", "poolformer_s12", "poolformerv2_s12",
    "tresnet_m", "rdnet_tiny", "focalnet_tiny_srf", "mobilevit_xxs", "mobilevitv2_050",
    "mambaout_femto", "shvit_s1", "fasternet_t0", "caformer_s18", "convformer_s18",
]  # fmt: skip
SIZED = {
    "vit_tiny_patch16_224": {}, "deit_tiny_patch16_224": {}, "deit_tiny_distilled_patch16_224": {},
    "vit_small_patch14_reg4_dinov2": {"img_size": 98}, "beit_base_patch16_224": {"depth": 2, "embed_dim": 48,
    "num_heads": 3}, "eva02_tiny_patch14_224": {"img_size": 98, "depth": 3}, "cait_xxs24_224": {"depth": 3},
    "deit3_small_patch16_224": {"depth": 3}, "vit_base_patch16_siglip_224": {"depth": 3},
    "swin_tiny_patch4_window7_224": {"window_size": 3}, "swinv2_cr_tiny_224": {},
    "mixer_s32_224": {}, "gmixer_12_224": {}, "resmlp_12_224": {}, "gmlp_ti16_224": {},
    "xcit_nano_12_p16_224": {}, "convit_tiny": {}, "pit_ti_224": {}, "twins_svt_small": {},
    "pvt_v2_b0": {}, "nest_tiny": {}, "visformer_tiny": {}, "coat_lite_tiny": {},
    "efficientformer_l1": {"img_size": 224}, "tiny_vit_5m_224": {}, "gcvit_xxtiny": {}, "davit_tiny": {},
    "mvitv2_tiny": {},
    "maxvit_rmlp_pico_rw_256": {"img_size": 128}, "coatnet_pico_rw_224": {}, "hiera_tiny_224": {},
    "crossvit_9_240": {"img_size": 240}, "volo_d1_224": {}, "sequencer2d_s": {},
}  # fmt: skip
TORCHVISION = [
    "alexnet", "googlenet", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "resnet18",
    "mobilenet_v3_small", "regnet_y_400mf", "efficientnet_b0", "convnext_tiny", "densenet121", "swin_t",
    "swin_v2_t", "vit_b_16",
]  # fmt: skip
TRANSFORMERS = {
    "ViTForImageClassification": HF_VIT, "DeiTForImageClassification": HF_VIT, "BeitForImageClassification":
    HF_VIT, "SwinForImageClassification": WINDOWED, "Swinv2ForImageClassification": WINDOWED,
    "Dinov2ForImageClassification": {**HF_VIT, "mlp_ratio": 2}, "ResNetForImageClassification":
    {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "ConvNextForImageClassification": {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]},
    "PoolFormerForImageClassification": {}, "MobileNetV2ForImageClassification": {"depth_multiplier": 0.35},
}  # fmt: skip
QUICK = {
    "timm resnet18", "timm densenet121", "timm mobilenetv3_small_050", "timm regnetx_002",
    "timm convnext_atto", "timm ghostnet_050", "timm poolformer_s12", "timm lcnet_035",
    "timm vit_tiny_patch16_224", "timm deit_tiny_distilled_patch16_224", "timm swin_tiny_patch4_window7_224",
    "timm cait_xxs24_224", "timm pvt_v2_b0", "torchvision shufflenet_v2_x0_5",
    "torchvision googlenet", "transformers ViTForImageClassification",
    "transformers SwinForImageClassification",
    "transformers ResNetForImageClassification", "timm gmlp_ti16_224", "timm efficientformer_l1",
}  # fmt: skip
NO_GRID = {"timm crossvit_9_240": "any"}
"""Where nothing is chosen is stated; "any": or whatever lies as it says."""
ALL = [
    *(f"timm {name}" for name in (*TIMM, *SIZED)),
    *(f"torchvision {name}" for name in TORCHVISION),
    *(f"transformers {name}" for name in TRANSFORMERS),
]


def build(title):
    """A network with random weights, and the side of its input."""
    kind, name = title.split()
    if kind == "timm":
        options = SIZED.get(name)
        if options is None:
            return timm_model(name), LARGER if name in LIGHT else WINDOWS.get(name, SIDE)
        size = options.get("img_size", SIDE)
        try:
            return timm_model(name, **{"img_size": size, **options}), size
        except TypeError:  # it takes no size
            return timm_model(name, **options), 224
    if kind == "torchvision":
        from torchvision import models

        with torch.random.fork_rng():
            torch.manual_seed(0)
            more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
            return models.get_model(
                name, weights=None, num_classes=5, **more
            ).eval(), LARGER if "vit" in name or name in ("efficientnet_b0", "convnext_tiny") else SIDE
    options = TRANSFORMERS[name]
    wide = LARGER if name.startswith("ConvNext") else SIDE
    return hf_model(name, **options), options.get("image_size", wide)


def read_as(text):
    """What makes maps (N, K, h, w) of an output that lies as a report says."""
    kind, h, w = re.match(r"(\w+) (\d+)x(\d+)", text).groups()
    h, w = int(h), int(w)
    prefix = int((re.search(r"(\d+) prefix", text) or [0, 0])[1])
    tensor = lambda out: out[0] if isinstance(out, (tuple, list)) else out  # noqa: E731
    return {
        "NCHW": lambda out: tensor(out),
        "NHWC": lambda out: tensor(out).permute(0, 3, 1, 2),
        "NTC": lambda out: tensor(out)[:, prefix : prefix + h * w].mT.unflatten(2, (h, w)),
        "TNC": lambda out: tensor(out)[prefix : prefix + h * w].permute(1, 2, 0).unflatten(2, (h, w)),
    }[kind]


@pytest.mark.parametrize(
    "title", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in ALL]
)
def test_the_chosen_layer_lies_as_it_is_read(title):
    for seed in range(3):
        wrong = out_of_place(title, seed)
        if not wrong:
            return
    pytest.fail(str(wrong))


def out_of_place(title, seed):
    """The layers of a network in which a changed corner is not that corner."""
    module, side = build(title)
    x = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(seed)
    kinds = torch.nn.BatchNorm2d, torch.nn.BatchNorm1d, torch.nn.LayerNorm
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, kinds) and norm.weight is not None:
                norm.weight.uniform_(0.5, 1.5)  # some begin at zero
    module, x = trained_statistics(module, x), x[:1]
    found = chosen(pellucid.explain(module, x, "random-cam"))
    wrong = []
    for name, text in ((found["name"], found["layout"]), *list(found["others"].items())[:1]):
        if not isinstance(text, str):
            continue
        torch.manual_seed(2)
        (top, left), (bottom, right) = landing(module, x, name, read_as(text))
        if not (top < bottom and left < right):
            wrong.append((name, text, (top, left), (bottom, right)))
    return wrong
