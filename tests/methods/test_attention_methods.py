"""Attention methods: literal twins from the papers, whatever computes the attention, and what they refuse."""

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from nets import hf_model, net, pictures, state_of, timm_model, trained_looking, watched
from pellucid.engine.attending import Attending
from pellucid.engine.mixing import remember_apart
from pellucid.errors import InvalidValue, ModelError
from pellucid.model import Model
from zoo import assert_close, images, raw, seeded, swept

METHODS = ["attention-rollout", "transformer-attribution", "transformer-attribution:weights=attention",
           "legrad", "legrad:readout=mean"]  # fmt: skip
every = pytest.mark.parametrize("method", METHODS)
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
SIZE, GRID = (12, 18), (4, 6)


class Layer(nn.Module):
    """A block of a transformer; its attention is fused, or written out."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.heads, self.fused = heads, fused

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = ((q @ k.transpose(2, 3)) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """A small ViT with `prefix` tokens; the head reads the tokens `reads`."""

    def __init__(self, reads: str = "class", prefix: int = 1, depth: int = 3, fused: bool = True) -> None:
        super().__init__()
        width = 12
        self.patches = nn.Conv2d(3, width, 3, 3)
        self.position = nn.Parameter(torch.randn(1, prefix + GRID[0] * GRID[1], width))
        self.layers = nn.ModuleList(Layer(width, 3, fused) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)
        tokens = prefix + GRID[0] * GRID[1]
        self.reads = {"class": [0], "both": [0, 1], "patches": list(range(prefix, tokens))}[reads]
        self.num_prefix_tokens = prefix

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = functional.pad(x, (0, 0, self.num_prefix_tokens, 0)) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, self.reads]).mean(1)


def transformer(*args, **kwargs) -> Transformer:
    return trained_looking(seeded(Transformer, *args, **kwargs)).double()


def maps(module: nn.Module, x: Tensor, **options) -> dict[str, Tensor]:
    """The maps of them all, of one probe."""
    comparison = pellucid.compare(module, x, METHODS, progress=False, **options, verdict=False)
    assert not comparison.refusals
    return {entry.title: entry.explanation.raw for entry in comparison.entries}


KINDS = [("class", 1), ("class", 3), ("both", 2), ("patches", 0), ("patches", 1)]
kinds = pytest.mark.parametrize(("reads", "prefix"), KINDS)


# --- the twins: one image, token by token -------------------------------------------------------------------


def traced(net: Transformer, x: Tensor) -> dict[str, list]:
    """One image (1, 3, H, W) through the transformer, by hand: each layer's attention and what it gave."""
    seen: dict[str, list] = {"A": [], "out": [], "steps": []}
    z = net.patches(x).flatten(2).transpose(1, 2)
    z = torch.cat([torch.zeros(net.num_prefix_tokens, z.shape[2]), z[0]]) + net.position[0]  # (T, K)
    for layer in net.layers:
        n1 = layer.norm1(z)
        q, k, v = (part.unflatten(1, (layer.heads, -1)).transpose(0, 1) for part in layer.qkv(n1).chunk(3, 1))
        A = torch.softmax(torch.einsum("hid,hjd->hij", q, k) / q.shape[-1] ** 0.5, 2)
        mixed = torch.einsum("hij,hjd->hid", A, v).transpose(0, 1).flatten(1)
        projected = layer.proj(mixed)
        middle = z + projected
        n2 = layer.norm2(middle)
        hidden = layer.up(n2)
        active = functional.gelu(hidden)
        lowered = layer.down(active)
        seen["steps"].append((z, n1, q, k, v, A, mixed, projected, middle, n2, active, lowered))
        z = middle + lowered
        seen["A"].append(A)
        seen["out"].append(z)
    return seen


def read_out(net: Transformer, z: Tensor) -> Tensor:
    return net.head(net.norm(z)[net.reads]).mean(0)


def mapped(net: Transformer, row: Tensor) -> Tensor:
    return row[net.num_prefix_tokens :].view(GRID).detach()


