"""Draws the house into docs/architecture.md from its imports: `python docs/rooms.py`.

Each room is a module or package right below `pellucid`; `tests/test_floors.py` has the floors they stand on.
"""

import runpy
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- rooms: made by docs/rooms.py -->\n", "<!-- end of rooms -->\n"
SMALL = ("__init__", "__main__")


def diagram() -> str:
    """The rooms by floor, the topmost first, and which rooms of other floors each imports (Mermaid)."""
    floors = runpy.run_path(str(ROOT / "tests/test_floors.py"))
    names = [[room for room in text.split() if room not in SMALL] for text in floors["FLOORS"]]
    level = {room: floor for floor, rooms in enumerate(names) for room in rooms}
    reaches: dict[int, set[int]] = {floor: set() for floor in range(len(names))}
    for module, others in floors["GRAPH"].items():
        for other in others:
            rooms = [floors["room"](name) for name in (module, other)]
            if not set(rooms) & set(SMALL) and level[rooms[0]] != level[rooms[1]]:
                reaches[level[rooms[0]]].add(level[rooms[1]])
    return "\n".join(["```mermaid", "flowchart TB", *boxes(names), *arrows(reaches), "```"]) + "\n"


def boxes(names: list[list[str]]) -> Iterator[str]:
    """One box for each floor."""
    for floor in reversed(range(len(names))):
        yield f'    f{floor}["{"<br/>".join(in_lines(names[floor]))}"]'


def in_lines(rooms: list[str], width: int = 60) -> list[str]:
    """Names in lines of at most so many characters.

    >>> in_lines(["explain", "compare", "doctor"], 16)
    ['explain compare', 'doctor']
    """
    lines = [""]
    for room in rooms:
        joined = f"{lines[-1]} {room}".strip()
        if len(joined) > width:
            lines.append(room)
        else:
            lines[-1] = joined
    return lines


def arrows(reaches: dict[int, set[int]]) -> Iterator[str]:
    """From each floor to those that it imports from and that no other of these leads to."""
    for floor, others in sorted(reaches.items(), reverse=True):
        for other in sorted(others, reverse=True):
            if not any(other in reaches[between] for between in others if between > other):
                yield f"    f{floor} --> f{other}"


def rendered(page: str) -> str:
    """The page with the diagram put in."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + diagram() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text("utf-8")), encoding="utf-8")
