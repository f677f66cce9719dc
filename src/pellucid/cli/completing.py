"""What a shell completes: methods, models, samples, kinds of files and colour maps, without PyTorch."""

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import redirect_stdout
from glob import escape, glob
from pathlib import Path

from pellucid.choices import SAMPLES, SUFFIXES

MODELS = (*(f"efficientnet-lite{n}" for n in range(3)), "timm:", "torchvision:", "hf:")
"""How a model may begin."""


def method_names(incomplete: str) -> list[str]:
    """The package's methods, read off the decorators in its files, for importing them takes seconds.

    >>> method_names("grad-")
    ['grad-cam', 'grad-cam++', 'grad-cam-elementwise']
    """
    found: set[str] = set()
    for path in (Path(__file__).parents[1] / "methods").glob("*/*.py"):
        found.update(re.findall(r'^@\w+\(\s*"([\w+-]+)"', path.read_text("utf-8"), re.MULTILINE))
    return sorted(name for name in found if name.startswith(incomplete))


def models(incomplete: str) -> list[str]:
    """Sources of models, and the functions of one's own files.

    >>> models("torch")
    ['torchvision:']
    """
    file, colon, _ = incomplete.partition(".py:")
    if colon:
        try:
            text = Path(f"{file}.py").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        own = [f"{file}.py:{name}" for name in re.findall(r"^def (\w+)\(", text, re.MULTILINE)]
    else:
        own = [
            f"{path}:" if path.endswith(".py") else path
            for path in _paths(incomplete, (".py", ".safetensors"))
        ]
    return [name for name in (*MODELS, *own) if name.startswith(incomplete)]


def pictures(incomplete: str) -> list[str]:
    """Samples and files; where nothing is written yet, the shell lists its files by itself.

    >>> pictures("sample:co")
    ['sample:coffee', 'sample:coins']
    """
    if not incomplete:
        return []
    samples = [f"sample:{name}" for name in SAMPLES]
    return [name for name in (*samples, *_paths(incomplete, SUFFIXES)) if name.startswith(incomplete)]


def kinds(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Kinds of files, several with commas.

    >>> kinds(["png", "pdf", "npz"])("png,p")
    ['png,pdf']
    """

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [f"{before}{comma}{kind}" for kind in known if kind.startswith(last) and kind not in taken]

    return complete


def colour_maps(incomplete: str) -> list[str]:
    """The names of matplotlib's colour maps.

    >>> colour_maps("inf")
    ['inferno', 'inferno_r']
    """
    from matplotlib import colormaps

    return sorted(name for name in colormaps if name.startswith(incomplete))


def answer_bash(run: Callable[[], None], environment: MutableMapping[str, str]) -> None:
    """Runs the completion that bash asked for, with words that have colons in them.

    Bash takes "sample:c" for three words, and puts what is answered in the place of the last one.
    """
    words, at = environment["COMP_WORDS"].split("\n"), int(environment["COMP_CWORD"])
    whole, cursor = joined(words, at)
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(whole), str(cursor)
    current = whole[cursor] if cursor < len(whole) else ""
    answered = io.StringIO()
    try:
        with redirect_stdout(answered):
            run()
    finally:
        known = current[: current.rfind(":") + 1]
        for line in answered.getvalue().splitlines():
            print(line.removeprefix(known))  # noqa: T201


def joined(words: Sequence[str], at: int) -> tuple[list[str], int]:
    """Words as they were before bash parted them at colons, and which of them the word `at` is in.

    >>> joined(["pellucid", "explain", "sample", ":", "c"], 4)
    (['pellucid', 'explain', 'sample:c'], 2)
    >>> joined(["pellucid", "explain", "sample", ":", "cat", ""], 5)
    (['pellucid', 'explain', 'sample:cat', ''], 3)
    """
    whole: list[str] = []
    cursor = at
    for i, word in enumerate(words):
        if whole and word and (word == ":" or whole[-1].endswith(":")):
            whole[-1] += word
        else:
            whole.append(word)
        if i == at:
            cursor = len(whole) - 1
    return whole, min(cursor, len(whole))


def _paths(incomplete: str, suffixes: Iterable[str]) -> Iterator[str]:
    """Folders, with a slash behind them, and files of these suffixes that begin like this."""
    for path in sorted(glob(f"{escape(os.path.expanduser(incomplete))}*")):
        if os.path.isdir(path):
            yield f"{path}{os.sep}"
        elif path.lower().endswith(tuple(suffixes)):
            yield path
