"""Model files: weights with what is needed to use them, in one .safetensors file.

The metadata's entry `pellucid` holds, as JSON, the architecture, the preprocessing, the class names, and how
the network was trained.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pellucid.errors import FileMissing, InvalidType, InvalidValue, ModelError
from pellucid.files import save_by_suffix
from pellucid.model import Model
from pellucid.networks.architectures import ARCHITECTURES, build
from pellucid.preprocess import Preprocess
from pellucid.weights import fill, read_weights

SUFFIX = ".safetensors"
KEY = "pellucid"
"""Of the metadata's entry."""

VERSION = 1
_WRITTEN_BY = "which `pellucid train` writes"


@dataclass(frozen=True)
class ModelRecord:
    """What a model file says besides the weights.

    Attributes:
        architecture: a name in `ARCHITECTURES`.
        preprocess: how a picture becomes an input.
        labels: one name for each class.
        training: what the network was trained on, how, and how often it was right; for people to read.
    """

    architecture: str
    preprocess: Preprocess
    labels: tuple[str, ...]
    training: Mapping[str, Any] = field(default_factory=dict)

    def model(self, module: nn.Module, name: str) -> Model:
        """A network of this architecture as a model."""
        return Model(module, preprocess=self.preprocess, labels=list(self.labels), name=name)

    def to_json(self) -> str:
        """The metadata's entry."""
        return json.dumps({"version": VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "ModelRecord":
        """The inverse of `to_json`.

        Raises:
            ModelError: of a newer version, or of an architecture that is not known.
            KeyError, TypeError, ValueError: not what `to_json` wrote.
        """
        stored = json.loads(text)
        if stored["version"] > VERSION:
            raise ModelError(f"it is of version {stored['version']}, and this Pellucid reads {VERSION}")
        if stored["architecture"] not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ModelError(f"its architecture is {stored['architecture']!r}; known are {known}")
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored["preprocess"].items()
        }
        return cls(
            stored["architecture"],
            Preprocess(**settings),
            tuple(map(str, stored["labels"])),
            dict(stored["training"]),
        )


def save_model(path: str | Path, module: nn.Module, record: ModelRecord) -> Path:
    """Writes a network as a model file, whole or not at all; `pellucid.load` reads it.

    Args:
        path: a file whose name ends in .safetensors.
        module: a network of the record's architecture.
        record: what the file says besides its weights.

    Raises:
        InvalidValue: another suffix.
        NotWritten: the file cannot be written there.
    """
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}

    def write(file: Path) -> None:
        save_file(state, file, {"format": "pt", KEY: record.to_json()})

    return save_by_suffix(path, {SUFFIX: write})


def read_record(path: str | Path) -> ModelRecord:
    """What a model file says besides its weights.

    Raises:
        FileMissing: there is no such file.
        ModelError: it is damaged, holds weights alone, or a network that is not known.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileMissing(f"There is no model file {path}.")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} must be a model file, {_WRITTEN_BY}; it is damaged ({error}).") from error
    if text is None:
        raise ModelError(
            f"{path} must be a model file, {_WRITTEN_BY}; it does not say which network its weights are of: "
            f"name that one, and pass the file as weights={path.name!r} (--weights {path.name})."
        )
    try:
        return ModelRecord.from_json(text)
    except ModelError as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    except (KeyError, TypeError, ValueError, InvalidType, InvalidValue, AttributeError) as error:
        raise ModelError(f"{path} must be a model file, {_WRITTEN_BY}; its metadata is damaged.") from error


def read_model(path: str | Path, pretrained: bool = True) -> Model:
    """The model in a file; with `pretrained=False` its architecture, untrained.

    Raises:
        FileMissing, ModelError: see `read_record`; or the weights are of another network.
    """
    record = read_record(path)
    module = build(record.architecture, len(record.labels))
    if pretrained:
        fill(module, read_weights(path), path)
    return record.model(module, Path(path).name)
