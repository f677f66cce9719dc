"""Where objects are: boxes and masks, from COCO and VOC files, folders of masks, or Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid.errors import FileMissing, InvalidValue
from pellucid.evaluation.annotations import read_coco, read_voc
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
        voc = {
            file.stem: read_voc(file.read_bytes(), str(file)).boxes for file in sorted(path.rglob("*.xml"))
        }
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
        for name in names:
            if name in self.boxes:
                return boxes_in_input(self.boxes[name], seen, size)
            if name in self.masks:
                with Image.open(self.masks[name]) as opened:
                    pixels = np.asarray(opened)
                return mask_in_input(pixels, str(self.masks[name]), picture.rgb.size, seen, size)
        return None


def boxes_in_input(boxes: Sequence[Box], seen: Box, size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Which pixels of an input lie in boxes of the picture, by their centres.

    Args:
        boxes: in pixels of the picture.
        seen: the part of the picture that became the input.
        size: (height, width) of the input.

    Example:
        >>> boxes_in_input([Box(0.0, 0.0, 5.0, 10.0)], Box(0.0, 0.0, 10.0, 10.0), (2, 4))
        tensor([[ True,  True, False, False],
                [ True,  True, False, False]])
    """
    rows, columns = _centres(seen, size)
    inside = np.zeros(size, bool)
    for box in boxes:
        down = (rows >= box.top) & (rows < box.bottom)
        inside |= down[:, None] & ((columns >= box.left) & (columns < box.right))
    return torch.from_numpy(inside)


def mask_in_input(
    pixels: NDArray[Any], name: str, picture: tuple[int, int], seen: Box, size: tuple[int, int]
) -> Bool[Tensor, "H W"]:
    """Which pixels of an input show what a mask over the picture marks, by their centres.

    Args:
        pixels: (H, W) or (H, W, C) of the mask, marked where any is not 0.
        name: of the mask, for the error.
        picture: (width, height) of the picture.
        seen: the part of the picture that became the input.
        size: (height, width) of the input.

    Raises:
        InvalidValue: the mask is not as large as the picture.
    """
    width, height = picture
    if pixels.shape[:2] != (height, width):
        raise InvalidValue(
            f"A mask must be as large as its picture, {width} x {height}; {name!r} is "
            f"{pixels.shape[1]} x {pixels.shape[0]}."
        )
    rows, columns = _centres(seen, size)
    marked: Any = pixels.reshape(height, width, -1).any(-1)
    down, across = np.floor(rows).astype(int), np.floor(columns).astype(int)
    known = ((down >= 0) & (down < height))[:, None] & ((across >= 0) & (across < width))
    return torch.from_numpy(marked[down.clip(0, height - 1)][:, across.clip(0, width - 1)] & known)


def _centres(seen: Box, size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where in the picture the centres of an input's rows and columns are."""
    height, width = size
    rows = seen.top + (np.arange(height) + 0.5) / height * (seen.bottom - seen.top)
    columns = seen.left + (np.arange(width) + 0.5) / width * (seen.right - seen.left)
    return rows, columns


def _coco(file: Path) -> dict[str, list[Box]]:
    """Boxes by file name."""
    boxes: dict[str, list[Box]] = {}
    for one in read_coco(file.read_bytes(), str(file))[0]:
        if one.boxes:
            boxes.setdefault(Path(one.file).name, []).extend(one.boxes)
    return boxes
