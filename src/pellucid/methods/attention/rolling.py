"""What attention methods share: the attentions of a pass, and the way from the head back to the patches."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.attending import Attending, Attentions, attentions
from pellucid.errors import InvalidValue
from pellucid.probe import ModifiedRun, Probe, run_with


def attention_pass(probe: Probe) -> tuple[ModifiedRun, Attentions]:
    """One forward pass that keeps its attentions, shared by all attention methods.

    Raises:
        ModelError: there is none, or they are not over all tokens, the same ones in every layer, or stand
            side by side.
    """
    modified = run_with(probe, "attention", Attending)
    operations = cast(Attending, modified.operations)
    return modified, attentions(operations, modified.outputs, probe.inputs.shape)


def gradients(probe: Probe, outputs: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """d(sum of outputs)/d(weights): zero for those on which nothing depends.

    Raises:
        ModelError: the outputs depend on nothing by differentiable operations.
    """
    return probe.passes.gradients_at(weights, outputs)


def read_tokens(probe: Probe, gradient: Float[Tensor, "N heads Q T"]) -> Float[Tensor, "N Q"]:
    """Which tokens the head reads, in equal shares: a class token, two with distillation, or the patches.

    Where a token of the last attention is not read, the `gradient` of what the head gives is 0, whatever the
    head does with the others.
    """
    read = (gradient != 0).any(3).any(1)
    probe.note("The score does not depend on the last attention: the map is empty.", ~read.any(1))
    return read / read.sum(1, keepdim=True).clamp(min=1).to(gradient)


def rollout(start: Float[Tensor, "N Q"], layers: Sequence[Tensor]) -> Float[Tensor, "N T"]:
    """start A_L ... A_1, of matrices (N, T, T): from the tokens that are read to those of the first layer."""
    row = start[:, None]
    for attention in reversed(layers):
        row = row @ attention
    return row[:, 0]


def rollout_gain(start: Float[Tensor, "N T"], layers: Sequence[Tensor]) -> Float[Tensor, "N T"]:
    """start (I + A_L) ... (I + A_1) - start, without taking the difference of almost equal numbers."""
    gain = torch.zeros_like(start)
    for attention in reversed(layers):
        gain = gain + ((start + gain)[:, None] @ attention)[:, 0]
    return gain


def patch_map(row: Float[Tensor, "N T"], seen: Attentions) -> Float[Tensor, "N h w"]:
    """The patches' part of one number for each token, as a map."""
    return seen.layout.maps(row[..., None])[:, 0]


def first_layer(start_layer: int, layers: int) -> int:
    """The number of the first layer that counts; from the last one backwards if it is negative.

    Raises:
        InvalidValue: there is no such layer.
    """
    if not -layers <= start_layer < layers:
        raise InvalidValue(
            f"start_layer must be one of the model's {layers} layers, 0 to {layers - 1}, or -1 to -{layers} "
            f"from the last one backwards; got {start_layer}."
        )
    return start_layer % layers
