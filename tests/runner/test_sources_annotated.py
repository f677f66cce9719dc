"""COCO and Pascal VOC as sources."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_sources import column, picture, rows

from pellucid.errors import FileMissing, InvalidValue
from pellucid.runner.sources import open_source, read_picture

COCO: dict[str, Any] = {
    "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}],
    "images": [
        {"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b/c.png"},
        {"id": 1, "file_name": "gone.png"}, {"id": 2, "file_name": "none.png"},
    ],
    "annotations": [
        {"image_id": 9, "bbox": [1, 2, 3, 4], "category_id": 3, "segmentation": [[0, 0, 1, 1]]},
        {"image_id": 7, "bbox": [0, 0, 2, 2], "category_id": 18},
        {"image_id": 9, "bbox": [0.5, 0, 1, 1], "category_id": 3},
        {"image_id": 9, "bbox": [0, 0, 9, 9], "category_id": 18, "iscrowd": 1},
        {"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 3},
        {"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 18},
    ],
}  # fmt: skip


PLACES = [
    ("instances.json", ""), ("instances.json", "images"), ("annotations/instances_val2017.json", "val2017"),
    ("annotations/x.json", "images"), ("annotations/x.json", ""),
]  # fmt: skip


@pytest.mark.parametrize(("file", "pictures"), PLACES)
def test_coco(tmp_path: Path, file: str, pictures: str):
    path, root = tmp_path / file, tmp_path / pictures
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(COCO, indent=1))
    for name in ("a.png", "b/c.png"):
        picture(root / name)
    source = open_source(path)
    planned = rows(source)
    assert [row["id"] for row in planned] == ["a.png", "b/c.png", "gone.png", "none.png"]
    assert [row["uri"] for row in planned] == [str(root / row["id"]) for row in planned]
    assert [row["label"] for row in planned] == ["dog", "cat", None, None]
    one = [0.0, 0.0, 1.0, 1.0]
    boxes = [[[0.0, 0.0, 2.0, 2.0]], [[1.0, 2.0, 4.0, 6.0], [0.5, 0.0, 1.5, 1.0]], [one, one], None]
    assert [row["boxes"] for row in planned] == boxes
    assert [row["categories"] for row in planned] == [["dog"], ["cat", "cat"], ["cat", "dog"], None]
    assert [row["image_id"] for row in planned] == [7, 9, 1, 2]
    assert source.classes == ("cat", "dog")
    assert source.count == 4
    assert source.description["parts"][0]["pictures"] == str(root)
    assert column(open_source(path, label="none"), "label") == [None] * 4
    read_picture(planned[0]["uri"], None, "a.png")
    with pytest.raises(FileMissing, match=r"gone\.png: no such file"):
        read_picture(planned[2]["uri"], None, "gone.png")


@pytest.mark.parametrize(
    "text", ["{", '{"annotations": []}', '{"images": [{"id": 1}]}', '{"images": 3}', "[1]"]
)
def test_what_is_no_coco_file_is_refused(tmp_path: Path, text: str):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidValue, match=r"x\.json"):
        open_source(tmp_path / "x.json", kind="coco")
    with pytest.raises(InvalidValue, match=r"x\.json"):
        rows(open_source(tmp_path / "x.json"))


def test_json_lines_may_be_called_json(tmp_path: Path):
    (tmp_path / "x.json").write_text('{"path": "a.png", "label": 1}\n{"path": "b.png", "label": 2}\n')
    assert column(open_source(tmp_path / "x.json"), "label") == ["1", "2"]


def voc(path: Path, name: str | None, *objects: tuple[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{0}</xmax><ymax>4</ymax></bndbox>"
    inner = "".join(f"<object><name>{kind}</name>{box.format(right)}</object>" for kind, right in objects)
    inner += f"<object><name>hard</name><difficult>1</difficult>{box.format(9)}</object>"
    path.write_text(f"<annotation>{f'<filename>{name}</filename>' if name else ''}{inner}</annotation>")


@pytest.fixture
def pascal(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.png", "unknown.jpg"):
        picture(tmp_path / "JPEGImages" / name)
    voc(tmp_path / "Annotations/a.xml", "a.jpg", ("cat", 3), ("cat", 5))
    voc(tmp_path / "Annotations/b.xml", "other.jpg", ("cat", 3), ("dog", 5))
    voc(tmp_path / "Annotations/gone.xml", "gone.jpg")
    return tmp_path


def test_voc(pascal: Path):
    source = open_source(pascal)
    planned = rows(source)
    assert [row["id"] for row in planned] == ["a.jpg", "b.png", "gone.jpg", "unknown.jpg"]
    assert [row["uri"] for row in planned] == [str(pascal / "JPEGImages" / row["id"]) for row in planned]
    assert [row["label"] for row in planned] == ["cat", None, None, None]
    boxes = [[0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 5.0, 4.0]]
    assert [row["boxes"] for row in planned] == [boxes, boxes, None, None]
    assert [row["categories"] for row in planned] == [["cat", "cat"], ["cat", "dog"], None, None]
    assert source.description["parts"][0]["kind"] == "voc"


def test_voc_files_beside_their_pictures(tmp_path: Path):
    picture(tmp_path / "x.png")
    voc(tmp_path / "x.xml", None, ("cat", 3))
    assert [(row["id"], row["label"]) for row in rows(open_source(tmp_path))] == [("x.png", "cat")]


def test_voc_files_that_are_named(pascal: Path):
    planned = rows(open_source(f"{pascal}/Annotations/*.xml"))
    assert [row["uri"] for row in planned] == [
        f"{pascal}/JPEGImages/a.jpg", f"{pascal}/Annotations/other.jpg", f"{pascal}/Annotations/gone.jpg",
    ]  # fmt: skip
    assert column(open_source(pascal / "Annotations/a.xml"), "id") == ["a.jpg"]
    (pascal / "Annotations/b.xml").write_text("<annotation><object>")
    with pytest.raises(InvalidValue, match=r"b\.xml' must be a VOC file"):
        rows(open_source(pascal))
