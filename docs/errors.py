"""Writes docs/errors.md from the errors that the source raises: `python docs/errors.py`."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pellucid import errors

SOURCE = Path(__file__).parents[1] / "src/pellucid"
PAGE = Path(__file__).with_name("errors.md")
WORDS = tomllib.loads(PAGE.with_suffix(".toml").read_text("utf-8"))
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PellucidError)
}
BLANK = "…"
"""Stands for what a message takes from the case at hand."""

INTRO = """\
# Errors and what to do

Every error that Pellucid raises on purpose derives from `pellucid.errors.PellucidError` and says what must
hold, what came and what to do. On the command line it is one line and exit code 2. This page has all of
them, by what you were doing; it is written by `docs/errors.py` from the source. "…" stands for what differs
from case to case: search the page for words around it.

Anything else that comes out of Pellucid is a bug: please report it with its traceback.

## Classes

Each is also the built-in error that a Python user expects, so that `except ValueError` works.

"""
QUESTIONS = """\
## Those met most often

"""


@cache
def constants() -> dict[str, ast.expr]:
    """Texts that have a name: constants at the top of a module, without those of two modules."""
    found: dict[str, ast.expr] = {}
    for tree in trees().values():
        for node in tree.body:
            text = isinstance(node, ast.Assign) and isinstance(
                node.value, ast.Constant | ast.JoinedStr | ast.BinOp
            )
            if text and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = node.value
    return found


@cache
def trees() -> dict[str, ast.Module]:
    """Each module of the package, by its path below it."""
    files = sorted(SOURCE.rglob("*.py"))
    return {str(f.relative_to(SOURCE)): ast.parse(f.read_text("utf-8")) for f in files}


def text_of(node: ast.expr) -> str:
    """A message as it is written, blanks where values come in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        name = node.value
        known = isinstance(name, ast.Name) and name.id.isupper() and name.id in constants()
        return text_of(constants()[name.id]) if known and isinstance(name, ast.Name) else BLANK
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    if isinstance(node, ast.Name) and node.id in constants():
        return text_of(constants()[node.id])
    return BLANK


def raised() -> Iterator[tuple[str, str, str]]:
    """(file, class, text) of every error that the source makes, but for those that only pass a text on."""
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in CLASSES:
                text = re.sub(rf"{BLANK}(?:\s*{BLANK})+", BLANK, " ".join(text_of(node.args[0]).split()))
                if text != BLANK:
                    yield file, name, text


def topic_of(file: str) -> dict[str, Any]:
    """The topic that a file's errors belong to: that of the longest prefix."""
    found = [
        (len(prefix), i)
        for i, topic in enumerate(WORDS["topic"])
        for prefix in topic["files"]
        if file.startswith(prefix)
    ]
    topic: dict[str, Any] = WORDS["topic"][max(found)[1]]
    return topic


def escaped(text: str) -> str:
    """A text as Markdown shows it: names in code stay readable, and nothing is taken for markup."""
    spans = re.split(r"(`[^`]*`)", text)
    return "".join(s if s.startswith("`") else re.sub(r"([*<>_`\[\]|])", r"\\\1", s) for s in spans)


def oneline(text: str) -> str:
    """A text without line breaks."""
    return " ".join(text.split())


def by_words(item: tuple[str, str]) -> str:
    """What a text is sorted by: its letters, blanks and case aside."""
    return item[0].strip(f"{BLANK} :'").lower()


def classes() -> str:
    """The table of classes."""
    lines = ["| class | also | when |", "| --- | --- | --- |"]
    for name, kind in CLASSES.items():
        built_in = ", ".join(
            f"`{base.__name__}`"
            for base in kind.__mro__[1:]
            if base.__module__ == "builtins" and base.__name__ not in ("object", "BaseException", "Exception")
        )
        said = (kind.__doc__ or "").strip().partition("\n")[0]
        lines.append(f"| `{name}` | {built_in or '–'} | {said} |")
    return "\n".join(lines) + "\n\n"


def topics() -> Iterator[str]:
    """Each topic: what usually causes its errors, and all of them, equal ones once."""
    by_title: dict[str, dict[str, str]] = {topic["title"]: {} for topic in WORDS["topic"]}
    for file, name, text in raised():
        by_title[topic_of(file)["title"]].setdefault(text, name)
    for topic in WORDS["topic"]:
        found = by_title[topic["title"]]
        listed = (f"- {escaped(text)} (`{name}`)\n" for text, name in sorted(found.items(), key=by_words))
        if found:
            yield f"## {topic['title']}\n\n{topic['cause'].strip()}\n\n{''.join(listed)}\n"


def render() -> str:
    """The whole page."""
    asked = (f"- **“{q['text']}”** {oneline(q['why'])}\n" for q in WORDS["question"])
    return (INTRO + classes() + QUESTIONS + "".join(asked) + "\n" + "".join(topics())).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
