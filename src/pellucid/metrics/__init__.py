"""The metrics: one formula a file. Importing this package registers every metric in its folders."""

from importlib import import_module
from pkgutil import iter_modules

from pellucid.metrics.definition import FAMILIES, Metric
from pellucid.metrics.registry import METRICS, get_metric, metric

for _family in FAMILIES:
    _folder = import_module(f"{__name__}.{_family}")
    for _module in iter_modules(_folder.__path__):
        import_module(f"{_folder.__name__}.{_module.name}")


def metrics() -> tuple[Metric, ...]:
    """All metrics, installed packages' among them: each with its name, family, options, passes and paper.

    Example:
        >>> [m.name for m in metrics() if m.name.startswith("del")]
        ['deletion']
    """
    return tuple(METRICS.values())


__all__ = ["FAMILIES", "METRICS", "Metric", "get_metric", "metric", "metrics"]
