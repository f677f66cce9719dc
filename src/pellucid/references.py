"""The literature: an entry of `references.bib` for every paper that a method or metric names."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

from pellucid.choices import Citation
from pellucid.errors import InvalidValue

FILE = Path(__file__).with_name("references.bib")
OURS = "pellucid"
"""The key of Pellucid's own entry."""
_NAMED = re.compile(r"arXiv:(\d{4}\.\d{4,5})|doi:(10\.[^\s;,]+)|(github\.com/[^\s;,]+)")


@dataclass(frozen=True)
class Reference:
    """One entry.

    Attributes:
        key: what a paper cites it by.
        bibtex: the entry as it stands in the file.
        fields: author, title, year and the others.
    """

    key: str
    bibtex: str
    fields: dict[str, str]

    @property
    def text(self) -> str:
        """In words: authors, year, title, where.

        Example:
            >>> print(references()["owen1977"].text)
            Owen, G. (1977). Values of Games with a Priori Unions. Mathematical Economics and Game Theory.
            https://doi.org/10.1007/978-3-642-45494-3_7
        """
        get = self.fields.get
        if "note" in self.fields:
            return self.fields["note"]
        where = get("journal") or get("booktitle")
        named = [f"{_people(self.fields['author'])} ({get('year')}).", f"{get('title')}."]
        link = self.link
        return " ".join([*named, *([f"{where}."] if where else [])]) + (f"\n{link}" if link else "")

    @property
    def link(self) -> str:
        """Where it can be read; "" where that is nowhere."""
        get = self.fields.get
        if eprint := get("eprint"):
            return f"https://arxiv.org/abs/{eprint}"
        return f"https://doi.org/{get('doi')}" if get("doi") else get("url", "")


@cache
def references() -> dict[str, Reference]:
    """All entries by their keys."""
    found: dict[str, Reference] = {}
    for entry in re.split(r"\n\n(?=@)", FILE.read_text("utf-8").strip()):
        key = entry.partition("{")[2].partition(",")[0]
        lines = re.findall(r"^  (\w+) = \{(.*)\},$", entry, re.MULTILINE)
        plain = {name: re.sub(r"[{}]|``|''", "", value) for name, value in lines}
        found[key] = Reference(key, entry, plain | {"author": dict(lines)["author"]})
    return found


def cited(paper: str) -> tuple[Reference, ...]:
    """The entries of the papers that a text names by arXiv number, DOI or address; ours for Pellucid itself.

    Raises:
        InvalidValue: it names one of which there is no entry.

    Example:
        >>> [one.key for one in cited("Zhou et al. 2016, arXiv:1512.04150")]
        ['zhou2016']
    """
    if paper.startswith("Pellucid "):
        return (references()[OURS],)
    by_name = {
        one.fields[field]: one
        for one in references().values()
        for field in ("eprint", "doi", "url")
        if field in one.fields
    }
    names = [eprint or doi or f"https://{page}" for eprint, doi, page in _NAMED.findall(paper)]
    if missing := [name for name in names if name not in by_name]:
        raise InvalidValue(f"references.bib must have an entry for {', '.join(missing)}; it has none.")
    return tuple({by_name[name].key: by_name[name] for name in names}.values())


def noted(paper: str) -> Reference:
    """What a method from outside says of its paper, where there is no entry.

    Example:
        >>> noted("Doe 2026, arXiv:2601.00001").bibtex
        '@misc{doe2026arxiv260100001,\\n  note = {Doe 2026, arXiv:2601.00001},\\n}'
    """
    key = re.sub(r"[^a-z0-9]", "", paper.lower())
    return Reference(key, f"@misc{{{key},\n  note = {{{paper}}},\n}}", {"note": paper})


def written(papers: tuple[str, ...], format: Citation = "bibtex") -> str:
    """The entries of some papers, each once, and ours behind them.

    Raises:
        InvalidValue: a format that there is not.

    Example:
        >>> print(written((), "text"))
        The Pellucid authors (2026). Pellucid: see why an image classifier decided.
    """
    if format not in get_args(Citation):
        raise InvalidValue(f"format must be bibtex or text; got {format!r}.")
    found: dict[str, Reference] = {}
    for paper in papers:
        try:
            entries = cited(paper)
        except InvalidValue:
            entries = (noted(paper),)
        found |= {one.key: one for one in entries}
    ours = references()[OURS]
    listed = [*(one for key, one in found.items() if key != OURS), ours]
    return "\n\n".join(one.bibtex if format == "bibtex" else one.text for one in listed)


def _people(authors: str) -> str:
    """Authors as a list of references has them: "Owen, G."; a name in braces stays as it is."""
    if authors.startswith("{"):
        return authors.strip("{}")
    people = []
    for author in authors.split(" and "):
        family, _, given = author.partition(", ")
        initials = " ".join(f"{name[0]}." for name in re.split(r"[ -]", given) if name)
        people.append("others" if family == "others" else f"{family}, {initials}".rstrip(", "))
    return people[0] if len(people) == 1 else f"{', '.join(people[:-1])} and {people[-1]}"
