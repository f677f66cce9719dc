"""Whatever a user calls a picture -> upright RGB."""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.resources import files
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from pellucid.choices import SAMPLES
from pellucid.errors import FileMissing, InvalidType, InvalidValue, PellucidError, PictureError
from pellucid.grey import (
    FULL,
    OTHERWISE,
    Ends,
    check_range,
    declared_range,
    deep_colours,
    deep_grey,
    has_deep_pixels,
    is_deep_file,
    refuse_bands,
    refuse_several,
    rounded,
    scaled_values,
    white_is_zero,
)
from pellucid.images.notes import CUT, FIRST_FRAME
from pellucid.images.picture import Picture

Key = TypeVar("Key")
ANIMATIONS = ("GIF", "PNG", "WEBP", "AVIF")
"""Formats whose frames are pictures in time; those of others are previews, or refused as pages."""


def open_picture(source: object, *, range: Any = None) -> Picture:
    """Read one picture: a path, `sample:NAME`, a PIL image, or an array of uint8 or uint16.

    An array is (H, W) or (H, W, 1 | 3 | 4).

    EXIF orientation is applied, an animation gives its first frame, and transparent pixels are laid on white.
    More than 8 bits are scaled by the range that the file declares (a TIFF's tags, a PNG's significant bits),
    else by the smallest usual one that holds all values; the picture's `note` says which.

    Args:
        source: the picture; a `Picture` is given back as it is.
        range: the values that are black and white, for more than 8 bits, as in (0, 4095) for 12;
            values outside are clipped; where a TIFF says that its lowest value is white, the other way round.

    Raises:
        FileMissing: there is no such file or sample.
        PictureError: the file or array is not a picture that can be read, or holds several pages or more
            bands than a picture has; too large by Pillow's own limit.
        InvalidValue: `range` is not two finite numbers, the first below the second, or there are only 8 bits.
        InvalidType: `source` is none of the above.

    Example:
        >>> open_picture("sample:cat").rgb.size
        (451, 300)
    """
    ends = check_range(range)
    if isinstance(source, Picture) and ends is None:
        return source
    if isinstance(source, Image.Image):
        with _decoding("the image"):
            return _picture(source, "the image", ends)
    if isinstance(source, np.ndarray):
        pixels = _pixels(source)
        if pixels.dtype == np.uint16 and pixels.ndim == 3:
            return _deep_array(pixels, ends)
        return _picture(Image.fromarray(pixels), "the array", ends)
    if not isinstance(source, (str, Path)):
        raise InvalidType(
            f"a picture must be a path, a PIL image or a uint8 or uint16 array; got {type(source).__name__} "
            "(a tensor is taken as the model's ready input, not as a picture)"
        )
    name, path = locate(source)
    with _decoding(str(path)):
        return replace(_read(path, str(path), ends), name=name, path=path)


def open_encoded(data: bytes, what: str, *, range: Any = None) -> Picture:
    """Read one picture from the bytes of its file, as `open_picture` reads the file.

    Args:
        data: the file's bytes.
        what: the picture, for errors and notes.
        range: the values that are black and white; where there are only 8 bits, it has no use.

    Raises:
        PictureError: see `open_picture`.
        InvalidValue: `range` is not two finite numbers, the first below the second.

    Example:
        >>> open_encoded((files("skimage") / "data" / SAMPLES["cat"]).read_bytes(), "cat").rgb.size
        (451, 300)
    """
    with _decoding(what):
        return _in_range(lambda ends: _read(data, what, ends), check_range(range))


def open_pictures(
    sources: Sequence[Any], *, range: Any = None, optional: Sequence[bool] = ()
) -> list[Picture]:
    """Pictures that are read together: of more than 8 bits, all have the same black and white.

    Where that has to be guessed, it is the widest of the guesses for those of one mode. `range` is for more
    than 8 bits; others are read as they are. A `Picture` is given back. What is `optional`, and cannot be
    read, is left out with a warning: files of a folder or glob, which nobody named.

    Raises:
        PellucidError: see `open_picture`; nothing can be read.
    """
    pictures, read, errors = [], [], []
    for source, may_fail in zip_longest(sources, optional, fillvalue=False):
        try:
            pictures.append(_ranged(source, check_range(range)))
            read.append(source)
        except PictureError as error:
            if not may_fail:
                raise
            errors.append(error)
    if errors and not pictures:
        raise errors[0]
    if errors:
        count = "1 picture" if len(errors) == 1 else f"{len(errors)} pictures"
        warnings.warn(f"Left out: {count}. {'; '.join(map(str, errors))}.", UserWarning, stacklevel=2)
    shared = _widest({i: (one.opened.mode, one.guessed) for i, one in enumerate(pictures) if one.guessed})
    for i, ends in shared.items():
        if not isinstance(read[i], Picture):
            pictures[i] = open_with_others(read[i], ends, pictures[i])
    return pictures


