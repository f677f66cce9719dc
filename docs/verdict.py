"""Puts the measured rates of benchmarks/results/truth.md into docs/verdict.md: `python docs/verdict.py`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PAGE = Path(__file__).with_name("verdict.md")
RESULTS = PAGE.parents[1] / "benchmarks" / "results" / "truth.md"
LEFT_OUT = {
    "wrong maps of methods are said not to be supported",
    "wrong maps for another class are said not to be supported",
    "maps of diffuse decisions are supported",
}
"""Rates that only the whole results have."""

Row = Sequence[str]


def tables(text: str) -> Iterator[tuple[Row, list[Row]]]:
    """Every table of a Markdown page: its head and its rows."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = (
            tuple(cell.strip() for cell in line.strip("|\n ").split("|")) for line in block.splitlines()
        )
        yield head, rows


def halves(text: str) -> tuple[str, str]:
    """What stands below the heading of each half: development, held-out."""
    _, development, held_out = re.split(r"^## .*\n", text, flags=re.MULTILINE)
    return development, held_out


def render(head: Row, rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def rates(results: str) -> str:
    """How often each sentence was right, the held-out tasks first."""
    found: list[Mapping[str, Row]] = []
    for half in halves(results):
        _, rows = next(tables(half))
        found.append({row[0]: row for row in rows})
    development, held_out = found
    lines = []
    for what, row in held_out.items():
        if what not in LEFT_OUT:
            reached = "**no**" if row[3] == "no" else row[3]
            beside = development[what][1] if what in development else "–"
            lines.append((what, row[1], row[2], reached, beside))
    return render(("how often", "held-out tasks", "should be", "reached", "development tasks"), lines)


def metrics(results: str) -> str:
    """How well the metrics judge on held-out tasks."""
    held_out = halves(results)[1]
    return render(*next(table for table in tables(held_out) if table[0][0] == "metric"))


def updated(page: str, results: str) -> str:
    """The page with its tables as the results have them."""
    made = {"how often": rates(results), "metric": metrics(results)}
    for first, table in made.items():
        page = re.sub(
            rf"^\| {first} \|.*\n(\|.*\n)+", lambda _, table=table: table, page, count=1, flags=re.M
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8"), RESULTS.read_text("utf-8")), encoding="utf-8")
