"""How the API reference reads docstrings: examples stand where Griffe, which reads them, looks for them."""

import re
import textwrap
from typing import Any

import griffe


def headed(doc: str) -> str:
    """A docstring whose examples stand under the heading that Griffe knows, so that they are shown as code.

    >>> headed("Adds.\\n\\n>>> 1 + 1\\n2")
    'Adds.\\n\\nExamples:\\n    >>> 1 + 1\\n    2'
    """
    doc = re.sub(r"^Example:$", "Examples:", doc, flags=re.MULTILINE)
    return re.sub(
        r"^>>> .*(?:\n.+)*",
        lambda bare: f"Examples:\n{textwrap.indent(bare[0], '    ')}",
        doc,
        flags=re.MULTILINE,
    )


class Examples(griffe.Extension):
    """Applies it to everything that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object."""
        if obj.docstring:
            obj.docstring.value = headed(obj.docstring.value)
