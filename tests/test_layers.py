"""Which layer, and how its output becomes feature maps."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import pellucid
from nets import WINDOWED, ChannelsLast, DenseCat, Lamp, TinyCNN, hf_model, net, pictures, timm_model
from pellucid.engine.axes.follower import Follower
from pellucid.engine.axes.layout import layout_of
from pellucid.errors import InvalidType, InvalidValue, ModelError
from pellucid.layers import Layout, first_tensor, layer_names, with_first_tensor
from zoo import seeded

sizes = st.integers(8, 300)


def layout(make, *size):
    """How what operations make of an input of that size holds the grid."""
    x = torch.zeros(size)
    with Follower(x) as follower:
        made = make(x)
    return layout_of(follower.of(made), made.shape, size[0])


# --- layouts ------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 3), height=sizes, width=sizes, down=st.integers(1, 9), across=st.integers(1, 9),
)  # fmt: skip
def test_maps_of_any_strides_are_nchw(n, height, width, down, across):
    h, w = -(-height // down), -(-width // across)
    assume(h * w > 1)
    pool = nn.AvgPool2d((down, across), ceil_mode=True)
    assert layout(pool, n, 3, height, width) == Layout("NCHW", (h, w))


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 3), height=sizes, width=sizes, stride=st.integers(2, 32))
def test_maps_with_the_channels_last_are_nhwc(n, height, width, stride):
    h, w = -(-height // stride), -(-width // stride)
    assume(h * w > 1)
    pool = nn.MaxPool2d(stride, ceil_mode=True)
    found = layout(lambda x: pool(x).permute(0, 2, 3, 1), n, h + w, height, width)
    assert found == Layout("NHWC", (h, w))


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 4), h=st.integers(1, 9), w=st.integers(1, 9), prefix=st.integers(0, 8),
    suffix=st.integers(0, 2), batch_first=st.booleans(),
)  # fmt: skip
def test_tokens_are_found_with_what_comes_before_and_behind(n, h, w, prefix, suffix, batch_first):
    """Whatever the numbers: as many tokens as images, one row, a square by chance."""
    assume(h * w > 1)

    def tokens(x):
        patches = functional.avg_pool2d(x, 2).flatten(2).transpose(1, 2)
        every = torch.cat([torch.ones(n, prefix, 3), patches, torch.ones(n, suffix, 3)], 1)
        return every if batch_first else every.transpose(0, 1)

    found = layout(tokens, n, 3, 2 * h, 2 * w)
    assert found == Layout("NTC" if batch_first else "TNC", (h, w), prefix)


@given(
    kind=st.sampled_from(["NCHW", "NHWC", "NTC", "TNC"]),
    h=st.integers(2, 5),
    w=st.integers(6, 9),
    prefix=st.integers(0, 3),
)
def test_every_layout_puts_each_value_where_it_came_from(kind, h, w, prefix):
    maps = torch.arange(2.0 * 3 * h * w).reshape(2, 3, h, w)
    tokens = torch.cat([-torch.ones(2, prefix, 3), maps.flatten(2).transpose(1, 2)], 1)
    output = {"NCHW": maps, "NHWC": maps.permute(0, 2, 3, 1), "NTC": tokens, "TNC": tokens.transpose(0, 1)}[
        kind
    ]
    found = Layout(kind, (h, w), prefix if "T" in kind else 0).maps(output)
    assert torch.equal(found, maps)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.mean((2, 3)),
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: x.flatten(1),
        lambda x: x.mean(1),
        lambda x: x.permute(0, 3, 1, 2).flatten(2),
        lambda x: x.mean(2).transpose(1, 2),
        lambda x: torch.ones(2, 5, 64) @ x.flatten(2).transpose(1, 2),
        lambda x: functional.scaled_dot_product_attention(torch.ones(2, 9, 3), *[x.flatten(2).mT] * 2),
    ],
)
def test_what_holds_no_grid_has_no_layout(make):
    assert layout(make, 2, 3, 8, 8) is None


# --- outputs that are more than a tensor --------------------------------------------------------------------


def test_the_first_tensor_of_any_output_is_taken_and_put_back():
    from collections import namedtuple

    from transformers.modeling_outputs import BaseModelOutput

    old, new, Pair = torch.zeros(2), torch.ones(2), namedtuple("Pair", "note value")
    for output in (old, (None, old), [old, 3], {"a": 1, "b": old}, Pair("x", old), BaseModelOutput(old)):
        assert first_tensor(output) is old
        changed = with_first_tensor(output, new)
        assert type(changed) is type(output)
        assert first_tensor(changed) is new
        assert first_tensor(output) is old
    assert first_tensor(None) is None
    assert first_tensor({"a": 1}) is None


# --- auto ---------------------------------------------------------------------------------------------------


def torchvision_model(name, **options):
    from torchvision import models

    with torch.random.fork_rng():
        return models.get_model(name, weights=None, num_classes=5, **options).eval()


AUTO = [
    ("torchvision resnet18", lambda: torchvision_model("resnet18"), 64, "layer4", (2, 2)),
    ("torchvision vgg11, before its pool", lambda: torchvision_model("vgg11"), 64, "features.19", (4, 4)),
    ("torchvision densenet121", lambda: torchvision_model("densenet121"), 64, "features", (2, 2)),
    ("torchvision mobilenet", lambda: torchvision_model("mobilenet_v3_small"), 64, "features", (2, 2)),
    ("torchvision convnext", lambda: torchvision_model("convnext_tiny"), 64, "features", (2, 2)),
    ("torchvision swin", lambda: net("swin torchvision"), 32, "norm", (4, 4)),
    ("torchvision shufflenet", lambda: torchvision_model("shufflenet_v2_x0_5"), 64, "conv5", (2, 2)),
    ("timm resnet18", lambda: timm_model("resnet18"), 64, "layer4", (2, 2)),
    ("timm convnext", lambda: timm_model("convnext_atto"), 64, "stages", (2, 2)),
    ("timm vit", lambda: net("vit"), 32, "blocks.1.norm1", (4, 4)),
    ("timm vit, average pooling", lambda: net("vit average"), 32, "blocks.1.norm1", (4, 4)),
    ("timm deit, 2 prefix tokens", lambda: net("vit distilled"), 32, "blocks.1.norm1", (4, 4)),
    ("timm dinov2, 5 prefix tokens", lambda: net("vit registers"), 32, "blocks.1.norm1", (4, 4)),
    ("timm beit", lambda: net("beit"), 32, "blocks.1.norm1", (4, 4)),
    ("timm swin", lambda: net("swin timm"), 32, "norm", (4, 4)),
    ("timm eva", lambda: timm_model("eva02_tiny_patch14_224", img_size=56, depth=2), 56,
     "blocks.1.norm1", (4, 4)),
    ("hf vit", lambda: net("vit hf"), 32, "vit.layers.1.layernorm_before", (4, 4)),
    ("hf deit", lambda: net("deit hf"), 32, "deit.layers.1.layernorm_before", (4, 4)),
    ("hf beit", lambda: net("beit hf"), 32, "beit.layers.1.layernorm_before", (4, 4)),
    ("hf swin", lambda: net("swin hf"), 32, "swin.layernorm", (4, 4)),
    ("hf convnext",
     lambda: hf_model("ConvNextForImageClassification", hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1]),
     64, "convnext.encoder.stages.3", (2, 2)),
    ("hf swinv2", lambda: hf_model("Swinv2ForImageClassification", **WINDOWED), 32,
     "swinv2.layernorm", (4, 4)),
    ("channels last", lambda: seeded(ChannelsLast), 32, "norm", (8, 8)),
    ("dense", lambda: seeded(DenseCat), 32, "bn", (16, 16)),
]  # fmt: skip


HEAVY = ("densenet121", "vgg11", "mobilenet", "torchvision convnext", "timm convnext", "shufflenet",
         "timm resnet18")  # fmt: skip
"""Networks of full width, whose like are built smaller beside them."""


@pytest.mark.parametrize(
    ("build", "size", "layer", "grid"),
    [
        pytest.param(*row, id=name, marks=[pytest.mark.full] if any(heavy in name for heavy in HEAVY) else [])
        for name, *row in AUTO
    ],
)
def test_auto_takes_the_last_feature_maps_and_says_so(build, size, layer, grid):
    module = build()
    x = torch.rand(2, 3, size, size, dtype=next(module.parameters()).dtype)
    e = pellucid.explain(module, x, "hirescam")
    assert e.layer == [layer]
    assert e.raw.shape == (2, *grid)
    assert (e.raw != 0).flatten(1).any(1).all()  # the score depends on them


def test_auto_takes_a_rectangular_vit_the_right_way_round():
    module = timm_model(
        "vit_tiny_patch16_224", img_size=(24, 56), patch_size=8, embed_dim=24, depth=2, num_heads=3
    )
    assert pellucid.explain(module, torch.rand(1, 3, 24, 56)).raw.shape == (1, 3, 7)


def test_auto_needs_feature_maps():
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    with pytest.raises(ModelError, match=r"No layer of this model gives feature maps.*gradient method"):
        pellucid.explain(module, torch.rand(1, 3, 4, 4))


# --- named --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    ["conv2,bn1", "conv2, bn1", ["conv2", "bn1"], ("conv2", "bn1")],
)
def test_several_layers_may_be_named_in_any_way(layer):
    module, x = seeded(TinyCNN), torch.rand(1, 3, 9, 12)
    e = pellucid.explain(module, x, "layer-cam", layer=layer)
    assert e.layer == ["conv2", "bn1"]
    assert e.raw.shape == (1, 9, 12)  # the finest of the two


def test_a_layer_may_be_the_module_itself():
    module, x = seeded(TinyCNN), torch.rand(1, 3, 9, 12)
    by_name = pellucid.explain(module, x, layer="conv2", signed=True)
    by_module = pellucid.explain(module, x, layer=module.conv2, signed=True)
    both = pellucid.explain(module, x, layer=[module.conv2, "auto"], signed=True)
    assert torch.equal(by_name.raw, by_module.raw)
    assert by_name.layer == by_module.layer == ["conv2"]
    assert both.layer == ["conv2", "relu"]


def test_a_layer_may_be_the_module_itself_inside_data_parallel():
    module, x = nn.DataParallel(seeded(TinyCNN)), torch.rand(1, 3, 9, 12)
    assert pellucid.explain(module, x, layer=module.module.conv2).layer == ["conv2"]


@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        ("conv3", InvalidValue, r"no layer 'conv3'; the closest are conv[12], conv[12].*doctor"),
        ("net.conv1", InvalidValue, r"no layer 'net.conv1'; the closest are conv1"),
        ("", InvalidValue, "no layer ''"),
        ([], InvalidValue, "at least one layer"),
        (nn.ReLU(), InvalidValue, "must be a module inside the model; this ReLU is not"),
        (3, InvalidType, "got int"),
        (["conv1", 3], InvalidType, "got int"),
        ("fc", ModelError, r"'fc' gives \(1, 5\): they are averaged over pos.* such as relu"),
    ],
)
def test_wrong_layers_are_told_with_the_closest_names(layer, error, words):
    with pytest.raises(error, match=words):
        pellucid.explain(seeded(TinyCNN), torch.rand(1, 3, 9, 12), layer=layer)


def test_a_layer_that_never_runs_is_told():
    module = seeded(TinyCNN)
    module.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(ModelError, match="does not run its layer 'spare'"):
        pellucid.explain(module, torch.rand(1, 3, 9, 12), layer="spare")


def test_one_wrong_layer_leaves_the_other_methods_alone():
    requests = [("grad-cam", {"layer": "fc"}), ("hirescam", {"layer": "conv3"}), "saliency", "layer-cam"]
    c = pellucid.compare(seeded(TinyCNN), torch.rand(2, 3, 9, 12), requests, verdict=False)
    assert [e.method for e in c.explanations] == ["saliency", "layer-cam"]
    assert [r.title for r in c.refusals] == ["grad-cam:layer=fc", "hirescam:layer=conv3"]
    assert "'fc' gives" in c.refusals[0].reason
    assert "conv3" in c.refusals[1].reason


def test_the_model_itself_is_not_a_layer():
    module = seeded(Lamp)
    with pytest.raises(InvalidValue, match="inside the model"):
        layer_names(module, module)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 2, 3]), st.sampled_from(["vit", "swin hf"]))
def test_layers_by_name_do_not_depend_on_the_batch(n, name):
    e = pellucid.explain(net(name), pictures(name, n), "hirescam")
    assert e.raw.shape == (n, 4, 4)


class _Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.wave = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 6, 3, dtype=torch.complex64)
        self.bins, self.fc = nn.Identity(), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.wave(self.first(x).to(torch.complex64)).abs()
        self.bins((10 * y).long())
        return self.fc(y.mean((2, 3)))


@pytest.mark.parametrize(("layer", "dtype"), [("wave", "complex64"), ("bins", "int64")])
@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam", "ablation-cam"])
def test_a_layer_without_real_values_is_refused_by_name_and_type(layer, dtype, method):
    x = torch.rand(1, 3, 12, 12)
    with pytest.raises(ModelError, match=f"'{layer}' gives .* {dtype}, not real.* such as first"):
        pellucid.explain(_Complex(), x, method, target=0, layer=layer)
    assert pellucid.explain(_Complex(), x, method, target=0).layer == ["first"]
    with pytest.raises(ModelError, match=r"in layer 'wave' computes with complex numbers \(conv2d\)"):
        pellucid.explain(_Complex(), x, "lrp", target=0)
