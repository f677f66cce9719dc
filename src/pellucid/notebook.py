"""Whether Python runs in a notebook, whose cells show what they are given."""

import sys
from typing import Any


def shell() -> Any:
    """The running IPython, in a terminal or a notebook; None without one."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, so that pictures and HTML can be displayed."""
    return getattr(shell(), "kernel", None) is not None
