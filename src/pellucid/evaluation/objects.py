"""Where objects are: boxes and masks, from COCO and VOC files, folders of masks, or Python."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from pellucid.errors import FileMissing, InvalidValue
from pellucid.images import Box, Picture

PIXELS = (".png", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Objects:
    """Boxes or masks by the name of the picture's file: `cat.jpg`, or without its suffix, `cat`.

    Boxes are (left, top, right, bottom) in pixels of the picture; a mask is a file, where it is not 0.
    """

    boxes: Mapping[str, Sequence[Box]]
    masks: Mapping[str, Path]

    @classmethod
    def of(cls, source: Any) -> "Objects":
        """From a COCO file, a folder of VOC files or masks, or a mapping of names to boxes.

        Raises:
            FileMissing: there is no such file or folder.
            InvalidValue: it holds neither boxes nor masks.
        """
        if isinstance(source, Mapping):
            return cls({str(name): [Box(*box) for box in boxes] for name, boxes in source.items()}, {})
        path = Path(source)
        if not path.exists():
            raise FileMissing(f"There must be boxes or masks at {str(path)!r}, and there is nothing.")
        if path.is_file():
            return cls(_coco(path), {})
        voc = {file.stem: _voc(file) for file in sorted(path.rglob("*.xml"))}
        masks = {file.stem: file for file in sorted(path.rglob("*")) if file.suffix.lower() in PIXELS}
        if not voc and not masks:
            raise InvalidValue(
                f"{str(path)!r} must hold VOC files (.xml) or masks ({', '.join(PIXELS)}), named as the "
                "pictures are; it holds none."
            )
        return cls({name: boxes for name, boxes in voc.items() if boxes}, masks)

    def mask(self, picture: Picture, seen: Box, size: tuple[int, int]) -> Bool[Tensor, "H W"] | None:
        """Which of the input's pixels show the object, by their centres; None where nothing is known.

        Args:
            picture: the picture.
            seen: the part of it that became the input.
            size: (height, width) of the input.
        """
        names = [picture.path.name, picture.path.stem] if picture.path else []
        names += [picture.name]
        height, width = size
        rows = seen.top + (np.arange(height) + 0.5) / height * (seen.bottom - seen.top)
        columns = seen.left + (np.arange(width) + 0.5) / width * (seen.right - seen.left)
        for name in names:
            if name in self.boxes:
                inside = np.zeros((height, width), bool)
                for box in self.boxes[name]:
                    down = (rows >= box.top) & (rows < box.bottom)
                    inside |= down[:, None] & ((columns >= box.left) & (columns < box.right))
                return torch.from_numpy(inside)
            if name in self.masks:
                return torch.from_numpy(_mask(self.masks[name], picture.rgb.size, rows, columns))
        return None


def _mask(file: Path, size: tuple[int, int], rows: Any, columns: Any) -> Any:
    with Image.open(file) as opened:
        pixels = np.asarray(opened)
    if pixels.shape[:2] != (size[1], size[0]):
        raise InvalidValue(
            f"A mask must be as large as its picture, {size[0]} x {size[1]}; {str(file)!r} is "
            f"{pixels.shape[1]} x {pixels.shape[0]}."
        )
    marked: Any = pixels.reshape(*pixels.shape[:2], -1).any(-1)
    down, across = np.floor(rows).astype(int), np.floor(columns).astype(int)
    known = ((down >= 0) & (down < size[1]))[:, None] & ((across >= 0) & (across < size[0]))
    return marked[down.clip(0, size[1] - 1)][:, across.clip(0, size[0] - 1)] & known


def _coco(file: Path) -> dict[str, list[Box]]:
    """Boxes by file name: https://cocodataset.org/#format-data."""
    try:
        stored = json.loads(file.read_text("utf-8"))
        names = {image["id"]: Path(image["file_name"]).name for image in stored["images"]}
        boxes: dict[str, list[Box]] = {}
        for one in stored["annotations"]:
            if not one.get("iscrowd"):
                left, top, width, height = map(float, one["bbox"])
                boxes.setdefault(names[one["image_id"]], []).append(
                    Box(left, top, left + width, top + height)
                )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValue(
            f"{str(file)!r} must be a COCO file with images and annotations, each with its bbox; it is not: "
            f"{type(error).__name__} {error}."
        ) from None
    return boxes


def _voc(file: Path) -> list[Box]:
    """The boxes of one VOC file but those marked as difficult; corners are counted from 1, both inside."""
    try:
        found = []
        for one in ElementTree.parse(file).getroot().iter("object"):
            if (one.findtext("difficult") or "0").strip() == "1":
                continue
            left, top, right, bottom = (
                float(one.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")
            )
            found.append(Box(left - 1, top - 1, right, bottom))
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidValue(
            f"{str(file)!r} must be a VOC file with objects and their bndbox: {error}."
        ) from None
    return found
