"""What a picture is, and which part of it became a model's input.

Coordinates are continuous, in pictures and inputs alike: pixel i covers [i, i + 1), its centre is i + 0.5.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pellucid.naming import short_names

NAMELESS = "image"
"""What a picture is called that came without a name."""


@dataclass(frozen=True)
class Picture:
    """An upright RGB picture and where it came from.

    `name` is the file's stem, the sample's name, or "image". A transparent picture lies on white in `rgb`;
    `rgba` then keeps it as it was, for models with four input channels. `note` says how values of more than
    8 bits became colours, `remarks` what else a reader of its explanation should know; `notes` are both.
    `source` is the picture as Pillow opens it, upright and in its own mode, where that is not RGB: see
    `opened`. `grey` holds the values of grey of more than 8 bits from 0 to 255, not rounded. `guessed` is
    what was taken for black and white, where nobody said.
    """

    rgb: Image.Image
    name: str = NAMELESS
    path: Path | None = None
    rgba: Image.Image | None = None
    note: str = ""
    source: Image.Image | None = field(default=None, repr=False, compare=False)
    grey: Image.Image | None = field(default=None, repr=False, compare=False)
    guessed: tuple[float, float] | None = field(default=None, repr=False, compare=False)
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What a reader of its explanation should know."""
        return [text for text in (self.note, *self.remarks) if text]

    def remarked(self, *remarks: str) -> "Picture":
        """The picture with these remarks added; those that are empty, or there already, are not."""
        return replace(self, remarks=tuple(dict.fromkeys(filter(None, (*self.remarks, *remarks)))))

    @property
    def opened(self) -> Image.Image:
        """The picture as Pillow opens it, upright, in its own mode (I;16, F, L, RGBA, P, …)."""
        return self.rgb if self.source is None else self.source

    def in_mode(self, mode: str) -> Image.Image:
        """The picture in Pillow's mode "L", "RGB" or "RGBA" (opaque where it was never transparent)."""
        if mode == "RGBA" and self.rgba is not None:
            return self.rgba
        return self.rgb if mode == "RGB" else self.rgb.convert(mode)


@dataclass(frozen=True)
class Box:
    """The part of a picture that became the input, in picture pixels.

    It may reach outside the picture, where the model's preprocessing pads.
    """

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Batch:
    """Model inputs (N, C, H, W), the N pictures they came from, and the box of each that they show.

    `extras` is what the model is given besides (see `pellucid.inputs`), `chosen` what was inferred. Of
    several pictures those without a name are numbered, `"image 0"`, and those that share one are called by
    more of their paths, `"cat.jpg"` and `"cat.png"`, so that each can be told from the others.
    """

    inputs: Float[Tensor, "N C H W"]
    pictures: list[Picture]
    boxes: list[Box]
    extras: Any = None
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.pictures) > 1:
            object.__setattr__(self, "pictures", _named_apart(self.pictures))


def _named_apart(pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures by names of their own; the same file twice is one picture, with one name."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        groups[picture.name].append(i)
    named = list(pictures)
    for name, group in groups.items():
        paths = [str(path) for i in group if (path := pictures[i].path) is not None]
        if name == NAMELESS or (len(group) > 1 and len(paths) < len(group)):
            names = [f"{name} {i}" for i in group]
        else:
            names = short_names(paths) if len(set(paths)) > 1 else [name] * len(group)
        for i, own in zip(group, names, strict=True):
            named[i] = replace(pictures[i], name=own)
    return named
