"""Pictures: whatever a user calls one -> RGB -> model input, and back from input pixels to picture pixels.

Coordinates are continuous, in pictures and inputs alike: pixel i covers [i, i + 1), its centre is i + 0.5.
"""

import glob
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pellucid.errors import FileMissing, InvalidType, InvalidValue, ModelError, PellucidError, PictureError

# The photographs that come inside scikit-image's wheel, as `sample:NAME`.
SAMPLES: Mapping[str, str] = {
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "coins": "coins.png",
    "motorcycle": "motorcycle_left.png",
}

# Which files of a folder count as pictures.
SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)

_CHOICES = {
    "fit": ("crop", "squash", "pad"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "rounding": ("nearest", "floor", "zero"),
}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # input channels -> Pillow's mode


@dataclass(frozen=True)
class Picture:
    """An upright RGB picture and where it came from.

    `name` is the file's stem, the sample's name, or "image". A transparent picture lies on white in `rgb`;
    `rgba` then keeps it as it was, for models with four input channels.
    """

    rgb: Image.Image
    name: str = "image"
    path: Path | None = None
    rgba: Image.Image | None = None

    def in_mode(self, mode: str) -> Image.Image:
        """The picture in Pillow's mode "L", "RGB" or "RGBA" (opaque where it was never transparent)."""
        if mode == "RGBA" and self.rgba is not None:
            return self.rgba
        return self.rgb.convert(mode)


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
    """Model inputs (N, C, H, W), the N pictures they came from, and the box of each that they show."""

    inputs: Float[Tensor, "N C H W"]
    pictures: list[Picture]
    boxes: list[Box]


# ---------------------------------------------------------------------------------------------- reading


def open_picture(source: object) -> Picture:
    """Read one picture: a path, `sample:NAME`, a PIL image, or a uint8 array (H, W), (H, W, 1 | 3 | 4).

    EXIF orientation is applied, an animation gives its first frame, 16-bit and float grey is scaled to 8
    bits, and transparent pixels are laid on white.

    Raises:
        FileMissing: there is no such file or sample.
        PictureError: the file or array is not a picture that can be read; too large by Pillow's own limit.
        InvalidType: `source` is none of the above.

    Example:
        >>> open_picture("sample:cat").rgb.size
        (451, 300)
    """
    if isinstance(source, Image.Image):
        with _decoding("the image"):
            rgb, rgba = _upright_rgb(source, "the image")
        return Picture(rgb, rgba=rgba)
    if isinstance(source, np.ndarray):
        rgb, rgba = _upright_rgb(_from_array(source), "the array")
        return Picture(rgb, rgba=rgba)
    if not isinstance(source, (str, Path)):
        raise InvalidType(
            f"a picture must be a path, a PIL image or a uint8 array; got {type(source).__name__} "
            "(a tensor is taken as the model's ready input, not as a picture)"
        )
    name, path = _locate(source)
    with _decoding(str(path)):
        rgb, rgba = _read(path)
    return Picture(rgb, name, path, rgba)


def find_pictures(sources: Iterable[str | Path]) -> list[str]:
    """The pictures that `sources` name, in order and once each.

    Files and `sample:NAME` stay as they are, also a file that is missing: `open_picture` then says so, and
    the others of a batch go on. A folder gives the pictures anywhere below it, a glob (`**` too) those it
    matches, sorted; neither gives hidden files.

    Raises:
        FileMissing: a folder or glob holds no picture.

    Example:
        >>> find_pictures(["sample:cat", "cat.jpg", "sample:cat"])
        ['sample:cat', 'cat.jpg']
    """
    found: list[str] = []
    for source in map(str, sources):
        folder = os.path.isdir(source)
        if not folder and (os.path.exists(source) or not glob.has_magic(source)):
            found.append(source)
            continue
        pattern = os.path.join(glob.escape(source), "**") if folder else source
        matches = sorted(
            match
            for match in glob.iglob(pattern, recursive=True)
            if os.path.splitext(match)[1].lower() in SUFFIXES and os.path.isfile(match)
        )
        if not matches:
            raise FileMissing(
                f"{source}: no picture {'in this folder' if folder else 'matches'}; "
                f"looked for {', '.join(sorted(SUFFIXES))}"
            )
        found += matches
    return list(dict.fromkeys(found))


def _locate(source: str | Path) -> tuple[str, Path]:
    text = str(source)
    if text.startswith("sample:"):
        name = text.removeprefix("sample:")
        if name not in SAMPLES:
            raise FileMissing(f"{text}: no such sample; there are {', '.join(SAMPLES)}")
        return name, Path(str(files("skimage") / "data" / SAMPLES[name]))
    path = Path(source)
    return path.stem, path


def _read(path: Path) -> tuple[Image.Image, Image.Image | None]:
    if path.is_dir():
        raise PictureError(f"{path} is a folder; name a picture in it")
    try:
        with warnings.catch_warnings():
            # Pillow only warns between its limit and twice that; both are refused here.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _upright_rgb(image, str(path))
    except FileNotFoundError as error:
        raise FileMissing(f"{path}: no such file") from error
    except PermissionError as error:
        raise PictureError(f"{path} may not be read: permission denied") from error
    except UnidentifiedImageError as error:
        reason = (
            "is not a picture in a format that Pillow reads" if path.stat().st_size else "is empty (0 bytes)"
        )
        raise PictureError(f"{path} {reason}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.findall(r"\d+", str(error))[0]
        raise PictureError(
            f"{path} has {pixels} pixels, more than Pillow's limit of {Image.MAX_IMAGE_PIXELS} "
            "(PIL.Image.MAX_IMAGE_PIXELS); make it smaller, or raise the limit if you trust the file"
        ) from error


@contextmanager
def _decoding(what: str) -> Iterator[None]:
    """Whatever a decoder raises on damage (OSError, SyntaxError, struct.error) becomes a PictureError."""
    try:
        yield
    except PellucidError:
        raise
    except Exception as error:
        raise PictureError(f"{what} cannot be read: {' '.join(str(error).split())}") from error


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise InvalidType(
            f"an array must hold uint8 pixels; got {pixels.dtype}: "
            "pass a float tensor (N, C, H, W) for ready inputs, or uint8 pixels"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise PictureError(f"an array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); got {pixels.shape}")
    if not pixels.size:
        raise PictureError(f"the array has no pixels: its shape is {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _upright_rgb(image: Image.Image, what: str) -> tuple[Image.Image, Image.Image | None]:
    """New images: the upright picture on white, and with its alpha where it is not opaque."""
    if not all(image.size):
        raise PictureError(f"{what} has no pixels: it is {image.width} x {image.height}")
    image.load()
    with suppress(Exception):  # unreadable metadata says nothing about the orientation, and spoils no pixel
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(np.asarray(image), what).convert("RGB"), None
    if not image.has_transparency_data:
        return image.convert("RGB"), None
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB"), rgba


def _eight_bits(grey: np.ndarray, what: str) -> Image.Image:
    """Grey values scaled to 8 bits by what full white is in them, where Pillow's conversion clips at 255."""
    if grey.dtype == np.uint16:
        white: float = 65535
    else:  # 32-bit integers and floats do not say: the smallest usual white that holds all values
        whites = (1, 255, 65535) if grey.dtype.kind == "f" else (255, 65535)
        white = next((white for white in whites if grey.max() <= white), math.nan)
        if not (grey.min() >= 0 and math.isfinite(white)):
            raise PictureError(
                f"{what} holds {grey.dtype} values from {grey.min()} to {grey.max()}; they must lie within "
                "0..1, 0..255 or 0..65535: convert it to 8 bits first"
            )
    return Image.fromarray(np.rint(grey * (255 / white)).astype(np.uint8))


# ---------------------------------------------------------------------------------------- preprocessing


@dataclass(frozen=True)
class Preprocess:
    """Picture -> model input: resize, crop about the centre, scale to [0, 1], normalise.

    Attributes:
        size: (H, W) of the input.
        scale_to: what the picture is resized to before the crop: the length of its shorter side, or (H, W).
            None: not resized, or with fit="squash" resized to `size`.
        fit: "crop" keeps the picture's shape and covers `scale_to`; "squash" gives it exactly that height and
            width; "pad" keeps its shape and stays inside `scale_to`, on a ground of the mean colour.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming", as by Pillow.
        mean, std: one value per channel, for pixels in [0, 1]: 1 channel is grey, 3 RGB, 4 RGBA.
        rounding: of the crop's offset, where half a pixel is left: "nearest" (to even: timm, torchvision),
            "floor" or "zero" (transformers, by backend).
        bgr: the channels in the order blue, green, red.

    Raises:
        InvalidValue: a setting that does not hold.

    Example:
        >>> preprocess = Preprocess((224, 224), scale_to=256)
        >>> cat = open_picture("sample:cat")                       # 451 x 300
        >>> preprocess(cat).shape
        torch.Size([3, 224, 224])
        >>> box = preprocess.box(cat)
        >>> round(box.left, 1), round(box.top, 1), round(box.right, 1), round(box.bottom, 1)
        (94.0, 18.8, 357.0, 281.2)
    """

    size: tuple[int, int]
    scale_to: int | tuple[int, int] | None
    fit: str = "crop"
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    rounding: str = "nearest"
    bgr: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) not in _MODES or len(self.mean) != len(self.std):
            raise InvalidValue(
                "mean and std must have 1 (grey), 3 (RGB) or 4 (RGBA) values each; "
                f"got {self.mean} and {self.std}"
            )
        if not all(self.std):
            raise InvalidValue(f"std must not be 0: pixels are divided by it; got {self.std}")
        scale = self.scale_to if isinstance(self.scale_to, tuple) else (self.scale_to,)
        if any(side is not None and side < 1 for side in (*self.size, *scale)):
            raise InvalidValue(f"sizes must be at least 1; got size={self.size}, scale_to={self.scale_to}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InvalidValue(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if self.bgr and len(self.mean) != 3:
            raise InvalidValue(f"bgr=True needs 3 channels; got mean={self.mean}")
        if self.fit != "crop" and isinstance(self.scale_to, int):
            raise InvalidValue(f"fit={self.fit!r} needs scale_to=(H, W); got {self.scale_to}")

    def __call__(self, picture: Picture) -> Float[Tensor, "C H W"]:
        """The picture as a float32 input on the CPU."""
        mode = _MODES[len(self.mean)]
        height, width = self._resized(picture)
        top, left = self._offset((height, width))
        image = picture.in_mode(mode).resize((width, height), Image.Resampling[self.interpolation.upper()])
        ground = [round(255 * value) if self.fit == "pad" else 0 for value in self.mean]
        canvas = Image.new(mode, self.size[::-1], tuple(ground) if len(ground) > 1 else ground[0])
        canvas.paste(image, (-left, -top))
        pixels = torch.from_numpy(np.array(canvas)).reshape(*self.size, -1).permute(2, 0, 1)
        if self.bgr:
            pixels = pixels[[2, 1, 0]]
        values = pixels.to(torch.float32).div(255)  # the sources' order of operations, for equal bits
        return values.sub(_column(self.mean)).div(_column(self.std)).contiguous()

    def box(self, picture: Picture) -> Box:
        """Which part of `picture` the input shows, after the rounding to whole pixels of resize and crop."""
        (height, width), (H, W) = self._resized(picture), self.size
        top, left = self._offset((height, width))
        x, y = picture.rgb.width / width, picture.rgb.height / height  # picture pixels per input pixel
        return Box(left * x, top * y, (left + W) * x, (top + H) * y)

    def undo(self, inputs: Float[Tensor, "N C H W"]) -> list[Picture]:
        """What ready inputs look like: un-normalised, clipped to what a picture can hold.

        Raises:
            InvalidValue: the inputs' channels are not those of `mean`.
        """
        if inputs.shape[1] != len(self.mean):
            raise InvalidValue(f"inputs must have {len(self.mean)} channels; got {tuple(inputs.shape)}")
        values = inputs.detach().to("cpu", torch.float32) * _column(self.std) + _column(self.mean)
        if self.bgr:
            values = values[:, [2, 1, 0]]
        pixels = values.nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)
        return [open_picture(image) for image in pixels.permute(0, 2, 3, 1).numpy()]

    def _resized(self, picture: Picture) -> tuple[int, int]:
        """(height, width) after the resize and before the crop."""
        width, height = picture.rgb.size
        if self.fit == "squash":
            return self.scale_to if isinstance(self.scale_to, tuple) else self.size
        if self.scale_to is None:
            return height, width
        if isinstance(self.scale_to, int):  # torchvision's rule: the longer side is truncated
            short, long = sorted((width, height))
            longer = int(self.scale_to * long / short)
            resized = (longer, self.scale_to) if width <= height else (self.scale_to, longer)
        else:  # timm's rule for inputs that are not square: both sides are rounded
            ratios = height / self.scale_to[0], width / self.scale_to[1]
            ratio = max(ratios) if self.fit == "pad" else min(ratios)
            resized = max(1, round(height / ratio)), max(1, round(width / ratio))
        if Image.MAX_IMAGE_PIXELS is not None and math.prod(resized) > Image.MAX_IMAGE_PIXELS:
            raise PictureError(
                f"{picture.path or picture.name} is {width} x {height}, too long: the model wants it resized "
                f"to {resized[1]} x {resized[0]}, above Pillow's limit of {Image.MAX_IMAGE_PIXELS} pixels"
            )
        return resized

    def _offset(self, resized: tuple[int, int]) -> tuple[int, int]:
        """(top, left) of the crop in the resized picture; negative where that is smaller than the crop."""

        def start(side: int, crop: int) -> int:
            gap = side - crop
            if self.rounding == "floor":
                return gap // 2
            return round(gap / 2) if self.rounding == "nearest" and gap > 0 else int(gap / 2)

        return start(resized[0], self.size[0]), start(resized[1], self.size[1])

    @classmethod
    def from_timm(cls, config: Mapping[str, Any], channels: int | None = None) -> "Preprocess":
        """From `timm.data.resolve_data_config(...)`.

        `channels`: the model's input channels, where the model was made with others than its weights'
        (timm's config does not say); missing statistics are then the mean of the known.

        Raises:
            ModelError: a setting that is not understood.
        """
        sides = tuple(config["input_size"])
        size = (int(sides[-2]), int(sides[-1]))
        scale = tuple(math.floor(side / (config.get("crop_pct") or 0.875)) for side in size)
        mode = config.get("crop_mode") or "center"
        fit = {"center": "crop", "squash": "squash", "border": "pad"}.get(mode)
        if fit is None or config.get("crop_border_pixels"):
            raise ModelError(f"timm's crop settings are not understood: {dict(config)}; pass preprocess=")
        channels = channels or int(sides[0])
        return cls._of(
            "timm's",
            size=size,
            scale_to=scale[0] if fit == "crop" and scale[0] == scale[1] else scale,
            fit=fit,
            interpolation=config["interpolation"],
            mean=_spread(config["mean"], channels),
            std=_spread(config["std"], channels),
        )

    @classmethod
    def from_torchvision(cls, transforms: Any) -> "Preprocess":
        """From `weights.transforms()` of a torchvision classifier.

        Raises:
            ModelError: a setting that is not understood, or more is done than resize, crop and normalise.
        """
        try:
            crop, resize = list(transforms.crop_size), list(transforms.resize_size)
            built = cls._of(
                "torchvision's",
                size=(crop[0], crop[-1]),
                scale_to=resize[0] if len(resize) == 1 else tuple(resize),
                fit="crop" if len(resize) == 1 else "squash",
                interpolation=transforms.interpolation.value,
                mean=tuple(map(float, transforms.mean)),
                std=tuple(map(float, transforms.std)),
            )
        except AttributeError as error:
            raise ModelError(
                "expected the transforms of a torchvision classifier's weights; "
                f"got {type(transforms).__name__} ({error}); pass preprocess="
            ) from error
        return built._proven(transforms, type(transforms).__name__)

    @classmethod
    def from_transformers(cls, processor: Any) -> "Preprocess":
        """From a Hugging Face image processor.

        Equal to its Pillow backend; its torchvision backend resizes within two grey levels of that.

        Raises:
            ModelError: a setting that is not understood, or more is done than resize, crop and normalise.
        """
        if hasattr(processor, "data_config"):  # a timm model inside transformers
            return cls.from_timm(processor.data_config)
        kind = type(processor).__name__
        geometry = _transformers_geometry(processor)
        if geometry is None:
            raise ModelError(f"{kind}: its sizes are not understood, size={processor.size}; pass preprocess=")
        mean, std = _transformers_statistics(processor)
        resample = getattr(processor, "resample", None)
        fast = getattr(processor, "backend", None) == "torchvision" or kind.endswith("Fast")
        built = cls._of(
            f"{kind}'s",
            **geometry,
            interpolation=Image.Resampling(2 if resample is None else resample).name.lower(),
            mean=mean,
            std=std,
            rounding="zero" if fast else "floor",
            bgr=bool(getattr(processor, "do_flip_channel_order", False)),
        )
        return built._proven(lambda image: processor(image, return_tensors="pt")["pixel_values"][0], kind)

    @classmethod
    def _of(cls, whose: str, **settings: Any) -> "Preprocess":
        try:
            return cls(**settings)
        except InvalidValue as error:
            raise ModelError(f"{whose} preprocessing is not understood: {error}; pass preprocess=") from error

    def _proven(self, pipeline: Callable[[Image.Image], Tensor], kind: str) -> "Preprocess":
        """Self, if `pipeline` makes the same of noise to 2 grey levels: a class may do more than it says."""
        noise = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
        picture = open_picture(noise)
        expected, found = pipeline(picture.in_mode(_MODES[len(self.mean)])), self(picture)
        if expected.shape != found.shape or ((expected - found) * _column(self.std)).abs().max() > 2.1 / 255:
            raise ModelError(f"{kind} does more than resize, crop and normalise; pass preprocess=")
        return self


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _spread(values: Iterable[float], channels: int) -> tuple[float, ...]:
    """Statistics for `channels`: those known, and their mean for every further one or for fewer."""
    known = tuple(map(float, values))
    mean = (sum(known) / len(known),)
    return known + mean * (channels - len(known)) if channels >= len(known) else mean * channels


def _transformers_geometry(processor: Any) -> dict[str, Any] | None:
    """size, scale_to and fit by a processor's settings, and by the habits of classes with their own."""
    size, crop = dict(processor.size or {}), dict(getattr(processor, "crop_size", None) or {})
    edge, percent = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    cropped = (crop["height"], crop["width"]) if getattr(processor, "do_center_crop", False) else None
    if not processor.do_resize:
        return cropped and {"size": cropped, "scale_to": None}
    if edge and not size.get("longest_edge"):
        if percent and not cropped:  # ConvNeXT: cropped below 384, squashed from there on
            squash = {"size": (edge, edge), "scale_to": None, "fit": "squash"}
            return squash if edge >= 384 else {"size": (edge, edge), "scale_to": int(edge / percent)}
        if percent:  # PoolFormer
            edge = int(edge / percent)
        elif type(processor).__name__.startswith("Levit"):
            edge = int(256 / 224 * edge)
        return cropped and {"size": cropped, "scale_to": edge}
    if size.get("height") and size.get("width"):
        whole = (size["height"], size["width"])
        return {"size": cropped or whole, "scale_to": whole, "fit": "squash"}
    return None


def _transformers_statistics(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std for pixels in [0, 1], with a processor's own rescaling folded in."""
    mean: tuple[float, ...] = tuple(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0)
    std: tuple[float, ...] = tuple(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0)
    if getattr(processor, "rescale_offset", False):  # EfficientNet: pixels in [-1, 1]
        mean = tuple(m + 1 for m in mean)
    if getattr(processor, "include_top", False):  # EfficientNet: divided by std twice
        std = tuple(s * s for s in std)
    white = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    return tuple(m / white for m in mean), tuple(s / white for s in std)


# ------------------------------------------------------------------------------------ back to the picture


def place(
    values: Float[np.ndarray, "h w"] | Float[Tensor, "h w"], box: Box, picture_size: tuple[int, int]
) -> Float[np.ndarray, "H W"]:
    """A map over the input, in the picture's own pixels; NaN where the model did not look.

    Bilinear between cell centres, and constant from the outermost centres to the box's edge
    (`align_corners=False`). No antialiasing: a map finer than the picture is sampled.

    Args:
        values: the map (h, w), of any resolution: it spans the whole input.
        box: what of the picture the input shows.
        picture_size: (width, height), as Pillow gives it.

    Example:
        >>> place(np.array([[0.0, 1.0]]), Box(1.0, 0.0, 5.0, 1.0), (6, 1))
        array([[ nan, 0.  , 0.25, 0.75, 1.  ,  nan]])
    """
    grid = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    width, height = picture_size
    rows, upper, lower, down = _weights(box.top, box.bottom, grid.shape[0], height)
    columns, left, right, across = _weights(box.left, box.right, grid.shape[1], width)
    across, down = across.astype(grid.dtype), down.astype(grid.dtype)[:, None]
    wide = grid[:, left] * (1 - across) + grid[:, right] * across  # (h, W)
    placed = np.full((height, width), np.nan, grid.dtype)
    placed[rows, columns] = wide[upper] * (1 - down) + wide[lower] * down
    return placed


def _weights(
    start: float, stop: float, cells: int, pixels: int
) -> tuple[slice, np.ndarray, np.ndarray, np.ndarray]:
    """Along one side: the pixels whose centres lie inside, the cells before and after each, its weight."""
    first = max(0, math.ceil(start - 0.5))
    last = max(first, min(pixels, math.floor(stop - 0.5) + 1))
    at = ((np.arange(first, last) + 0.5 - start) / (stop - start) * cells - 0.5).clip(0, cells - 1)
    before = at.astype(np.intp)
    return slice(first, last), before, np.minimum(before + 1, cells - 1), at - before
