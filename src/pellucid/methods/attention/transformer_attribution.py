"""Transformer attribution: what attention does for the score, followed through all layers."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.attending import Attentions
from pellucid.engine.attention_relevance import AttentionRelevance
from pellucid.errors import ModelError
from pellucid.methods.attention.rolling import (
    attention_pass,
    first_layer,
    gradients,
    patch_map,
    read_tokens,
    rollout,
    rollout_gain,
)
from pellucid.methods.definition import Passes
from pellucid.methods.registry import method
from pellucid.methods.relevance.propagation import output_relevance
from pellucid.probe import Probe, run_with

Weights = Literal["relevance", "attention"]


def _passes(options: Mapping[str, Any]) -> Passes:
    return Passes(1, 1) if options["weights"] == "attention" else Passes(2, 2)


@method(
    "transformer-attribution",
    paper="Chefer et al. 2021, arXiv:2012.09838, arXiv:2103.15679",
    passes=_passes,
    reads="replaced operations",
)
def transformer_attribution(
    probe: Probe, *, weights: Weights = "relevance", start_layer: int = 0
) -> Float[Tensor, "N h w"]:
    r"""r A_L ... A_1, A_l = I + mean_h (dS/dA^(l) * R^(l))^+: attention that raises the score, to each patch.

    Rollout with a class in mind: before the layers' attention matrices are multiplied, each is weighed
    by how much the score rises with it, and by how much relevance LRP sends through it. What would
    lower the score is dropped.

    Formula:
        M = r\, \bar{A}_L \cdots \bar{A}_1, \qquad
        \bar{A}_l = I + \frac{1}{H}\sum_h \max\Big(\frac{\partial S}{\partial A^{(l)}_h} \odot
        R^{(l)}_h, 0\Big)

        $A^{(l)}_h$: the attention matrix of head h in layer l of $L$, of $H$ heads.
        $R^{(l)}_h$: its relevance by LRP, or with weights="attention" the attention itself.
        $I$: the identity, for the residual path.
        $r$: the tokens that the head reads.
        $M$: the map over the patches.
        $\odot$: the product entry by entry.

    Args:
        probe: the evidence.
        weights: R^(l): "relevance", that of the attention by LRP (CVPR 2021); or "attention", A^(l) itself
            (ICCV 2021), at half the cost.
        start_layer: the first layer that counts, from 0; from the last one backwards if it is negative.

    Returns:
        (N, h, w), at least 0; of "attention" in units of the score.

    Raises:
        ModelError: the model has no attention, or not over all its tokens; the target does not depend on the
            outputs.
        InvalidValue: a layer that does not exist.

    Cost:
        1 forward, 1 backward for the gradient; the same once more for the relevance.

    Source:
        arXiv:2012.09838, eqs. 13 and 14, multiplied in the order of the authors' code, with its LRP (see
        `engine.attention_relevance`) begun with 1 at the class; arXiv:2103.15679, eqs. 5 and 6. r is the mean
        over the tokens that the head reads: the class token, both with distillation, or the patches where
        these are averaged; what these have of themselves, r itself, is left out. An attentional pooling at
        the end has no residual path and gets no I.

    Strengths:
        Class-specific, and follows attention through all layers.
        `weights="attention"` costs half and needs no relevance.

    Weaknesses:
        Rectified: no evidence against a class.
        The identity keeps a share of each token's own place, however little it says of the score.

    Pitfalls:
        What the read tokens have of themselves is left out of the map, as in the authors' code; left
            in, it would brighten patches where these are averaged for the head.

    See Also:
        attention-rollout, legrad, attn-lrp

    Example:
        >>> import timm
        >>> import torch
        >>> import pellucid
        >>> size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
        >>> net = timm.create_model("vit_tiny_patch16_224", num_classes=2, **size)
        >>> x = torch.rand(1, 3, 32, 32)
        >>> e = pellucid.explain(net, x, "transformer-attribution", weights="attention")
        >>> e.raw.shape, bool((e.raw >= 0).all())
        (torch.Size([1, 4, 4]), True)
    """
    modified, seen = attention_pass(probe)
    images, first = len(probe.inputs), first_layer(start_layer, len(seen.layers))
    found = gradients(probe, modified.score, [one.weights for one in seen.all])
    slopes = [one.heads(images, G) for one, G in zip(seen.all, found, strict=True)]
    if weights == "attention":
        weighing = [one.heads(images) for one in seen.all]
    else:
        weighing = [one.heads(images, R) for one, R in zip(seen.all, _relevances(probe, seen), strict=True)]
    raising = [(G * R).relu().mean(1) for G, R in zip(slopes, weighing, strict=True)]
    layers, read = raising[first : len(seen.layers)], read_tokens(probe, slopes[-1])
    if seen.pooling:
        start = rollout(read, raising[-1:])
        return patch_map(start + rollout_gain(start, layers), seen)
    return patch_map(rollout_gain(read, layers), seen)


def _relevances(probe: Probe, seen: Attentions) -> list[Tensor]:
    """What arrives at each attention of 1 at the class, by LRP."""
    modified = run_with(probe, "attention relevance", partial(AttentionRelevance, len(probe.inputs)))
    operations = cast(AttentionRelevance, modified.operations)
    operations.clear()
    modified.backward(modified.outputs, output_relevance(probe, modified.outputs, "one"))
    missing = [one.where for one in seen.all if one.number not in operations.arrived]
    if missing:
        raise ModelError(
            f"No relevance comes back to the attention of layer {missing[0]!r}: take weights='attention', or "
            "another method."
        )
    return [operations.arrived[one.number] for one in seen.all]
