"""Attention taken apart is PyTorch's own: outputs and gradients, whatever is masked or added."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pellucid.engine.attention import attend
from pellucid.engine.calls import Tag
from pellucid.engine.operations import Operations
from pellucid.model import Model

F64 = torch.float64


def leaves(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(shape, dtype=F64, requires_grad=True) for shape in shapes]


def assert_same(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """The same numbers, and the same gradients of a mixture of them."""
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    mixture = torch.randn_like(expected)
    for one, other in zip(
        *(torch.autograd.grad(y, inputs, mixture, retain_graph=True) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def shaken(module: nn.Module) -> nn.Module:
    """With biases and additions that are not zero, as after training."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


LEADING = {"none": (), "batch": (2,), "heads": (2, 3), "windows": (2, 4, 3)}
MASKS = {
    "bool": torch.tensor([[1, 0, 1, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0]] * 2 + [[1] * 7]).bool(),
    "float": torch.linspace(-3, 3, 35, dtype=F64).view(5, 7),
    "infinite": torch.zeros(5, 7, dtype=F64).index_fill(1, torch.tensor([0, 4]), -torch.inf),
    "row hidden": torch.ones(5, 7, dtype=torch.bool).index_fill(0, torch.tensor([1, 3]), False),
    "row infinite": torch.zeros(5, 7, dtype=F64).index_fill(0, torch.tensor([1, 3]), -torch.inf),
    "none": None,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("leading", LEADING)
def test_dot_product_attention_with_any_mask(leading, mask):
    shapes = [(*LEADING[leading], *shape) for shape in ((5, 6), (7, 6), (7, 4))]
    q, k, v = leaves(*shapes)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=MASKS[mask])
    assert_same(attend(q, k, v, attn_mask=MASKS[mask]), expected, [q, k, v])


@pytest.mark.parametrize("mask_shape", [(2, 1, 5, 7), (2, 3, 5, 7), (1, 3, 1, 7)])
@pytest.mark.parametrize("boolean", [True, False])
def test_masks_of_samples_and_heads(mask_shape, boolean):
    q, k, v = leaves((2, 3, 5, 6), (2, 3, 7, 6), (2, 3, 7, 4))
    mask = torch.randn(mask_shape, dtype=F64)
    mask = mask > -1 if boolean else mask
    assert_same(attend(q, k, v, mask), scaled_dot_product_attention(q, k, v, mask), [q, k, v])


def test_a_float_mask_has_its_own_gradient():
    q, k, v, mask = leaves((2, 3, 5, 6), (2, 3, 5, 6), (2, 3, 5, 6), (3, 5, 5))
    assert_same(attend(q, k, v, mask), scaled_dot_product_attention(q, k, v, mask), [q, k, v, mask])


@pytest.mark.parametrize("queries", [3, 5, 8])
@pytest.mark.parametrize("scale", [None, 0.3, 0.0])
def test_causal_attention_and_scales(queries, scale):
    q, k, v = leaves((2, 3, queries, 6), (2, 3, 5, 6), (2, 3, 5, 4))
    expected = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    assert_same(attend(q, k, v, is_causal=True, scale=scale), expected, [q, k, v])


@pytest.mark.parametrize("heads", [(6, 2, 2), (6, 1, 1), (4, 4, 4)])
def test_grouped_queries(heads):
    q, k, v = leaves(*((2, h, 5, 6) for h in heads))
    expected = scaled_dot_product_attention(q, k, v, enable_gqa=True)
    assert_same(attend(q, k, v, enable_gqa=True), expected, [q, k, v])


def unfused(module: nn.Module, *carriers: Tensor, **options: object):
    """What a module gives where its operations are shown to a mode that replaces nothing."""
    operations = Operations()
    with operations.over(Model(module), carriers[0]):
        operations.tags.update({tokens: Tag() for tokens in carriers})
        return module(*carriers, **options)


