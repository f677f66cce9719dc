"""The report: one HTML file that shows explanations side by side, and needs nothing else to be read."""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files

from pellucid.alteration import Alteration
from pellucid.engine.cost import Cost
from pellucid.entries import Entry, Refusal
from pellucid.report.facts import correlation
from pellucid.report.page import page
from pellucid.verdict import Verdict


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
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pellucid.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["correlation"] = correlation
    folder = files("pellucid.report")
    script = folder.joinpath("script.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        page=page(entries, refusals, cost, verdicts, unjudged, curves),
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        script=script,
        # The browser runs this very script and no other, whatever a name may contain.
        script_hash=b64encode(sha256(script.encode()).digest()).decode("ascii"),
    )
