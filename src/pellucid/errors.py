"""Every error Pellucid raises on purpose: one small hierarchy.

Each class is also the built-in that a Python user expects in its place, so `except ValueError`
keeps working. A message says what must hold, what came, and what to do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.remarks import by_text


class PellucidError(Exception):
    """Base of all errors raised by Pellucid."""


class InvalidValue(PellucidError, ValueError):
    """A value of the right type that does not hold: a class out of range, a NaN pixel."""


class InvalidType(PellucidError, TypeError):
    """A value of a type that is not understood."""


class NotFound(PellucidError, KeyError, IndexError):
    """A position or a name at which nothing is: of a picture, or of an explanation."""

    __str__ = Exception.__str__  # KeyError's would be the message in quotes


class PictureError(InvalidValue):
    """A picture that cannot be read: truncated, empty, not an image, too large."""


class FileMissing(PellucidError, FileNotFoundError):
    """A file or folder that does not exist."""


class NotWritten(PellucidError, OSError):
    """A file or folder that cannot be written: no permission, no space, a file in a folder's place."""


class ExtraMissing(PellucidError, ImportError):
    """A library of an optional extra that is not installed."""


class ModelError(InvalidValue):
    """A model that cannot be loaded, or an output that cannot be understood."""


class ModelFailed(ModelError):
    """An error that the model itself raised on some inputs; on others it may run."""


class SomeFailed(InvalidValue):
    """Some of several images could not be explained.

    Attributes:
        partial: the `Explanation` of the others, in their order.
        images: which images those are, counted from 0.
        failures: {image: the error for which it has no explanation}.
    """

    def __init__(
        self,
        partial: Any,
        images: Sequence[int],
        failures: Mapping[int, PellucidError],
        names: Sequence[str] = (),
    ) -> None:
        self.partial, self.images, self.failures = partial, tuple(images), dict(failures)
        called = {image: names[image] if names else f"image {image}" for image in self.failures}
        said = [(str(error), called[image]) for image, error in self.failures.items()]
        each = " ".join(f"{some}: {text}" for text, some in by_text(said).items())
        count = len(self.images) + len(self.failures)
        super().__init__(
            f"{len(self.failures)} of {count} images could not be explained. {each} The error's .partial "
            "holds the explanation of the others, .images tells which they are."
        )


class PluginWarning(UserWarning):
    """An installed package that adds to Pellucid could not be imported, and is left out."""


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
