"""The options of commands that take a data set: which column of a list is what, and how boxes are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.choices import BoxFormat, SourceKind

if TYPE_CHECKING:
    from pellucid.runner.sources import Source

_option = partial(typer.Option, rich_help_panel="The source", show_default=False)


@dataclass(frozen=True)
class SourceOptions:
    """What of a source is given besides its name."""

    label_column: Annotated[
        str | None,
        _option(
            metavar="COLUMN|folder|none",
            help="The column of a list with the labels; the names of folders; or no labels. Unless given, "
            "what the names of columns and a look say.",
        ),
    ] = None
    image_column: Annotated[
        str | None, _option(metavar="COLUMN", help="The column of a list with the pictures.")
    ] = None
    box_format: Annotated[
        BoxFormat,
        _option(
            metavar="ltrb|xywh",
            help="How a list writes boxes: left, top, right, bottom, or left, top, width, height. Unless "
            "given, ltrb.",
        ),
    ] = "ltrb"
    source_kind: Annotated[
        SourceKind | None,
        _option(
            metavar="KIND",
            help="What the sources are, where suffix and content would say otherwise: picture, folder, list, "
            "tar, coco or voc.",
        ),
    ] = None

    def opened(self, names: Sequence[str]) -> "Source":
        """The sources, opened as one.

        Raises:
            PellucidError: as for `open_source`.
        """
        from pellucid.runner.sources import open_source

        return open_source(
            list(names), label=self.label_column, image=self.image_column, kind=self.source_kind,
            boxes=self.box_format,
        )  # fmt: skip
