"""One picture of a set as a file."""

from pathlib import Path

from pellucid.choices import Split
from pellucid.digits.data import Digits
from pellucid.errors import NotFound
from pellucid.files import save_by_suffix


def extract(digits: Digits, split: Split, index: int, path: str | Path) -> tuple[Path, str]:
    """Writes one picture as a PNG; returns the file and the name of its class.

    Args:
        digits: the set.
        split: "train" or "test".
        index: which of its pictures, from 0 on.
        path: the file.

    Raises:
        NotFound: there is no such picture.
        InvalidValue: the file's name does not end in .png.
        NotWritten: it cannot be written there.

    Example:
        >>> import tempfile
        >>> from pellucid.digits.data import bundled
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     extract(bundled(), "test", 6, f"{folder}/digit.png")[1]
        '7'
    """
    part = digits.part(split)
    if not 0 <= index < len(part):
        raise NotFound(
            f"There must be a {split} picture {index}; {digits.name} has them from 0 to {len(part) - 1}."
        )
    picture = part.picture(index)
    file = save_by_suffix(path, {".png": lambda temporary: picture.save(temporary, "PNG")})
    return file, digits.labels[part.labels[index]]
