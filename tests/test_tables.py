"""Tables of the command line: they fit 60 to 120 columns, no word is broken, and a pipe gets all of it."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from pellucid.cli.tables import Column, print_table

COLUMNS = [
    Column("method"),
    Column("seconds", fold=2, right=True),
    Column("most similar"),
    Column("paper", fold=3),
]
ROWS = [
    ("grad-cam", "0.03", "layer-cam 0.98 (0.99)", "Selvaraju and others 2017, arXiv:1610.02391"),
    ("integrated-gradients:baseline=black", "12.50", "input-x-gradient 0.41", "Sundararajan 2017"),
]


def printed(width: int | None, columns=COLUMNS, rows=ROWS, **options) -> str:
    screen = Console(
        file=io.StringIO(), force_terminal=width is not None, width=width or 20, color_system=None
    )
    print_table(screen, columns, rows, **options)
    return screen.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_terminal_and_no_word_is_broken(width):
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    for row in ROWS:
        for word in " ".join(row).split():
            assert word.rstrip(",") in text.replace("\n", " ")


def test_the_least_important_column_is_folded_first():
    assert printed(120).splitlines()[0].split() == ["method", "seconds", "most", "similar", "paper"]
    at_80 = printed(80).splitlines()
    assert at_80[0].split() == ["method", "seconds", "most", "similar", "paper"]
    at_60 = printed(60).splitlines()
    assert at_60[0].split() == ["method", "most", "similar"]
    assert "  seconds 0.03, paper Selvaraju and others 2017," in "\n".join(at_60)


def test_in_a_pipe_each_row_is_one_line():
    lines = printed(None).splitlines()
    assert len(lines) == 3
    assert lines[2] == (
        "integrated-gradients:baseline=black    12.50  input-x-gradient 0.41  Sundararajan 2017"
    )
    assert not re.search("[\u2500-\u257f]", "".join(lines))


def test_numbers_stand_right_and_columns_without_values_are_left_out():
    rows = [("a", "", "1"), ("b", "", "22")]
    lines = printed(60, [Column("name"), Column("nothing"), Column("n", right=True)], rows).splitlines()
    assert lines[0].split() == ["name", "n"]
    assert [line for line in lines if line[:1] in "ab"] == ["a      1", "b     22"]


def test_a_word_that_is_too_long_for_any_terminal_stays_whole():
    name = "a" * 70
    assert name in printed(60, [Column("file")], [(name,)])


def test_cells_keep_their_own_style():
    screen = Console(file=io.StringIO(), force_terminal=True, width=60, color_system="standard")
    print_table(screen, [Column("a"), Column("b")], [("x", Text("bad", "red"))], ["green"])
    assert "\x1b[32mx" in screen.file.getvalue()
    assert "\x1b[31mbad" in screen.file.getvalue()


WORDS = st.text("abc defgh-:é語", min_size=0, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4), st.integers(45, 120))
def test_no_word_is_lost(rows, width):
    columns = [Column("first"), Column("second", fold=1), Column("third", fold=2)]
    text = printed(width, columns, rows)
    for row in rows:
        for word in " ".join(row).split():
            assert word in text
