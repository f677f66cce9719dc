"""The methods: formulas, nothing else. Importing this package registers every method in its folders."""

from importlib import import_module
from pkgutil import iter_modules

from pellucid.methods.definition import FAMILIES, Method
from pellucid.methods.registry import METHODS, get_method, method
from pellucid.options.types import Option

for _family in FAMILIES:
    _folder = import_module(f"{__name__}.{_family}")
    for _module in iter_modules(_folder.__path__):
        import_module(f"{_folder.__name__}.{_module.name}")


def methods() -> tuple[Method, ...]:
    """All methods, installed packages' among them: each with its name, family, options, passes and paper.

    Example:
        >>> [m.name for m in methods() if m.family == "gradient"]
        ['input-x-gradient', 'saliency', 'smooth-grad', 'smooth-grad-squared', 'var-grad']
    """
    return tuple(METHODS.values())


__all__ = ["FAMILIES", "METHODS", "Method", "Option", "get_method", "method", "methods"]
