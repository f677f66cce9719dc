"""How far explanations of one picture agree."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from pellucid.explanation import Explanation
from pellucid.grain import in_cells
from pellucid.images import Box
from pellucid.ranks import rank_correlation
from pellucid.render.scale import merge_channels


def agreement(
    explanations: Sequence[Explanation], index: int = 0, *, magnitudes: bool = False
) -> Float[Tensor, "M M"]:
    """How similar the maps of one picture are: Spearman's rank correlation of their evidence in cells.

    Maps differ in grain: a gradient speaks of single pixels, whose signs alternate, a CAM of regions. So
    evidence, channels summed, is added up in a grid of 14 cells to the longer side of what all models saw,
    and the cells are ranked. 1 is the same order of cells, 0 no relation; a constant map has no order and
    agrees with none (0), itself included.

    Args:
        explanations: M explanations of the same pictures.
        index: which picture.
        magnitudes: whether each pixel's evidence counts without its sign. With signs, evidence for and
            against is compared, and pixels of both signs in one cell cancel; without, it is compared where a
            method finds evidence at all: a map and its negative agree.
    """
    maps = [merge_channels(e.attribution[index][None])[0] for e in explanations]
    boxes = [e.boxes[index] for e in explanations]
    size = explanations[0].pictures[index].rgb.size
    return agreement_of_maps([map.abs() for map in maps] if magnitudes else maps, boxes, size)


def agreement_of_maps(
    maps: Sequence[Float[Tensor, "_ _"]], boxes: Sequence[Box], size: tuple[int, int]
) -> Float[Tensor, "M M"]:
    """The same of bare maps: Spearman's rank correlation of their evidence in the cells of one grid.

    Args:
        maps: of any resolutions, channels summed.
        boxes: what of the picture each map spans.
        size: (width, height) of the picture.
    """
    return rank_correlation(in_cells(maps, boxes, size))
