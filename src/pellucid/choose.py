"""The verb `choose`: which method suits a model, from a handful of pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.choice import Candidate, Choice
from pellucid.compare import DEFAULT_METHODS, compare
from pellucid.errors import InvalidValue, PellucidError
from pellucid.evaluate import picture_sources
from pellucid.fingerprint import fingerprint
from pellucid.intervals import bootstrap, paired
from pellucid.model import Model
from pellucid.options.written import plain
from pellucid.request import Request
from pellucid.target import Target
from pellucid.verdict import Verdict


def choose(
    model: Model | nn.Module | Callable[[Tensor], Any],
    images: Any,
    methods: str | Sequence[str | tuple[str, Mapping[str, Any]]] = DEFAULT_METHODS,
    *,
    target: Target = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    progress: bool | None = None,
    budget: str | int | None = None,
) -> Choice:
    """Finds out which method suits a model, from interventions on a handful of pictures.

    Decisions that have no place do not count, as no map can be right about them.

    Args:
        model: a `Model`, any `nn.Module`, or a callable (N, C, H, W) -> (N, K).
        images: as for `explain`.
        methods: names with options, "smooth-grad:samples=20", or (name, options).
        target: one for all pictures; None for the class each is predicted as.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        progress: as for `explain`.
        budget: as for `compare`, for each picture.

    Returns:
        A `Choice`; `.save("choice.json")` keeps it for `explain(method="auto", choice="choice.json")`.

    Raises:
        InvalidValue: no picture has a decision with a place.
        PellucidError: what `compare` raises, if it does for every picture.

    Cost:
        For each picture the methods, and 123 or 243 forward passes for all of them.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2, bias=False))
        >>> weight = torch.zeros(2, 3, 16, 16)
        >>> weight[0, :, 3:6, 9:12] = 1.0
        >>> net[1].weight.data = weight.flatten(1)
        >>> x = torch.rand(2, 3, 16, 16) + 1
        >>> x[:, :, 3:6, 9:12] += 2
        >>> choose(net, x, ["saliency", "input-x-gradient"], target=0, progress=False).chosen.method
        'input-x-gradient'
    """
    wrapped = Model.wrap(model)
    requests = Request.several(methods)
    asked = [(request.method.name, request.given) for request in requests]
    verdicts: list[Verdict] = []
    seconds: dict[str, list[float]] = {request.title: [] for request in requests}
    errors: list[PellucidError] = []
    for _, source in picture_sources(images):
        try:
            found = compare(
                wrapped, source, asked, target=target, seed=seed, batch_size=batch_size, progress=progress,
                budget=budget,
            )  # fmt: skip
        except PellucidError as error:
            errors.append(error)
            continue
        verdicts += found.verdicts
        for entry in found.entries:
            seconds[entry.title].append(entry.explanation.cost.seconds)
    if not verdicts and errors:
        raise errors[0]
    placed = [verdict for verdict in verdicts if verdict.localised]
    if not placed:
        raise InvalidValue(
            f"There must be a picture whose decision has a place; of {len(verdicts)} none has: "
            f"{verdicts[0].why if verdicts else 'nothing could be judged'}."
        )
    return Choice(
        wrapped.name,
        fingerprint(wrapped),
        _candidates(requests, placed, seconds),
        len(placed),
        len(verdicts) - len(placed),
    )


def _candidates(
    requests: Sequence[Request], verdicts: Sequence[Verdict], seconds: Mapping[str, Sequence[float]]
) -> tuple[Candidate, ...]:
    """Every method that explained some picture, best q first."""
    told = [{one.title: one for one in verdict.maps} for verdict in verdicts]
    known = [request for request in requests if any(request.title in maps for maps in told)]
    rows = {
        request.title: torch.tensor(
            [maps[request.title].q if request.title in maps else torch.nan for maps in told],
            dtype=torch.float64,
            device="cpu",
        )
        for request in known
    }
    means = {title: bootstrap(row).mean or 0.0 for title, row in rows.items()}
    best = max(means, key=lambda title: means[title])
    # An interval and no test: of four pictures no test says anything, however far apart two methods are.
    gaps = {title: paired(row, rows[best])[0] for title, row in rows.items()}
    beaten = {title for title, gap in gaps.items() if gap.high is not None and gap.high < 0}
    found = []
    for request in known:
        maps = [one[request.title] for one in told if request.title in one]
        taken = seconds[request.title]
        found.append(
            Candidate(
                request.title,
                request.method.name,
                {name: plain(value) for name, value in request.given.items()},
                bootstrap(rows[request.title]),
                sum(one.state == "supported" for one in maps) / len(maps),
                sum(taken) / max(1, len(taken)),
                maps[0].passes,
                request.title in beaten,
            )
        )
    return tuple(sorted(found, key=lambda one: -(one.q.mean or 0.0)))
