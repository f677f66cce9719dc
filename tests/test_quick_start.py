"""What comes at once: `import pellucid`, the version, help and completion, without PyTorch.

In fresh interpreters, for here everything is imported already; many questions in one, for each takes a while.
"""

import json
import subprocess
import sys

import pytest

import pellucid
from pellucid.cli import app

HEAVY = ("torch", "numpy", "PIL", "matplotlib", "scipy", "jaxtyping")
COMMANDS = [command.callback.__name__ for command in app.registered_commands]
SHARED = ("axioms", "compare", "explain", "methods")
"""Functions whose name a module of the package has too."""


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_and_version_import_nothing_heavy():
    asked = [["--version"], ["--help"], *([command, "--help"] for command in COMMANDS)]
    out = fresh(f"""
import sys
from pellucid.cli import app
for words in {asked}:
    try:
        app(words, prog_name="pellucid")
    except SystemExit as stop:
        assert stop.code == 0, words
print([name for name in {HEAVY} if name in sys.modules])
""")
    assert f"pellucid {pellucid.__version__}" in out
    assert all(f"pellucid {command}" in out for command in COMMANDS)
    assert out.splitlines()[-1] == "[]"


IMPORTS = (
    "import pellucid.{0}",
    "from pellucid.{0} import __doc__",
    "from pellucid import {0}",
    "import pellucid; pellucid.{0}",
    "import importlib; importlib.import_module('pellucid.{0}')",
)
CODE = """
import itertools, json, pickle, sys, types
import pellucid

told = {"light": "torch" not in sys.modules, "listed": dir(pellucid), "wrong": [], "orders": 0}
told["homes"] = {n: getattr(getattr(pellucid, n), "__module__", "a module") for n in pellucid.__all__}
told["pickled"] = all(
    pickle.loads(pickle.dumps(getattr(pellucid, name))) is getattr(pellucid, name) for name in SHARED
)
for first, then in itertools.product(IMPORTS, repeat=2):
    for name, other in zip(SHARED, SHARED[1:] + SHARED[:1]):
        for each in ("pellucid", *("pellucid." + each for each in SHARED)):
            sys.modules.pop(each, None)
        exec(first.format(name))
        exec(then.format(other))
        import pellucid
        told["orders"] += 1
        if not all(isinstance(getattr(pellucid, each), types.FunctionType) for each in SHARED):
            told["wrong"].append([first.format(name), then.format(other)])
print(json.dumps(told))
"""


def test_import_is_light_and_a_function_keeps_its_name_whatever_is_imported_first():
    """Python sets a module that it imports on its package, where a function may have the same name."""
    told = json.loads(fresh(CODE.replace("IMPORTS", repr(IMPORTS)).replace("SHARED", repr(SHARED))))
    assert told["light"]
    assert set(pellucid.__all__) <= set(told["listed"])
    homes = {name: getattr(getattr(pellucid, name), "__module__", "a module") for name in pellucid.__all__}
    assert told["homes"] == homes
    assert [homes[name] for name in (*SHARED, "lime")] == [
        "pellucid.axioms.verify", "pellucid.compare", "pellucid.explain", "pellucid.methods", "a module"
    ]  # fmt: skip
    assert told["pickled"]
    assert told["wrong"] == []
    assert told["orders"] == 25 * 4


def test_what_is_not_there_is_said_as_python_says_it():
    with pytest.raises(AttributeError, match="module 'pellucid' has no attribute 'explian'"):
        _ = pellucid.explian
    with pytest.raises(ImportError, match="cannot import name 'explian'"):
        exec("from pellucid import explian")
    assert not hasattr(pellucid, "__wrapped__")
