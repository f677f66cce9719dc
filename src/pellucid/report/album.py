"""The photographs of a page."""

from PIL import Image

from pellucid.images import Box, Picture
from pellucid.render.blocks import fitted
from pellucid.render.html import data_uri
from pellucid.report.records import Photograph, Seen

_SIDE = 1000  # pixels of a photograph's longer side


class Album:
    """The photographs of a page, each once, whatever many explanations show it."""

    def __init__(self) -> None:
        self.photographs: list[Photograph] = []
        self._known: dict[int, tuple[Image.Image, int]] = {}

    def place(self, picture: Picture, box: Box) -> Seen:
        """A picture in the album, and what of it a model saw."""
        width, height = picture.rgb.size
        cropped = box.left > 0 or box.top > 0 or box.right < width or box.bottom < height
        return Seen(self._position(picture), box, cropped)

    def _position(self, picture: Picture) -> int:
        known = self._known.get(id(picture.rgb))
        if known is not None:
            return known[1]
        rgb = picture.rgb
        shown = fitted(rgb, _SIDE) if max(rgb.size) > _SIDE else rgb
        # Few pixels are kept exactly: enlarged, one would see JPEG's blocks.
        photograph = Photograph(data_uri(shown, "PNG" if max(rgb.size) <= 64 else "JPEG"), *rgb.size)
        if photograph not in self.photographs:
            self.photographs.append(photograph)
        position = self.photographs.index(photograph)
        self._known[id(rgb)] = rgb, position  # held, so that no other picture takes its id
        return position
