"""More than 8 bits: which values are black and white; and files that hold more than one picture."""

import math
import struct
import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedReader, BytesIO
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from pellucid.errors import InvalidValue, PictureError

Ends = tuple[float, float]
WHITES = (255, 1023, 4095, 16383, 65535)
"""What full white usually is: of 8, 10, 12, 14 and 16 bits."""

FULL: tuple[Ends, Ends] = (0.0, 65535.0), (0.0, 1.0)
"""What needs no word: white as the type of the values has it."""

OTHERWISE = "range=(black, white) of Model or open_picture says it otherwise, on the command line --range"
"""How a user says what is black and white."""

_SUBFILE, _BITS, _PHOTOMETRIC, _SAMPLES, _MIN, _MAX, _EXTRA, _SMIN, _SMAX = (
    254,
    258,
    262,
    277,
    280,
    281,
    338,
    340,
    341,
)
_ORIENTATION, _FORMAT = 274, 339
_PASS = (
    "pass the one to explain as a uint8 array (H, W) or (H, W, 3), or all of them as a float tensor "
    "(N, C, H, W), the model's own input"
)


def check_range(ends: Any) -> Ends | None:
    """The values of black and white, as floats.

    Raises:
        InvalidValue: not two finite numbers, the first below the second.
    """
    if ends is None:
        return None
    numbers = isinstance(ends, Sequence) and all(isinstance(one, Real) and math.isfinite(one) for one in ends)
    if not numbers or len(ends) != 2 or not ends[0] < ends[1]:
        raise InvalidValue(
            f"range must be two finite numbers, black below white, as in (0, 4095); got {ends!r}."
        )
    return float(ends[0]), float(ends[1])


def declared_range(image: Image.Image, data: bytes | None = None) -> Ends | None:
    """The range that a file declares; None where it says nothing.

    Args:
        image: the picture, opened.
        data: its file's bytes, where it was opened from these and has no path.
    """
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        low, high = tags.get(_SMIN, tags.get(_MIN)), tags.get(_SMAX, tags.get(_MAX))
        low, high = (one[0] if isinstance(one, tuple) else one for one in (low, high))
        low, high = float(low or 0), float(high or 0)
        if low < high:
            return low, high
        bits = tags.get(_BITS, (8,))
        bits = bits[0] if isinstance(bits, tuple) else bits
        if 8 < bits < 16:
            return 0.0, float(2**bits - 1)
    if image.format == "PNG" and (bits := _significant_bits(image, data)):
        # By the standard the upper ones of 16 bits count; where values are larger than this, they do.
        return (0.0, float(2**bits - 1)) if 8 < bits < 16 else None
    return None


def _file(image: Image.Image, data: bytes | None) -> BufferedReader | BytesIO:
    """The file that a picture was opened from, anew."""
    return BytesIO(data) if data is not None else Path(str(getattr(image, "filename", ""))).open("rb")


def _significant_bits(image: Image.Image, data: bytes | None) -> int | None:
    """What a PNG's sBIT chunk says of its first channel; Pillow does not read it."""
    with suppress(Exception), _file(image, data) as file:
        file.seek(8)
        while header := file.read(8):
            length, kind = struct.unpack(">I4s", header)
            if kind == b"sBIT":
                return file.read(length)[0]
            if kind == b"IDAT":
                return None
            file.seek(length + 4, 1)
    return None


