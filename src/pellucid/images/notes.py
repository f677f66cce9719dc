"""What became of a picture on its way into a model, in sentences that a reader of its map should know."""

import numpy as np

from pellucid.images.picture import Box, Picture

FIRST_FRAME = "The picture is an animation, of which the first frame is explained."
CUT = "The picture's colours of 16 bits were cut to 8."
FLATTENED = "The picture's transparent pixels were laid on white."
ENLARGED = (
    "The picture has so few pixels that each became more than ten of the input's, along both sides: what the "
    "map says follows from next to nothing."
)
CROPPED = (
    "The picture is so long that the model sees less than half of it, its middle: cut it into parts, or fit "
    "all of it in (Preprocess(fit='pad'), --fit pad on the command line)."
)
SQUASHED = (
    "The picture is so long that the model sees it squashed to less than a quarter of its length: cut it "
    "into parts, or keep its shape (Preprocess(fit='pad'), --fit pad on the command line)."
)
LONG, FEW_PIXELS = 4, 10
"""Sides beyond which a picture is long; pixels of an input that one of the picture becomes, in a tiny one."""


def seen_as(picture: Picture, box: Box, size: tuple[int, int], channels: int) -> tuple[str, ...]:
    """What a model's preprocessing makes of a picture that is out of the ordinary.

    Args:
        picture: the picture.
        box: what of it the input shows.
        size: (H, W) of the input.
        channels: of the input; with four it is told of transparency itself.

    Example:
        >>> from PIL import Image
        >>> banner = Picture(Image.new("RGB", (500, 50)))
        >>> [CROPPED] == list(seen_as(banner, Box(225.0, 0.0, 275.0, 50.0), (64, 64), 3))
        True
    """
    width, height = picture.rgb.size
    wide, tall = size[1] / (box.right - box.left), size[0] / (box.bottom - box.top)
    seen = (min(box.right, width) - max(box.left, 0)) * (min(box.bottom, height) - max(box.top, 0))
    long = max(width, height) > LONG * min(width, height)
    return tuple(
        text
        for text, holds in (
            (FLATTENED, channels != 4 and is_transparent(picture)),
            (ENLARGED, min(wide, tall) > FEW_PIXELS),
            (SQUASHED, long and max(wide, tall) > LONG * min(wide, tall)),
            (CROPPED, long and seen < width * height / 2),
        )
        if holds
    )


def is_transparent(picture: Picture) -> bool:
    """Whether any pixel lets the ground show through."""
    return picture.rgba is not None and bool((np.asarray(picture.rgba.getchannel("A")) < 255).any())
