"""Annotated pictures as COCO and Pascal VOC write them: which objects there are, and where."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.errors import InvalidValue
from pellucid.images import Box


@dataclass(frozen=True)
class Annotated:
    """A picture's annotation.

    Attributes:
        file: the picture's file as it is named; "" where it is not.
        boxes: of each object, in pixels.
        categories: what each object is; None where that is not said.
        number: the picture's id.
    """

    file: str
    boxes: Sequence[Box]
    categories: Sequence[str | None]
    number: Any = None


def read_coco(data: bytes | str, what: str) -> tuple[list[Annotated], list[str]]:
    """The pictures of a COCO file in its order, and the names of its categories by their ids.

    Crowds are left out: https://cocodataset.org/#format-data. Outlines are not kept while it is read.

    Args:
        data: the file.
        what: the file, for errors.

    Raises:
        InvalidValue: it is no such file.

    Example:
        >>> found, names = read_coco('{"images": [{"id": 7, "file_name": "a.jpg"}]}', "instances.json")
        >>> found[0].file, names
        ('a.jpg', [])
    """
    try:
        stored = json.loads(data, object_pairs_hook=_without_outlines)
        names = {one["id"]: str(one["name"]) for one in stored.get("categories", ())}
        boxes: dict[Any, list[Box]] = {image["id"]: [] for image in stored["images"]}
        kinds: dict[Any, list[str | None]] = {number: [] for number in boxes}
        for one in stored.get("annotations", ()):
            if not one.get("iscrowd"):
                left, top, width, height = map(float, one["bbox"])
                boxes[one["image_id"]].append(Box(left, top, left + width, top + height))
                kinds[one["image_id"]].append(names.get(one.get("category_id")))
        found = [
            Annotated(str(image["file_name"]), boxes[image["id"]], kinds[image["id"]], image["id"])
            for image in stored["images"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidValue(
            f"{what!r} must be a COCO file with images and annotations, each with its bbox; it is not: "
            f"{type(error).__name__} {error}."
        ) from None
    return found, [names[number] for number in sorted(names)]


def _without_outlines(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key != "segmentation"}


def read_voc(data: bytes | str, what: str) -> Annotated:
    """One VOC file: its objects but those marked as difficult; corners are counted from 1, both inside.

    Args:
        data: the file.
        what: the file, for errors.

    Raises:
        InvalidValue: it is no such file.
    """
    boxes, kinds = [], []
    try:
        root = ElementTree.fromstring(data)
        for one in root.iter("object"):
            if (one.findtext("difficult") or "0").strip() == "1":
                continue
            left, top, right, bottom = (
                float(one.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")
            )
            boxes.append(Box(left - 1, top - 1, right, bottom))
            kinds.append((one.findtext("name") or "").strip() or None)
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidValue(f"{what!r} must be a VOC file with objects and their bndbox: {error}.") from None
    return Annotated((root.findtext("filename") or "").strip(), boxes, kinds)
