"""Baselines: what an image looks like to a model where a part of it is taken away."""

import difflib
import math
import os
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import conv2d, pad

from pellucid.errors import InvalidType, InvalidValue, ModelError
from pellucid.model import Model
from pellucid.structures import tensor_of

COLOURS = {"black": 0.0, "grey": 0.5, "white": 1.0}
NAMES = ("zero", *COLOURS, "mean", "blur", "noise", "median", "mixed")

# Group-CAM's and I-GOS's blurs, for inputs of about 224 pixels.
_RADIUS, _SIGMA = 25, 50.0
_MEDIAN = 11


def check(spec: Any) -> Any:
    """`spec` if `baseline` may take it, before there are inputs; a number written as text becomes one.

    Raises:
        InvalidValue: an unknown name (the closest is named), a number or value that is not finite.
        InvalidType: neither a name, a number, values, nor a picture.
    """
    if isinstance(spec, str) and spec not in NAMES:
        try:
            spec = float(spec)
        except ValueError:
            if not _is_path(spec):
                close = difflib.get_close_matches(spec.lower(), NAMES, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise InvalidValue(
                    f"baseline must be one of {', '.join(NAMES)}, a number or a picture's path; got {spec!r}."
                    f"{hint}"
                ) from None
    if isinstance(spec, bool) or not isinstance(spec, (str, Real, Tensor, np.ndarray, Image.Image, Path)):
        raise InvalidType(
            f"baseline must be one of {', '.join(NAMES)}, a number, a tensor or a picture; "
            f"got {type(spec).__name__}."
        )
    if isinstance(spec, Real) and not math.isfinite(spec):
        raise InvalidValue(f"baseline must be finite; got {spec}.")
    if isinstance(spec, (Tensor, np.ndarray)) and not tensor_of(spec).isfinite().all():
        raise InvalidValue("baseline must be finite; some of its values are not.")
    return spec


def baseline(
    spec: Any, inputs: Float[Tensor, "N C H W"], model: Model, generator: Generator
) -> Float[Tensor, "N C H W"]:
    """The baseline of each image, in the model's input space; a tensor of its own.

    Args:
        spec: "zero", the number 0 in the input space; "black", "grey" (half of white), "white", the pixels'
            colours as the model's preprocessing maps them; "mean", each image's own mean colour; "blur", the
            image under a Gaussian of sigma 50 cut at 25 pixels, as in Group-CAM; "noise", normal with each
            image's mean and standard deviation per channel, of one draw for all images; "median", the median
            of each channel in windows of 11 by 11 pixels, and "mixed", the mean of "blur" and "median", as in
            I-GOS; a number in the input space; a float tensor or array that broadcasts to the inputs; or a
            picture: a path, a PIL image, uint8 pixels (H, W[, C]).
        inputs: the images, in the model's input space.
        model: whose input space that is.
        generator: where "noise" draws from.

    Raises:
        InvalidValue: an unknown name, values that are not finite, a shape that does not fit.
        InvalidType: `spec` is none of the above.
        ModelError: a colour or a picture for a model without preprocessing.
        PictureError, FileMissing: a picture that cannot be read.

    Example:
        >>> x = torch.tensor([[[[1.0, 3.0]]]])
        >>> baseline("mean", x, Model(torch.nn.Flatten()), Generator())
        tensor([[[[2., 2.]]]])
    """
    spec = check(spec)
    if isinstance(spec, str) and spec in NAMES:
        return _named(spec, inputs, model, generator)
    if isinstance(spec, Real):
        return torch.full_like(inputs, float(spec))
    if isinstance(spec, np.ndarray) and spec.dtype.kind == "f":
        spec = tensor_of(spec)
    return _fitted(spec if isinstance(spec, Tensor) else model.read(spec).inputs, inputs)


def _named(
    name: str, inputs: Float[Tensor, "N C H W"], model: Model, generator: Generator
) -> Float[Tensor, "N C H W"]:
    match name:
        case "zero":
            return torch.zeros_like(inputs)
        case "mean":
            return inputs.mean((2, 3), keepdim=True).expand_as(inputs).clone()
        case "blur":
            return _blurred(inputs)
        case "noise":
            drawn = torch.randn(
                inputs.shape[1:], generator=generator, device=generator.device, dtype=torch.float32
            ).to(inputs)
            std, mean = torch.std_mean(inputs, (2, 3), correction=0, keepdim=True)
            return mean + std * drawn
        case "median":
            return _median(inputs)
        case "mixed":
            return (_blurred(inputs) + _median(inputs)) / 2
    return _colour(name, inputs, model)


def _is_path(text: str) -> bool:
    return text.startswith("sample:") or bool(os.path.splitext(text)[1]) or os.path.exists(text)


def _colour(name: str, inputs: Float[Tensor, "N C H W"], model: Model) -> Float[Tensor, "N C H W"]:
    channels = inputs.shape[1]
    if model.preprocess is None or len(model.preprocess.mean) != channels:
        raise ModelError(
            f"baseline={name!r} needs a model that says how pixels become its {channels} input channels; "
            f"{model.name} does not: use 'zero', 'mean', 'blur', 'noise', a number or a tensor."
        )
    pixel = torch.full((channels,), COLOURS[name], dtype=torch.float32, device="cpu")
    if channels == 4:
        pixel[3] = 1.0  # opaque
    value = (pixel - torch.tensor(model.preprocess.mean, dtype=torch.float32, device="cpu")) / torch.tensor(
        model.preprocess.std, dtype=torch.float32, device="cpu"
    )
    return value.to(inputs)[:, None, None].expand_as(inputs).clone()


def _blurred(inputs: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Gaussian along rows, then columns; mirrored at the edges, which ends at one picture's width.

    In float32 at least: weights in half precision do not sum to 1, by which colours would shift.
    """
    given, inputs = inputs, inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    for axis in (-1, -2):
        radius = min(_RADIUS, inputs.shape[axis] - 1)
        at = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
        kernel = torch.exp(-((at / _SIGMA) ** 2) / 2)
        kernel = (kernel / kernel.sum()).to(inputs)
        along = (1, -1) if axis == -1 else (-1, 1)
        edges = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
        rows = pad(inputs, edges, mode="reflect").flatten(0, 1)[:, None]
        inputs = conv2d(rows, kernel.view(1, 1, *along)).view_as(inputs)
    return inputs.to(given.dtype)


def _median(inputs: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """The median of each window, edges repeated; one image at a time, as the windows are 121 times larger."""
    edges = pad(inputs, (_MEDIAN // 2,) * 4, mode="replicate")
    windows = edges.unfold(2, _MEDIAN, 1).unfold(3, _MEDIAN, 1)
    return torch.stack([image.flatten(-2).median(-1).values for image in windows])


def _fitted(values: Tensor, inputs: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    if not values.is_floating_point():
        raise InvalidType(
            f"A tensor as baseline must be floating, in the model's input space; got {values.dtype}."
        )
    try:
        return values.detach().to(inputs).expand_as(inputs).clone()
    except RuntimeError:
        raise InvalidValue(
            f"baseline must be as large as the inputs, {tuple(inputs.shape)}, or broadcast to that; "
            f"got {tuple(values.shape)}."
        ) from None
