"""Pellucid: see why an image classifier decided."""

from importlib.metadata import version as _version

from pellucid import lime
from pellucid.allocator import keep_memory
from pellucid.axioms.report import AxiomReport
from pellucid.axioms.verify import axioms
from pellucid.compare import Comparison, compare
from pellucid.engine.rule_registry import rule
from pellucid.engine.sharing import Rule
from pellucid.explain import explain
from pellucid.explanation import Explanation
from pellucid.images import open_picture
from pellucid.methods import METHODS
from pellucid.methods.definition import Method
from pellucid.methods.registry import method
from pellucid.model import Model
from pellucid.models import load
from pellucid.preprocess import Preprocess
from pellucid.target import Contrast

__version__ = _version("pellucid")


def methods() -> tuple[Method, ...]:
    """All methods, installed packages' among them: each with its name, family, options, passes and paper.

    Example:
        >>> [m.name for m in methods() if m.family == "gradient"]
        ['input-x-gradient', 'saliency', 'smooth-grad', 'smooth-grad-squared', 'var-grad']
    """
    return tuple(METHODS.values())


__all__ = [
    "AxiomReport",
    "Comparison",
    "Contrast",
    "Explanation",
    "Method",
    "Model",
    "Preprocess",
    "Rule",
    "axioms",
    "compare",
    "explain",
    "keep_memory",
    "lime",
    "load",
    "method",
    "methods",
    "open_picture",
    "rule",
]
