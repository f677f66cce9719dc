"""What was asked, read and checked before anything is run."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pellucid.choice import Choice
from pellucid.cli.screen import complain
from pellucid.errors import FileMissing, InvalidValue, PellucidError
from pellucid.images import SUFFIXES, find_pictures
from pellucid.layers import layer_names
from pellucid.model import Model
from pellucid.request import Request
from pellucid.target import Contrast, OneTarget


def read_target(text: str) -> OneTarget:
    """A target as written: "281", "tabby", "tiger cat^tabby" or "predicted".

    >>> read_target("tiger cat^tabby"), read_target("281"), read_target("predicted")
    (Contrast(a='tiger cat', b='tabby'), '281', None)
    """
    if text == "predicted":
        return None
    a, contrast, b = (part.strip() for part in text.partition("^"))
    if contrast and not (a and b):
        raise InvalidValue(f"A contrast must be written A^B, why A rather than B; got {text!r}.")
    return Contrast(a, b) if contrast else a


def read_requests(specs: Sequence[str], layer: str | None) -> list[Request]:
    """Methods with their options, once each; `layer` is for all that read one and name none themselves.

    Raises:
        InvalidValue, InvalidType: a method or option that does not hold; a layer that no method reads.
    """
    requests = [Request.of(spec) for spec in specs]
    if layer is not None:
        if not any("layer" in request.options for request in requests):
            names = ", ".join(request.method.name for request in requests)
            raise InvalidValue(f"--layer needs a method that reads a layer, such as grad-cam; got {names}.")
        requests = [
            Request.of(request.method.name, {"layer": layer, **request.given})
            if "layer" in request.options
            else request
            for request in requests
        ]
    return list({request.title: request for request in requests}.values())


def read_choice(file: Path, methods: Sequence[str] | None) -> Choice:
    """What `pellucid choose` found.

    Raises:
        FileMissing, InvalidValue: no such file; or methods are named besides.
    """
    if methods and list(methods) != ["auto"]:
        raise InvalidValue(f"--choice names the method: leave out --method {methods[0]}, or the choice.")
    return Choice.load(file)


def request_of(choice: Choice) -> Request:
    """The request for the method that was chosen."""
    return Request.of(choice.chosen.method, choice.chosen.options)


def read_kinds(text: str, known: Sequence[str]) -> list[str]:
    """What `--save` names, once each.

    >>> read_kinds("PNG, npz,png", ["png", "npz"])
    ['png', 'npz']
    """
    kinds = list(dict.fromkeys(kind.strip().lower() for kind in text.split(",")))
    for kind in kinds:
        if kind not in known:
            raise InvalidValue(f"--save must name any of {', '.join(known)}; got {kind!r}.")
    return kinds


def check_question(model: Model, requests: Sequence[Request], targets: Sequence[OneTarget]) -> None:
    """Refuses layers and classes that the model does not have, before anything is run or written.

    Raises:
        InvalidValue: naming the layer or class, and the closest there are.
    """
    for request in requests:
        if isinstance(model.module, nn.Module) and "layer" in request.options:
            layer_names(model.module, request.options["layer"])
    for target in targets:
        for one in (target.a, target.b) if isinstance(target, Contrast) else (target,):
            if one is not None:
                model.class_index(one)


def pictures_of(sources: Sequence[str]) -> list[str]:
    """The pictures that the arguments name; a missing file counts as one, and will fail by itself.

    Raises:
        FileMissing: a folder or glob that holds none.
    """
    for source in sources:
        picture = source.startswith("sample:") or Path(source).suffix.lower() in SUFFIXES
        if not (picture or glob.has_magic(source) or Path(source).exists()):
            raise FileMissing(f"There is no file or folder {source!r}.")
    results: list[str] = []
    found = find_pictures(sources, left_out=results)
    if results:
        folders = ", ".join(sorted({os.path.dirname(one) or "." for one in results}))
        count = "1 result" if len(results) == 1 else f"{len(results)} results"
        complain(f"Left out: {count} of earlier explanations in {folders}.")
    return found


def check_folder(out: Path) -> None:
    """Refuses a folder for results that cannot become one, before anything is run."""
    if out.exists() and not out.is_dir():
        raise InvalidValue(f"--out must be a folder; {out} is a file.")


def about(source: str, error: PellucidError) -> str:
    """An error's message, with the picture it is about where it does not name it itself."""
    return str(error) if source in str(error) else f"{source}: {error}"
