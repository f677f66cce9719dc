"""Attention in plain operations: what fused kernels compute, step by step, so that every step can be seen."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(q k^T scale + mask) v: `torch.nn.functional.scaled_dot_product_attention`, without dropout."""
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    scores = (query * (1 / math.sqrt(query.size(-1)) if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        attn_mask = _hidden(~attn_mask if attn_mask.dtype == torch.bool else attn_mask, query)
    return _weights(scores, attn_mask) @ value


def attend_with_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`torch.nn.functional.multi_head_attention_forward`, tokens (T, N, E) or (T, E), without dropout."""
    batched = query.dim() == 3
    if not batched:
        query, key, value = (tokens.unsqueeze(1) for tokens in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, samples = query.shape[:2]
    biases: Any = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    if use_separate_proj_weight or in_proj_weight is None:
        weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
    else:
        weights = in_proj_weight.chunk(3)
    q, k, v = (
        linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )  # the query has `length` tokens, keys and values may have others
    added = bias_k is not None and bias_v is not None
    if bias_k is not None and bias_v is not None:
        k = torch.cat([k, bias_k.expand(1, samples, -1)])
        v = torch.cat([v, bias_v.expand(1, samples, -1)])
    q, k, v = (
        x.reshape(x.shape[0], samples, num_heads, -1).permute(1, 2, 0, 3) for x in (q, k, v)
    )  # (N, heads, T, E / heads)
    k = k if static_k is None else static_k.unflatten(0, (samples, num_heads))
    v = v if static_v is None else static_v.unflatten(0, (samples, num_heads))
    if add_zero_attn:
        k, v = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1))
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    mask: Any = None
    if attn_mask is not None:  # (T, S) for all, or (N * heads, T, S)
        each = attn_mask if attn_mask.dim() == 2 else attn_mask.unflatten(0, (samples, num_heads))
        mask = pad(_hidden(each, q), (0, added + add_zero_attn))
    if key_padding_mask is not None:  # (N, S)
        keys = pad(_hidden(key_padding_mask[:, None, None], q), (0, added + add_zero_attn))
        mask = keys if mask is None else mask + keys
    attention = _weights(scores, mask, blank=torch.nan if need_weights else 0.0)
    mixed = (attention @ v).permute(2, 0, 1, 3).reshape(length, samples, -1)
    out = linear(mixed, out_proj_weight, out_proj_bias)
    weights = attention.mean(1) if average_attn_weights else attention
    if not batched:
        out, weights = out.squeeze(1), weights.squeeze(0)
    return out, weights if need_weights else None


def _weights(scores: Tensor, mask: Tensor | None, blank: float = 0.0) -> Tensor:
    """softmax(scores + mask); the weights of a query from which all keys are hidden are `blank`."""
    if mask is None:
        return scores.softmax(-1)
    alone = (mask == -torch.inf).all(-1, keepdim=True)
    if not alone.any():
        return (scores + mask).softmax(-1)
    return (scores + mask.masked_fill(alone, 0)).softmax(-1).masked_fill(alone, blank)


def _hidden(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as it is added to scores: where a boolean one is True, minus infinity."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)
