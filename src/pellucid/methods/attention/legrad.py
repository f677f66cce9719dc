"""LeGrad: how far attention, layer by layer, forms what the head would read there."""

from functools import partial
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.attending import TokenReadout, blocks
from pellucid.errors import ModelError
from pellucid.methods.attention.rolling import attention_pass, first_layer, gradients, patch_map
from pellucid.methods.registry import method
from pellucid.probe import Probe, run_with

Readout = Literal["model", "mean"]


@method(
    "legrad", paper="Bousselham et al. 2025, arXiv:2404.03214", passes=(2, 1), reads="replaced operations"
)
def legrad(probe: Probe, *, readout: Readout = "model", start_layer: int = 0) -> Float[Tensor, "N h w"]:
    r"""sum_l mean over heads and queries of (dS_l/dA^(l))^+, S_l the score if layer l were the last.

    LeGrad asks each layer of a transformer what the score would be if the network ended there, and
    keeps the attention that would raise that score: the gradient with respect to the attention map,
    rectified, averaged over heads and queries and summed over layers.

    The score of a layer is what the part behind the last layer (norm, pooling, head) makes of that
    layer's tokens. Each layer's input is a constant there, so that S_l depends on A^(l) alone.

    Formula:
        M = \sum_l \frac{1}{H Q} \sum_{h, q} \max\Big(\frac{\partial S_l}{\partial A^{(l)}_{hq}}, 0\Big)

        $A^{(l)}_{hq}$: what query q attends to in head h of layer l, over all patches; of $H$ heads and
            $Q$ queries.
        $S_l$: the score if layer l were the last.
        $M$: the map over the patches.

    Args:
        probe: the evidence.
        readout: how a layer's tokens are read: "model" as the model's own head does, which may look at a
            class token only; "mean" by their mean, put in place of every token.
        start_layer: the first layer that counts, from 0; from the last one backwards if it is negative.

    Returns:
        (N, h, w), at least 0, in units of the score per unit of attention.

    Raises:
        ModelError: the model has no attention, or not over all its tokens; its layers are not modules in a
            row; what follows the last one cannot be run on the tokens of several layers together.
        InvalidValue: a layer that does not exist.

    Cost:
        2 forward, 1 backward: the first pass finds the layers, the second reads all of them out together, and
        each layer's gradient goes no further back than its own attention.

    Source:
        section 3. The authors' code explains image-text similarities of CLIP models: it reads a layer by the
        mean of all its tokens, which is readout="mean", and starts at the layer before the last
        (start_layer=-2). Where the model ends in an attentional pooling, A^(l) is its attention on layer l's
        tokens, as there. Maps are not scaled to [0, 1]: zero stays zero.

    Strengths:
        Class-specific, and made for ViTs: no layer to choose, no reshaping to write.
        Two forward passes and one backward, whatever the depth.

    Weaknesses:
        Only evidence for a class: what speaks against it is rectified away.
        Reads early layers through a head that was never trained on them.

    Pitfalls:
        The authors' code reads a layer by the mean of its tokens, for CLIP, and starts at the layer
            before the last: `readout="mean"`, `start_layer=-2`.

    See Also:
        transformer-attribution, attention-rollout, attn-lrp

    Example:
        >>> import timm
        >>> import torch
        >>> import pellucid
        >>> size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
        >>> net = timm.create_model("vit_tiny_patch16_224", num_classes=2, **size)
        >>> x = torch.rand(1, 3, 32, 32)
        >>> e = pellucid.explain(net, x, "legrad")
        >>> e.raw.shape, bool((e.raw >= 0).all())
        (torch.Size([1, 4, 4]), True)
    """
    _, seen = attention_pass(probe)
    images, depth = len(probe.inputs), len(seen.layers)
    first = first_layer(start_layer, depth)
    alter = _mean if readout == "mean" else _same
    modified = run_with(probe, ("legrad", readout), partial(TokenReadout, blocks(seen.layers), alter))
    if len(modified.outputs) != images * depth:
        raise ModelError(
            "LeGrad runs what follows the last layer on the tokens of all layers together, which must give "
            f"one row of outputs for each: {depth} layers of {images} images, {len(modified.outputs)} rows."
        )
    scores = probe.target_fn.pick([*range(images)] * depth)(modified.taken.raw)
    numbers = {one.number for one in seen.all}
    found = [one for one in cast(TokenReadout, modified.operations).found if one.number in numbers]
    if seen.pooling:  # one attention for all layers
        (gradient,) = gradients(probe, scores, [found[-1].weights])
        slopes = [*gradient.view(depth, images, *gradient.shape[1:])]
    else:
        slopes = gradients(probe, scores, [one.weights for one in found])
    maps = [one.heads(images, G).relu().mean((1, 2)) for one, G in zip(found, slopes, strict=False)]
    return patch_map(torch.stack(maps[first:]).sum(0), seen)


def _same(tokens: Float[Tensor, "N T K"]) -> Float[Tensor, "N T K"]:
    return tokens


def _mean(tokens: Float[Tensor, "N T K"]) -> Float[Tensor, "N T K"]:
    return tokens.mean(1, keepdim=True).expand_as(tokens)