def rollout(net, x, target=None, *, fusion="mean", discard=0.0, start=0) -> Tensor:
    R = None
    for A in traced(net, x)["A"][start:]:
        tokens = A.shape[1]
        fused = {"mean": A.mean(0), "max": A.max(0)[0], "min": A.min(0)[0]}[fusion].clone()
        entries = sorted((float(fused[i, j]), i, j) for i in range(tokens) for j in range(tokens))
        for _, i, j in entries[: int(discard * tokens * tokens)]:
            fused[i, j] = 0
        a = fused + torch.eye(tokens)
        a = torch.stack([row / row.sum() for row in a])
        R = a if R is None else a @ R
    return mapped(net, R[net.reads].mean(0))


def gradients(net, x, target) -> tuple[dict[str, list], list[Tensor]]:
    seen = traced(net, x)
    return seen, list(
        torch.autograd.grad(read_out(net, seen["out"][-1])[target], seen["A"], retain_graph=True)
    )


def rolled(net, weights, slopes) -> Tensor:
    """R <- R + A R, beginning with I: arXiv:2103.15679, eqs. 5 and 6."""
    R = torch.eye(weights[0].shape[1], dtype=torch.float64)
    for W, G in zip(weights, slopes, strict=True):
        R = R + (W * G).clamp(min=0).mean(0) @ R
    return mapped(net, (R - torch.eye(len(R)))[net.reads].mean(0))


def weighted_by_attention(net, x, target) -> Tensor:
    seen, slopes = gradients(net, x, target)
    return rolled(net, seen["A"], slopes)


def legrad(net, x, target, mean=False) -> Tensor:
    seen, total = traced(net, x), 0
    for A, z in zip(seen["A"], seen["out"], strict=True):
        score = net.head(net.norm(z.mean(0)))[target] if mean else read_out(net, z)[target]
        (G,) = torch.autograd.grad(score, A, retain_graph=True)
        total = total + G.clamp(min=0).mean((0, 1))
    return mapped(net, total)


def divided(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, 0, a / torch.where(b < 0, b - 1e-6, b + 1e-6))


def z_plus(linear: nn.Linear, x: Tensor, R: Tensor) -> Tensor:
    """Over the pairs whose contribution is positive, without the bias: arXiv:2012.09838."""
    contributions = (x[:, None, :] * linear.weight[None]).clamp(min=0)  # (T, out, in)
    return (divided(R, contributions.sum(2))[..., None] * contributions).sum(1)


