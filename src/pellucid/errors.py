"""Every error Pellucid raises on purpose: one small hierarchy.

Each class is also the built-in that a Python user expects in its place, so `except ValueError`
keeps working. A message says what must hold, what came, and what to do.
"""


class PellucidError(Exception):
    """Base of all errors raised by Pellucid."""


class InvalidValue(PellucidError, ValueError):
    """A value of the right type that does not hold: a class out of range, a NaN pixel."""


class InvalidType(PellucidError, TypeError):
    """A value of a type that is not understood."""


class PictureError(InvalidValue):
    """A picture that cannot be read: truncated, empty, not an image, too large."""


class FileMissing(PellucidError, FileNotFoundError):
    """A file or folder that does not exist."""


class ExtraMissing(PellucidError, ImportError):
    """A library of an optional extra that is not installed."""


class ModelError(InvalidValue):
    """A model that cannot be loaded, or an output that cannot be understood."""
