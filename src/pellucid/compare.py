"""The verb `compare`: several methods, targets and models over the same pictures, evidence shared."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from torch import Tensor, nn

from pellucid.alteration import Alteration
from pellucid.altering import alter_all
from pellucid.budget import Budget
from pellucid.comparison import Comparison
from pellucid.engine.cost import Cost
from pellucid.engine.precision import Precision
from pellucid.entries import Entry, Refusal
from pellucid.errors import InvalidValue, PellucidError, short_traceback
from pellucid.explain import Explained, explain_all
from pellucid.fitting import within_budget
from pellucid.judge import judge_all
from pellucid.model import Model
from pellucid.remarks import by_text
from pellucid.request import Request
from pellucid.target import Output, Target
from pellucid.verdict import Verdict

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


@short_traceback
def compare(
    model: Model | nn.Module | Callable[[Tensor], Any] | Sequence[Model | nn.Module],
    images: Any,
    methods: str | Sequence[str | tuple[str, Mapping[str, Any]]] = DEFAULT_METHODS,
    *,
    target: Target = None,
    targets: Sequence[Target] | None = None,
    output: Output | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    progress: bool | None = None,
    forward_kwargs: Mapping[str, Any] | None = None,
    verdict: bool = True,
    budget: str | int | None = None,
    curves: bool = False,
) -> Comparison:
    """Explains the same images by several methods, for one or more targets and models.

    Args:
        model: one model, or several.
        images: as for `explain`; each model prepares them in its own way.
        methods: names with options, "smooth-grad:samples=20", or (name, options); a single name is one.
        target: as for `explain`; `targets`, a list, asks for several.
        targets: see `target`.
        output: as for `explain`, and so are `seed`, `batch_size`, `precision`,
            `progress` and `forward_kwargs`.
        seed: see `output`.
        batch_size: see `output`.
        precision: see `output`.
        progress: see `output`.
        forward_kwargs: see `output`.
        verdict: whether the maps are judged by interventions, which all maps of a picture share: see
            `Verdict`.
        budget: "60s", "2min", or a number of passes, for each picture, target and model. Within a budget
            interventions go on for maps that are still undecided; methods that would take longer than the
            seconds there are, by an estimate, are left out and say so. None is every method that was asked
            for, and 240 interventions at most.
        curves: whether deletion and insertion are made of every map, for the report to show with the altered
            picture; the metrics of these names say how.

    Returns:
        A `Comparison`; a method that cannot explain a model, or an image, is in its `refusals`. An image that
        some method cannot explain is not in the grid, but the other methods' results are kept, `left_out`.

    Raises:
        PellucidError: what `explain` raises, if no method could explain any model.

    Cost:
        One forward pass per image and model for all methods that read the image itself, and one backward
        pass per target; each sampled method its own. The verdicts cost 123 or 243 forward passes for each
        model, target and image: `Verdict.cost`. Curves cost 58 forward passes for each map.

    Example:
        >>> import torch
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> c = compare(net, torch.rand(1, 3, 9, 9), ["grad-cam", "hirescam", "saliency"])
        >>> len(c), c.cost.forward, c.cost.backward
        (3, 1, 1)
    """
    asked = [methods] if isinstance(methods, str) else methods
    requests = [Request.of(m) if isinstance(m, str) else Request.of(*m) for m in asked]
    if not requests:
        raise InvalidValue("methods must name at least one method; got none.")
    models = _numbered([Model.wrap(m) for m in (model if isinstance(model, (list, tuple)) else [model])])
    refusals: list[Refusal] = []
    errors: list[PellucidError] = []
    found: list[Explained] = []
    verdicts: list[Verdict] = []
    unjudged: list[str] = []
    altered: list[Alteration] = []
    spent = Cost()
    allowed = Budget.of(budget)
    asked_about = [target] if targets is None else targets
    for one in models:
        batch = one.read(images, forward_kwargs)
        fitting, over = within_budget(one, batch, requests, len(asked_about), allowed)
        refusals += [Refusal(request.title, one.name, why) for request, why in over]
        outcomes, cost = explain_all(
            one,
            batch,
            fitting,
            asked_about,
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
                failed = [(str(error), batch.pictures[i].name) for i, error in outcome.failures.items()]
                refusals += [
                    Refusal(title, one.name, f"{names}: {text}") for text, names in by_text(failed).items()
                ]
        if verdict:
            judged, without = judge_all(
                one, batch, outcomes, asked_about,
                output=output, seed=seed, batch_size=batch_size, budget=allowed, progress=progress,
            )  # fmt: skip
            verdicts += judged
            unjudged += without
        if curves:
            made, without = alter_all(
                one, batch, outcomes, asked_about,
                output=output, seed=seed, batch_size=batch_size, progress=progress,
            )  # fmt: skip
            altered += made
            unjudged += without
    if not found:
        raise errors[0]
    rows, entries, left_out = _in_rows(found)
    return Comparison(
        tuple(entries),
        tuple(refusals),
        spent,
        tuple(left_out),
        tuple(sorted(rows)),
        tuple(verdicts),
        tuple(unjudged),
        tuple(altered),
    )


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


def _numbered(models: Sequence[Model]) -> list[Model]:
    """The models; those that share a name get a number behind it, so that results can be told apart."""
    names = [model.name for model in models]
    apart = []
    for i, model in enumerate(models):
        if names.count(model.name) > 1:
            model = copy(model)
            model.name = f"{model.name} ({names[: i + 1].count(model.name)})"
        apart.append(model)
    return apart
