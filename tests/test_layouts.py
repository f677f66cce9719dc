"""Layers of networks that surprise: which is taken, how it lies, which calls, what lies around it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import odd_nets as odd
import pellucid
from pellucid.engine.finding.events import FOLLOWED
from pellucid.errors import InvalidValue, ModelError
from zoo import seeded


def chosen(e):
    return e.details["chosen"]["layer"]


def landing(module, x, layer, maps):
    """Where changes of two opposite corners of the picture land in a layer's raw output: (row, column) each.

    What changes everywhere, as behind attention or a gate, counts for neither corner.
    """
    kept = []
    handle = module.get_submodule(layer).register_forward_hook(
        lambda m, a, out: kept.append(maps(out).clone())
    )
    h, w = x.shape[-2] // 4, x.shape[-1] // 4
    changes = []
    with torch.no_grad():
        module(x)
        for rows, columns in ((slice(h), slice(w)), (slice(-h, None), slice(-w, None))):
            changed = x.clone()
            changed[:, :, rows, columns] += 2 * torch.randn(x[:, :, rows, columns].shape)
            module(changed)
            change = (kept[-1] - kept[0]).abs().mean((0, 1)).double()
            changes.append(change / change.sum())
    handle.remove()
    difference = changes[0] - changes[1]
    places = []
    for part in (difference.clamp(min=0), (-difference).clamp(min=0)):
        share = part / part.sum()
        row, column = (torch.arange(n).double() for n in share.shape)
        places.append((float((share.sum(1) * row).sum()), float((share.sum(0) * column).sum())))
    return places


@pytest.mark.parametrize("size", [(32, 32), (100, 150), (150, 100), (24, 90), (64, 256)])
def test_a_network_that_resizes_inside_has_its_own_grid(size):
    module = seeded(odd.Resizing)
    e = pellucid.explain(module, torch.rand(2, 3, *size), "hirescam")
    assert (e.layer, e.raw.shape) == (["features"], (2, 8, 8))
    assert chosen(e)["layout"] == "NCHW 8x8"


@pytest.mark.parametrize("size", [(32, 32), (32, 100), (64, 64), (40, 101)])
@pytest.mark.parametrize("build", [odd.Recurrent, lambda height: odd.Crnn()])
def test_steps_of_a_recurrence_are_no_grid(build, size):
    module, x = seeded(build, size[0]), torch.rand(1, 3, *size)
    e = pellucid.explain(module, x, "hirescam")
    assert (e.layer, e.raw.shape) == (["features"], (1, -(-size[0] // 4), -(-size[1] // 4)))
    with pytest.raises(ModelError, match=r"'rnn' gives .*steps of a recurrence.* such as features"):
        pellucid.explain(module, x, layer="rnn")


@pytest.mark.parametrize(
    ("build", "auto", "named", "why"),
    [
        (odd.Latents, "patches", "norm", "queries that have no place"),
        (odd.Latents, "patches", "mlp", "queries that have no place"),
        (odd.TokenLearner, "features", "norm", "summed by learned weights|columns are|no place|merged"),
        (odd.TokenPool, "patches", "norm", r"\(1, 16, 16\)"),
    ],
)
def test_latents_and_mixed_tokens_are_no_grid(build, auto, named, why):
    module, x = seeded(build), torch.rand(1, 3, 32, 32)
    e = pellucid.explain(module, x, "hirescam")
    assert e.layer[0].split(".")[0] in (auto, "where")
    with pytest.raises(ModelError, match=why):
        pellucid.explain(module, x, layer=named)


@pytest.mark.parametrize("build", [odd.AttentionResNet, odd.PoolNet, odd.Gated])
def test_names_are_no_evidence(build):
    x = torch.rand(1, 3, 32, 32)
    assert pellucid.explain(seeded(build), x).layer == ["features"]
    assert pellucid.explain(odd.Wrapped(seeded(build)).eval(), x).layer == ["net.features"]


# --- calls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "views", [("plain", "mirrored"), ("mirrored",), ("upside down", "mirrored", "plain")]
)
@pytest.mark.parametrize("method", ["hirescam", "grad-cam"])
def test_flipped_passes_are_put_back_and_add_up(views, method):
    """The map is the mean of those that the plain network has for each view, turned back."""
    module, x = seeded(odd.Augmented, *views), torch.rand(2, 3, 32, 48)
    e = pellucid.explain(module, x, method, target=1, signed=True)
    dims = {"plain": [], "mirrored": [2], "upside down": [1]}
    expected = 0
    for view in views:
        turned = x.flip([dim + 1 for dim in dims[view]])
        one = pellucid.explain(module.net, turned, method, target=1, signed=True)
        expected = expected + one.raw.flip(dims[view]) / len(views)
    assert torch.allclose(e.raw, expected, atol=1e-6)
    assert e.layer == ["net.0"]
    assert not e.warnings
    again = pellucid.explain(module, x, method, target=1, signed=True)
    assert torch.equal(again.raw, e.raw)
    assert (again.cost.forward, again.cost.backward) == (2, 2)


def test_one_call_may_be_named():
    module, x = seeded(odd.Augmented, "plain", "mirrored"), torch.rand(1, 3, 32, 32)
    both = pellucid.explain(module, x, "hirescam", target=1, layer="net.0")
    one, two = (pellucid.explain(module, x, "hirescam", target=1, layer=f"net.0#{n}") for n in (1, 2))
    assert torch.allclose(one.raw + two.raw, both.raw, atol=1e-6)
    assert (one.layer, two.layer, both.layer) == (["net.0#1"], ["net.0#2"], ["net.0"])
    assert any("Only a part of the score" in warning for warning in one.warnings)
    with pytest.raises(ModelError, match=r"runs 2 times in .* pass; got call 3"):
        pellucid.explain(module, x, layer="net.0#3")
    with pytest.raises(InvalidValue, match="counted from 1"):
        pellucid.explain(module, x, layer="net.0#0")


def test_passes_at_another_scale_add_up():
    module, x = seeded(odd.Augmented, "plain", "half"), torch.rand(1, 3, 32, 32)
    e = pellucid.explain(module, x, "hirescam", target=1)
    assert (e.raw.shape, chosen(e)["layout"]) == ((1, 8, 8), ["NCHW 8x8", "NCHW 4x4"])


@pytest.mark.parametrize(
    ("view", "why"), [("turned", "exchanged"), ("cropped", "only a part of the picture")]
)
def test_passes_that_do_not_lie_alike_are_refused(view, why):
    module, x = seeded(odd.Augmented, "plain", view), torch.rand(1, 3, 32, 32)
    for layer in ("auto", "net.0"):
        with pytest.raises(ModelError, match=rf"runs 2 times .*call 2.*{why}.*#1"):
            pellucid.explain(module, x, layer=layer)
    assert pellucid.explain(module, x, "hirescam", layer="net.0#1").raw.shape == (1, 8, 8)


def test_a_layer_that_does_not_lie_as_the_picture_is_refused():
    for build, why in ((odd.Cropping, "only a part of the picture"), (odd.Turned, "exchanged")):
        with pytest.raises(ModelError, match=why):
            pellucid.explain(seeded(build), torch.rand(1, 3, 32, 48), layer="features")


def test_both_calls_of_a_siamese_backbone_add_up():
    module, x = seeded(odd.Siamese), torch.rand(1, 3, 32, 32, requires_grad=True)
    e = pellucid.explain(module, x.detach(), "hirescam", target=1)
    a, b = (module.backbone(v).detach().requires_grad_() for v in (x, 1 - x))
    score = module.fc((a.mean((2, 3)) - b.mean((2, 3))).abs())[:, 1].sum()
    ga, gb = torch.autograd.grad(score, (a, b))
    assert torch.allclose(e.raw, (a * ga + b * gb).sum(1), atol=1e-6)
    assert not e.warnings


# --- only a part of the score -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "layer", "around"),
    [
        (odd.Branches, "right", ["left"]),
        (odd.Ensemble, "members.2.0", ["members.0.0", "members.1.0"]),
        (odd.Auxiliary, "high", ["low"]),
    ],
)
def test_what_goes_around_a_layer_is_named(build, layer, around):
    module, x = seeded(build), torch.rand(1, 3, 32, 32)
    e = pellucid.explain(module, x, "hirescam", target=1)
    assert e.layer == [layer]
    assert chosen(e)["around"] == around
    assert any("Only a part of the score" in w and around[0] in w and 'layer="' in w for w in e.warnings)
    named = pellucid.explain(module, x, "hirescam", target=1, layer=layer)
    assert any("Only a part of the score" in warning for warning in named.warnings)


@pytest.mark.parametrize("build", [odd.UNet, odd.Resizing, odd.Gated, odd.Siamese, lambda: odd.Recurrent(32)])
def test_a_layer_that_all_passes_through_says_nothing(build):
    module, x = seeded(build), torch.rand(1, 3, 32, 32)
    e = pellucid.explain(module, x, "hirescam", target=1)
    assert chosen(e)["around"] == []
    assert not e.warnings


# --- layouts that are given, traced or refused --------------------------------------------------------------


def test_what_cannot_be_followed_is_traced_by_changed_pixels():
    module, x = seeded(odd.Hidden), torch.rand(1, 3, 32, 32)
    e = pellucid.explain(module, x, "hirescam", layer="norm")
    assert (chosen(e)["layout"], chosen(e)["proof"]) == ("NTC 8x8", "traced by changed pixels")
    assert e.cost.forward == 1 + 17 + 1  # the last tells that samples do not mix in a batch of 17
    assert pellucid.explain(module, x, "hirescam", layer="norm").cost.forward == 1
    tokens = module.norm(module.patches(x).flatten(2).mT)
    assert torch.allclose(e.raw.abs().sum() > 0, torch.tensor(True))
    assert tokens.shape == (1, 64, 16)


def slots(net, tokens):
    place = net.slots(tokens).argmax(2)[..., None].expand_as(tokens)
    return torch.zeros(len(tokens), 9, 16).scatter_add(1, place, tokens) / 9


def pyramid(net, tokens):
    maps = tokens.mT.unflatten(2, (8, 8))
    levels = [nn.functional.adaptive_avg_pool2d(maps, side).flatten(2) for side in (1, 2, 4)]
    return torch.cat(levels, 2).mT


def learned(net, tokens):
    weights = torch.einsum("...kc,...tc->...kt", net.queries, tokens).softmax(-1)
    return torch.einsum("...kt,...tc->...kc", weights, tokens)


NO_ORDER = {
    "slots": slots,
    "pyramid": pyramid,
    "learned queries": learned,
    "pooled in a row": lambda net, t: nn.functional.adaptive_avg_pool1d(t.mT, 8).mT,
    "nearest in a row": lambda net, t: nn.functional.interpolate(t.mT, 36).mT,
    "largest": lambda net, t: t.topk(16, 1).values,
    "rolled channels": lambda net, t: t.mT.roll(1, 2),
    "groups of rolled channels": lambda net, t: t.mT.roll(1, 2).unflatten(2, (4, 16)).mean(2),
}


@pytest.mark.parametrize("kind", NO_ORDER)
def test_tokens_that_lie_in_no_grid_are_refused_whatever_the_weights(kind):
    x = torch.rand(1, 3, 32, 32)
    for seed in range(4):
        module = seeded(odd.Tokens, NO_ORDER[kind], seed=seed)
        with pytest.raises(ModelError, match=r"'last' gives"):
            pellucid.explain(module, x, layer="last")


def test_steps_of_1d_convolutions_are_no_tokens():
    for seed, width in ((0, 6), (1, 8), (2, 12), (3, 16)):
        with pytest.raises(ModelError, match="No layer of this model"):
            pellucid.explain(seeded(odd.Steps, width, seed=seed), torch.rand(1, 1, 16, 40), "grad-cam")


@pytest.mark.parametrize(("grid", "others"), [((8, 8), 0), ((4, 12), 1), ((6, 8), 5), ((16, 16), 0)])
def test_traced_grids_come_whole(grid, others):
    """Not a row or a column too few, which tokens beside the grid would make up for."""
    x = torch.rand(1, 3, 4 * grid[0], 4 * grid[1])
    for seed in range(3):
        e = pellucid.explain(seeded(odd.Unfolded, others, seed=seed), x, "hirescam", layer="last")
        prefix = f", {others} prefix tokens" if others else ""
        assert chosen(e)["layout"] == f"NTC {grid[0]}x{grid[1]}{prefix}"
        assert chosen(e)["proof"] == "traced by changed pixels"


@pytest.mark.parametrize("degrees", [25, 45])
def test_a_rotated_pass_is_refused(degrees):
    with pytest.raises(ModelError, match="No layer of this model"):
        pellucid.explain(seeded(odd.Rotated, degrees), torch.rand(1, 3, 32, 32), "hirescam")


def test_tokens_in_another_order_are_refused():
    module, x = seeded(odd.Hidden, "mixed"), torch.rand(1, 3, 32, 32)
    assert pellucid.explain(module, x, "hirescam").layer == ["patches"]
    with pytest.raises(ModelError, match=r"'norm' gives \(1, 64, 16\)"):
        pellucid.explain(module, x, layer="norm")


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("NHWC", "'features' holds its grid: it was followed .* NCHW 8x8"),
        ("NTC", "needs an output of 3 axes"),
        ("HWC", "must be NCHW, NHWC, NTC or TNC"),
        ("NCHW:3", "must be NCHW, NHWC, NTC or TNC"),
    ],
)
def test_a_wrong_layout_is_refused(layout, words):
    with pytest.raises(InvalidValue, match=words):
        pellucid.explain(seeded(odd.Gated), torch.rand(1, 3, 32, 32), layer="features", layout=layout)


def test_a_layout_may_be_given():
    module, x = seeded(odd.Gated), torch.rand(1, 3, 32, 32)
    e = pellucid.explain(module, x, "hirescam", layer="features", layout="NCHW")
    assert torch.equal(e.raw, pellucid.explain(module, x, "hirescam", layer="features").raw)
    with pytest.raises(InvalidValue, match="name one"):
        pellucid.explain(module, x, layout="NCHW")
    mixed = seeded(odd.Hidden, "mixed")
    e = pellucid.explain(mixed, x, "hirescam", layer="norm", layout="NTC:0:4x16")
    assert (e.raw.shape, chosen(e)["proof"]) == ((1, 4, 16), "given by layout=")


def test_other_strides_and_single_rows_are_read_as_they_are():
    eeg = pellucid.explain(seeded(odd.EEGNet), torch.rand(1, 1, 8, 64), "hirescam")
    assert (eeg.layer, eeg.raw.shape) == (["last"], (1, 1, 16))
    strides = nn.Sequential(
        nn.Conv2d(1, 8, 3, (4, 1), 1), nn.ReLU(), nn.Conv2d(8, 8, 3, (4, 1), 1), nn.ReLU(), odd.head()
    )
    e = pellucid.explain(strides.eval(), torch.rand(1, 1, 32, 128), "hirescam")
    assert (e.layer, e.raw.shape) == (["3"], (1, 2, 128))


def test_nine_cams_cost_one_pass():
    module, x = seeded(odd.Gated), torch.rand(1, 3, 32, 32)
    methods = ["grad-cam", "grad-cam++", "hirescam", "xgrad-cam", "layer-cam", "eigen-cam", "eigen-grad-cam",
               "grad-cam-elementwise", "random-cam"]  # fmt: skip
    runs = []
    module.register_forward_pre_hook(lambda m, args: runs.append(len(args[0])))
    pellucid.compare(module, x, methods, verdict=False)
    assert runs == [1]


def test_a_model_that_was_changed_is_looked_at_again():
    module, x = seeded(odd.Gated), torch.rand(1, 3, 32, 32)
    assert pellucid.explain(module, x, "hirescam").raw.shape == (1, 8, 8)
    module.features[2].stride = (1, 1)
    assert pellucid.explain(module, x, "hirescam").raw.shape == (1, 16, 16)


class Mirror(odd.Gated):
    """Looks at the picture, or at its mirror image."""

    mirrored = False

    def forward(self, x):
        return super().forward(x.flip(3) if self.mirrored else x)


def test_a_flag_that_was_changed_is_noticed():
    module, x = seeded(Mirror), torch.rand(1, 3, 32, 32)
    for mirrored in (False, True, False):
        module.mirrored = mirrored
        e = pellucid.explain(module, x, "hirescam")
        assert chosen(e)["layout"] == "NCHW 8x8" + ", mirrored" * mirrored


def test_a_layer_that_was_put_in_is_noticed():
    module, x = odd.convolutions(), torch.rand(1, 3, 32, 32)
    module = nn.Sequential(module, odd.head()).eval()
    assert pellucid.explain(module, x, "hirescam").layer == ["0"]
    module.insert(1, nn.Conv2d(8, 8, 3, padding=1))
    assert pellucid.explain(module, x, "hirescam").layer == ["1"]


# --- what is written in place, and parts in another order ---------------------------------------------------


def windows(f, back):
    n, c, h, w = f.shape
    parts = f.permute(0, 2, 3, 1).reshape(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5)
    return (parts.permute(0, 1, 3, 2, 4, 5) if back else parts).reshape(n, h * w, c)


def written(x, index, value):
    x = x.clone()
    x[index] = value
    return x


HALVES = [(..., slice(16)), (..., slice(16, 32))]
ODD = (slice(None), slice(None), slice(1, None, 2))
PUT = {
    "mirrored": (lambda x: written(x, slice(None), x.flip(3)), lambda f: f, "NCHW 8x8, mirrored"),
    "copied": (lambda x: (x * 0).copy_(x.flip(3)), lambda f: f, "NCHW 8x8, mirrored"),
    "a part": (lambda x: (y := x.clone())[:].copy_(x.flip(3)) is not None and y, lambda f: f,
               "NCHW 8x8, mirrored"),
    "a channel": (lambda x: written(x, (slice(None), 0), x[:, 0] / 2), lambda f: f, "NCHW 8x8"),
    "halves": (lambda x: written(written(x, HALVES[0], x[HALVES[1]]), HALVES[1], x[HALVES[0]]), lambda f: f,
               None),
    "a snake": (lambda x: x, lambda f: written(f, ODD, f[ODD].flip(3)).flatten(2).mT, None),
    "windows": (lambda x: x, lambda f: windows(f, False), None),
    "windows and back": (lambda x: x, lambda f: windows(f, True), "NTC 8x8"),
    "added": (lambda x: x, lambda f: 0.01 * f + torch.rot90(f, 2, (2, 3)), "NCHW 8x8, upside down, mirrored"),
}  # fmt: skip


@pytest.mark.parametrize("name", PUT)
def test_what_is_written_elsewhere_is_followed_traced_or_refused(name):
    before, behind, layout = PUT[name]
    module, x = seeded(odd.Put, before, behind), torch.rand(1, 3, 32, 32)
    if layout is None:
        with pytest.raises(ModelError, match=r"'last' gives|does not lie"):
            pellucid.explain(module, x, "hirescam", layer="last")
    else:
        assert chosen(pellucid.explain(module, x, "hirescam", layer="last"))["layout"] == layout


class Members(nn.Module):
    """The mean of several networks' scores."""

    def __init__(self, *members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        return sum(member(x) for member in self.members) / len(self.members)


def test_members_beside_a_class_token_are_named():
    x = torch.rand(1, 3, 32, 32)
    vit = lambda seed: seeded(odd.ClassToken, seed=seed)  # noqa: E731
    e = pellucid.explain(vit(0), x, "layer-cam")
    assert (chosen(e)["around"], e.warnings) == ([], [])
    e = pellucid.explain(Members(vit(0), vit(1)).eval(), x, "layer-cam")
    assert e.layer == ["members.1.block"]
    assert chosen(e)["around"] == ["members.0.block"]
    assert any('layer="members.0.block,members.1.block" reads all' in text for text in e.warnings)
    e = pellucid.explain(
        Members(nn.Sequential(odd.convolutions(), odd.head()), vit(1)).eval(), x, "layer-cam"
    )
    assert chosen(e)["around"] == ["members.0.0"]


def test_both_calls_of_a_turned_pass_add_up_without_a_note():
    e = pellucid.explain(seeded(odd.Augmented, "plain", "half turn"), torch.rand(1, 3, 32, 32), "hirescam")
    assert chosen(e)["layout"] == ["NCHW 8x8", "NCHW 8x8, upside down, mirrored"]
    assert e.warnings == []


@pytest.mark.parametrize(("pad", "fits"), [((4, 4, 4, 4), True), ((0, 1, 0, 1), True), ((0, 8, 0, 8), False)])
def test_padding_on_one_side_by_more_than_a_cell_is_refused(pad, fits):
    module = seeded(odd.Put, lambda x: nn.functional.pad(x, pad), lambda f: f[..., :8, :8])
    if fits:
        assert pellucid.explain(module, torch.rand(1, 3, 32, 32), layer="features").layer == ["features"]
    else:
        with pytest.raises(ModelError, match="padded or cropped on one side"):
            pellucid.explain(module, torch.rand(1, 3, 32, 32), layer="features")


class Behind(nn.Module):
    """Averaged features of what `before` makes of the picture."""

    def __init__(self, before: Callable[[Tensor], Tensor], features: nn.Module) -> None:
        super().__init__()
        self.before, self.features, self.fc = before, features, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(self.before(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("before", "maps", "cells"),
    [
        (lambda x: nn.functional.pad(x, (8, 8, 8, 8)), [nn.Conv2d(3, 4, 4, 4)], 2.4),
        (lambda x: nn.functional.pad(x, (1, 1, 1, 1)), [nn.Conv2d(3, 4, 3, 1)], 0.0),
        (lambda x: x, [nn.Conv2d(3, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 5)], 2.3),
        (lambda x: x, [nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)], 0.0),
        (lambda x: x, [nn.Conv2d(3, 4, 3, padding="same", dilation=3)], 0.0),
        (lambda x: x.flip(3), [nn.ZeroPad2d((0, 12, 4, 8)), nn.Conv2d(3, 4, 16, 16)], 0.0),
        (lambda x: x, [nn.Conv2d(3, 4, 4, 4), nn.ConvTranspose2d(4, 4, 2, 2)], 0.0),
        (lambda x: x, [nn.ConvTranspose2d(3, 4, 3, 1), nn.AvgPool2d(2, 2)], 0.0),
        (lambda x: x, [nn.ConvTranspose2d(3, 4, 15, 1)], 8.4),
    ],
    ids=["padded", "taken up", "no padding", "strided", "same", "flipped", "up", "wider", "much wider"],
)
def test_cells_that_do_not_tile_the_picture_are_noted(before, maps, cells):
    """A map is drawn as if its cells tiled the picture; where some are off by more than one, it says so."""
    model = Behind(before, nn.Sequential(*maps)).eval()
    e = pellucid.explain(model, torch.rand(1, 3, 64, 64), "hirescam", layer="features")
    note = [text for text in e.warnings if "do not tile the picture" in text]
    if cells:
        assert f"off by up to {cells} of its cells" in note[0]
    else:
        assert note == []


class Scaled(nn.Module):
    """A constant is brought to the type and shape of the feature maps, and multiplies them."""

    def __init__(self, bring: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.act, self.fc, self.bring = (
            nn.Conv2d(3, 4, 4, 4),
            nn.Identity(),
            nn.Linear(4, 3),
            bring,
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x).relu()
        scale = torch.arange(1.0, 5.0, dtype=torch.float32, device="cpu")[:, None, None]
        return self.fc(self.act(maps * self.bring(scale, maps)).mean((2, 3)))


@pytest.mark.parametrize(
    "bring",
    [
        lambda constant, maps: constant.to(maps),
        lambda constant, maps: constant.type_as(maps),
        lambda constant, maps: constant.to(maps).expand_as(maps),
        lambda constant, maps: constant.to(maps).expand_as(maps).reshape(-1)[: maps.numel()].view_as(maps),
    ],
    ids=["to", "type_as", "expand_as", "view_as"],
)
def test_constants_brought_to_the_maps_type_hold_nothing_of_the_picture(bring):
    e = pellucid.explain(seeded(Scaled, bring), torch.rand(1, 3, 16, 24), "grad-cam", layer="act", target=1)
    chosen = e.details["chosen"]["layer"]
    assert (chosen["layout"], chosen["proof"]) == ("NCHW 4x6", FOLLOWED)
