"""Preprocessing of the user's own: any callable picture -> tensor, a `Preprocess` where that is proven."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from pellucid.errors import InvalidType, InvalidValue, ModelError, first_line, in_own_code
from pellucid.images import Picture
from pellucid.preprocess import Preprocess
from pellucid.structures import plain

Transform = Callable[[Image.Image], Any]


def as_preprocess(given: Preprocess | Transform | None) -> tuple[Preprocess | None, Transform | None]:
    """A `Preprocess`, if this is one or does the same as one, and the callable it was read off, if any.

    Raises:
        InvalidType: neither a `Preprocess` nor a callable.
    """
    if given is None or isinstance(given, Preprocess):
        return given, None
    if not callable(given):
        raise InvalidType(
            "preprocess must be a pellucid.Preprocess or a callable, PIL image -> tensor (C, H, W); "
            f"got {type(given).__name__}."
        )
    for read in (Preprocess.from_torchvision, _processor):
        try:
            found = read(given)
        except Exception:
            continue
        if found is not None:
            return found, given
    return None, given


def _processor(given: Any) -> Preprocess | None:
    return Preprocess.from_transformers(given) if hasattr(given, "image_mean") else None


def is_deep(picture: Picture) -> bool:
    """Whether a picture has more than 8 bits as Pillow opens it: what a Compose makes of it is not proven."""
    return picture.opened.mode[0] in "IF"


def reads_itself(transform: Transform, picture: Picture, proven: Preprocess) -> Float[Tensor, "C H W"] | None:
    """What a callable makes of a deep picture; None where it takes only 8-bit RGB.

    `proven` does the same to 8-bit RGB, so the size of an input and the part it shows are known.
    """
    try:
        made = _transformed(transform, picture)
    except ModelError:
        return None
    return made if tuple(made.shape[1:]) == tuple(proven.size) else None


def transformed(transform: Transform, pictures: Sequence[Picture]) -> Float[Tensor, "N C H W"]:
    """The inputs that a callable makes of pictures.

    Raises:
        ModelError: it fails, or gives something else than a floating tensor (C, H, W).
        InvalidValue: inputs of different shapes.
    """
    return stacked([_transformed(transform, picture) for picture in pictures])


def stacked(made: Sequence[Float[Tensor, "C H W"]]) -> Float[Tensor, "N C H W"]:
    """Inputs of one shape as one tensor.

    Raises:
        InvalidValue: inputs of different shapes.
    """
    shapes = {tuple(one.shape) for one in made}
    if len(shapes) > 1:
        raise InvalidValue(
            f"preprocess must make inputs of one shape; it made {', '.join(map(str, sorted(shapes)))}: "
            "explain the images one by one, or resize them there."
        )
    return torch.stack(list(made))


def _transformed(transform: Transform, picture: Picture) -> Float[Tensor, "C H W"]:
    try:
        made = transform(picture.opened.copy())
    except Exception as error:
        raise ModelError(
            "preprocess must take a PIL image and give a tensor (C, H, W); it failed on one of mode "
            f"{picture.opened.mode}, as Pillow opens it: {first_line(error)}"
        ) from in_own_code(error)
    if isinstance(made, np.ndarray):
        made = torch.from_numpy(np.ascontiguousarray(made))
    if isinstance(made, Tensor) and made.ndim == 4 and len(made) == 1:
        made = made[0]
    if not isinstance(made, Tensor) or made.ndim != 3 or not made.is_floating_point() or not made.numel():
        came = f"{tuple(made.shape)} of {made.dtype}" if isinstance(made, Tensor) else type(made).__name__
        raise ModelError(f"preprocess must give a floating tensor (C, H, W); it gave {came}.")
    tensor: Tensor = plain(made.detach())
    return tensor


def timm_preprocess(module: Any) -> Preprocess | None:
    """The preprocessing a timm module was trained with; none where its channels are no picture's."""
    if not isinstance(getattr(module, "pretrained_cfg", None), Mapping):
        return None
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(module)
    channels = _input_channels(module)
    if channels in (None, int(config["input_size"][0])):
        return Preprocess.from_timm(config)
    return Preprocess.from_timm(config, channels=channels) if channels in (1, 3, 4) else None


def _input_channels(module: nn.Module) -> int | None:
    """How many channels a network's first convolution reads, before blocks of pixels are folded into more."""
    from timm.layers import SpaceToDepth

    folded = 1
    for child in module.modules():
        if isinstance(child, nn.PixelUnshuffle):
            folded *= child.downscale_factor**2
        elif isinstance(child, SpaceToDepth):
            folded *= child.bs**2
        elif isinstance(child, nn.Conv2d):
            return child.in_channels // folded if child.in_channels % folded == 0 else child.in_channels
    return None
