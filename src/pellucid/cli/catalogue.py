"""`pellucid methods` and `pellucid models`: what there is to choose from."""

from itertools import groupby
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from pellucid.cli import options
from pellucid.cli.screen import complain, console, plain_errors, print_json
from pellucid.cli.tables import Column, print_table
from pellucid.methods import METHODS, Method, Option, get_method
from pellucid.methods.definition import WRAPPERS
from pellucid.models import ModelSource, available


def methods(
    name: Annotated[
        str | None, typer.Argument(help="One method, to be told all about.", show_default=False)
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the methods with their options, cost and papers; or tell all about one."""
    with plain_errors(debug):
        chosen = list(METHODS.values()) if name is None else [get_method(name)]
        if json:
            rows = [_method_row(method) for method in chosen]
            print_json(rows if name is None else rows[0])
        elif name is None:
            _list_methods(chosen)
        else:
            _show_method(chosen[0])


def models(
    filter: Annotated[
        str | None,
        typer.Argument(
            help="Only what contains this; models of timm and torchvision too.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List where models come from; with a filter, the models of timm and torchvision that match it."""
    with plain_errors(debug):
        rows = available() if filter is None else matching(filter)
        if json:
            print_json([vars(row) for row in rows])
            return
        if not rows:
            complain(f"No model contains {filter!r}.")
            raise typer.Exit(1)
        columns = [Column("--model"), Column("what it is", fold=2), Column("weights", fold=1)]
        here = {True: "here", False: "download, or --weights"}
        ways = [f"pip install pellucid[{row.extra}]" if row.extra else here[row.local] for row in rows]
        print_table(
            console(),
            columns,
            [(row.spec, row.description, way) for row, way in zip(rows, ways, strict=True)],
        )


def matching(text: str) -> list[ModelSource]:
    """The sources that contain `text`, and the models of timm and torchvision that do."""
    import timm
    from torchvision import models as torchvision_models

    text = text.lower()
    named = {
        "timm": timm.list_models(),
        "torchvision": torchvision_models.list_models(module=torchvision_models),
    }
    return [row for row in available() if text in f"{row.spec} {row.description}".lower()] + [
        ModelSource(spec, f"a classifier of {library}", None, False)
        for library, names in named.items()
        for spec in (f"{library}:{name}" for name in sorted(names))
        if text in spec
    ]


def _list_methods(chosen: list[Method]) -> None:
    screen = console()
    ordered = sorted(chosen, key=lambda method: (method.family, method.name))
    for (family, reads), group in groupby(ordered, lambda method: (method.family, method.reads)):
        rows = [(m.name, _passes(m), " ".join(map(_written, m.options)) or "none", m.paper) for m in group]
        screen.print(f"{family} (reads the {reads})", style="bold")
        print_table(
            screen,
            [Column("method"), Column("passes"), Column("options", fold=1), Column("paper", fold=2)],
            rows,
        )
        screen.print()
    screen.print(f"Every method also takes {' '.join(map(_written, WRAPPERS))}.")
    screen.print("passes: forward+backward per picture. `pellucid methods NAME` tells more.", style="dim")


def _show_method(method: Method) -> None:
    screen = console()
    screen.print(method.name, style="bold")
    for line in method.doc.splitlines():
        text = line.lstrip()
        screen.print(Padding(Text(text), (0, 0, 0, len(line) - len(text))))
    screen.print()
    print_table(
        screen,
        [Column("option"), Column("type", fold=1), Column("default")],
        [(option.name, option.kind, _plain(option.default)) for option in (*method.options, *WRAPPERS)],
    )
    screen.print()
    screen.print(f"Family: {method.family}, reads the {method.reads}; explains the {method.output}.")
    screen.print(f"Passes: {_passes(method)} forward+backward per picture with the defaults.")
    screen.print(f"Paper: {method.paper}")


def _method_row(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "family": method.family,
        "reads": method.reads,
        "summary": method.summary,
        "options": [
            {"name": option.name, "type": option.kind, "default": option.default}
            for option in (*method.options, *WRAPPERS)
        ],
        "passes": method.cost(method.resolve_options({}))._asdict(),
        "output": method.output,
        "paper": method.paper,
    }


def _passes(method: Method) -> str:
    return str(method.cost(method.resolve_options({})))


def _written(option: Option) -> str:
    return f"{option.name}={_plain(option.default)}"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
