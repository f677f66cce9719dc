"""The options of commands that load a model: its weights, its class names, what it makes of a picture."""

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.cli import options
from pellucid.errors import InvalidValue
from pellucid.labels import class_names
from pellucid.model import Model
from pellucid.models import load
from pellucid.preprocess import Preprocess

CROP = 0.875
"""Of the resized picture's side, that the input keeps: the usual share, for models that say nothing."""


def _option(metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, rich_help_panel="The model", show_default=False)


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded, and what of its preprocessing and class names is given besides."""

    weights: options.Weights = None
    random_weights: options.RandomWeights = False
    labels: Annotated[
        Path | None, _option("FILE", "Class names: one a line, or JSON, a list or {index: name}.")
    ] = None
    size: Annotated[str | None, _option("N|HxW", "Pixels of the model's input, such as 224.")] = None
    crop: Annotated[
        float | None,
        _option("SHARE", "Of the resized picture's side that the input keeps; 1 for all, 0.875 is usual."),
    ] = None
    mean: Annotated[
        str | None, _option("A[,B,C]", "Subtracted from pixels in [0, 1], one value for each channel.")
    ] = None
    std: Annotated[
        str | None, _option("A[,B,C]", "What pixels are divided by then, one value for each channel.")
    ] = None
    channels: Annotated[int | None, _option("1|3|4", "Channels of the input: 1 is grey, 3 RGB, 4 RGBA.")] = (
        None
    )
    device: options.Device = None

    def load(self, spec: str) -> Model:
        """The model that `spec` names, as these options have it.

        Raises:
            PellucidError: see `pellucid.load`; or an option that does not hold.
        """
        model = load(spec, weights=self.weights, random_weights=self.random_weights, device=self.device)
        own = copy(model)
        if self.labels is not None:
            own.labels = class_names(self.labels)
        if any(v is not None for v in (self.size, self.crop, self.mean, self.std, self.channels)):
            own.preprocess, own.transform = self._preprocess(model), None
        return own

    def _preprocess(self, model: Model) -> Preprocess:
        """The model's own preprocessing, changed by what was given, or one made of that."""
        known = model.preprocess
        size = _size(self.size) if self.size is not None else known.size if known is not None else None
        if size is None:
            raise InvalidValue(
                f"{model.name} does not say how large its inputs are: pass --size, such as --size 224."
            )
        mean, std = self._statistics(known)
        if known is None:
            known = Preprocess(size, scale_to=_scaled(size, CROP), mean=mean, std=std)
        scale = known.scale_to
        if self.crop is not None:
            return replace(
                known, size=size, scale_to=_scaled(size, self.crop), fit="crop", mean=mean, std=std
            )
        if size != known.size:  # as much of the picture as before
            sides = scale if isinstance(scale, tuple) else (scale, scale)
            shares = [have / (to or have) for have, to in zip(known.size, sides, strict=True)]
            scale = None if scale is None else _scaled(size, max(shares))
            if known.fit != "crop" and isinstance(scale, int):
                scale = scale, scale
        return replace(known, size=size, scale_to=scale, mean=mean, std=std)

    def _statistics(self, known: Preprocess | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std, one value for each channel."""
        if (self.mean is None) != (self.std is None):
            raise InvalidValue("--mean and --std go together: what is subtracted, and divided by.")
        if self.mean is not None and self.std is not None:
            mean, std = _values("--mean", self.mean), _values("--std", self.std)
            if self.channels not in (None, len(mean)) or len(mean) != len(std):
                raise InvalidValue(
                    "--mean and --std must have one value for each channel; got "
                    f"{len(mean)} and {len(std)}" + (f" for {self.channels}." if self.channels else ".")
                )
            return mean, std
        mean, std = (known.mean, known.std) if known is not None else _IMAGENET
        if self.channels in (None, len(mean)):
            return mean, std
        if self.channels not in (1, 3, 4):
            raise InvalidValue(f"--channels must be 1 (grey), 3 (RGB) or 4 (RGBA); got {self.channels}.")
        return (sum(mean) / len(mean),) * self.channels, (sum(std) / len(std),) * self.channels


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def takes_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options in the place of its parameter `loading`, which they become."""
    own = {field.name: field for field in fields(ModelOptions)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name != "loading":
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        parameters += [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
            )
            for name, field in own.items()
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        loading = ModelOptions(**{name: given.pop(name) for name in own if name in given})
        command(loading=loading, **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


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
