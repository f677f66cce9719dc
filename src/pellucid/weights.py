"""Weights from files: state dicts only, read without ever running code that a file may hold."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import FileMissing, ModelError

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # what training scripts put a state dict under
_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile, Lightning

_OTHER_HEAD = (
    " The classifier has {0} classes in the model and {1} in the file: pass FILE.py:function with a function "
    "that builds the model with {1} classes."
)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file, taken out of {"state_dict": ...} and the like.

    Args:
        path: a .safetensors file, or one that torch.save wrote (.pt, .pth, ...), read with weights_only=True.

    Raises:
        FileMissing: no such file.
        ModelError: not a state dict: a pickled module, a TorchScript archive, a damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileMissing(f"There is no weights file {path}.")
    state = _safetensors(path) if path.suffix == ".safetensors" else _torch_saved(path)
    while isinstance(state, Mapping) and (
        inner := next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), None)
    ):
        state = inner
    if not isinstance(state, Mapping):
        raise _no_state_dict(path, f"it holds a {type(state).__name__}")
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise _no_state_dict(path, f"it holds {few(state) or 'nothing'}")
    return dict(state)


def fill(module: nn.Module, state: Mapping[str, Tensor], file: str | Path) -> None:
    """Gives `module` the weights `state` as a whole: every tensor must have its place and its shape.

    Raises:
        ModelError: tensors are missing, left over or of another shape; `file` is what the message calls them.
    """
    own = module.state_dict()
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state) and not all(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = {key: (tuple(own[key].shape), tuple(state[key].shape)) for key in own if key in state}
    wrong = {key: pair for key, pair in shapes.items() if pair[0] != pair[1]}
    faults = []
    if missing:
        faults.append(f"the file lacks {len(missing)} of {len(own)} tensors ({few(missing)})")
    if unexpected:
        faults.append(f"{len(unexpected)} of its {len(state)} are not the model's ({few(unexpected)})")
    if wrong:
        described = [f"{key} is {theirs}, not {ours}" for key, (ours, theirs) in wrong.items()]
        faults.append(f"{len(wrong)} have another shape ({few(described)})")
    if faults:
        heads = {(ours[0], theirs[0]) for ours, theirs in wrong.values() if ours[1:] == theirs[1:]}
        only_head = len(heads) == 1 and not missing and not unexpected
        advice = _OTHER_HEAD.format(*next(iter(heads))) if only_head else ""
        raise ModelError(f"{file} does not fit {type(module).__name__}: {'; '.join(faults)}.{advice}")
    module.load_state_dict(state, strict=False)


def few(names: Sequence[Any] | Mapping[Any, Any]) -> str:
    """The first few of many names, for a message."""
    first = list(names)[:3]
    return ", ".join(map(str, first)) + (", ..." if len(names) > len(first) else "")


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _no_state_dict(path, f"it is damaged ({error})") from error


def _torch_saved(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # the unpickler meets damage in its own ways: KeyError, EOFError, RuntimeError, ...
        if "TorchScript" in str(error):
            raise _no_state_dict(path, "it is a TorchScript archive") from error
        if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error):
            raise _no_state_dict(path, "it holds pickled Python objects, which could run any code") from error
        raise _no_state_dict(path, "it is damaged, or torch.save did not write it") from error


def _no_state_dict(path: Path, came: str) -> ModelError:
    return ModelError(
        f"{path} must hold a state dict, tensors only; {came}: "
        "save one with torch.save(model.state_dict(), 'weights.pt')."
    )
