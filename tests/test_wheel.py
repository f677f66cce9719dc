"""The wheel works in an environment that holds what it requires and nothing else."""

import importlib.metadata
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXPLAIN = """
import pellucid, sys
e = pellucid.explain(pellucid.load(), "sample:cat", "grad-cam", progress=False)
e.save("cat.png")
assert e.prediction[0][0].label.endswith("cat"), e.prediction
assert not {"captum", "zennit", "beartype", "transformers", "pytest"} & set(sys.modules)
print(pellucid.__file__)
"""


def required(name: str) -> dict[str, importlib.metadata.Distribution]:
    """A distribution and all that it requires, without extras, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    left = [name]
    while left:
        one = importlib.metadata.distribution(left.pop())
        if one.name.lower() in found:
            continue
        found[one.name.lower()] = one
        wanted = [Requirement(text) for text in one.requires or []]
        left += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def clean_environment(folder: Path, distributions: dict[str, importlib.metadata.Distribution]) -> Path:
    """The Python of a new environment that holds these distributions, as links to what is installed here."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for one in distributions.values():
        tops = {path.parts[0] for path in one.files or [] if not path.parts[0].startswith("..")}
        for top in tops - {"__pycache__"}:
            source, link = Path(one.locate_file(top)).resolve(), site / top
            if source.exists() and not link.exists():
                link.symlink_to(source)
    return folder / "bin" / "python"


def test_the_wheel_explains_a_picture_with_its_requirements_alone(tmp_path: Path):
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    assert sdist.stat().st_size < 20e6
    needed = required("pellucid")
    del needed["pellucid"]  # this checkout: the wheel takes its place
    python = clean_environment(tmp_path / "clean", needed)
    site = next((tmp_path / "clean/lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert not [name for name in names if not name.startswith(("pellucid/", "pellucid-"))]
    assert "pellucid/py.typed" in names
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run = subprocess.run(
        [python, "-c", EXPLAIN], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).is_relative_to(site)
    assert (tmp_path / "cat.png").stat().st_size > 0
