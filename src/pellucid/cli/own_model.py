"""The options of commands that load a model: its weights, its class names, what it makes of a picture."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pellucid.choices import Fit
from pellucid.cli import options

_option = partial(typer.Option, rich_help_panel="The model", show_default=False)
CROP = 0.875
"""Of the resized picture's side, that the input keeps: the usual share, for models that say nothing."""

_OWN = " Unless given, what the model says, else"


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded, and what of its preprocessing and class names is given besides."""

    weights: options.Weights = None
    random_weights: options.RandomWeights = False
    labels: Annotated[
        Path | None,
        _option(metavar="FILE", help="Class names: one a line, or JSON, a list or {index: name}."),
    ] = None
    size: Annotated[
        str | None, _option(metavar="N|HxW", help="Pixels of the model's input, such as 224.")
    ] = None
    crop: Annotated[
        float | None,
        _option(
            metavar="SHARE",
            help=f"Of the resized picture's side that the input keeps; 1 for all.{_OWN} {CROP}.",
        ),
    ] = None
    fit: Annotated[
        Fit | None,
        _option(
            metavar="crop|squash|pad",
            help="How a picture gets the input's shape: its middle, all of it out of shape, or all of it on "
            f"a ground of the mean colour.{_OWN} crop.",
        ),
    ] = None
    mean: Annotated[
        str | None,
        _option(
            metavar="A[,B,C]",
            help=f"Subtracted from pixels in [0, 1], one value for each channel.{_OWN} ImageNet's.",
        ),
    ] = None
    std: Annotated[
        str | None,
        _option(
            metavar="A[,B,C]",
            help=f"What pixels are divided by then, one value for each channel.{_OWN} ImageNet's.",
        ),
    ] = None
    channels: Annotated[
        int | None, _option(metavar="1|3|4", help="Channels of the input: 1 is grey, 3 RGB, 4 RGBA.")
    ] = None
    range: Annotated[
        str | None,
        _option(
            metavar="LOW,HIGH",
            help="Black and white in pictures of more than 8 bits, such as 0,4095. Unless given, what the "
            "file declares, else the smallest usual white.",
        ),
    ] = None
    device: options.Device = None
