"""What training needs to go on bit for bit: weights, Adam's moments, random numbers and the course so far."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import InvalidValue
from pellucid.files import atomic_write

KEY = "pellucid-training"
"""Of the metadata's entry."""

_MODEL, _ADAM, _RANDOM = "model.", "adam.", "random"


def write(
    path: Path,
    request: Mapping[str, Any],
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    course: Sequence[Mapping[str, Any]],
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: the file.
        request: what tells this training from any other.
        module: the network.
        optimiser: its Adam.
        course: the epochs so far.

    Raises:
        NotWritten: the file cannot be written there.
    """
    from safetensors.torch import save_file

    tensors = {_MODEL + name: value.contiguous() for name, value in module.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"{_ADAM}{number}.{name}": value.contiguous() for name, value in moments.items()}
    tensors[_RANDOM] = torch.get_rng_state()
    about = json.dumps({"request": dict(request), "course": list(course)})
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, {KEY: about})


def read(
    path: Path, request: Mapping[str, Any], module: nn.Module, optimiser: torch.optim.Optimizer
) -> list[dict[str, Any]]:
    """Fills a network, its Adam and torch's random numbers; returns the epochs so far.

    Raises:
        InvalidValue: the file is damaged, no checkpoint, or one of another training.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        asked, course = dict(about["request"]), list(about["course"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidValue(
            f"{path} must be the checkpoint of an interrupted training; it is damaged or something else: "
            "delete it, or begin anew (--restart)."
        ) from error
    others = [
        f"{name} is {asked.get(name)}, not {value}"
        for name, value in request.items()
        if asked.get(name) != value
    ]
    if others:
        raise InvalidValue(
            f"{path} is the checkpoint of another training ({'; '.join(others)}): finish that one by its own "
            "options, or begin anew (--restart)."
        )
    module.load_state_dict(_under(_MODEL, tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(_ADAM, tensors).items():
        number, _, moment = name.partition(".")
        state.setdefault(int(number), {})[moment] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    torch.set_rng_state(tensors[_RANDOM])
    return course


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