def skipped(a: Tensor, b: Tensor, R: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of both sides of a + b, normalised: arXiv:2012.09838."""
    parts = [part * divided(R, a + b) for part in (a, b)]
    size = sum(part.sum().abs() for part in parts)
    return tuple(part * (part.sum().abs() / size) * R.sum() / part.sum() for part in parts)


def weighted_by_relevance(net, x, target) -> Tensor:
    seen, slopes = gradients(net, x, target)
    with torch.no_grad():
        z = net.norm(seen["out"][-1])[net.reads]
        one = torch.zeros(len(net.reads), 5, dtype=torch.float64)
        outputs = net.head(z)[:, target]  # of whose mean they answer in proportion
        one[:, target] = divided(outputs / len(outputs), outputs.mean())
        R = torch.zeros_like(seen["out"][-1])
        R[net.reads] = z_plus(net.head, z, one)
        relevances = []
        for layer, steps in zip(reversed(net.layers), reversed(seen["steps"]), strict=True):
            z, n1, q, k, v, A, mixed, projected, middle, n2, active, lowered = steps
            R, branch = skipped(middle, lowered, R)
            R = R + z_plus(layer.up, n2, z_plus(layer.down, active, branch))
            R, branch = skipped(z, projected, R)
            branch = z_plus(layer.proj, mixed, branch).unflatten(1, (layer.heads, -1)).transpose(0, 1)
            share = divided(branch, torch.einsum("hij,hjd->hid", A, v))
            of_A = A * torch.einsum("hid,hjd->hij", share, v) / 2
            of_v = v * torch.einsum("hij,hid->hjd", A, share) / 2
            relevances.insert(0, of_A)
            share = (
                divided(of_A, torch.einsum("hid,hjd->hij", q, k) / q.shape[-1] ** 0.5) / q.shape[-1] ** 0.5
            )
            of_q = q * torch.einsum("hij,hjd->hid", share, k) / 2
            of_k = k * torch.einsum("hij,hid->hjd", share, q) / 2
            tokens = torch.cat([part.transpose(0, 1).flatten(1) for part in (of_q, of_k, of_v)], 1)
            R = R + z_plus(layer.qkv, n1, tokens)
    return rolled(net, relevances, slopes)


TWINS = {
    "attention-rollout": rollout,
    "transformer-attribution": weighted_by_relevance,
    "transformer-attribution:weights=attention": weighted_by_attention,
    "legrad": legrad,
    "legrad:readout=mean": lambda *args: legrad(*args, mean=True),
}


@kinds
@every
def test_each_method_is_its_literal_twin(method, reads, prefix):
    module, x = transformer(reads, prefix), images(size=SIZE)
    targets = [0, 3, 1]
    expected = torch.stack([TWINS[method](module, one[None], t) for one, t in zip(x, targets, strict=True)])
    assert_close(raw(module, x, method, target=targets), expected, 1e-9)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize(("discard", "start"), [(0.0, 0), (0.9, 0), (0.5, 1), (0.3, -1)])
def test_rollout_fuses_discards_and_starts_as_its_twin(fusion, discard, start):
    module, x = transformer(), images(size=SIZE)
    expected = torch.stack(
        [rollout(module, one[None], fusion=fusion, discard=discard, start=start) for one in x]
    )
    found = raw(module, x, "attention-rollout", head_fusion=fusion, discard_ratio=discard, start_layer=start)
    assert_close(found, expected, 1e-9)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.7])
def test_what_rollout_gives_the_patches_sums_to_one_where_there_are_no_other_tokens(fusion, discard):
    for module in (transformer("patches", 0), timm_model("vit_base_patch16_siglip_224", **SMALL).double()):
        x = torch.rand(2, 3, *(SIZE if isinstance(module, Transformer) else (32, 32)), dtype=torch.float64)
        e = raw(module, x, "attention-rollout", head_fusion=fusion, discard_ratio=discard)
        assert_close(e.sum((1, 2)), torch.ones(2), 1e-12)


def test_rollout_is_the_same_for_every_class_and_output():
    module, x = transformer(), images(size=SIZE)
    first = raw(module, x, "attention-rollout", target=0)
    assert torch.equal(first, raw(module, x, "attention-rollout", target=[4, 2, 1], output="probability"))
    probabilities = nn.Sequential(module, nn.Softmax(1))
    assert_close(raw(probabilities, x, "attention-rollout", target=0), first, 1e-12)


def test_layers_before_the_start_do_not_count():
    module, x = transformer(), images(size=SIZE)
    for method in METHODS:
        last = raw(module, x, method, start_layer=-1, target=1)
        assert_close(raw(module, x, method, start_layer=2, target=1), last, 0)
        assert not torch.equal(raw(module, x, method, start_layer=-2, target=1), last)


# --- whoever computes the attention -------------------------------------------------------------------------


def kept(module: nn.Module, x: Tensor) -> list[Tensor]:
    operations, model = Attending(), Model.wrap(module)
    with operations.over(model, x.requires_grad_()):
        model(x)
    return [one.heads(len(x)) for one in operations.found]


@every
def test_fused_attention_and_attention_written_out_give_the_same(method):
    x = images(size=SIZE)
    fused, plain = (raw(transformer(fused=fused), x, method, target=2) for fused in (True, False))
    # a scale before a product or after it: LRP's stabiliser is another share of it
    assert_close(fused, plain, 1e-4 if method == "transformer-attribution" else 1e-12)


@pytest.mark.parametrize("name", ["vit", "beit", "vit distilled"])
def test_timm_models_give_the_same_with_fused_attention_and_without(name):
    x = pictures(name)
    fused, plain = net(name), copy.deepcopy(net(name))
    attentions = [child for child in plain.modules() if getattr(child, "fused_attn", False)]
    assert len(attentions) == 2
    for attention in attentions:
        attention.fused_attn = False
    found, expected = maps(plain, x), maps(fused, x)
    for method in METHODS:
        assert_close(found[method], expected[method], 1e-4 if method == "transformer-attribution" else 1e-9)


@pytest.mark.parametrize("name", ["ViTForImageClassification", "DeiTForImageClassification",
                                  "BeitForImageClassification"])  # fmt: skip
def test_attentions_are_those_that_transformers_tells(name):
    module, x = hf_model(name), pictures("vit hf").float()
    found = kept(module, x)
    eager = type(module)._from_config(copy.deepcopy(module.config), attn_implementation="eager").eval()
    eager.load_state_dict(module.state_dict())
    told = eager(x, output_attentions=True).attentions
    assert len(found) == len(told) == 2
    for ours, theirs in zip(found, told, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=0)
    for ours, theirs in zip(kept(eager, x), told, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=0)


def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return trained_looking(seeded(VisionTransformer, 32, 8, 3, 3, 24, 48, num_classes=5)).double()


def test_attentions_are_those_that_torchvisions_multihead_attention_tells():
    module, x = torchvision_vit(), pictures("vit")
    given = []
    for block in module.encoder.layers:
        block.self_attention.register_forward_pre_hook(lambda child, args: given.append((child, args[0])))
    with torch.no_grad():
        module(x)
    told = [child.__class__.forward(child, z, z, z, average_attn_weights=False)[1] for child, z in given]
    found = kept(module, x)
    assert len(found) == 3
    for ours, theirs in zip(found, told, strict=True):
        torch.testing.assert_close(ours, theirs.detach())


class Mixed(nn.Module):
    """Attention of one head, by bmm; by einsum; or masked, renormalised, its heads mixed."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.patches, self.qkv = nn.Conv2d(3, 8, 3, 3), nn.Linear(8, 24)
        self.talk, self.head, self.how = nn.Linear(2, 2), nn.Linear(8, 5), how

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.patches(x).flatten(2).transpose(1, 2)).chunk(3, 2)
        A = torch.bmm(q, k.transpose(1, 2)).softmax(2)
        if self.how == "bmm":
            mixed = torch.bmm(A, v)
        elif self.how == "einsum":
            mixed = torch.einsum("nij,njd->nid", A, v)
        else:
            q, k, v = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in (q, k, v))
            A = functional.dropout((q @ k.transpose(2, 3)).softmax(-1), 0.5, self.training)
            A = self.talk(A.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            A = A * torch.ones(24, 24).tril()
            mixed = (A.float().double() @ v).transpose(1, 2).flatten(2)
        self.A = A.detach()
        return self.head(mixed.mean(1))


@pytest.mark.parametrize("how", ["bmm", "einsum", "altered"])
def test_attention_is_found_however_it_is_written(how):
    module, x = seeded(Mixed, how).double(), images(size=SIZE)
    (A,) = kept(module, x)
    expected = module.A if module.A.ndim == 4 else module.A[:, None]
    assert A.shape == (3, 2 if how == "altered" else 1, 24, 24)
    torch.testing.assert_close(A, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.full
@pytest.mark.parametrize("name", ["deit hf", "vit average", "torchvision", "siglip", "one layer"])
def test_batch_equals_singles_and_single_precision_double(name):
    build = {"torchvision": torchvision_vit, "one layer": lambda: transformer(depth=1),
             "siglip": lambda: timm_model("vit_base_patch16_siglip_224", **SMALL).double()}  # fmt: skip
    module = build[name]() if name in build else net(name)
    x = images(size=SIZE) if name == "one layer" else pictures("vit")
    single, low = maps(module, x[1:2], target=1), maps(copy.deepcopy(module).float(), x.float(), target=1)
    for method, together in maps(module, x, target=1).items():
        assert together.shape == (3, *(GRID if name == "one layer" else (4, 4)))
        assert (together >= 0).all()
        assert all(map.any() for map in together)
        assert_close(single[method], together[1:2], 1e-9)
        assert_close(low[method], together, 0.02 if method == "transformer-attribution" else 1e-3)


# --- where the evidence lies --------------------------------------------------------------------------------


class Looking(nn.Module):
    """Its class token looks where a picture is bright, and scores what it sees there."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.AvgPool2d(3)
        self.qk, self.v = nn.Linear(1, 2), nn.Linear(1, 1, bias=False)
        self.qk.weight.data, self.qk.bias.data = torch.tensor([[0.0], [8.0]]), torch.tensor([1.0, 0.0])
        nn.init.ones_(self.v.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(self.patches(x.mean(1, keepdim=True)).flatten(2).transpose(1, 2), (0, 0, 1, 0))
        for _ in range(2):
            q, k = self.qk(x).chunk(2, 2)
            x = x + functional.scaled_dot_product_attention(q, k, self.v(x))
        return x[:, 0] * torch.tensor([1.0, -1.0])


@pytest.mark.parametrize("size", [(12, 18), (18, 12), (12, 12)])
@pytest.mark.parametrize("place", swept([(0, 3), (3, 1), (2, 2)], [(3, 1)]))
@pytest.mark.parametrize("method", METHODS[:3])
def test_the_map_has_its_rows_and_columns_as_the_picture(method, place, size):
    x = torch.zeros(2, 3, *size)
    x[:, :, 3 * place[0] : 3 * place[0] + 3, 3 * place[1] : 3 * place[1] + 3] = 1
    for map in raw(Looking().eval(), x, method, target=0):
        assert map.shape == (size[0] // 3, size[1] // 3)
        assert divmod(int(map.argmax()), map.shape[1]) == place


@every
def test_half_precision_is_computed_with_at_least_single(method):
    module, x = timm_model("vit_tiny_patch16_224", **SMALL), pictures("vit").float()
    full = raw(module, x, method, target=1)
    lows = [raw(copy.deepcopy(module).bfloat16(), x.bfloat16(), method, target=1)]
    if method != "transformer-attribution":
        lows.append(raw(module, x, method, target=1, precision="bfloat16"))
    for low in lows:
        agreement = torch.corrcoef(torch.stack([low.flatten(), full.flatten()]))[0, 1]
        assert agreement > (0.7 if method == "transformer-attribution" else 0.95)


@every
def test_a_transformer_for_wide_pictures_has_a_wide_map(method):
    module = timm_model("vit_tiny_patch16_224", **{**SMALL, "img_size": (32, 48)})
    e = pellucid.explain(module, torch.rand(2, 3, 32, 48), method, progress=False)
    assert e.raw.shape == (2, 4, 6)
    assert e.attribution.shape == (2, 1, 32, 48)


# --- nothing is changed, kept or run in vain ----------------------------------------------------------------


@pytest.mark.parametrize("build", [torchvision_vit, lambda: net("vit"), lambda: net("beit hf")])
def test_the_model_is_as_it_was(build):
    module, x = build(), pictures("vit")
    with torch.no_grad():
        first = module(x)
    before = state_of(module, x)
    maps(module, x)
    after = state_of(module, x)
    assert {key for key in before if before[key] != after[key]} == set()
    with torch.no_grad():
        assert torch.equal(*(getattr(y, "logits", y) for y in (first, module(x))))


@every
def test_nothing_of_a_pass_outlives_it(method):
    module, x, seen = transformer(), images(size=SIZE), []
    for child in module.modules():
        child.register_forward_hook(lambda m, args, out: seen.extend(map(weakref.ref, (*args, out))))
    gc.collect()
    gc.disable()
    try:
        raw(module, x, method)
        alive = [ref() for ref in seen if ref() is not None]
    finally:
        gc.enable()
    assert seen
    assert not alive


@pytest.mark.parametrize(("method", "forward", "backward"), [
    ("attention-rollout", [3], [3]), ("transformer-attribution:weights=attention", [3], [3]),
    ("transformer-attribution", [3, 3], [3, 3]), ("legrad", [3, 3], [9]),
])  # fmt: skip
def test_the_passes_are_those_that_are_told(method, forward, backward):
    module, counter = watched(transformer())
    remember_apart(module, images(size=SIZE))  # or else it is found out, by one more pass
    e = pellucid.explain(module, images(size=SIZE), method, progress=False)
    assert (counter.forward, counter.backward) == (forward, backward)
    # of a readout of all layers only what follows the last one sees them all
    assert (e.cost.forward, e.cost.backward) == (sum(forward), 3 if method == "legrad" else sum(backward))


def test_methods_and_targets_share_their_passes():
    module, counter = watched(transformer())
    remember_apart(module, images(size=SIZE))
    pellucid.compare(module, images(size=SIZE), METHODS, targets=[0, 1], progress=False, verdict=False)
    assert counter.forward == [3] * 4  # the attentions, their relevance, and LeGrad's two readouts


def test_a_layers_score_in_legrad_is_the_score_of_a_model_that_ends_there():
    module, x = transformer(), images(size=SIZE)
    shorter = transformer()
    shorter.layers = shorter.layers[:2]
    whole, before = (raw(module, x, "legrad", target=1, start_layer=start) for start in (0, 2))
    assert_close(raw(shorter, x, "legrad", target=1), whole - before, 1e-9)


# --- what is refused ----------------------------------------------------------------------------------------


@every
def test_a_network_without_attention_is_told_so(method):
    with pytest.raises(ModelError, match="need a transformer; this model has no attention"):
        raw(net("residual"), pictures("residual"), method)


@pytest.mark.parametrize("name", ["swin timm", "swin torchvision", "swin hf"])
def test_windows_are_refused(name):
    said = r"\(N, heads, T, T\) with the same T .*\(12, 2, 16, 16\), for 3 images"
    for method in ("attention-rollout", "transformer-attribution", "legrad"):
        with pytest.raises(ModelError, match=said):
            raw(net(name), pictures(name), method)


class BetweenChannels(Mixed):
    """Mixes its six channels, as many as a grid of 2 x 3 patches has, at each of 4 x 6 places."""

    def forward(self, x: Tensor) -> Tensor:
        v = self.talk(self.patches(x).flatten(2).transpose(1, 2)).transpose(1, 2)
        return self.head(((v @ v.transpose(1, 2)).softmax(-1) @ v).mean(2))


def test_attention_between_channels_is_refused():
    module = BetweenChannels("")
    module.patches, module.talk, module.head = nn.Conv2d(3, 6, 3, 3), nn.Linear(6, 6), nn.Linear(6, 5)
    with pytest.raises(ModelError, match=r"over all tokens.*its attention is \(3, 6, 6\), for 3 images"):
        raw(module.eval().double(), images(size=SIZE), "attention-rollout")


class Twice(Transformer):
    """One block, used twice."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = functional.pad(x, (0, 0, self.num_prefix_tokens, 0)) + self.position
        return self.head(self.norm(self.layers[0](self.layers[0](x)))[:, 0])


def test_legrad_refuses_layers_that_are_not_modules_in_a_row():
    x = images(size=SIZE)
    with pytest.raises(ModelError, match=r"'layers\.0' shares its module"):
        raw(seeded(Twice).double(), x, "legrad")
    parallel = timm_model("vit_small_patch16_18x2_224", **SMALL)
    with pytest.raises(
        ModelError, match=r"'blocks.0.attns.1.attn' .*not depend on that of 'blocks.0.attns.0.attn'"
    ):
        raw(parallel, torch.rand(2, 3, 32, 32), "legrad")


class Pairing(Transformer):
    """Compares each image with the next, behind its layers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[: len(x)]


def test_legrad_refuses_a_head_that_does_not_take_several_layers():
    with pytest.raises(ModelError, match=r"one row of outputs for each: 3 layers of 3 images, 3 rows"):
        raw(seeded(Pairing).double(), images(size=SIZE), "legrad")


@pytest.mark.parametrize(("method", "start"), [(METHODS[0], 3), (METHODS[2], -4), (METHODS[3], 3)])
def test_a_layer_that_does_not_exist_is_refused(method, start):
    with pytest.raises(InvalidValue, match=rf"start_layer must be one of the model's 3 layers.*got {start}"):
        raw(transformer(), images(size=SIZE), method, start_layer=start)


@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_a_discard_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(InvalidValue, match="discard_ratio must be at least 0 and below 1"):
        raw(transformer(), images(size=SIZE), "attention-rollout", discard_ratio=ratio)


def test_a_score_that_no_attention_moves_is_told():
    class Blind(Transformer):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 0 + x.mean((1, 2, 3))[:, None]

    for method in (
        "transformer-attribution",
        "transformer-attribution:weights=attention",
        "attention-rollout",
    ):
        e = pellucid.explain(seeded(Blind).double(), images(size=SIZE), method, progress=False)
        assert not e.raw.any()
        assert any("does not depend on the last attention" in warning for warning in e.warnings)


class SideBySide(nn.Module):
    """Two passes, whose scores are averaged: of one network over the mirrored picture too, or of two."""

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        first, last = self.members[0], self.members[-1]
        return (first(x) + last(x.flip(3) if first is last else x)) / 2


@every
@pytest.mark.parametrize("members", [1, 2])
def test_passes_side_by_side_are_not_chained(method, members):
    module = SideBySide(*(seeded(Transformer, depth=2, seed=seed) for seed in range(members))).eval()
    with pytest.raises(ModelError, match=r"'members.*does not depend on that of 'members.*one member or one"):
        raw(module, images(1, SIZE), method)
