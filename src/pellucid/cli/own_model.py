"""The options of commands that load a model: its weights, its class names, what it makes of a picture."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.choices import Fit
from pellucid.cli import options


def _option(metavar: str, help: str) -> Any:
    return typer.Option(metavar=metavar, help=help, rich_help_panel="The model", show_default=False)


CROP = 0.875
"""Of the resized picture's side, that the input keeps: the usual share, for models that say nothing."""

_OWN = " Unless given, what the model says, else"


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
        _option("SHARE", f"Of the resized picture's side that the input keeps; 1 for all.{_OWN} {CROP}."),
    ] = None
    fit: Annotated[
        Fit | None,
        _option(
            "crop|squash|pad",
            "How a picture gets the input's shape: its middle, all of it out of shape, or all of it on a "
            f"ground of the mean colour.{_OWN} crop.",
        ),
    ] = None
    mean: Annotated[
        str | None,
        _option(
            "A[,B,C]", f"Subtracted from pixels in [0, 1], one value for each channel.{_OWN} ImageNet's."
        ),
    ] = None
    std: Annotated[
        str | None,
        _option("A[,B,C]", f"What pixels are divided by then, one value for each channel.{_OWN} ImageNet's."),
    ] = None
    channels: Annotated[int | None, _option("1|3|4", "Channels of the input: 1 is grey, 3 RGB, 4 RGBA.")] = (
        None
    )
    range: Annotated[
        str | None,
        _option(
            "LOW,HIGH",
            "Black and white in pictures of more than 8 bits, such as 0,4095. Unless given, what the file "
            "declares, else the smallest usual white.",
        ),
    ] = None
    device: options.Device = None


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
