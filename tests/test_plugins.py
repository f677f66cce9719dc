"""Methods of installed packages: found when they are asked for, and left out where they are broken."""

import os
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import pellucid
from pellucid.errors import PluginWarning
from pellucid.plugins import Registry

ROOT = Path(__file__).parents[1]
SOURCE = Path(pellucid.__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"


def fresh(path, *arguments, **options):
    """A new Python that sees `path` besides this Pellucid."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(SOURCE)]), "COLUMNS": "200"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, **options)


def distribution(folder, name, modules, points, group="pellucid.methods"):
    """An installed package as pip leaves it: modules, and metadata with their entry points."""
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    info = folder / f"{name.replace('-', '_')}-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(
        f"[{group}]\n" + "".join(f"{point} = {value}\n" for point, value in points.items())
    )


CATALOGUE = [method.name for method in pellucid.methods() if method.built_in]


# --- the example package ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example package, installed by pip without a network."""
    target = tmp_path_factory.mktemp("installed")
    command = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    found = fresh(target, *command, "--target", str(target), str(PLUGIN), cwd=target)
    assert found.returncode == 0, found.stderr
    return target


def test_an_installed_method_is_there_and_loaded_no_sooner_than_asked_for(installed):
    code = """
import sys, torch, pellucid
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
x = torch.rand(1, 3, 4, 4)
plain = pellucid.explain(net, x, "saliency:signed=true", target=1)
assert not any("grad_squared" in name for name in sys.modules)
e = pellucid.explain(net, x, method="grad-squared", target=1)
torch.testing.assert_close(e.raw, (plain.raw**2).sum(1))
assert e.paper.startswith("Montavon")
(entry,) = [m for m in pellucid.methods() if m.name == "grad-squared"]
assert (entry.family, entry.built_in) == ("gradient", False)
assert all(m.built_in for m in pellucid.methods() if m is not entry)
"""
    found = fresh(installed, "-W", "error::UserWarning", "-c", code)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_the_command_line_lists_an_installed_method(installed):
    found = fresh(installed, "-m", "pellucid", "methods")
    assert (found.returncode, found.stderr) == (0, "")
    listed = [line.split()[0] for line in found.stdout.splitlines() if line]
    assert "grad-squared" in listed
    assert set(CATALOGUE) < set(listed)
    assert "grad-squared" not in CATALOGUE


@pytest.mark.full
def test_the_examples_own_tests_pass(installed):
    found = fresh(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--doctest-modules", "--rootdir",
                  str(PLUGIN), "-c", os.devnull, str(PLUGIN), cwd=installed)  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert "5 passed" in found.stdout


# --- a broken package ---------------------------------------------------------------------------------------


BROKEN = """
import pellucid

@pellucid.method("half-done", family="gradient", paper="nobody", passes=(1, 1))
def half_done(probe):
    return probe.input_gradient().sum(1)

import no_such_library
"""
TAKEN = """
import pellucid

@pellucid.method("saliency", family="gradient", paper="nobody", passes=(1, 1))
def mine(probe):
    return probe.input_gradient().sum(1)
"""
GOOD = """
import pellucid

@pellucid.method("well-done", family="gradient", paper="nobody", passes=(1, 1))
def well_done(probe):
    return probe.input_gradient().sum(1)
"""
WORDS = (
    "The plugin 'half' (broken_half) of half-baked 0.3 could not be imported and is left out: "
    "ModuleNotFoundError: No module named 'no_such_library'"
)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A package whose module fails when half done, one that takes a name, and one that works."""
    folder = tmp_path_factory.mktemp("broken")
    distribution(folder, "half-baked", {"broken_half": BROKEN}, {"half": "broken_half"})
    distribution(folder, "grabbing", {"grabbing": TAKEN}, {"taken": "grabbing"})
    distribution(folder, "sound", {"sound": GOOD}, {"good": "sound:well_done"})
    return folder


def test_a_broken_package_is_told_once_and_leaves_the_rest_working(broken):
    code = f"""
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import torch, pellucid
    from pellucid.errors import InvalidValue, PluginWarning
    told = lambda: [str(w.message) for w in seen if issubclass(w.category, PluginWarning)]
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    pellucid.explain(net, torch.rand(1, 3, 4, 4), "saliency")
    assert told() == []
    try:
        pellucid.explain(net, torch.rand(1, 3, 4, 4), "half-done")
        raise SystemExit("a half-done method was kept")
    except InvalidValue as error:
        assert "no method 'half-done'" in str(error)
    assert {WORDS!r} in told()
    (other,) = [text for text in told() if text != {WORDS!r}]
    assert "'taken' (grabbing) of grabbing 0.3" in other
    assert "'saliency' is registered twice: by pellucid.methods.gradient.saliency.saliency" in other
    assert "and by grabbing.mine" in other
    names = [m.name for m in pellucid.methods()]
    assert "well-done" in names and "half-done" not in names
    assert pellucid.METHODS["saliency"].built_in
    assert pellucid.explain(net, torch.rand(1, 3, 4, 4), "well-done").raw.shape == (1, 4, 4)
    assert len(told()) == 2
"""
    found = fresh(broken, "-c", code)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_the_command_line_tells_of_a_broken_package_in_a_line(broken):
    found = fresh(broken, "-m", "pellucid", "methods", "--json")
    assert found.returncode == 0
    lines = found.stderr.splitlines()
    assert len(lines) == 2
    assert f"pellucid: {WORDS}" in lines
    assert '"well-done"' in found.stdout


# --- registries ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """An entry."""

    name: str
    family: str
    function: object


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of another group, as plugins find it: `import asked_registry`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: Registry[Named] = Registry("pellucid.test")
    holder = ModuleType("asked_registry")
    holder.registry, holder.Named, holder.runs = made, Named, []
    monkeypatch.setitem(sys.modules, "asked_registry", holder)
    known = set(sys.modules)
    yield made
    for name in set(sys.modules) - known:
        if name.startswith("plugged_"):
            del sys.modules[name]


ADDING = """
import time
import asked_registry as asked
asked.runs.append(__name__)
time.sleep(0.05)
def added(): ...
asked.registry.add(asked.Named("added", "b", added))
listed = list(asked.registry)
"""


def runs():
    return sys.modules["asked_registry"].runs


def test_plugins_of_any_group_are_loaded_once_whoever_asks(tmp_path, registry):
    distribution(tmp_path, "adding", {"plugged_adding": ADDING}, {"a": "plugged_adding"}, "pellucid.test")
    registry.add(Named("mine", "c", runs))
    registry.add(Named("other", "a", runs))
    assert registry["mine"].family == "c"
    assert runs() == []  # nothing is imported for a name that is known
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(list(registry))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [["other", "added", "mine"]] * 8  # by family and name, and for each thread complete
    assert runs() == ["plugged_adding"]
    assert sys.modules["plugged_adding"].listed == ["other", "added", "mine"]  # one that asks does not wait
    assert len(registry) == 3
    assert "nothing" not in registry


def test_a_failure_is_told_once_whatever_the_number_of_threads(tmp_path, registry):
    failing = ADDING + "raise OSError('no such disk')"
    distribution(tmp_path, "failing", {"plugged_failing": failing}, {"f": "plugged_failing"}, "pellucid.test")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=registry.get, args=("unknown",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(registry) == []
    (warning,) = seen
    assert issubclass(warning.category, PluginWarning)
    assert str(warning.message) == (
        "The plugin 'f' (plugged_failing) of failing 0.3 could not be imported and is left out: "
        "OSError: no such disk"
    )
