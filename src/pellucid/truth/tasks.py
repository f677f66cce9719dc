"""The tasks: networks that decide about scenes, in two halves, one to set thresholds and one to report on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import NotFound
from pellucid.model import Model
from pellucid.models import load
from pellucid.preprocess import Preprocess
from pellucid.truth.kinds import CLASSES, KINDS
from pellucid.truth.pasting import SYNTHETIC, Pasting, cutouts
from pellucid.truth.scenes import Scene
from pellucid.truth.training import UNITS, Recipe, right, trained

Half = Literal["development", "held-out"]
"""What a task is for: thresholds are set on those of the first half, and reported on those of the other."""

RANKS = 5
"""A pasted object counts as seen if one of its classes is among so many."""


@dataclass(frozen=True)
class Subject:
    """A network that is ready to be explained.

    Attributes:
        model: it.
        accuracy: on scenes it was not trained on; None of a network that was trained on photographs.
        enough: whether that is high enough to ask what it goes by.
    """

    model: Model
    accuracy: float | None = None
    enough: bool = True


@runtime_checkable
class Task(Protocol):
    """Scenes and a network that decides about them."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def half(self) -> Half:
        """What it is for."""

    @property
    def localised(self) -> bool:
        """Whether the evidence for each decision lies in one place."""

    def subject(self, *, progress: bool | None = None) -> Subject:
        """Its network, trained now if the cache does not have it."""

    def scene(self, seed: int, number: int) -> Scene:
        """A scene to explain."""

    def targets(self, scores: Float[Tensor, " K"], scene: Scene) -> Sequence[int]:
        """The classes that the scene was drawn for and that the network sees; none if it sees another."""

    def rival(self, scores: Float[Tensor, " K"], scene: Scene, target: int) -> int:
        """Another class, whose evidence, if there is any, lies elsewhere."""


@dataclass(frozen=True)
class SceneTask:
    """A small network and the scenes it was trained on."""

    half: Half
    recipe: Recipe

    @property
    def name(self) -> str:
        """Kind and network."""
        return f"{self.recipe.kind}-{self.recipe.network}"

    @property
    def localised(self) -> bool:
        """What the kind says."""
        return KINDS[self.recipe.kind].localised

    def subject(self, *, progress: bool | None = None) -> Subject:
        """The network, trained now if the cache does not have it."""
        found = trained(self.recipe, progress=progress)
        return Subject(found.model(self.name), found.accuracy, found.enough)

    def scene(self, seed: int, number: int) -> Scene:
        """A scene that the network was neither trained on nor tested with."""
        return KINDS[self.recipe.kind].scene(UNITS, seed, number)

    def targets(self, scores: Float[Tensor, " K"], scene: Scene) -> Sequence[int]:
        """The scene's labels, if they have the highest scores."""
        wanted = torch.zeros(1, CLASSES, dtype=torch.bool, device="cpu")
        wanted[0, list(scene.labels)] = True
        return scene.labels if bool(right(scores[None], wanted)) else ()

    def rival(self, scores: Float[Tensor, " K"], scene: Scene, target: int) -> int:
        """The other class of the highest score."""
        return int(_without(scores, [target]).argmax())


@dataclass(frozen=True)
class PastedTask:
    """EfficientNet-Lite0, and objects pasted into photographs."""

    half: Half
    pasting: Pasting
    localised: bool = True

    @property
    def name(self) -> str:
        """The half is its name."""
        return f"pasted-{self.half}"

    def subject(self, *, progress: bool | None = None) -> Subject:
        """The embedded model."""
        return Subject(_photograph_model())

    def scene(self, seed: int, number: int) -> Scene:
        """An object among others, in a photograph."""
        return self.pasting.scene(seed, number)

    def targets(self, scores: Float[Tensor, " K"], scene: Scene) -> Sequence[int]:
        """Of the object's classes the one of the highest score, if that is among the highest RANKS."""
        best = max(_classes(scene.elements[0].name), key=lambda index: float(scores[index]))
        return [best] if int((scores > scores[best]).sum()) < RANKS else ()

    def rival(self, scores: Float[Tensor, " K"], scene: Scene, target: int) -> int:
        """Of the classes of the objects beside it the likeliest; if they have none, of all others."""
        own = _classes(scene.elements[0].name)
        beside = {index for element in scene.elements[1:] for index in _classes(element.name)} - set(own)
        if beside:
            return max(sorted(beside), key=lambda index: float(scores[index]))
        return int(_without(scores, own).argmax())