def has_deep_pixels(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits a channel, by its header, before its pixels are read."""
    if image.mode == "F" or image.mode.startswith("I"):
        return True
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(_BITS, (8,))
        return any(one > 8 for one in (bits if isinstance(bits, tuple) else (bits,)))
    return any(";16" in str(part) for part in getattr(image, "tile", ()))  # the mode of the raw bytes


def is_deep_file(path: str | Path) -> bool:
    """Whether a file holds a picture of more than 8 bits a channel; no for one that cannot be read."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return has_deep_pixels(image)
    return False


def deep_grey(source: Image.Image, upright: Image.Image) -> np.ndarray | None:
    """The values of one channel with more than 8 bits or a sign, which Pillow would clip or wrap; else None.

    Args:
        source: the picture as it was opened.
        upright: the same with its orientation applied, in the same mode.
    """
    if upright.mode == "F" or upright.mode.startswith("I"):
        values = np.asarray(upright)
        return values.astype(np.uint16) if source.format == "PNG" else values  # an older Pillow widens these
    if upright.mode == "L" and isinstance(source, TiffImageFile) and source.tag_v2.get(_FORMAT) == (2,):
        values = np.asarray(upright).view(np.int8)
        return np.invert(values) if white_is_zero(source) else values  # Pillow has turned these around
    return None


def white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF says that its lowest value is white; Pillow turns 8 bits around, but no more."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0


def deep_colours(
    image: Image.Image, declared: Ends | None, data: bytes | None = None, *, always: bool
) -> np.ndarray | None:
    """The values of a file with three colours of 16 bits, where it does not fill them; else None.

    Pillow keeps the upper 8 bits, in which 12 bits are nearly black. Files that are bright in these are left
    to it, unless `always`. `data` is the file, where the picture was opened from bytes.
    """
    if (
        image.mode != "RGB"
        or image.getexif().get(_ORIENTATION, 1) != 1
        or image.format not in ("PNG", "TIFF")
        or not (data is not None or bool(getattr(image, "filename", "")))
    ):
        return None
    if not always and declared is None and np.asarray(image).max() >= 128:
        return None
    with suppress(Exception), _file(image, data) as file:  # what these do not know stays as Pillow has it
        if image.format == "TIFF":
            import tifffile

            values = tifffile.imread(file)
        elif file.read(25)[24:] != b"\x10":  # bits, in a PNG's header: fewer, which Pillow has read
            return None
        else:
            file.seek(0)
            from torchvision.io import ImageReadMode, decode_image

            with warnings.catch_warnings():  # that these decoders will be another package's one day
                warnings.simplefilter("ignore", DeprecationWarning)
                raw = torch.from_numpy(np.frombuffer(bytearray(file.read()), np.uint8))
                values = decode_image(raw, ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
        if values.dtype == np.uint16 and values.shape == (image.height, image.width, 3):
            return np.asarray(values)
    return None


def scaled_values(
    grey: np.ndarray, what: str, ends: Ends | None, *, given: bool = False
) -> tuple[np.ndarray, str, Ends | None]:
    """Values scaled to 0 to 255, not rounded; a note of what is white; black and white if they were guessed.

    Args:
        grey: 16-bit, 32-bit or float values.
        what: the file, for errors.
        ends: black and white, where they are known; else they follow from the values.
        given: whether the user gave them, who then needs no note.
    """
    least, most = grey.min(), grey.max()
    if not (math.isfinite(least) and math.isfinite(most)):
        raise PictureError(f"{what} holds values that are not finite: read it yourself, and pass pixels")
    note, guessed = "", None
    if ends is not None and not given and grey.dtype.kind != "f" and most > ends[1] > 0:
        ends = None  # a tag that its own pixels contradict
    if ends is None:
        ends = guessed = _ends(grey, what)
        source = "the smallest usual white that holds all its values"
    else:
        source = "as its file declares"
    if not given and ends not in FULL:
        values = f"{least:.6g} to {most:.6g}"
        note = (
            f"The picture's {grey.dtype} values, {values}, are shown with {ends[0]:.6g} as black and "
            f"{ends[1]:.6g} as white ({source}); {OTHERWISE}."
        )
    black, white = ends
    scaled = (grey.astype(np.float64) - black) * (255 / (white - black))
    return scaled.clip(0, 255), note, guessed


def rounded(scaled: np.ndarray) -> Image.Image:
    """Values from 0 to 255 as a picture of 8 bits."""
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _ends(grey: np.ndarray, what: str) -> Ends:
    """Black and white of values that come without a word."""
    least, most = float(grey.min()), float(grey.max())
    whole = grey.dtype.kind != "f" or bool((grey == np.rint(grey)).all())
    white = next((w for w in ((1, *WHITES) if grey.dtype.kind == "f" else WHITES) if most <= w), math.nan)
    if least < 0 or not math.isfinite(white):
        raise PictureError(
            f"{what} holds {grey.dtype} values from {least:.6g} to {most:.6g}; they must lie within 0..1, "
            "0..255 or 0..65535: pass range=(black, white) to Model or open_picture, or --range"
        )
    # Values of a scene's light, 0 to 37.2, have no usual white: their largest is white.
    return (0.0, float(white) if whole or white == 1 else most)


def refuse_several(image: Image.Image, what: str) -> None:
    """Refuses a file of several pages, or of more bands than a picture has.

    Animations are pictures in time, and smaller copies of a page are the same picture.

    Raises:
        PictureError: says how to pass an array.
    """
    if not isinstance(image, TiffImageFile):
        return
    bands = image.tag_v2.get(_SAMPLES, 1)
    more = image.tag_v2.get(_EXTRA, (0,))
    if bands > 4 or (bands == 2 and 1 not in more and 2 not in more):  # 1 and 2 are alpha
        raise PictureError(f"{what} has {bands} bands; a picture has 1, 3 or 4: {_PASS}")
    pages = 0
    for page in range(getattr(image, "n_frames", 1)):
        image.seek(page)
        pages += not image.tag_v2.get(_SUBFILE, 0) & 1
    image.seek(0)
    if pages > 1:
        raise PictureError(f"{what} has {pages} pages; a picture is one: {_PASS}")


def refuse_bands(source: Path | bytes, what: str) -> None:
    """Refuses a TIFF that Pillow cannot open because of its bands, with their number.

    Args:
        source: the file, or its bytes.
        what: how the error calls it.

    Raises:
        PictureError: says how to pass an array.
    """
    bands = 0
    with suppress(Exception), BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        header = file.read(8)
        if header[:4] in (b"II*\0", b"MM\0*"):
            tags = ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
            bands = int(tags.get(_SAMPLES, 1))
    if bands > 1:
        raise PictureError(f"{what} is a TIFF of {bands} bands, which Pillow does not read: {_PASS}")
