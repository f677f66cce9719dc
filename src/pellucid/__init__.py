"""Pellucid: see why an image classifier decided."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid import lime
    from pellucid.allocator import keep_memory
    from pellucid.audit.differences import Diff, diff
    from pellucid.audit.record import Audit
    from pellucid.audit.verb import audit
    from pellucid.axioms.report import AxiomReport
    from pellucid.axioms.verify import axioms
    from pellucid.choice import Choice
    from pellucid.choose import choose
    from pellucid.cite import cite
    from pellucid.compare import compare
    from pellucid.comparison import Comparison
    from pellucid.engine.rule_registry import rule
    from pellucid.engine.sharing import Rule
    from pellucid.evaluate import evaluate
    from pellucid.evaluation.record import Evaluation
    from pellucid.explain import explain
    from pellucid.explanation import Explanation
    from pellucid.images import open_picture
    from pellucid.methods import METHODS as METHODS
    from pellucid.methods import methods
    from pellucid.methods.definition import Method
    from pellucid.methods.registry import method
    from pellucid.metrics import metrics
    from pellucid.metrics.definition import Metric
    from pellucid.metrics.registry import metric
    from pellucid.model import Model
    from pellucid.models import load
    from pellucid.monitor.watch import Watch, monitor
    from pellucid.preprocess import Preprocess
    from pellucid.quantus import quantus_explain
    from pellucid.runner.results import Run, open_run
    from pellucid.runner.run import run
    from pellucid.target import Contrast
    from pellucid.verdict import Verdict

    __version__: str

__all__ = [
    "Audit",
    "AxiomReport",
    "Choice",
    "Comparison",
    "Contrast",
    "Diff",
    "Evaluation",
    "Explanation",
    "Method",
    "Metric",
    "Model",
    "Preprocess",
    "Rule",
    "Run",
    "Verdict",
    "Watch",
    "audit",
    "axioms",
    "choose",
    "cite",
    "compare",
    "diff",
    "evaluate",
    "explain",
    "keep_memory",
    "lime",
    "load",
    "method",
    "methods",
    "metric",
    "metrics",
    "monitor",
    "open_picture",
    "open_run",
    "quantus_explain",
    "rule",
    "run",
]

_HOMES = {
    "Audit": "audit.record",
    "AxiomReport": "axioms.report",
    "Choice": "choice",
    "Comparison": "comparison",
    "Contrast": "target",
    "Diff": "audit.differences",
    "Evaluation": "evaluation.record",
    "Explanation": "explanation",
    "METHODS": "methods",
    "Method": "methods.definition",
    "Metric": "metrics.definition",
    "Model": "model",
    "Preprocess": "preprocess",
    "Rule": "engine.sharing",
    "Run": "runner.results",
    "Verdict": "verdict",
    "Watch": "monitor.watch",
    "audit": "audit.verb",
    "axioms": "axioms.verify",
    "choose": "choose",
    "cite": "cite",
    "compare": "compare",
    "diff": "audit.differences",
    "evaluate": "evaluate",
    "explain": "explain",
    "keep_memory": "allocator",
    "load": "models",
    "method": "methods.registry",
    "methods": "methods",
    "metric": "metrics.registry",
    "metrics": "metrics",
    "monitor": "monitor.watch",
    "open_picture": "images",
    "open_run": "runner.results",
    "quantus_explain": "quantus",
    "rule": "engine.rule_registry",
    "run": "runner.run",
}
"""Where each public name is defined. It is imported when it is first asked for, and PyTorch with it."""


def __getattr__(name: str) -> Any:
    """A public name, the version, or a module of the package, imported now."""
    found: Any
    if name == "__version__":
        from importlib.metadata import version

        found = version("pellucid")
    elif name in _HOMES:
        found = getattr(import_module(f"pellucid.{_HOMES[name]}"), name)
    elif not name.startswith("_") and find_spec(f"pellucid.{name}"):
        found = import_module(f"pellucid.{name}")
    else:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *__all__, "__version__"})


class _Package(ModuleType):
    """A package in which a function keeps its name though a module has it too, as `explain` does."""

    def __setattr__(self, name: str, value: object) -> None:
        """Sets an attribute; Python, which would set a module that was imported, is not listened to."""
        if not (name in _HOMES and isinstance(value, ModuleType) and value.__name__ == f"pellucid.{name}"):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
