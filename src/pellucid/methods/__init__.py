"""The methods: formulas, nothing else. Importing this package registers every method in its folders."""

from importlib import import_module
from pkgutil import iter_modules

from pellucid.methods.definition import FAMILIES, Method
from pellucid.methods.option_types import Option
from pellucid.methods.registry import METHODS, get_method, method, parse

for _family in FAMILIES:
    _folder = import_module(f"{__name__}.{_family}")
    for _module in iter_modules(_folder.__path__):
        import_module(f"{_folder.__name__}.{_module.name}")

__all__ = ["FAMILIES", "METHODS", "Method", "Option", "get_method", "method", "parse"]
