"""The house: a module imports only from its own floor or the ones below it, and nothing imports in circles.

Imports are read off the source, so that those inside functions, under conditions and for type checkers count
as well. What Python itself does, running a package's `__init__` before its modules, is not counted.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid

FLOORS = [
    # what knows nothing of models: errors, files, structures, statistics of maps
    "errors allocator budget bundle caching certainty choices docstrings files formula hub indexing "
    "intervals naming notebook plugins prediction ranks references remarks renamed seeding "
    "structures totals",
    # pictures, how they become inputs, and their superpixels
    "composed gathering grain grey images input_tensors inputs preprocess segments transforms",
    # what is asked, of whom; what stands for a hidden part; the options of methods and metrics
    "baselines fingerprint labels layers model model_file models networks options output_scale outputs "
    "target target_function weights",
    # how a model is run
    "engine",
    # evidence, each piece computed once
    "probe",
    # formulas, side by side
    "methods metrics",
    # what maps look like, and how records lie in files: plain records and tensors
    "render storage",
    # what comes out
    "agreement alteration choice verdict evaluation entries explanation filming lime measured "
    "provenance record",
    # the self-contained page
    "report",
    # what a comparison gives; it writes the page
    "comparison",
    # the verbs
    "altering answering attribute axioms bound_method choose cite compare digits doctor evaluate "
    "explain fitting judge measure metric_request outcomes quantus request truth",
    # data sets: sources, the worker, the store
    "runner",
    # what a data set's maps have in common, and what is proven of it
    "audit",
    # a training that is watched
    "monitor",
    # the package's public names
    "__init__",
    # the command line
    "__main__ cli",
]
"""From the bottom to the top; a name is that of a module, or of a package with all that is in it."""

HIDDEN = {"pellucid.engine.run", "pellucid.engine.chunks", "pellucid.engine.progress"}
"""What runs the model, chunk by chunk, and says how far it is: formulas leave that to the probe."""

SOURCE = Path(pellucid.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def imports(name: str) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names if alias.name in MODULES)
            case ast.ImportFrom(module=str(module)) if node.level == 0 and module in MODULES:
                for alias in node.names:
                    part = f"{module}.{alias.name}"
                    yield part if part in MODULES else module


GRAPH = {name: set(imports(name)) - {name} for name in MODULES}


def room(name: str) -> str:
    """The module or package right below `pellucid` that a module is, or is in."""
    return name.split(".")[1] if "." in name else "__init__"


LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names.split()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules each of which leads to all others: strongly connected components (Tarjan)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = len(numbers)
        stack.append(name)
        for other in graph[name]:
            if other not in numbers:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], numbers[other])
        if lowest[name] == numbers[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1 or name in graph[name]:
                found.append(sorted(group))

    for name in graph:
        if name not in numbers:
            visit(name)
    return found


def test_every_module_is_on_a_floor_and_every_floor_is_there():
    rooms = {room(name) for name in MODULES}
    assert rooms - LEVEL.keys() == set(), "on no floor"
    assert LEVEL.keys() - rooms == set(), "no such module"
    assert len(LEVEL) == sum(len(names.split()) for names in FLOORS), "on two floors"


def test_no_import_is_relative():
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), name


def test_a_module_imports_only_from_its_own_floor_or_lower():
    upward = {
        (name, other) for name, others in GRAPH.items() for other in others
        if LEVEL[room(other)] > LEVEL[room(name)]
    }  # fmt: skip
    assert upward == set()


def test_no_modules_import_each_other_in_circles():
    assert circles(GRAPH) == []


FORMULAS = sorted(name for name in MODULES if room(name) in ("methods", "metrics"))


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_neither_run_the_model_nor_loop_over_chunks_nor_show_progress(name: str):
    assert GRAPH[name].isdisjoint(HIDDEN)
    words = {node.attr for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8")))
             if isinstance(node, ast.Attribute)}  # fmt: skip
    assert words.isdisjoint({"engine", "progress", "forward_pass", "limit"}), "ask the probe"


def test_methods_and_metrics_do_not_import_each_other():
    for name, others in GRAPH.items():
        other = {"methods": "metrics", "metrics": "methods"}.get(room(name))
        assert other not in {room(imported) for imported in others}, name


def test_render_and_storage_know_neither_explanations_nor_methods():
    for name, others in GRAPH.items():
        if room(name) in ("render", "storage"):
            assert {room(other) for other in others}.isdisjoint({"record", "explanation", "methods"}), name


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [["b", "c"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
        ({"a": {"a"}}, [["a"]]),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], found: list[list[str]]):
    assert circles(graph) == found
