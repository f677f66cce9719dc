"""The verb `compare`: several methods, targets and models over the same pictures, evidence shared."""

import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.agreement import agreement
from pellucid.engine.cost import Cost
from pellucid.engine.precision import Precision
from pellucid.entries import Entry, Refusal
from pellucid.errors import InvalidValue, PellucidError
from pellucid.explain import Explained, explain_all
from pellucid.explanation import Explanation
from pellucid.files import save_by_suffix
from pellucid.model import Model
from pellucid.render.views import sheet
from pellucid.report import render
from pellucid.request import Request
from pellucid.target import Output, Target

DEFAULT_METHODS = (
    "grad-cam",
    "grad-cam++",
    "layer-cam",
    "eigen-cam",
    "saliency",
    "input-x-gradient",
    "smooth-grad",
)
"""What is compared unless asked otherwise: the CAMs people use, and two views of the input's gradient."""


@dataclass(frozen=True)
class Comparison:
    """Explanations of the same pictures, side by side.

    Attributes:
        entries: in the order asked: models, then targets, then methods.
        refusals: methods that could not explain a model, or an image, which is named; and why.
        cost: what was really run; evidence that methods share is counted once.
        left_out: what is not in the grid, whose rows are the images that all its methods explained: the
            explanations of other images, each by the methods that could.
        images: which of the images asked about are the rows of the grid, counted from 0.
    """

    entries: tuple[Entry, ...]
    refusals: tuple[Refusal, ...]
    cost: Cost
    left_out: tuple[Entry, ...] = ()
    images: tuple[int, ...] = ()

    @property
    def explanations(self) -> list[Explanation]:
        """The explanations, in the order asked."""
        return [entry.explanation for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def agreement(self, index: int = 0, *, magnitudes: bool = False) -> Float[Tensor, "M M"]:
        """How alike the maps of one picture are, in [-1, 1]: see `pellucid.agreement.agreement`.

        Args:
            index: which picture.
            magnitudes: whether each pixel's evidence counts without its sign: a map and its negative then
                agree.
        """
        return agreement(self.explanations, index, magnitudes=magnitudes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a grid (.png) or a self-contained page (.html), whole or not at all.

        Raises:
            InvalidValue: another suffix.
            FileMissing: the folder does not exist.
        """
        return save_by_suffix(path, {".png": self._draw, ".html": self._report})

    def _draw(self, file: Path) -> None:
        sheet([e.panels() for e in self.explanations]).save(file, "PNG")

    def _report(self, file: Path) -> None:
        file.write_text(render(self.entries, self.refusals, self.cost), encoding="utf-8")


def compare(
    model: Model | nn.Module | Callable[[Tensor], Any] | Sequence[Model | nn.Module],
    images: Any,
    methods: Sequence[str | tuple[str, Mapping[str, Any]]] = DEFAULT_METHODS,
    *,
    target: Target = None,
    targets: Sequence[Target] | None = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    progress: bool | None = None,
    forward_kwargs: Mapping[str, Any] | None = None,
) -> Comparison:
    """Explains the same images by several methods, for one or more targets and models.

    Args:
        model: one model, or several.
        images: as for `explain`; each model prepares them in its own way.
        methods: names with options, "smooth-grad:samples=20", or (name, options).
        target: as for `explain`; `targets`, a list, asks for several.
        targets: see `target`.
        output: as for `explain`, and so are `seed`, `batch_size`, `precision`,
            `progress` and `forward_kwargs`.
        seed: see `output`.
        batch_size: see `output`.
        precision: see `output`.
        progress: see `output`.
        forward_kwargs: see `output`.

    Returns:
        A `Comparison`; a method that cannot explain a model, or an image, is in its `refusals`. An image that
        some method cannot explain is not in the grid, but the other methods' results are kept, `left_out`.

    Raises:
        PellucidError: what `explain` raises, if no method could explain any model.

    Cost:
        One forward pass per image and model for all methods that read the image itself, and one backward
        pass per target; each sampled method its own.

    Example:
        >>> import torch
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> c = compare(net, torch.rand(1, 3, 9, 9), ["grad-cam", "hirescam", "saliency"])
        >>> len(c), c.cost.forward, c.cost.backward
        (3, 1, 1)
    """
    requests = [Request.of(m) if isinstance(m, str) else Request.of(*m) for m in methods]
    if not requests:
        raise InvalidValue("methods must name at least one method; got none.")
    models = _told_apart([Model.wrap(m) for m in (model if isinstance(model, (list, tuple)) else [model])])
    refusals: list[Refusal] = []
    errors: list[PellucidError] = []
    found: list[Explained] = []
    spent = Cost()
    for one in models:
        outcomes, cost = explain_all(
            one,
            one.read(images, forward_kwargs),
            requests,
            [target] if targets is None else targets,
            output=output,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
            progress=progress,
        )
        spent += cost
        for outcome in outcomes:
            title = outcome.request.title
            if isinstance(outcome.answer, PellucidError):
                refusals.append(Refusal(title, one.name, str(outcome.answer)))
                errors.append(outcome.answer)
            else:
                found.append(outcome)
                refusals += [
                    Refusal(title, one.name, f"Image {image}: {error}")
                    for image, error in outcome.failures.items()
                ]
    if not found:
        raise errors[0]
    rows, entries, left_out = _in_rows(found)
    return Comparison(tuple(entries), tuple(refusals), spent, tuple(left_out), tuple(sorted(rows)))


def _in_rows(outcomes: Sequence[Explained]) -> tuple[set[int], list[Entry], list[Entry]]:
    """Images that all methods explain, what explains them, and what explains the rest.

    A method that would leave no image is left out itself.
    """
    rows, asked = set(outcomes[0].images) | set(outcomes[0].failures), set[int]()
    for i in sorted(range(len(outcomes)), key=lambda i: len(outcomes[i].failures)):
        if rows - set(outcomes[i].failures):
            rows -= set(outcomes[i].failures)
            asked.add(i)
    entries: list[Entry] = []
    left_out: list[Entry] = []
    for i, outcome in enumerate(outcomes):
        answer, title = outcome.answer, outcome.request.title
        if isinstance(answer, PellucidError):
            continue
        here = [at for at, image in enumerate(outcome.images) if i in asked and image in rows]
        there = [at for at in range(len(outcome.images)) if at not in here]
        if here:
            entries.append(Entry(title, answer[here] if there else answer))
        if there:
            left_out.append(Entry(title, answer[there] if here else answer))
    return rows, entries, left_out


def _told_apart(models: Sequence[Model]) -> list[Model]:
    """The models; those that share a name get a number behind it, so that results can be told apart."""
    names = [model.name for model in models]
    apart = []
    for i, model in enumerate(models):
        if names.count(model.name) > 1:
            model = copy(model)
            model.name = f"{model.name} ({names[: i + 1].count(model.name)})"
        apart.append(model)
    return apart
