"""What `pellucid methods` and `pellucid models` list."""

from itertools import groupby
from typing import Any, get_args

from pellucid.cli.definition import option_rows, plain, show_definition
from pellucid.cli.screen import console
from pellucid.cli.tables import Column, print_table
from pellucid.errors import InvalidValue
from pellucid.methods import METHODS, Method, Option
from pellucid.methods.definition import FAMILIES, WRAPPERS, Needs
from pellucid.models import ModelSource, available


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


def filtered(family: str | None, needs: str | None, passes: int | None) -> list[Method]:
    """The methods of a family, of a need, and of few passes, as far as these are given.

    Raises:
        InvalidValue: there is no such family or need.
    """
    for what, given, known in (("family", family, FAMILIES), ("--needs", needs, get_args(Needs))):
        if given is not None and given not in known:
            raise InvalidValue(f"{what} must be one of {', '.join(known)}; got {given!r}.")

    def cheap(method: Method) -> bool:
        cost = method.cost(method.resolve_options({}))
        per_channel = cost.per_channel or cost.behind_per_channel
        return passes is None or (not per_channel and cost.forward + cost.backward <= passes)

    return [
        method
        for method in METHODS.values()
        if family in (None, method.family) and needs in (None, method.needs) and cheap(method)
    ]


def list_methods(chosen: list[Method]) -> None:
    """Methods in tables, one for each family."""
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


def show_method(method: Method) -> None:
    """All about one method."""
    facts = (
        f"Family: {method.family}, reads the {method.reads}; explains the {method.output}.",
        f"Passes: {_passes(method)} forward+backward per picture with the defaults.",
        f"Paper: {method.paper}",
    )
    show_definition(method.name, method.doc, (*method.options, *WRAPPERS), facts)


def method_row(method: Method) -> dict[str, Any]:
    """A method for scripts."""
    return {
        "name": method.name,
        "family": method.family,
        "reads": method.reads,
        "needs": method.needs,
        "summary": method.summary,
        "options": option_rows((*method.options, *WRAPPERS)),
        "passes": method.cost(method.resolve_options({}))._asdict(),
        "output": method.output,
        "paper": method.paper,
    }


def _passes(method: Method) -> str:
    return str(method.cost(method.resolve_options({})))


def _written(option: Option) -> str:
    return f"{option.name}={plain(option.default)}"
