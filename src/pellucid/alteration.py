"""What one map's order does to a score: its picture altered step by step, both ways."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from pellucid.render.html import data_uri


@dataclass(frozen=True)
class Alteration:
    """The scores of one picture while its pixels are removed, and shown, those of most evidence first.

    Attributes:
        picture: its name; `label` is the class that was explained, by `model`; `title` the method.
        output: which number the scores are.
        deletion: (S + 1,), with the first 0, 1, ... S parts of the input's pixels in one colour.
        insertion: (S + 1,), with these parts alone, the others blurred.
        parts: (H, W), which of S parts each pixel of the input is in, the first of most evidence.
        colour: what removed pixels look like, red, green and blue.
    """

    picture: str
    label: str
    model: str
    title: str
    output: str
    deletion: Float[Tensor, " steps"]
    insertion: Float[Tensor, " steps"]
    parts: Int[Tensor, "H W"]
    colour: tuple[int, int, int]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON, the parts as a grey PNG; `from_dict` reads it."""
        grey = Image.fromarray(self.parts.numpy().astype(np.uint8))
        return {
            **vars(self),
            "deletion": self.deletion.tolist(),
            "insertion": self.insertion.tolist(),
            "parts": data_uri(grey),
            "colour": list(self.colour),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Alteration":
        """The inverse of `to_dict`."""
        with Image.open(BytesIO(b64decode(stored["parts"].partition(",")[2]))) as grey:
            parts = torch.from_numpy(np.array(grey)).long()
        scores = {
            name: torch.tensor(stored[name], dtype=torch.float64, device="cpu")
            for name in ("deletion", "insertion")
        }
        return cls(**{**stored, **scores, "parts": parts, "colour": tuple(stored["colour"])})
