"""Pictures for the examples: shapes, in a folder for each class or all in one."""

from pathlib import Path

from my_model import LABELS, draw


def folder(where: str, count: int) -> Path:
    """A folder of `count` drawings, each in the folder of its class."""
    root = Path(where)
    for i in range(count):
        kind = i % len(LABELS)
        file = root / LABELS[kind] / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        colours = [(20 + i % 60, 60, 90), (230, 190 - i % 40, 60)]
        draw(kind, (22 + i % 19, 24 + i % 17), 9 + i % 7, colours).save(file)
    return root
