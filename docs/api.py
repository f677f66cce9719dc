"""Writes docs/api.txt, the public API: `python docs/api.py`. A change must be told of in CHANGELOG.md."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pellucid

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs/api.txt"


def render() -> str:
    """One line for each public function, class, method and field, with its parameters and their defaults."""
    return "\n".join(line for name in sorted(pellucid.__all__) for line in lines(name)) + "\n"


def lines(name: str) -> Iterator[str]:
    """The lines of one public name."""
    value = getattr(pellucid, name)
    title = f"pellucid.{name}"
    if inspect.ismodule(value):
        for inner in sorted(value.__all__):
            yield f"{title}.{inner}{parameters(getattr(value, inner))}"
        return
    yield title + parameters(value)
    if inspect.isclass(value):
        fields = getattr(value, "__dataclass_fields__", {})
        for inner in sorted({name for name in (*dir(value), *fields) if not name.startswith("_")}):
            member = inspect.getattr_static(value, inner, None)
            yield f"{title}.{inner}" + ("" if inner in fields else parameters(member))


def parameters(value: Any) -> str:
    """The parameters of a callable, without annotations; nothing for what is none."""
    value = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if not callable(value):
        return ""
    try:
        found = inspect.signature(value)
    except ValueError:
        return "(...)"
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name not in ("self", "cls")]
    return re.sub(r"<[^>]*>", "...", str(found.replace(parameters=bare, return_annotation=found.empty)))


def untold(before: str, after: str, changelog: str) -> list[str]:
    """The lines that changed and whose names the changelog's newest section does not mention.

    >>> untold("pellucid.f(x)\\n", "pellucid.f(x, y=1)\\n", "## Unreleased\\n- a new model")
    ['pellucid.f(x)', 'pellucid.f(x, y=1)']
    >>> untold("pellucid.f(x)\\n", "pellucid.f(x, y=1)\\n", "## Unreleased\\n- `pellucid.f` takes `y=`")
    []
    """
    newest = changelog.partition("\n## ")[2].partition("\n## ")[0] or changelog
    changed = sorted(set(before.splitlines()) ^ set(after.splitlines()))
    return [line for line in changed if not re.search(rf"\b{re.escape(last_name(line))}\b", newest)]


def last_name(line: str) -> str:
    """The name that a line is about.

    >>> last_name("pellucid.Explanation.save(path)")
    'save'
    """
    return line.partition("(")[0].rpartition(".")[2]


if __name__ == "__main__":
    now, before = render(), LIST.read_text("utf-8") if LIST.exists() else ""
    if missing := untold(before, now, (ROOT / "CHANGELOG.md").read_text("utf-8")) if before else []:
        sys.exit("CHANGELOG.md must tell of these changes of the public API first:\n" + "\n".join(missing))
    LIST.write_text(now, encoding="utf-8")
