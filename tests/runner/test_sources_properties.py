"""A list says the same in each of its formats, whatever stands in it; a walk finds what a glob finds."""

import csv
import glob
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sources import rows

from pellucid.choices import SUFFIXES
from pellucid.runner.sources import open_source
from pellucid.runner.sources.walking import walk

LETTERS = st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"])
TEXT = st.text(LETTERS, min_size=1, max_size=8)
PATHS = TEXT.filter(lambda text: text[0] not in "/.\\" and ":" not in text)
LINES = st.lists(
    st.tuples(
        PATHS,
        st.none() | TEXT,
        st.none() | st.integers(-(2**40), 2**40),
        st.none() | st.lists(st.tuples(*[st.integers(0, 50)] * 4), max_size=3),
    ),
    min_size=1,
    max_size=12,
)


def write(folder: Path, lines: list[tuple[Any, ...]]) -> None:
    """The same list in all formats."""
    names = ["path", "label", "n", "boxes"]
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        with (folder / f"l.{kind}").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writerow(names)
            for path, label, n, boxes in lines:
                cells = (path, label, n, None if boxes is None else json.dumps(boxes))
                writer.writerow(["" if cell is None else cell for cell in cells])
    with (folder / "l.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(zip(names, line, strict=True))) + "\n" for line in lines)
    types = [pa.string(), pa.string(), pa.int64(), pa.list_(pa.list_(pa.float64()))]
    columns = zip(names, types, zip(*lines, strict=True), strict=True)
    pq.write_table(
        pa.table({name: pa.array(cells, kind) for name, kind, cells in columns}), folder / "l.parquet"
    )


def corners(boxes: list[tuple[int, ...]] | None) -> Any:
    return None if boxes is None else [[x, y, x + width, y + height] for x, y, width, height in boxes]


@settings(deadline=None, max_examples=40)
@given(LINES)
def test_a_list_says_the_same_in_each_format(lines: list[tuple[Any, ...]]):
    lines = [(path, label, n, corners(boxes)) for path, label, n, boxes in lines]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), lines)
        for kind in ("csv", "tsv", "jsonl", "parquet"):
            planned = rows(open_source(f"{folder}/l.{kind}"))
            found = [(row["id"], row["uri"], row["label"], row["boxes"]) for row in planned]
            assert found == [(path, f"{folder}/{path}", label, boxes) for path, label, _, boxes in lines], (
                kind
            )
            numbers = [n for _, _, n, _ in lines]
            assert [row["n"] for row in planned] == numbers or set(numbers) == {None}, kind


NAMES = st.sampled_from(["a", "b", "ab", "a.b", ".h", "ä"])
ENDINGS = st.sampled_from([".png", ".JPG", ".txt", ""])
TREES = st.lists(st.tuples(st.lists(NAMES, max_size=3), NAMES, ENDINGS), max_size=14)
PART = st.sampled_from(["**", "*", "a*", "?", "[ab]*", ".*", "*.png", "ab"])
PARTS = st.lists(PART, min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(TREES, PARTS)
def test_a_walk_finds_what_a_glob_finds(tree: list[Any], parts: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        for above, name, suffix in tree:
            path = Path(folder, *above, name + suffix)
            if not any(one.is_file() for one in path.parents) and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        matches = glob.glob("/".join(parts), root_dir=folder, recursive=True)
        expected = sorted(
            one for one in set(matches)
            if os.path.splitext(one)[1].lower() in SUFFIXES and os.path.isfile(f"{folder}/{one}")
        )  # fmt: skip
        assert [one for piece in walk(folder, SUFFIXES, tuple(parts)) for one in piece] == expected
