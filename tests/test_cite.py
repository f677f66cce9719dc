"""What is cited: every method and metric has an entry that BibTeX takes, of the year that it says."""

import re
import unicodedata

import pytest
from pybtex.database import parse_string
from typer.testing import CliRunner

import pellucid
from nets import unchecked
from pellucid.cli import app
from pellucid.errors import InvalidValue
from pellucid.references import FILE, cited, references

ENTRIES = [*(m for m in pellucid.methods() if m.built_in), *pellucid.metrics()]
PARSED = parse_string(FILE.read_text("utf-8"), "bibtex").entries


def plain(name: str) -> str:
    """A name without accents, and with the letters that are written for them."""
    name = name.replace("ü", "ue").replace("ö", "oe").replace("ä", "ae")
    return "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c)).lower()


def run(*arguments: str):
    return CliRunner().invoke(app, ["cite", *arguments])


def test_the_entries_are_what_another_parser_reads():
    assert list(PARSED) == list(references())
    for key, one in references().items():
        other = PARSED[key]
        assert one.fields["year"] == other.fields["year"]
        assert re.sub(r"[{}]|``|''", "", other.fields["title"]) == one.fields["title"]
        assert other.persons["author"]
        assert key == "pellucid" or {"eprint", "doi", "url"} & set(other.fields), key


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda one: one.name)
def test_authors_and_years_are_those_of_the_registry(entry):
    found = cited(entry.paper)
    assert found
    said = re.findall(r"([^;,]+?) (?:et al\. )?((?:19|20)\d\d)", entry.paper)
    assert said
    for one in found:
        first = PARSED[one.key].persons["author"][0]
        family = " ".join([*first.prelast_names, *first.last_names]) or str(first)
        names = [plain(who) for who, year in said if year == one.fields["year"]]
        assert any(plain(family).split()[-1] in name or "pellucid" in name for name in names), entry.paper


def test_every_entry_is_cited_by_something():
    used = {one.key for entry in ENTRIES for one in cited(entry.paper)}
    assert used == set(references())


def test_papers_are_each_told_once_and_ours_at_the_end():
    text = pellucid.cite("grad-cam", "guided-grad-cam", "rise", "deletion")
    assert re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE) == ["selvaraju2017", "petsiuk2018", "pellucid"]
    assert pellucid.cite() == pellucid.cite("intervention") == references()["pellucid"].bibtex


def test_in_words():
    assert pellucid.cite("integrated-gradients", format="text").splitlines() == [
        "Sundararajan, M., Taly, A. and Yan, Q. (2017). Axiomatic Attribution for Deep Networks. "
        "International Conference on Machine Learning.",
        "https://arxiv.org/abs/1703.01365",
        "",
        "The Pellucid authors (2026). Pellucid: see why an image classifier decided.",
    ]
    assert "Hervier, L., Vigouroux, D. and others (2022)" in pellucid.cite("mu-fidelity", format="text")


def test_what_there_is_not_is_refused_with_what_is_near():
    with pytest.raises(InvalidValue, match=r"no method or metric 'grad-kam'\. Did you mean grad-cam"):
        pellucid.cite("grad-kam")
    with unchecked(), pytest.raises(InvalidValue, match="format must be bibtex or text; got 'ris'"):
        pellucid.cite("grad-cam", format="ris")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"must have an entry for 1234\.56789"):
        cited("Nobody 2026, arXiv:1234.56789")


def test_a_method_from_outside_is_cited_by_what_it_says(own_methods: None):
    paper = "Doe 2026, arXiv:2601.00001"
    pellucid.method("doe-map", family="gradient", paper=paper, passes=(1, 1))(
        lambda probe: probe.input_gradient()
    )
    assert pellucid.cite("doe-map").startswith(
        "@misc{doe2026arxiv260100001,\n  note = {" + paper + "},\n}\n\n"
    )
    assert pellucid.cite("doe-map", format="text").splitlines()[0] == paper
    assert list(parse_string(pellucid.cite("doe-map"), "bibtex").entries) == [
        "doe2026arxiv260100001", "pellucid",
    ]  # fmt: skip


def test_the_command_prints_the_same():
    assert run("grad-cam", "deletion").stdout == pellucid.cite("grad-cam", "deletion") + "\n"
    assert run("--format", "text").stdout.startswith("The Pellucid authors (2026).")
    told = run("cam", "--json").stdout
    assert '"format": "bibtex"' in told
    assert "zhou2016" in told
    unknown = run("grad-kam")
    assert unknown.exit_code == 2
    assert "Did you mean grad-cam" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    assert run("grad-cam", "--format", "ris").exit_code == 2


def test_the_citation_file_says_what_the_entry_does():
    text = (FILE.parents[2] / "CITATION.cff").read_text("utf-8")
    ours = references()["pellucid"].fields
    assert f'title: "{ours["title"]}"' in text
    assert f"version: {ours['version']}\n" in text
    assert ours["version"] == pellucid.__version__
    assert f"name: {ours['author'].strip('{}')}" in text
