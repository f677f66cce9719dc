"""The networks that model files name."""

from collections.abc import Callable, Mapping

from torch import nn

from pellucid.networks.digits import ClassicCNN, residual, vision_transformer

ARCHITECTURES: Mapping[str, Callable[[int], nn.Module]] = {
    "cnn": ClassicCNN,
    "residual": residual,
    "vit": vision_transformer,
}
"""By name, each made with its number of classes. Files keep the names: each stays with its network."""


def build(architecture: str, classes: int) -> nn.Module:
    """The network of a name, with torch's own random numbers for its weights, in evaluation mode."""
    return ARCHITECTURES[architecture](classes).eval()
