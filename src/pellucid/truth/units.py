"""Units: a picture, a class, and where the evidence for it lies, shown by taking elements away."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine.progress import showing
from pellucid.model import Model
from pellucid.truth.scenes import Scene, render
from pellucid.truth.tasks import Task, as_inputs, task_of
from pellucid.truth.training import scores

ALONE = 2.5
"""How many times as much as any other element the one that carries a decision must drop the score."""

LEAST = 1.0
"""By how many logits taking the evidence away must drop the score."""

SPREAD = 0.35
"""The most that one element of a diffuse decision may drop, as a share of what all elements together drop."""

SHARED = 1.5
"""How many times as much as another small element one of a diffuse decision may drop."""

MOST = 20
"""How many scenes are looked at for each unit wanted, at most."""

_TOGETHER = 4  # scenes scored in one run

SMALL = 0.25
"""The share of the picture below which an element is a place."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One decision about one picture.

    Attributes:
        task: what it belongs to.
        number: of the scene.
        inputs: (C, H, W), the model's input.
        target: the class whose score is explained.
        truth: (H, W), where the evidence lies; None where it is diffuse.
        drops, margin_drops: what the target's score, and its margin (the score less the log-sum-exp of the
            others), fall by when each element is rendered away.
        carrier: the element that carries the decision; None where it is diffuse.
        scene: the picture and its elements.
        scores: (K,), of the picture.
        rival: another class, whose evidence lies elsewhere: a map for it is wrong for the target.
    """

    task: str
    number: int
    inputs: Float[Tensor, "C H W"]
    target: int
    truth: Bool[Tensor, "H W"] | None
    drops: tuple[float, ...]
    margin_drops: tuple[float, ...]
    carrier: int | None
    scene: Scene
    scores: Float[Tensor, " K"]
    rival: int

    @property
    def decoys(self) -> list[int]:
        """The elements that do not carry the decision."""
        return [index for index in range(len(self.scene.elements)) if index != self.carrier]


class Units(list[Unit]):
    """Units, and out of how many scenes they were chosen.

    Attributes:
        seen: scenes that were looked at.
        right: those whose classes the network gave the highest scores.
        decisions: of these, one for each class that was drawn.
        Their own number is how many were valid: how they were decided could be shown.
    """

    def __init__(
        self, found: Iterable[Unit] = (), *, seen: int = 0, right: int = 0, decisions: int = 0
    ) -> None:
        super().__init__(found)
        self.seen, self.right, self.decisions = seen, right, decisions


def units(task: Task | str, count: int, seed: int = 0, *, progress: bool | None = None) -> Units:
    """The first `count` valid units of a task's scenes; fewer if MOST times as many scenes have no more.

    A unit of a localised task is valid if one element carries the decision, of another if it is diffuse: see
    `carrier` and `is_diffuse`. The same seed gives the same units, however many.

    Args:
        task: or its name.
        count: how many.
        seed: draws the scenes.
        progress: whether a bar is shown; None in a terminal or notebook.

    Raises:
        NotFound: no task has that name.
    """
    task = task_of(task)
    model = task.subject(progress=progress).model
    found = Units()
    with showing(f"looking for {count} units of {task.name}", count, progress) as bar:
        for start in range(0, MOST * count, _TOGETHER):
            numbers = range(start, start + _TOGETHER)
            scenes = [task.scene(seed, number) for number in numbers]
            for number, scene, scored in zip(numbers, scenes, intervene(model, scenes), strict=True):
                if len(found) == count:
                    return found
                found.seen += 1
                targets = task.targets(scored.whole, scene)
                found.right += len(targets) > 0
                found.decisions += len(targets)
                for target in targets[: count - len(found)]:
                    unit = _unit(task, model, number, scene, scored, target)
                    if unit is not None:
                        found.append(unit)
                        bar.advance(1)
    return found


def _unit(
    task: Task, model: Model, number: int, scene: Scene, scored: "Interventions", target: int
) -> Unit | None:
    """What is known of a decision, if how it was made could be shown."""
    index = carrier(scored, target) if task.localised else None
    areas = [float(scene.mask(i).mean()) for i in range(len(scene.elements))]
    if index is None and (task.localised or not is_diffuse(scored, target, areas)):
        return None
    return Unit(
        task=task.name,
        number=number,
        inputs=as_inputs(model, render(scene)),
        target=target,
        truth=None if index is None else torch.from_numpy(scene.region(index)),
        drops=tuple(scored.drops(target).tolist()),
        margin_drops=tuple(scored.margin_drops(target).tolist()),
        carrier=index,
        scene=scene,
        scores=scored.whole,
        rival=task.rival(scored.whole, scene, target),
    )


@dataclass(frozen=True)
class Interventions:
    """The scores of a scene, whole and with elements away.

    Attributes:
        whole: (K,).
        without: (E, K), one row for each element that is away.
        empty: (K,), with all of them away.
    """

    whole: Float[Tensor, " K"]
    without: Float[Tensor, "E K"]
    empty: Float[Tensor, " K"]

    def drops(self, target: int) -> Float[Tensor, " E"]:
        """What the target's score falls by when each element is away."""
        return self.whole[target] - self.without[:, target]

    def margin_drops(self, target: int) -> Float[Tensor, " E"]:
        """The same of its margin: its score less the log-sum-exp of all others."""
        return _margin(self.whole[None], target) - _margin(self.without, target)

    def total(self, target: int) -> float:
        """What its score falls by when all elements are away."""
        return float(self.whole[target] - self.empty[target])


