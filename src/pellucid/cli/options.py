"""What the commands can be asked: the options they share, and what they make of them."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from pellucid.cli.screen import complain
from pellucid.engine.precision import Precision
from pellucid.errors import FileMissing, InvalidValue, PellucidError
from pellucid.images import SUFFIXES, find_pictures
from pellucid.layers import layer_names
from pellucid.model import Model
from pellucid.request import Request
from pellucid.target import Contrast, OneTarget, Output

_MODEL, _QUESTION, _RUN, _RESULT = "The model", "The question", "How it is run", "The result"

Pictures = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders (with all below them), globs, or sample:cat.",
        show_default=False,
        metavar="PICTURE…",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--method",
        metavar="METHOD[:NAME=VALUE,…]",
        help="Such as grad-cam or smooth-grad:samples=20; `pellucid methods` lists all. May be repeated.",
        rich_help_panel=_QUESTION,
        show_default=False,
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="CLASS",
        help="Class to explain: an index, a name, A^B for why A rather than B, or `predicted` (the default). "
        "May be repeated.",
        rich_help_panel=_QUESTION,
        show_default=False,
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        metavar="LAYER",
        help="Layer that CAMs read, by dotted name; several with commas. `pellucid doctor` lists them.",
        rich_help_panel=_QUESTION,
        show_default="the last with feature maps",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="State dict, .safetensors or .pt, read without running any code in it.",
        rich_help_panel=_MODEL,
        show_default=False,
    ),
]
RandomWeights = Annotated[
    bool,
    typer.Option("--random-weights", help="Leave the model untrained.", rich_help_panel=_MODEL),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="cpu, cuda, cuda:1, mps, …", rich_help_panel=_RUN, show_default="cpu"
    ),
]
Seed = Annotated[int, typer.Option(help="Of everything drawn at random.", rich_help_panel=_RUN)]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Most samples run together; never changes a result beyond rounding.",
        rich_help_panel=_RUN,
        show_default="auto",
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="One JSON document on standard output, nothing else.", rich_help_panel=_RESULT
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=_RESULT)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_RUN)]
MODEL_HELP = "efficientnet-lite0, timm:NAME, torchvision:NAME, hf:REPO-OR-FOLDER or FILE.py:function."
ModelSpec = Annotated[str, typer.Option("--model", metavar="SPEC", help=MODEL_HELP, rich_help_panel=_MODEL)]
OutputOption = Annotated[
    Output | None,
    typer.Option(
        help="Number that is explained.", rich_help_panel=_QUESTION, show_default="the method's own"
    ),
]
PrecisionOption = Annotated[Precision, typer.Option(help="What the model runs in.", rich_help_panel=_RUN)]
Video = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Film of an optimised mask, .mp4 or .gif; of several, each has its result's name in it.",
        rich_help_panel=_RESULT,
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.", rich_help_panel=_RESULT)]


def read_target(text: str) -> OneTarget:
    """A target as written: "281", "tabby", "tiger cat^tabby" or "predicted".

    >>> read_target("tiger cat^tabby"), read_target("281"), read_target("predicted")
    (Contrast(a='tiger cat', b='tabby'), '281', None)
    """
    if text == "predicted":
        return None
    a, contrast, b = (part.strip() for part in text.partition("^"))
    if contrast and not (a and b):
        raise InvalidValue(f"A contrast must be written A^B, why A rather than B; got {text!r}.")
    return Contrast(a, b) if contrast else a


def read_requests(specs: Sequence[str], layer: str | None) -> list[Request]:
    """Methods with their options, once each; `layer` is for all that read one and name none themselves.

    Raises:
        InvalidValue, InvalidType: a method or option that does not hold; a layer that no method reads.
    """
    requests = [Request.of(spec) for spec in specs]
    if layer is not None:
        if not any("layer" in request.options for request in requests):
            names = ", ".join(request.method.name for request in requests)
            raise InvalidValue(f"--layer needs a method that reads a layer, such as grad-cam; got {names}.")
        requests = [
            Request.of(request.method.name, {"layer": layer, **request.given})
            if "layer" in request.options
            else request
            for request in requests
        ]
    return list({request.title: request for request in requests}.values())


def check_question(model: Model, requests: Sequence[Request], targets: Sequence[OneTarget]) -> None:
    """Refuses layers and classes that the model does not have, before anything is run or written.

    Raises:
        InvalidValue: naming the layer or class, and the closest there are.
    """
    for request in requests:
        if isinstance(model.module, nn.Module) and "layer" in request.options:
            layer_names(model.module, request.options["layer"])
    for target in targets:
        for one in (target.a, target.b) if isinstance(target, Contrast) else (target,):
            if one is not None:
                model.class_index(one)


def pictures_of(sources: Sequence[str]) -> list[str]:
    """The pictures that the arguments name; a missing file counts as one, and will fail by itself.

    Raises:
        FileMissing: a folder or glob that holds none.
    """
    for source in sources:
        picture = source.startswith("sample:") or Path(source).suffix.lower() in SUFFIXES
        if not (picture or glob.has_magic(source) or Path(source).exists()):
            raise FileMissing(f"There is no file or folder {source!r}.")
    results: list[str] = []
    found = find_pictures(sources, left_out=results)
    if results:
        folders = ", ".join(sorted({os.path.dirname(one) or "." for one in results}))
        count = "1 result" if len(results) == 1 else f"{len(results)} results"
        complain(f"Left out: {count} of earlier explanations in {folders}.")
    return found


def check_folder(out: Path) -> None:
    """Refuses a folder for results that cannot become one, before anything is run."""
    if out.exists() and not out.is_dir():
        raise InvalidValue(f"--out must be a folder; {out} is a file.")


def about(source: str, error: PellucidError) -> str:
    """An error's message, with the picture it is about where it does not name it itself."""
    return str(error) if source in str(error) else f"{source}: {error}"
