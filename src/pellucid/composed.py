"""What a torchvision `Compose` does, as the settings of a `Preprocess`."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

_SCALING = (
    "ToTensor",
    "PILToTensor",
    "ToImage",
    "ToImageTensor",
    "ConvertImageDtype",
    "ToDtype",
    "ToPureTensor",
)


def settings_of(transforms: Any) -> dict[str, Any] | None:
    """Of a Compose of resize, crop, scaling and normalisation: what it says of itself, not proven.

    None where it is no Compose, or does anything else.
    """
    steps = getattr(transforms, "transforms", None)
    if not isinstance(steps, Sequence):
        return None
    kinds = [type(step).__name__ for step in steps]
    by_kind = dict(zip(kinds, steps, strict=True))
    shaping = [kind for kind in kinds if kind not in _SCALING]
    if len(by_kind) != len(kinds) or shaping not in _ORDERS:
        return None
    resize, crop, normalise = (by_kind.get(kind) for kind in ("Resize", "CenterCrop", "Normalize"))
    scale = _size(resize.size) if resize is not None else None
    size = _size(crop.size) if crop is not None else scale
    if isinstance(size, int):
        size = (size, size) if crop is not None else None
    if size is None:
        return None
    return {
        "size": size,
        "scale_to": scale,
        "fit": "squash" if isinstance(scale, tuple) else "crop",
        "interpolation": "bilinear" if resize is None else interpolation_of(resize.interpolation),
        "mean": (0.0, 0.0, 0.0) if normalise is None else tuple(map(float, normalise.mean)),
        "std": (1.0, 1.0, 1.0) if normalise is None else tuple(map(float, normalise.std)),
    }


_ORDERS = [
    [*shape, *normalise]
    for shape in (["Resize", "CenterCrop"], ["Resize"], ["CenterCrop"])
    for normalise in ([], ["Normalize"])
]


def interpolation_of(value: Any) -> str:
    """The name of an interpolation that is torchvision's `InterpolationMode`, a name, or Pillow's number."""
    if isinstance(value, int):
        return Image.Resampling(value).name.lower()
    return str(getattr(value, "value", value))


def _size(size: Any) -> int | tuple[int, int]:
    """A side, or (H, W)."""
    if isinstance(size, int):
        return size
    return int(size[0]) if len(size) == 1 else (int(size[0]), int(size[1]))
