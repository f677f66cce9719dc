"""The public API is a list in the repository: it changes on purpose, and the changelog says so."""

import runpy
from pathlib import Path

import pellucid

ROOT = Path(__file__).parents[1]
API = runpy.run_path(str(ROOT / "docs/api.py"))


def test_the_public_api_is_what_the_list_says():
    written = (ROOT / "docs/api.txt").read_text("utf-8")
    assert written == API["render"](), (
        "The public API has changed: tell of it in CHANGELOG.md, then run `python docs/api.py`."
    )


def test_every_public_name_is_listed_and_documented():
    listed = (ROOT / "docs/api.txt").read_text("utf-8")
    for name in pellucid.__all__:
        assert f"pellucid.{name}" in listed
        assert getattr(pellucid, name).__doc__, name


def test_a_change_that_the_changelog_does_not_mention_is_refused():
    untold, changelog = (
        API["untold"],
        "# Changelog\n\n## Unreleased\n- `save` takes `dpi`\n\n## 0.1\n- `crop`\n",
    )
    assert untold("a.save(path)\n", "a.save(path, dpi)\n", changelog) == []
    assert untold("", "a.crop(x)\n", changelog) == ["a.crop(x)"]  # an older section does not count
    assert untold("a.crop(x)\na.save()\n", "a.save()\n", changelog) == ["a.crop(x)"]
    assert untold("a.saved\n", "", changelog) == ["a.saved"]  # nor does a longer name
