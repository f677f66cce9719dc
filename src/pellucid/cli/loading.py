"""Loading a model as the commands' options say."""

from copy import copy
from dataclasses import replace

from pellucid.cli.own_model import CROP, ModelOptions
from pellucid.errors import InvalidValue
from pellucid.grey import check_range
from pellucid.labels import class_names
from pellucid.model import Model
from pellucid.models import load
from pellucid.preprocess import Preprocess


def load_model(spec: str, given: ModelOptions) -> Model:
    """The model that `spec` names, as the options have it.

    Raises:
        PellucidError: see `pellucid.load`; or an option that does not hold.
    """
    model = load(spec, weights=given.weights, random_weights=given.random_weights, device=given.device)
    own = copy(model)
    if given.range is not None:
        own.range = check_range(_values("--range", given.range))
    if given.labels is not None:
        own.labels = class_names(given.labels)
    changed = (given.size, given.crop, given.fit, given.mean, given.std, given.channels)
    if any(value is not None for value in changed):
        own.preprocess, own.transform = _preprocess(given, model), None
        own.note = _assumed(given, own.preprocess) if model.preprocess is None else ""
    return own


def _preprocess(given: ModelOptions, model: Model) -> Preprocess:
    """The model's own preprocessing, changed by what was given, or one made of that."""
    known = model.preprocess
    size = _size(given.size) if given.size is not None else known.size if known is not None else None
    if size is None:
        raise InvalidValue(
            f"{model.name} does not say how large its inputs are: pass --size, such as --size 224."
        )
    mean, std = _statistics(given, known)
    if known is None:
        known = Preprocess(size, scale_to=_scaled(size, CROP), mean=mean, std=std)
    scale = known.scale_to
    if given.fit not in (None, "crop"):
        if given.crop is not None:
            raise InvalidValue(
                f"--crop is for --fit crop; got --fit {given.fit}, which keeps all of a picture."
            )
        return replace(known, size=size, scale_to=size, fit=given.fit, mean=mean, std=std)
    if given.crop is not None or (given.fit == "crop" and known.fit != "crop"):
        scale = _scaled(size, given.crop or CROP)
        return replace(known, size=size, scale_to=scale, fit="crop", mean=mean, std=std)
    if size != known.size:  # as much of the picture as before
        sides = scale if isinstance(scale, tuple) else (scale, scale)
        shares = [have / (to or have) for have, to in zip(known.size, sides, strict=True)]
        scale = None if scale is None else _scaled(size, max(shares))
        if known.fit != "crop" and isinstance(scale, int):
            scale = scale, scale
    return replace(known, size=size, scale_to=scale, mean=mean, std=std)


def _assumed(given: ModelOptions, made: Preprocess) -> str:
    """What of the preprocessing nobody has said, for a model that says nothing of it."""
    parts, others = [], []
    if made.fit == "crop" and given.crop is None:
        resized = "x".join(map(str, made.scale_to)) if isinstance(made.scale_to, tuple) else made.scale_to
        sides = made.size[:1] if made.size[0] == made.size[1] else made.size
        parts.append(f"resize {resized}, crop {'x'.join(map(str, sides))}")
        others += ["--crop"] if given.fit else ["--fit", "--crop"]
    if given.mean is None:
        parts.append("ImageNet's mean and std")
        others += ["--mean", "--std"]
    if not parts:
        return ""
    which = f"{', '.join(others[:-1])} and {others[-1]}" if others[1:] else others[0]
    says = "say" if others[1:] else "says"
    return f"Assumed, as the model does not say: {', and '.join(parts)}; {which} {says} others."


def _statistics(given: ModelOptions, known: Preprocess | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std, one value for each channel."""
    if (given.mean is None) != (given.std is None):
        raise InvalidValue("--mean and --std go together: what is subtracted, and divided by.")
    if given.mean is not None and given.std is not None:
        mean, std = _values("--mean", given.mean), _values("--std", given.std)
        if given.channels not in (None, len(mean)) or len(mean) != len(std):
            raise InvalidValue(
                "--mean and --std must have one value for each channel; got "
                f"{len(mean)} and {len(std)}" + (f" for {given.channels}." if given.channels else ".")
            )
        return mean, std
    mean, std = (known.mean, known.std) if known is not None else _IMAGENET
    if given.channels in (None, len(mean)):
        return mean, std
    if given.channels not in (1, 3, 4):
        raise InvalidValue(f"--channels must be 1 (grey), 3 (RGB) or 4 (RGBA); got {given.channels}.")
    return (sum(mean) / len(mean),) * given.channels, (sum(std) / len(std),) * given.channels


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _size(text: str) -> tuple[int, int]:
    """(H, W) of "224" or "240x320".

    >>> _size("224"), _size("240x320")
    ((224, 224), (240, 320))
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.strip().isdecimal() and int(side) for side in sides):
        raise InvalidValue(
            f"--size must be a number of pixels, or height x width, such as 240x320; got {text!r}."
        )
    return int(sides[0]), int(sides[-1])


def _values(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise InvalidValue(
            f"{option} must be numbers, such as 0.5 or 0.485,0.456,0.406; got {text!r}."
        ) from None


def _scaled(size: tuple[int, int], share: float) -> int | tuple[int, int]:
    """What a picture is resized to, so that the input is this share of it."""
    if not 0 < share <= 1:
        raise InvalidValue(f"--crop must be a share above 0 and up to 1, such as 0.875; got {share}.")
    sides = int(size[0] / share), int(size[1] / share)
    return sides[0] if size[0] == size[1] else sides
