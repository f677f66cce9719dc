"""What all tests share. Shapes are checked at run time: the hook stands before the first import."""

import gc
import os
from collections import Counter
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pkgutil import iter_modules
from types import CodeType, FunctionType
from typing import Any

import jaxtyping

SOURCE = os.path.dirname(find_spec("pellucid").origin)
CHECKED = [f"pellucid.{m.name}" for m in iter_modules([SOURCE]) if m.name != "engine"]
# Not what is called for every module or operation of a first pass, and knows no shapes: with checks it takes
# ten to a hundred times as long.
UNCHECKED = {
    "shadow",
    "references",
    "evaluation_mode",
    "fast_paths",
    "randomness",
    "axes",
    "finding",
    "following",
    "cheap_backward",
    "mixing",
    "names",
    "origins",
    "checkpoints",
    "memory",
    "operations",
    "norms",
    "cost",
}
CHECKED += [
    f"pellucid.engine.{m.name}" for m in iter_modules([f"{SOURCE}/engine"]) if m.name not in UNCHECKED
]
jaxtyped, calls, met = jaxtyping.jaxtyped, Counter[CodeType](), set[CodeType]()


@wraps(jaxtyped)
def jaxtyped_at_first(**options: Any) -> Callable[[Any], Any]:
    """Checks the first calls of a function in each test: in loops checks take longer than what is checked.

    Of functions that are made within functions, only the first that a line makes in a process is checked.
    """

    def decorated(defined: Any) -> Any:
        if not isinstance(defined, FunctionType):
            return jaxtyped(defined, **options)
        code = defined.__code__
        if "<locals>" in defined.__qualname__:
            if jaxtyping.config.jaxtyping_disable or code in met:
                return defined
            met.add(code)
        checked = jaxtyped(defined, **options)

        @wraps(defined)
        def called(*args: Any, **kwargs: Any) -> Any:
            calls[code] += 1
            return (checked if calls[code] <= 20 else defined)(*args, **kwargs)

        return called

    return decorated


jaxtyping.jaxtyped = jaxtyped_at_first
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import pellucid  # noqa: E402

# Two workers of two threads each on two cores wait for one another: five times slower.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end: the collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeds():
    """Every test draws the same numbers, and is checked anew, whichever ran before it."""
    calls.clear()
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def unchecked():
    """Run-time type checks off, where a wrong value should reach our own."""
    from nets import unchecked

    with unchecked():
        yield


@pytest.fixture
def own_methods():
    """What a test registers, methods and rules, is forgotten after it."""
    from pellucid.engine.rule_registry import RULES

    methods, rules = set(pellucid.METHODS), set(RULES)
    yield
    for name in set(pellucid.METHODS) - methods:
        del pellucid.METHODS[name]
    for name in set(RULES) - rules:
        del RULES[name]


@pytest.fixture(scope="session")
def lite0() -> pellucid.Model:
    """The default model: EfficientNet-Lite0 with its ImageNet weights."""
    return pellucid.load()


@pytest.fixture(scope="session")
def cat() -> Image.Image:
    """A real photograph of a cat, 451 x 300."""
    from skimage import data

    return Image.fromarray(data.chelsea())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is a terminal of 80 columns, without colours."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
