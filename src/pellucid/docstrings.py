"""What a docstring says, section by section: for pages, screens and tests."""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

SECTIONS = (
    "Formula",
    "Args",
    "Returns",
    "Raises",
    "Cost",
    "Source",
    "Strengths",
    "Weaknesses",
    "Pitfalls",
    "See Also",
    "Example",
)
"""The headings that a docstring of a method or metric may have, in this order."""
_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):\n", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """A docstring, taken apart.

    Attributes:
        summary: its first line.
        text: the paragraphs below it, each on one line.
        sections: what stands under each heading, its indentation taken off.
    """

    summary: str
    text: tuple[str, ...]
    sections: Mapping[str, str]

    def items(self, section: str) -> tuple[str, ...]:
        """The points of a section, each on one line; continued lines are indented.

        Example:
            >>> found = read("Sum.\\n\\nStrengths:\\n    Exact.\\n    Cheap, as\\n        sums are.\\n")
            >>> found.items("Strengths")
            ('Exact.', 'Cheap, as sums are.')
        """
        points = re.split(r"\n(?=\S)", self.sections.get(section, ""))
        return tuple(" ".join(point.split()) for point in points if point.strip())

    def names(self, section: str) -> tuple[str, ...]:
        """The names that a section lists, with commas between them."""
        return tuple(name.strip() for name in self.sections.get(section, "").split(",") if name.strip())


def read(doc: str) -> Docstring:
    """Takes a docstring apart whose indentation is taken off, as `inspect.cleandoc` does.

    Example:
        >>> found = read("Sum.\\n\\nAdds up\\nall.\\n\\nCost:\\n    None.\\n")
        >>> found.summary, found.text, found.sections["Cost"]
        ('Sum.', ('Adds up all.',), 'None.')
    """
    head, *parts = _HEADING.split(doc)
    summary, *text = (" ".join(block.split()) for block in head.strip().split("\n\n"))
    sections = {
        heading: textwrap.dedent(body).strip() for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }
    return Docstring(summary, tuple(text), sections)
