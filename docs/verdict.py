"""Puts the rates measured in benchmarks/results/truth*.md into docs/verdict.md: `python docs/verdict.py`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PAGE = Path(__file__).with_name("verdict.md")
RESULTS = PAGE.parents[1] / "benchmarks" / "results" / "truth.md"
FRESH = RESULTS.with_name("truth-fresh.md")
"""Of the held-out tasks again, on scenes that nobody had seen when the thresholds were set."""
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


def halves(text: str) -> list[str]:
    """What stands below the heading of each half of the tasks."""
    return re.split(r"^## .*\n", text, flags=re.MULTILINE)[1:]


def render(head: Row, rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def rates(results: str, fresh: str) -> str:
    """How often each sentence was right: on held-out tasks, fresh scenes of theirs, and development tasks."""
    found: list[Mapping[str, Row]] = []
    for half in (*halves(results), *halves(fresh)):
        _, rows = next(tables(half))
        found.append({row[0]: row for row in rows})
    development, held_out, again = found
    lines = []
    for what, row in held_out.items():
        if what not in LEFT_OUT:
            beside = (_marked(half[what]) if what in half else "–" for half in (held_out, again, development))
            lines.append((what, row[2], *beside))
    return render(("how often", "should be", "held-out tasks", "on fresh scenes", "development tasks"), lines)


def _marked(row: Row) -> str:
    """A rate, and whether it is not what it should be."""
    return f"{row[1]} **not reached**" if row[3] == "no" else row[1]


def metrics(results: str) -> str:
    """How well the metrics judge on held-out tasks."""
    _, held_out = halves(results)
    return render(*next(table for table in tables(held_out) if table[0][0] == "metric"))


def updated(page: str, results: str, fresh: str) -> str:
    """The page with its tables as the results have them."""
    made = {"how often": rates(results, fresh), "metric": metrics(results)}
    for first, table in made.items():
        page = re.sub(
            rf"^\| {first} \|.*\n(\|.*\n)+", lambda _, table=table: table, page, count=1, flags=re.M
        )
    return page


if __name__ == "__main__":
    read = [path.read_text("utf-8") for path in (PAGE, RESULTS, FRESH)]
    PAGE.write_text(updated(*read), encoding="utf-8")
