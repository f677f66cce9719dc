"""`pellucid methods`, `pellucid metrics` and `pellucid models`: what there is to choose from."""

from typing import Annotated

import typer

from pellucid.cli import completing, options
from pellucid.cli.screen import complain, console, plain_errors, print_json
from pellucid.cli.tables import Column, print_table


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            help="One method, to be told all about.",
            show_default=False,
            autocompletion=completing.method_names,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(metavar="FAMILY", help="Only one family, such as cam.", show_default=False),
    ] = None,
    needs: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="Only what needs this of a model: layers, whose feature maps are read; gradients of the "
            "score; operations, which are looked into or run by other rules; scores, as of a black box.",
            show_default=False,
        ),
    ] = None,
    passes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Only what takes at most N passes per picture by default, forward and backward together; "
            "not what takes some for each channel of a layer.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the methods with their options, cost and papers; or tell all about one."""
    with plain_errors(debug):
        from pellucid.cli.catalogue import filtered, list_methods, method_row, show_method
        from pellucid.errors import InvalidValue
        from pellucid.methods import get_method

        if name is None:
            chosen = filtered(family, needs, passes)
        elif (family, needs, passes) == (None, None, None):
            chosen = [get_method(name)]
        else:
            raise InvalidValue(f"Filters are for the list: leave out {name!r}, or the filters.")
        if json:
            rows = [method_row(method) for method in chosen]
            print_json(rows if name is None else rows[0])
        elif not chosen:
            complain("No method is like that; leave out one of --family, --needs, --passes.")
            raise typer.Exit(1)
        elif name is None:
            list_methods(chosen)
        else:
            show_method(chosen[0])


def metrics(
    name: Annotated[
        str | None, typer.Argument(help="One metric, to be told all about.", show_default=False)
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(metavar="FAMILY", help="Only one family, such as faithfulness.", show_default=False),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the metrics with their direction, range, cost and papers; or tell all about one."""
    with plain_errors(debug):
        from pellucid.cli.evaluating import list_metrics, metric_row, show_metric
        from pellucid.errors import InvalidValue
        from pellucid.metrics import FAMILIES, METRICS, get_metric

        if family is not None and family not in FAMILIES:
            raise InvalidValue(f"family must be one of {', '.join(FAMILIES)}; got {family!r}.")
        chosen = (
            [get_metric(name)]
            if name is not None
            else [metric for metric in METRICS.values() if family in (None, metric.family)]
        )
        if json:
            rows = [metric_row(metric) for metric in chosen]
            print_json(rows if name is None else rows[0])
        elif name is None:
            list_metrics(chosen)
        else:
            show_metric(chosen[0])


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
        from pellucid.cli.catalogue import matching
        from pellucid.models import available

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
