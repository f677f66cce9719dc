"""What `pellucid axioms` found, for people."""

from rich.text import Text

from pellucid.axioms.report import HEADS, AxiomReport, Row
from pellucid.cli.screen import console
from pellucid.cli.tables import Column, print_table


def show(report: AxiomReport) -> None:
    """A row for each method, a column for each axiom."""
    screen = console()
    screen.print(report.title, style="bold")
    columns = [Column("method"), *(Column(head, i, right=True) for i, head in enumerate(HEADS.values(), 1))]
    rows: list[list[str | Text]] = []
    for title, of_method in report.methods.items():
        spaced = title.replace(":", ": ", 1).replace(",", ", ")  # long ones wrap between options
        rows.append([spaced, *(Text(row.cell, style=_style(row)) for row in of_method)])
    print_table(screen, columns, rows)
    screen.print(report.legend, style="dim")
    for remark in report.remarks:
        screen.print(remark, style="yellow")


def _style(row: Row) -> str:
    if not row.promised:
        return "dim"
    return {True: "green", False: "red", None: ""}[row.held]