def as_inputs(model: Model, pictures: UInt8[NDArray[np.uint8], "*N H W 3"]) -> Float[Tensor, "*N 3 H W"]:
    """Pictures of a model's own size as its inputs: scaled and normalised, nothing resized."""
    if not isinstance(model.preprocess, Preprocess):
        raise TypeError("the models of tasks have a Preprocess")
    values = torch.from_numpy(np.moveaxis(pictures, -1, -3).copy()).float() / 255
    mean, std = (
        torch.tensor(v, dtype=torch.float32, device="cpu")[:, None, None]
        for v in (model.preprocess.mean, model.preprocess.std)
    )
    return (values - mean) / std


def task_of(task: Task | str) -> Task:
    """A task, or the one of a name.

    Raises:
        NotFound: there is none.
    """
    if not isinstance(task, str):
        return task
    if task not in TASKS:
        raise NotFound(f"task must be one of {', '.join(TASKS)}; got {task!r}.")
    return TASKS[task]


def chosen_tasks(names: Sequence[str] | None = None) -> list[Task]:
    """The tasks of some names, or of a half by its name; all by default, in their own order.

    Raises:
        NotFound: a name that is neither.

    Example:
        >>> [task.name for task in chosen_tasks(["two-depthwise", "glyph-plain"])]
        ['glyph-plain', 'two-depthwise']
    """
    halves = get_args(Half)
    for name in names or ():
        if name not in halves:
            task_of(name)
    return [task for task in TASKS.values() if not names or task.name in names or task.half in names]


@cache
def _photograph_model() -> Model:
    return load()


@cache
def _classes(name: str) -> tuple[int, ...]:
    model = _photograph_model()
    return tuple(model.class_index(label) for label in cutouts()[name].classes)


def _without(scores: Float[Tensor, " K"], classes: Sequence[int]) -> Float[Tensor, " K"]:
    return scores.index_fill(0, torch.tensor(classes, dtype=torch.long, device="cpu"), -torch.inf)


_DEVELOPMENT = Pasting(
    objects=("cat", "cup", "saucer"),
    beside=("coin", "face", "motorcycle", "shuttle"),
    behind=("coins", "camera", "rocket", SYNTHETIC),
)
_HELD_OUT = Pasting(
    objects=("shuttle", "helmet", "photographer", "motorcycle"),
    beside=("coin", "face", "cat", "cup"),
    behind=("coins", "coffee", "cat", "motorcycle", "astronaut", SYNTHETIC),
)
_TASKS: Sequence[Task] = (
    SceneTask("development", Recipe("glyph", "plain")),
    SceneTask("development", Recipe("glyph", "residual")),
    SceneTask("development", Recipe("shortcut", "plain")),
    SceneTask("development", Recipe("two", "depthwise")),
    SceneTask("development", Recipe("texture", "plain")),
    SceneTask("development", Recipe("count", "residual")),
    PastedTask("development", _DEVELOPMENT),
    SceneTask("held-out", Recipe("glyph", "depthwise")),
    SceneTask("held-out", Recipe("glyph", "attention", steps=500, rate=1e-3)),
    SceneTask("held-out", Recipe("shortcut", "residual")),
    SceneTask("held-out", Recipe("ignored", "plain")),
    SceneTask("held-out", Recipe("two", "residual")),
    SceneTask("held-out", Recipe("patch", "plain")),
    SceneTask("held-out", Recipe("texture", "depthwise")),
    SceneTask("held-out", Recipe("tiles", "plain")),
    PastedTask("held-out", _HELD_OUT),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}
"""By name."""