def shared_ranges(sources: Iterable[str]) -> dict[str, Ends]:
    """Black and white of files that are read one by one, as `open_pictures` would have them together.

    Only files of more than 8 bits are looked at, and only those of which it has to be guessed are in the
    answer, if there are several of a mode.
    """
    guesses: dict[str, tuple[str, Ends]] = {}
    for source in sources:
        if is_deep_file(source):
            with suppress(PellucidError):  # whoever reads it is told
                picture = open_picture(source)
                if picture.guessed:
                    guesses[source] = picture.opened.mode, picture.guessed
    return _widest(guesses)


def open_with_others(source: Any, ends: Ends, known: Picture | None = None) -> Picture:
    """A picture whose black and white were guessed for all that are read with it.

    Args:
        source: the picture.
        ends: black and white.
        known: the picture as it was opened alone.
    """
    same = known is not None and known.guessed == ends
    picture = known if known is not None and same else open_picture(source, range=ends)
    note = (
        f"The picture's values are shown with {ends[0]:.6g} as black and {ends[1]:.6g} as "
        f"white (the smallest usual white that holds the values of all pictures read with it); {OTHERWISE}."
    )
    return replace(picture, note="" if ends in FULL else note, guessed=ends)


def _widest(guesses: Mapping[Key, tuple[str, Ends]]) -> dict[Key, Ends]:
    """Of pictures with their modes and guesses: the widest guess of a mode, for several of that mode."""
    modes: dict[str, list[Key]] = {}
    for key, (mode, _) in guesses.items():
        modes.setdefault(mode, []).append(key)
    found: dict[Key, Ends] = {}
    for alike in modes.values():
        if len(alike) > 1:
            widest = max((guesses[key][1] for key in alike), key=lambda ends: ends[1] - ends[0])
            found |= dict.fromkeys(alike, widest)
    return found


def _ranged(source: Any, ends: Ends | None) -> Picture:
    """A picture with its black and white, if it has more than 8 bits."""
    if isinstance(source, Picture):
        return source
    return _in_range(lambda ends: open_picture(source, range=ends), ends)


def _in_range(read: Callable[[Ends | None], Picture], ends: Ends | None) -> Picture:
    """What is read with this black and white, or without where the picture has 8 bits."""
    try:
        return read(ends)
    except PictureError:
        raise
    except InvalidValue:
        if ends is None:
            raise
        return read(None)


def locate(source: str | Path) -> tuple[str, Path]:
    """What a file or `sample:NAME` is called, and where it is.

    Raises:
        FileMissing: there is no such sample.
    """
    text = str(source)
    if text.startswith("sample:"):
        name = text.removeprefix("sample:")
        if name not in SAMPLES:
            raise FileMissing(f"{text}: no such sample; there are {', '.join(SAMPLES)}")
        return name, Path(str(files("skimage") / "data" / SAMPLES[name]))
    path = Path(source)
    return path.stem, path


