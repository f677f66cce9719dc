"""The space that a path runs in: that of pictures, or the codes of an autoencoder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.chunks import out_of_memory
from pellucid.engine.shadow import shadow_of
from pellucid.errors import InvalidValue, ModelError
from pellucid.probe.probe import Probe

Half = Callable[[Tensor], Any]
"""The encoder of an autoencoder, or its decoder."""


@dataclass(frozen=True)
class Space:
    """Codes of pictures and pictures of codes; with neither encoder nor decoder a picture is its own code.

    Args:
        encoder: pictures to codes.
        decoder: codes to pictures.
        size: (C, H, W) of the pictures.
        limit: the most to run together.

    Raises:
        InvalidValue: one without the other.
    """

    encoder: Half | None
    decoder: Half | None
    size: tuple[int, ...]
    limit: int

    @classmethod
    def of(
        cls, probe: Probe, encoder: Callable[[Tensor], Any] | None, decoder: Callable[[Tensor], Any] | None
    ) -> "Space":
        """The space of a probe's images."""
        return cls(encoder, decoder, tuple(probe.inputs.shape[1:]), probe.limit)

    def __post_init__(self) -> None:
        if (self.encoder is None) != (self.decoder is None):
            given, lacking = ("encoder", "decoder") if self.decoder is None else ("decoder", "encoder")
            raise InvalidValue(f"encoder and decoder go together; got an {given} only: pass {lacking}= too.")

    @property
    def latent(self) -> bool:
        """Whether codes are something else than pictures."""
        return self.encoder is not None

    def encode(self, pictures: Float[Tensor, "N C H W"]) -> Float[Tensor, "N *code"]:
        """The codes of pictures."""
        if self.encoder is None:
            return pictures
        return torch.cat([_half("encoder", self.encoder, some) for some in pictures.split(self.limit)])

    def decode(self, codes: Float[Tensor, "N *code"]) -> Float[Tensor, "N C H W"]:
        """The pictures of codes."""
        if self.decoder is None:
            return codes
        pictures = _half("decoder", self.decoder, codes)
        if tuple(pictures.shape[1:]) != self.size:
            raise InvalidValue(
                f"decoder(encoder(x)) must have the shape of the inputs, {self.size} each; "
                f"got {tuple(pictures.shape[1:])}."
            )
        return pictures


def _half(name: str, half: Half, values: Tensor) -> Tensor:
    """What one half of the autoencoder gives, in evaluation mode and outside any graph."""
    try:
        running = shadow_of(half) if isinstance(half, nn.Module) else half
        with torch.no_grad():
            found = running(values.clone())  # it may begin with an operation in place
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"The {name} failed on an input of shape {tuple(values.shape)}: {reason}") from error
    if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(values):
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"The {name} must give one tensor for {len(values)} inputs, one row each; got {what}."
        )
    return found.to(values)
