"""What some options can be, in words: known before anything heavy is imported."""

from collections.abc import Mapping
from typing import Literal

Output = Literal["logit", "probability", "loss"]
"""The number that is explained."""

Precision = Literal["auto", "float32", "bfloat16"]
"""What a model runs in."""

Engine = Literal["local", "processes", "ray"]
"""Where a run explains pictures: in this process, in several of this machine, or on a Ray cluster."""

MapKind = Literal["raw", "full", "none"]
"""What a run keeps of a map: as the formula gives it, at the input's resolution, or its numbers alone."""

Interpolation = Literal["nearest", "bilinear", "bicubic"]
"""What lies between the centres of a map's cells."""

Fit = Literal["crop", "squash", "pad"]
"""How a picture gets the shape of a model's input."""

Citation = Literal["bibtex", "text"]
"""How references are written."""

ScaleOf = Literal["own", "shared"]
"""Whose evidence ends a scale of colours: that of one map, or of all that are drawn together."""

SAMPLES: Mapping[str, str] = {
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "coins": "coins.png",
    "motorcycle": "motorcycle_left.png",
}
"""The photographs that come inside scikit-image's wheel, as `sample:NAME`."""

SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
"""Which files of a folder count as pictures."""

Architecture = Literal["cnn", "residual", "vit"]
"""The networks that `pellucid train` knows."""

Split = Literal["train", "test"]
"""What networks learn, and what is held out."""

Downloadable = Literal["mnist", "fashion-mnist"]
"""The sets of pictures that can be downloaded."""

SourceKind = Literal["picture", "folder", "list", "tar", "coco", "voc"]
"""What the name of a source can stand for, where its suffix or a look would say otherwise."""

BoxFormat = Literal["ltrb", "xywh"]
"""How boxes of lists are written: corners, or the upper left one and the size."""