MODULES = {
    "plain": {},
    "no bias": {"bias": False},
    "other sizes": {"kdim": 5, "vdim": 3},
    "bias_kv": {"add_bias_kv": True},
    "zero": {"add_zero_attn": True},
    "all": {"add_bias_kv": True, "add_zero_attn": True, "kdim": 5, "vdim": 3},
    "batch first": {"batch_first": True},
}
HIDDEN = {
    "none": {},
    "keys": {"key_padding_mask": torch.tensor([[0, 0, 1, 0, 1], [0, 1, 0, 0, 0]]).bool()},
    "keys float": {"key_padding_mask": torch.linspace(-2, 1, 10, dtype=F64).view(2, 5)},
    "for all": {"attn_mask": torch.ones(4, 5, dtype=torch.bool).triu(1)},
    "for each": {"attn_mask": torch.linspace(-2, 2, 160, dtype=F64).view(8, 4, 5)},
    "both": {
        "key_padding_mask": torch.tensor([[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]).bool(),
        "attn_mask": torch.ones(4, 5, dtype=torch.bool).triu(1),
    },
}  # fmt: skip


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("options", MODULES)
def test_multihead_attention(options, hidden):
    given = MODULES[options]
    module = shaken(nn.MultiheadAttention(8, 4, dtype=F64, **given))
    q, k, v = leaves((4, 2, 8), (5, 2, given.get("kdim", 8)), (5, 2, given.get("vdim", 8)))
    at = [tokens.transpose(0, 1) for tokens in (q, k, v)] if "batch_first" in given else [q, k, v]
    for need, average in ((True, True), (True, False), (False, True)):
        asked = {"need_weights": need, "average_attn_weights": average, **HIDDEN[hidden]}
        expected, weights = module(*at, **asked)
        found, seen = unfused(module, *at, **asked)
        assert_same(found, expected, [q, k, v])
        assert (weights is None) == (seen is None)
        if need:
            assert_same(seen, weights, [q, k])


@pytest.mark.parametrize(
    "mask",
    [None, torch.ones(4, 4, dtype=torch.bool).triu(1), torch.linspace(-2, 2, 64, dtype=F64).view(4, 4, 4)],
)
def test_one_sequence_without_a_batch(mask):
    module = shaken(nn.MultiheadAttention(8, 4, dtype=F64))
    (x,) = leaves((4, 8))
    hidden = torch.tensor([False, False, True, False])
    for need in (True, False):
        asked = {"attn_mask": mask, "key_padding_mask": hidden, "need_weights": need}
        expected, weights = module(x, x, x, **asked)
        found, seen = unfused(module, x, x, x, **asked)
        assert_same(found, expected, [x])
        assert (weights is None) == (seen is None)
        if need:
            assert_same(seen, weights, [x])


@pytest.mark.parametrize("need", [True, False])
def test_a_query_that_may_see_nothing_gets_what_pytorch_gives_it(need):
    module = shaken(nn.MultiheadAttention(8, 4, dtype=F64))
    (x,) = leaves((4, 2, 8))
    mask = torch.zeros(4, 4, dtype=torch.bool).index_fill(0, torch.tensor(2), True)
    expected, _ = module(x, x, x, attn_mask=mask, need_weights=need)
    found, _ = unfused(module, x, x, x, attn_mask=mask, need_weights=need)
    assert bool(expected[2].isnan().all()) == need
    assert torch.allclose(found, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_transformer_layers_of_pytorch(first, causal):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first, norm_first=first, dtype=F64)
    module = shaken(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    (x,) = leaves((4, 4, 8))
    asked = (
        {"mask": nn.Transformer.generate_square_subsequent_mask(4, dtype=F64), "is_causal": True}
        if causal
        else {}
    )
    assert_same(unfused(module, x, **asked), module(x, **asked), [x])
    hidden = {"src_key_padding_mask": torch.eye(4, dtype=torch.bool)}
    assert_same(unfused(module, x, **hidden), module(x, **hidden), [x])


def test_a_whole_transformer():
    module = shaken(nn.Transformer(8, 2, 1, 1, 16, batch_first=True, dtype=F64))
    source, target = leaves((2, 5, 8), (2, 3, 8))
    mask = nn.Transformer.generate_square_subsequent_mask(3, dtype=F64)
    asked = {"tgt_mask": mask, "tgt_is_causal": True}
    expected = module(source, target, **asked)
    assert_same(unfused(module, source, target, **asked), expected, [source, target])


@pytest.mark.parametrize("fused", [True, False])
def test_what_is_taken_apart_shows_every_step(fused):
    seen = []

    class Seeing(Operations):
        def other(self, call):
            seen.append(call.name)
            return super().other(call)

    module = shaken(nn.MultiheadAttention(8, 4, dtype=F64))
    (x,) = leaves((4, 2, 8))
    operations = Seeing()
    with operations.over(Model(module), x):
        if fused:
            module(x, x, x, need_weights=False)
        else:
            scaled_dot_product_attention(x, x, x)
    assert seen.count("softmax") == 1
    assert seen.count("matmul") == 2
    assert seen.count("linear") == (4 if fused else 0)
