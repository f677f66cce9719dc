"""The report: one HTML file that shows a comparison, and needs nothing else to be read."""

import os
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from pellucid.compare import Comparison
from pellucid.files import atomic_write
from pellucid.report.content import correlation, page


def write_report(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Writes a comparison as a self-contained HTML page, whole or not at all.

    Pictures and maps lie inside as data addresses; the page loads nothing and runs only its own script,
    without which it can still be read. A script element of type application/json and id `data` holds the
    numbers.

    Raises:
        FileMissing: the folder of `path` does not exist.
    """
    html = render(comparison)
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(comparison: Comparison) -> str:
    """The page's HTML; every text in it is escaped."""
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
        page=page(comparison),
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        script=script,
        # The browser runs this very script and no other, whatever a name may contain.
        script_hash=b64encode(sha256(script.encode()).digest()).decode("ascii"),
    )
