"""What some options can be, in words: known before anything heavy is imported."""

from typing import Literal

Output = Literal["logit", "probability", "loss"]
"""The number that is explained."""

Precision = Literal["auto", "float32", "bfloat16"]
"""What a model runs in."""

Interpolation = Literal["nearest", "bilinear", "bicubic"]
"""What lies between the centres of a map's cells."""

ScaleOf = Literal["own", "shared"]
"""Whose evidence ends a scale of colours: that of one map, or of all that are drawn together."""