def _read(source: Path | bytes, what: str, ends: Ends | None) -> Picture:
    data = source if isinstance(source, bytes) else None
    if isinstance(source, Path) and source.is_dir():
        raise PictureError(f"{what} is a folder; name a picture in it")
    try:
        with warnings.catch_warnings():
            # Pillow only warns between its limit and twice that; both are refused here.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source if isinstance(source, Path) else BytesIO(source)) as image:
                refuse_several(image, what)
                moves = image.format in ANIMATIONS and getattr(image, "is_animated", False)
                return _picture(image, what, ends, data).remarked(FIRST_FRAME if moves else "")
    except FileNotFoundError:
        raise FileMissing(f"{what}: no such file") from None
    except PermissionError:
        raise PictureError(f"{what} may not be read: permission denied") from None
    except UnidentifiedImageError:
        refuse_bands(source, what)
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        reason = "is not a picture in a format that Pillow reads" if size else "is empty (0 bytes)"
        raise PictureError(f"{what} {reason}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.findall(r"\d+", str(error))[0]
        raise PictureError(
            f"{what} has {pixels} pixels, more than Pillow's limit of {Image.MAX_IMAGE_PIXELS} "
            "(PIL.Image.MAX_IMAGE_PIXELS); make it smaller, or raise the limit if you trust the file"
        ) from None


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Whatever a decoder raises on damage (OSError, SyntaxError, struct.error) becomes a PictureError."""
    try:
        yield
    except PellucidError:
        raise
    except Exception as error:
        raise PictureError(f"{what} cannot be read: {' '.join(str(error).split())}") from error


def _deep_array(pixels: np.ndarray, ends: Ends | None) -> Picture:
    """Colours of 16 bits (H, W, 3 | 4), which no mode of Pillow's holds."""
    scaled, note, guessed = scaled_values(pixels, "the array", ends, given=ends is not None)
    image = rounded(scaled)
    made = _on_white(image) if image.mode == "RGBA" else Picture(image)
    return replace(made, note=note, guessed=guessed, source=image).remarked(CUT)


def _pixels(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InvalidType(
            f"an array must hold uint8 pixels, or uint16; got {pixels.dtype}: "
            "pass a float tensor (N, C, H, W) for ready inputs, or uint8 pixels"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise PictureError(f"an array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); got {pixels.shape}")
    if not pixels.size:
        raise PictureError(f"the array has no pixels: its shape is {pixels.shape}")
    return np.ascontiguousarray(pixels)


def _picture(image: Image.Image, what: str, ends: Ends | None, data: bytes | None = None) -> Picture:
    """A new image: the upright picture on white, and with its alpha where it is not opaque."""
    if not all(image.size):
        raise PictureError(f"{what} has no pixels: it is {image.width} x {image.height}")
    # Before reading, which may close the file.
    declared, deep = declared_range(image, data), has_deep_pixels(image)
    image.load()
    source = image
    with suppress(Exception):  # unreadable metadata says nothing about the orientation, and spoils no pixel
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1 or not isinstance(
            image, ImageFile.ImageFile
        ):
            image = ImageOps.exif_transpose(image)  # a copy in any case, which large files need not have
    cut = CUT if deep and deep_grey(source, image) is None else ""
    return replace(_in_colours(source, image, what, declared, ends, data), source=image).remarked(cut)


def _in_colours(
    source: Image.Image,
    image: Image.Image,
    what: str,
    declared: tuple[float, float] | None,
    ends: Ends | None,
    data: bytes | None,
) -> Picture:
    """An upright image, and the `source` that it was opened as, in 8-bit RGB."""
    if (values := deep_grey(source, image)) is not None:
        scaled, note, guessed = scaled_values(values, what, ends or declared, given=ends is not None)
        scaled = 255 - scaled if white_is_zero(source) else scaled
        shown = _without(source, rounded(scaled).convert("RGB"), values[:, :, None])
        grey = None if shown.rgba is not None else Image.fromarray(scaled.astype(np.float32))
        return replace(shown, note=note, grey=grey, guessed=guessed)
    always = ends is not None or "transparency" in image.info
    if (colours := deep_colours(source, declared, data, always=always)) is not None:
        scaled, note, guessed = scaled_values(colours, what, ends or declared, given=ends is not None)
        return replace(_without(source, rounded(scaled), colours), note=note, guessed=guessed)
    if ends is not None:
        raise InvalidValue(f"range is for more than 8 bits; {what} has 8-bit pixels ({image.mode}).")
    if not image.has_transparency_data:
        return Picture(image.convert("RGB"))
    return _on_white(image.convert("RGBA"))


def _without(image: Image.Image, rgb: Image.Image, values: np.ndarray) -> Picture:
    """A picture without the pixels that have the one value (H, W, C) that a PNG says is transparent."""
    clear = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(clear, (int, tuple)):
        return Picture(rgb)
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(np.where((values == clear).all(2), 0, 255).astype(np.uint8)))
    return _on_white(rgba)


def _on_white(rgba: Image.Image) -> Picture:
    """A transparent picture."""
    white = Image.new("RGBA", rgba.size, "white")
    return Picture(Image.alpha_composite(white, rgba).convert("RGB"), rgba=rgba)
