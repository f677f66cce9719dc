"""References: the user's own pictures, or several baselines, that paths to an image start from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pellucid import baselines
from pellucid.errors import InvalidType, InvalidValue
from pellucid.images import find_pictures
from pellucid.options.types import Kind
from pellucid.probe import Probe
from pellucid.structures import tensor_of


def _read(name: str, value: Any) -> Tensor | list[Any] | None:
    """A tensor (R, C, H, W) as it is; or a list of what `probe.baseline` takes, the pictures of folders."""
    if value is None or (isinstance(value, str) and value == "None"):
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = tensor_of(value)
    if isinstance(value, Tensor):
        return _checked(name, value)
    if isinstance(value, np.ndarray) and value.ndim == 4:
        value = list(value)
    elif isinstance(value, str) and not os.path.exists(value):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, str | Path | Image.Image | np.ndarray):
        value = [value]
    if not isinstance(value, Sequence):
        raise InvalidType(
            f"{name} must be pictures, a folder of them, a tensor (R, C, H, W) or names of baselines; "
            f"got {type(value).__name__}."
        )
    parts: list[Any] = []
    for part in value:
        place = isinstance(part, str | Path) and _shown(part)
        parts += map(baselines.check, find_pictures([part]) if place else [part])
    if not parts:
        raise InvalidValue(f"{name} must hold at least one picture; got none.")
    return parts


def _shown(part: Any) -> bool:
    """Whether a single reference is a picture; else it is a baseline."""
    if isinstance(part, np.ndarray):
        return bool(part.dtype.kind != "f")
    return isinstance(part, Path | Image.Image) or (isinstance(part, str) and part not in baselines.NAMES)


def _checked(name: str, value: Tensor) -> Tensor:
    if value.ndim != 4 or not value.is_floating_point() or not value.numel():
        raise InvalidValue(
            f"{name} as a tensor must be floating and (R, C, H, W), in the model's input space, with R at "
            f"least 1; got {tuple(value.shape)} of {value.dtype}."
        )
    if not value.isfinite().all():
        raise InvalidValue(f"{name} must be finite; some of their values are not.")
    return value


References = Annotated[Any, Kind("pictures | folder | tensor | baselines", _read)]
"""Several references: pictures (a list, a folder, a glob; on the command line separated by commas), a float
tensor or array (R, C, H, W) in the model's input space, or a list of baselines as `probe.baseline` takes."""


def references_of(probe: Probe, spec: Any) -> Float[Tensor, "N_or_1 R C H W"]:
    """The references, in the model's input space: (N, R, C, H, W) if they depend on the image, else one set.

    Raises:
        InvalidValue: no references, or references of another size than the inputs.
        PictureError, FileMissing: a picture that cannot be read.
    """
    if spec is None:
        raise InvalidValue(
            "There are no references: pass references=, pictures that the model knows and that lack what is "
            "explained, such as those of another class; on the command line METHOD:references=FOLDER, or "
            "baselines, METHOD:references=zero,mean,blur."
        )
    if not isinstance(spec, Tensor):
        if not all(map(_shown, spec)):
            return torch.stack([probe.baseline(part) for part in spec], 1)
        spec = probe.model.read(list(spec)).inputs
    references: Tensor = spec.detach().to(probe.inputs)
    size = tuple(probe.inputs.shape[1:])
    if references.shape[1:] != size:
        raise InvalidValue(
            f"references must be as large as the inputs, {size} each; got {tuple(references.shape[1:])}."
        )
    return references[None]
