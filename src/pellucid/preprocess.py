"""Preprocessing: picture -> model input, equal bit for bit to what timm and torchvision do.

It is what transformers' processors of Pillow do, too; those that resize tensors, the default of
transformers 5, give other pixels by up to two grey levels.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pellucid.composed import interpolation_of, settings_of
from pellucid.errors import InvalidValue, ModelError, PictureError
from pellucid.images import Box, Picture, open_picture

_CHOICES = {
    "fit": ("crop", "squash", "pad"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "rounding": ("nearest", "floor", "zero"),
}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # input channels -> Pillow's mode


@dataclass(frozen=True)
class Preprocess:
    """Picture -> model input: resize, crop about the centre, scale to [0, 1], normalise.

    Attributes:
        size: (H, W) of the input.
        scale_to: what the picture is resized to before the crop: the length of its shorter side, or (H, W).
            None: not resized, or with fit="squash" resized to `size`. With "squash" and "pad" a number is
            a square.
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
            object.__setattr__(self, "scale_to", (self.scale_to, self.scale_to))

    def __call__(self, picture: Picture) -> Float[Tensor, "C H W"]:
        """The picture as a float32 input on the CPU."""
        mode = _MODES[len(self.mean)]
        height, width = self._resized(picture)
        top, left = self._offset((height, width))
        resample = Image.Resampling[self.interpolation.upper()]
        ground = [round(255 * value) if self.fit == "pad" else 0 for value in self.mean]
        if picture.grey is not None and mode != "RGBA":  # as finely as its bits tell
            values = np.asarray(picture.grey.resize((width, height), resample)).clip(0, 255)
            plane = Image.new("F", self.size[::-1], -1)
            plane.paste(Image.fromarray(values), (-left, -top))
            fine = torch.from_numpy(np.array(plane)).expand(len(ground), -1, -1)
            fine = torch.where(
                fine < 0, torch.tensor(ground, dtype=fine.dtype, device="cpu")[:, None, None], fine
            )
            return self._normalised(fine)
        image = picture.in_mode(mode).resize((width, height), resample)
        canvas = Image.new(mode, self.size[::-1], tuple(ground) if len(ground) > 1 else ground[0])
        canvas.paste(image, (-left, -top))
        pixels = torch.from_numpy(np.array(canvas)).reshape(*self.size, -1).permute(2, 0, 1)
        return self._normalised(pixels.to(torch.float32))

    def _normalised(self, pixels: Float[Tensor, "C H W"]) -> Float[Tensor, "C H W"]:
        if self.bgr:
            pixels = pixels[[2, 1, 0]]
        values = pixels.div(255)  # the sources' order of operations, for equal bits
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
        """From `weights.transforms()` of a torchvision classifier, or from a `Compose` of transforms.

        A Compose is Resize, CenterCrop, or both, what makes a tensor of a picture, and Normalize. That it
        does nothing else is tried on a picture of noise.

        Raises:
            ModelError: a setting that is not understood, or more is done than resize, crop and normalise.

        Example:
            >>> from torchvision import transforms as T
            >>> steps = [T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]
            >>> Preprocess.from_torchvision(T.Compose(steps)) == Preprocess(
            ...     (224, 224), scale_to=256, mean=(0.5,) * 3, std=(0.5,) * 3)
            True
        """
        if (settings := settings_of(transforms)) is not None:
            return cls._of("torchvision's", **settings).proven(transforms, type(transforms).__name__)
        if hasattr(transforms, "transforms"):
            steps = ", ".join(type(step).__name__ for step in transforms.transforms)
            raise ModelError(
                "A Compose is understood if it is Resize, CenterCrop or both, ToTensor and Normalize, once "
                f"each and with a size that every picture is given; got {steps or 'no steps'}. Model takes "
                "any callable as preprocess=."
            )
        try:
            crop, resize = list(transforms.crop_size), list(transforms.resize_size)
            built = cls._of(
                "torchvision's",
                size=(crop[0], crop[-1]),
                scale_to=resize[0] if len(resize) == 1 else tuple(resize),
                fit="crop" if len(resize) == 1 else "squash",
                interpolation=interpolation_of(transforms.interpolation),
                mean=tuple(map(float, transforms.mean)),
                std=tuple(map(float, transforms.std)),
            )
        except AttributeError as error:
            raise ModelError(
                "expected the transforms of a torchvision classifier's weights, or a Compose; "
                f"got {type(transforms).__name__} ({error}); pass preprocess="
            ) from error
        return built.proven(transforms, type(transforms).__name__)

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
        return built.proven(lambda image: processor(image, return_tensors="pt")["pixel_values"][0], kind)

    @classmethod
    def _of(cls, whose: str, **settings: Any) -> "Preprocess":
        try:
            return cls(**settings)
        except InvalidValue as error:
            raise ModelError(f"{whose} preprocessing is not understood: {error}; pass preprocess=") from error

    def proven(self, pipeline: Callable[[Image.Image], Tensor], kind: str) -> "Preprocess":
        """Self, if `pipeline` makes the same of noise to 2 grey levels: a class may do more than it says."""
        noise = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
        picture = open_picture(noise)
        expected, found = pipeline(picture.in_mode(_MODES[len(self.mean)]).copy()), self(picture)
        if expected.shape != found.shape or ((expected - found) * _column(self.std)).abs().max() > 2.1 / 255:
            raise ModelError(f"{kind} does more than resize, crop and normalise; pass preprocess=")
        return self


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu")[:, None, None]


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
