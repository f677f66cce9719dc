"""The report: one HTML file that shows explanations side by side, and needs nothing else to be read."""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from pellucid.alteration import Alteration
from pellucid.engine.cost import Cost
from pellucid.entries import Entry, Refusal
from pellucid.report.facts import correlation
from pellucid.report.page import page
from pellucid.verdict import Verdict

if TYPE_CHECKING:
    from jinja2 import Environment


def render(
    entries: Sequence[Entry],
    refusals: Sequence[Refusal],
    cost: Cost,
    verdicts: Sequence[Verdict] = (),
    unjudged: Sequence[str] = (),
    curves: Sequence[Alteration] = (),
) -> str:
    """A self-contained HTML page; every text in it is escaped.

    Pictures and maps lie inside as data addresses; the page loads nothing and runs only its own script,
    without which it can still be read. A script element of type application/json and id `data` holds the
    numbers: each explanation as `Explanation.to_dict` has it, each verdict as `Verdict.to_dict`.

    Args:
        entries: titled explanations of the same pictures, in the order shown.
        refusals: methods that gave no map, and why.
        cost: what was really run; evidence that methods share is counted once.
        verdicts: which maps to trust; they stand with the question of their picture, model and label.
        unjudged: why pictures have no verdict, in sentences.
        curves: deletion and insertion of maps; they stand with the question of theirs.
    """
    script = text_of("script.js")
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page(entries, refusals, cost, verdicts, unjudged, curves),
            style=text_of("style.css"),
            script=script,
            # The browser runs this very script and no other, whatever a name may contain.
            script_hash=b64encode(sha256(script.encode()).digest()).decode("ascii"),
        )
    )


def environment() -> "Environment":
    """Where the templates of pages are, and how they are filled: every text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("pellucid.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["correlation"] = correlation
    return made


def text_of(name: str) -> str:
    """A file that pages have inside: a style sheet, a script."""
    return files("pellucid.report").joinpath(name).read_text(encoding="utf-8")
