"""The evidence at layers: activations, gradients, and scores with activations replaced."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.finding.found import Found
from pellucid.engine.resume import Alter, resume
from pellucid.engine.taps import Tap
from pellucid.probe.probe import Probe


@dataclass(frozen=True)
class LayerEvidence:
    """The evidence at one call of a layer: activations `A` and gradients `G`, feature maps (N, K, h, w).

    `asked` is the layer as it was asked for, `key` tells its calls apart, `found` says how it was found.
    """

    probe: Probe
    tap: Tap
    asked: str
    key: str
    found: Found

    @property
    def A(self) -> Float[Tensor, "N K h w"]:
        """The activations."""
        return self.tap.maps

    @property
    def G(self) -> Float[Tensor, "N K h w"]:
        """The gradients dS/dA of each sample's score."""
        return self.probe.gradients(self.asked)[0][self.key]

    @property
    def name(self) -> str:
        """The layer's dotted name, with its call's number ("conv#2") if several are read or one was named."""
        return self.tap.title if self.key != self.asked or "#" in self.asked else self.tap.name

    def of(self, probe: Probe) -> "LayerEvidence":
        """The same call of the layer for other inputs, or another target."""
        return next(at for at in layer_evidence(probe, self.asked) if at.key == self.key)

    def scores(self, image: int, alter: Alter, total: int) -> Float[Tensor, " total"]:
        """The scores of one image with these activations altered in `total` ways: see `engine.resume`.

        `alter(maps, start, stop)` makes versions number start to stop: it is given as many copies of the
        image's activations, (B, K, h, w), and changes them in place.
        """
        probe = self.probe
        score, value = probe.target_fn.pick([image]), probe.score[image]
        scores = resume(
            probe.engine, probe.inputs, self.tap, image, alter, total, score, value, probe.numbers
        )
        if not probe.engine.resumable[self.tap.title, tuple(probe.inputs.shape[1:])]:
            probe.note(
                f"What follows layer {self.name} could not be run alone: every perturbed input of its output "
                "took a pass of the whole model.",
                torch.arange(len(probe.inputs), dtype=torch.long, device="cpu") == image,
            )
        return scores


def layer_evidence(probe: Probe, *layers: str) -> list[LayerEvidence]:
    """Evidence at layers, as `Probe.layer_names` writes them: at each call that counts, one after another.

    Several cost one pass together.

    Raises:
        ModelError: a layer that is not run or holds no grid.
    """
    taken = probe.passes.plain(probe, layers)
    probe.report_layers([taken.found[layer] for layer in layers])
    return [
        LayerEvidence(probe, taken.taps[key], layer, key, taken.found[layer])
        for layer in layers
        for key in taken.calls[layer]
    ]
