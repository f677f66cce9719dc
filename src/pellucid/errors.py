"""Every error Pellucid raises on purpose: one small hierarchy.

Each class is also the built-in that a Python user expects in its place, so `except ValueError`
keeps working. A message says what must hold, what came, and what to do.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

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


class MonitorWarning(UserWarning):
    """A look at a training failed, could not be written, or its step was assumed; training goes on."""


E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
R = TypeVar("R")


def in_own_code(error: E) -> E:
    """An exception with those frames of its traceback that are neither PyTorch's nor Pellucid's.

    What a user's model raised is told in the lines of that model; where none is on the way, in the last line.
    """
    frames = []
    at = error.__traceback__
    while at is not None:
        frames.append(at)
        at = at.tb_next
    own = [one for one in frames if _package(one) not in ("torch", "pellucid")] or frames[-1:]
    kept: TracebackType | None = None
    for one in reversed(own):
        kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return error.with_traceback(kept)


def short_traceback(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb whose errors show where it was called and a user's own lines, not their way through Pellucid."""

    @wraps(verb)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except PellucidError as error:
            error.__traceback__ = None
            raise

    return called


def _package(at: TracebackType) -> str:
    return str(at.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing, or only what was missing."""
    lines = str(error).strip().splitlines()
    said = lines[0] if lines else ""
    kind = type(error).__name__
    return f"{kind}: {said}" if isinstance(error, KeyError) else said or kind
