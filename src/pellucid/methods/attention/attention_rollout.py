"""Attention rollout: attention followed through all layers."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.attending import Attention, Attentions
from pellucid.errors import InvalidValue
from pellucid.methods.attention.rolling import (
    attention_pass,
    first_layer,
    gradients,
    patch_map,
    read_tokens,
    rollout,
)
from pellucid.methods.registry import method
from pellucid.probe import ModifiedRun, Probe

HeadFusion = Literal["mean", "max", "min"]
FUSIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
}


@method(
    "attention-rollout",
    paper="Abnar & Zuidema 2020, arXiv:2005.00928",
    passes=(1, 1),
    reads="replaced operations",
)
def attention_rollout(
    probe: Probe, *, head_fusion: HeadFusion = "mean", discard_ratio: float = 0.0, start_layer: int = 0
) -> Float[Tensor, "N h w"]:
    r"""r A_L ... A_1, A_l = rownorm(mean_h A^(l) + I): how much attention reaches each patch from the head.

    A transformer mixes its tokens layer by layer. Rollout multiplies the layers' attention matrices,
    each with an identity for the path around the attention, and reads how much of every patch reaches
    the token that the head looks at.

    It shows where the model looks, whatever for: the map is the same for every class.

    Formula:
        M = r\, \hat{A}_L \cdots \hat{A}_1, \qquad
        \hat{A}_l = \mathrm{rownorm}\Big(\frac{1}{H}\sum_h A^{(l)}_h + I\Big)

        $A^{(l)}_h$: the attention matrix of head h in layer l of $L$, of $H$ heads.
        $I$: the identity, for the residual path.
        $r$: the tokens that the head reads, with shares that sum to 1.
        $M$: the map over the patches.
        $\mathrm{rownorm}$: each row divided by its sum.

    Args:
        probe: the evidence.
        head_fusion: how an attention's heads become one: their mean, largest or smallest.
        discard_ratio: the share of each fused matrix, the smallest entries, that is set to 0.
        start_layer: the first layer that counts, from 0; from the last one backwards if it is negative.

    Returns:
        (N, h, w), at least 0: the share of each patch. With those of class and register tokens, which are not
        shown, the shares sum to 1.

    Raises:
        ModelError: the model has no attention, or not over all its tokens.
        InvalidValue: a discard_ratio outside [0, 1), a layer that does not exist.

    Cost:
        1 forward, and 1 backward as far as the last attention, which tells the tokens that the head reads.

    Source:
        section 3, eq. 1. r is the mean over the tokens that the head reads: the class token, both with
        distillation, or the patches where these are averaged. An attentional pooling at the end has no
        residual path and gets no I. head_fusion and discard_ratio come from widely used code, which keeps
        the first entry of each matrix and discards in the batch's first image only.

    Strengths:
        One pass, no gradient of the score, no choice of a layer.
        Shows where information can come from at all: a patch with next to no share hardly took part.

    Weaknesses:
        The same map for every class: it cannot say what speaks for one class and not for another.
        Knows nothing of what values carry, of the MLPs or of signs: attention is not evidence.

    Pitfalls:
        The row of a class token must be read, not the column; widely used code also discards the
            smallest entries by the batch's first image alone.
        A network that has no attention over all its tokens (Swin's windows) is refused, not
            approximated.

    See Also:
        transformer-attribution, legrad, attn-lrp

    Example:
        >>> import timm
        >>> import torch
        >>> import pellucid
        >>> size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
        >>> net = timm.create_model("vit_tiny_patch16_224", num_classes=2, **size)
        >>> x = torch.rand(1, 3, 32, 32)
        >>> e = pellucid.explain(net, x, "attention-rollout")
        >>> e.raw.shape
        torch.Size([1, 4, 4])
    """
    if not 0 <= discard_ratio < 1:
        raise InvalidValue(f"discard_ratio must be at least 0 and below 1; got {discard_ratio}.")
    modified, seen = attention_pass(probe)
    layers = seen.layers[first_layer(start_layer, len(seen.layers)) :]

    def fused(attention: Attention) -> Float[Tensor, "N Q T"]:
        heads = attention.heads(len(probe.inputs))
        one = FUSIONS[head_fusion](heads, 1)
        least = one.flatten(1).argsort(dim=1, stable=True)[:, : int(discard_ratio * one[0].numel())]
        return one.flatten(1).scatter(1, least, 0).view_as(one)

    carrying = [
        shares(matrix + torch.eye(seen.tokens, dtype=torch.float32, device="cpu").to(matrix))
        for matrix in map(fused, layers)
    ]
    carrying += [shares(fused(seen.pooling))] if seen.pooling else []
    return patch_map(rollout(_read(probe, modified, seen), carrying), seen)


def shares(matrix: Float[Tensor, "N Q T"]) -> Float[Tensor, "N Q T"]:
    """Rows that sum to 1."""
    return matrix / matrix.sum(2, keepdim=True)


def _read(probe: Probe, modified: ModifiedRun, seen: Attentions) -> Float[Tensor, "N Q"]:
    """The tokens that any of the outputs reads: a weighted sum, since probabilities always sum to 1."""
    weighted = modified.outputs @ torch.linspace(
        1, 2, modified.outputs.shape[1], dtype=torch.float32, device="cpu"
    ).to(modified.outputs)
    last = seen.all[-1]
    (gradient,) = gradients(probe, weighted, [last.weights])
    return read_tokens(probe, last.heads(len(probe.inputs), gradient))
