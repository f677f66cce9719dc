"""What the commands can be asked: the options they share."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.choices import Output, Precision
from pellucid.cli import completing

_MODEL, _QUESTION, _RUN, _RESULT = "The model", "The question", "How it is run", "The result"

Pictures = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders (with all below them), globs, or sample:cat.",
        show_default=False,
        metavar="PICTURE…",
        autocompletion=completing.pictures,
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--method",
        metavar="METHOD[:NAME=VALUE,…]",
        autocompletion=completing.method_names,
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
ChoiceFile = Annotated[
    Path | None,
    typer.Option(
        "--choice",
        metavar="FILE.json",
        help="What `pellucid choose` found: the method that suits the model.",
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
FORMATS = ("png", "jpg", "webp", "pdf", "svg", "error", "npz", "safetensors", "html")
"""What `explain` writes."""
GRIDS = ("png", "jpg", "webp", "pdf", "svg", "html", "npz", "safetensors")
"""What `compare` writes."""
MODEL_HELP = (
    "efficientnet-lite0, timm:NAME, torchvision:NAME, hf:REPO-OR-FOLDER, FILE.safetensors (see `pellucid "
    "train`) or FILE.py:function."
)
ModelSpec = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="SPEC",
        help=MODEL_HELP,
        rich_help_panel=_MODEL,
        autocompletion=completing.models,
    ),
]
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
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="60s|2min|N",
        help="Seconds, or passes of the model, that a picture may take. Interventions go on for maps that "
        "are still undecided; methods that take longer are left out, and say so.",
        rich_help_panel=_RUN,
        show_default="every method, 240 interventions",
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.", rich_help_panel=_RESULT)]
