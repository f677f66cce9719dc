"""How a worker gets its model, wherever it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from pellucid.model import Model
from pellucid.models import load


@dataclass(frozen=True)
class ModelSource:
    """What loads a model, and what it is called.

    Attributes:
        load: gives the model.
        spec: the text that names it, as `pellucid.load` takes; None for one from Python.
        options: what the command line was given besides, by name.
    """

    load: Callable[[], Model]
    spec: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: "Model | nn.Module | Callable[[Tensor], Any] | str | ModelSource") -> "ModelSource":
        """From whatever `pellucid.run` takes as a model."""
        if isinstance(model, ModelSource):
            return model
        if isinstance(model, str):
            return cls(partial(load, model), model)
        return cls(partial(itself, Model.wrap(model)))


def itself(model: Model) -> Model:
    """The model, as what loads it."""
    return model