def _margin(scores: Float[Tensor, "E K"], target: int) -> Float[Tensor, " E"]:
    others = torch.cat([scores[:, :target], scores[:, target + 1 :]], 1)
    return scores[:, target] - others.logsumexp(1)


def intervene(model: Model, scenes: Sequence[Scene]) -> list[Interventions]:
    """Scores scenes whole, without each element, and without all, in one run."""
    pictures, counts = [], []
    for scene in scenes:
        every = range(len(scene.elements))
        pictures += [render(scene), *(render(scene, [index]) for index in every), render(scene, every)]
        counts.append(len(every) + 2)
    found = scores(model.module, as_inputs(model, np.stack(pictures))).split(counts)
    return [Interventions(rows[0], rows[1:-1], rows[-1]) for rows in found]


def carrier(found: Interventions, target: int) -> int | None:
    """The element that alone carries the decision for a class, if one does.

    Without it the score falls by more than LEAST, and by more than ALONE times what it falls by without any
    other; the margin falls most without it too.

    Example:
        >>> away = torch.tensor([[1.0, 0.0], [4.5, 0.0], [5.0, 0.0]])
        >>> carrier(Interventions(torch.tensor([5.0, 0.0]), away, torch.zeros(2)), 0)
        0
    """
    drops = found.drops(target)
    best = int(drops.argmax())
    others = torch.cat([drops[:best], drops[best + 1 :]])
    next_best = float(others.max().clamp(min=0)) if len(others) else 0.0
    alone = float(drops[best]) > max(LEAST, ALONE * next_best)
    return best if alone and int(found.margin_drops(target).argmax()) == best else None


def is_diffuse(found: Interventions, target: int, areas: Sequence[float]) -> bool:
    """Whether no small element carries the decision for a class, and something does.

    Small is what covers less than SMALL of the picture. Without all elements, or without one, the score
    falls by more than LEAST; without any small one by no more than SPREAD of what it falls by without all,
    or by no more than SHARED times what it falls by without another small one.

    Args:
        found: the scores.
        target: the class.
        areas: the share of the picture that each element covers.

    Example:
        >>> away = torch.tensor([[3.0, 0.0], [2.5, 0.0], [5.0, 0.0]])
        >>> is_diffuse(Interventions(torch.tensor([5.0, 0.0]), away, torch.zeros(2)), 0, [0.1, 0.1, 0.1])
        True
    """
    every = found.drops(target)
    drops = every[torch.tensor([area < SMALL for area in areas], dtype=torch.bool, device="cpu")]
    total = found.total(target)
    if max(total, float(every.max())) <= LEAST:
        return False
    most, next_most = [*sorted(map(float, drops), reverse=True), 0.0, 0.0][:2]
    return most <= SPREAD * total or most <= SHARED * next_most
