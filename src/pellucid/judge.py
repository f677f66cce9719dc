"""Judging maps by interventions, in rounds, until each is decided or the budget is spent."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.attribute import attribute, some_targets
from pellucid.budget import Budget
from pellucid.engine.chunks import gradient_batch_limit
from pellucid.engine.cost import Cost
from pellucid.engine.mixing import SamplesMix
from pellucid.engine.progress import showing
from pellucid.engine.run import Engine
from pellucid.errors import ModelError, PellucidError
from pellucid.explain import Explained, at_input
from pellucid.explanation import Explanation
from pellucid.images import Batch
from pellucid.metrics.floors import floors
from pellucid.metrics.grid import Grid
from pellucid.metrics.hiding import REPLACEMENTS
from pellucid.metrics.interventions import BLOCK, Interventions, cell_evidence, intervene
from pellucid.model import Model
from pellucid.probe import Probe
from pellucid.ranks import rank_correlation
from pellucid.request import Request
from pellucid.target import Output, Target
from pellucid.verdict.decide import JudgedMap, judge_maps, not_localised, top_overlap
from pellucid.verdict.record import Verdict
from pellucid.verdict.sentences import note, sentences

ROUNDS = (2, 4)
"""Blocks of interventions after which it is asked whether every map is decided, without a budget."""
FURTHER = (8, 16)
"""And with one, which says where to end."""
CHEAP = 4
"""Methods of at most as many passes are asked about another class as well."""
_FLOORS = 1 << 43  # draws of their own
_RESAMPLED = 1 << 44


@dataclass(frozen=True)
class MapOf:
    """A map of one picture: its title, the request that made it, its attribution (D, H, W), its cost."""

    title: str
    request: Request
    attribution: Float[Tensor, "D H W"]
    cost: Cost


def judge(
    model: Model,
    batch: Batch,
    image: int,
    maps: Sequence[MapOf],
    *,
    target: Target = None,
    output: Output = "logit",
    seed: int = 0,
    batch_size: int | str = "auto",
    budget: Budget = Budget(),
    progress: bool | None = None,
) -> Verdict:
    """The verdict on maps of one picture, for one target.

    Args:
        model: the model that was explained.
        batch: the pictures.
        image: which of them.
        maps: the maps to be judged.
        target: as for `explain`, of all pictures.
        output: the number whose drops are predicted; a logit does not saturate as a probability does.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        budget: what may be spent on interventions. Where seconds end it, the rounds made depend on the
            machine; within a round nothing does.
        progress: as for `explain`.

    Raises:
        PellucidError: the model fails on a picture with parts hidden, or gives a score that is not finite.

    Cost:
        123 or 243 forward, however many maps; with a budget up to 963. One forward and backward more where
        there are methods cheap enough to be asked about another class.
    """
    started = time.perf_counter()
    inputs = batch.inputs[image : image + 1]
    asked = some_targets(target, image, image + 1)
    engine = Engine(model, "float32", batch_size, watching=True)
    engine.extras, engine.images = batch.extras, len(batch.inputs)
    limit = gradient_batch_limit(batch_size, model.device)
    rounds = _rounds(budget)
    spent = ""
    with (
        showing("judging", rounds[0] * BLOCK + len(REPLACEMENTS), progress) as engine.progress,
        engine.session(seed),
    ):
        base = Probe(engine, inputs, asked, output, seed=seed, limit=limit, numbers=[image])
        label = base.target_fn.names[0]
        rival = _strongest_other(base)
        family = [base] if rival is None else [base, base.about(rival, output)]
        grid = Grid.over((inputs.shape[-2], inputs.shape[-1]))
        others, other_cost = _other_class(model, batch, image, maps, rival, seed, batch_size)
        judged = [
            JudgedMap(
                one.title,
                cell_evidence(grid, one.attribution[None])[0],
                _passes(one.cost),
                others.get(one.title),
            )
            for one in maps
        ]
        known = {
            name: cell_evidence(grid, map)[0] for name, map in floors(inputs, base.generator(_FLOORS)).items()
        }
        for number, blocks in enumerate(rounds):
            done, *beside = _intervened(family, blocks)
            why = not_localised(done)
            said, levels = judge_maps(
                done,
                judged,
                known,
                beside[0] if beside else None,
                base.generator(_RESAMPLED),
                localised=not why,
            )
            decided = bool(why) and number > 0
            decided |= not why and all(one.state != "undecided" for one in said)
            if decided:
                break
            if number + 1 == len(rounds):
                spent = str(budget) if budget.passes is not None else ""
                break
            if not _affordable(budget, engine, time.perf_counter() - started, rounds[number + 1]):
                spent = str(budget)
                break
    rows = torch.stack([one.evidence for one in judged])
    found = Verdict(
        batch.pictures[image].name,
        label,
        model.name,
        said,
        not why,
        why,
        levels,
        rank_correlation(rows),
        top_overlap(rows),
        done,
        engine.spent + other_cost,
        spent,
    )
    return replace(found, sentences=sentences(found))


def judge_all(
    model: Model,
    batch: Batch,
    outcomes: Sequence[Explained],
    targets: Sequence[Target],
    *,
    output: Output | None = None,
    **settings: Any,
) -> tuple[list[Verdict], list[str]]:
    """The verdicts on what `explain_all` gave, targets in the outer order, and why pictures have none.

    `settings` are `judge`'s: `seed`, `batch_size`, `budget`, `progress`.
    """
    verdicts, without = [], []
    count = len(outcomes) // len(targets)
    for t, target in enumerate(targets):
        some = outcomes[t * count : (t + 1) * count]
        for image in range(len(batch.inputs)):
            maps = [
                MapOf(
                    one.request.title,
                    one.request,
                    one.answer.attribution[one.images.index(image)],
                    one.answer.cost.share(len(one.images)),
                )
                for one in some
                if not isinstance(one.answer, PellucidError) and image in one.images
            ]
            if not maps:
                continue
            try:
                found = judge(model, batch, image, maps, target=target, output=output or "logit", **settings)
            except PellucidError as error:
                without.append(f"{batch.pictures[image].name} has no verdict: {error}")
                continue
            verdicts.append(found)
            _noted(found, some, image)
    return verdicts, without


def _noted(verdict: Verdict, outcomes: Sequence[Explained], image: int) -> None:
    """Lets each explanation know what belongs to it wherever it is shown alone."""
    texts = {one.title: note(verdict, one) for one in verdict.maps}
    for outcome in outcomes:
        if isinstance(outcome.answer, Explanation) and (text := texts.get(outcome.request.title)):
            outcome.answer.notes[outcome.images.index(image)].append(text)


def _intervened(family: Sequence[Probe], blocks: int) -> list[Interventions]:
    """The interventions by the scores of a family of probes; one by one where samples mix."""
    (base, whole), *others = [(probe.one(0), float(probe.score[0])) for probe in family]
    try:
        return intervene(base, whole, blocks, others)
    except SamplesMix as mixed:
        base.engine.alone, base.engine.batch_size = mixed.note, 1
        return intervene(base, whole, blocks, others)


def _strongest_other(base: Probe) -> int | None:
    """The class of the highest score that is not explained; None where that has no meaning."""
    try:
        classes, values = base.target_fn.classes, base.class_values[0]
    except PellucidError:
        return None
    if classes is None or len(values) < 2:
        return None
    values = values.clone()
    values[int(classes[0])] = -torch.inf
    return int(values.argmax())


def _other_class(
    model: Model,
    batch: Batch,
    image: int,
    maps: Sequence[MapOf],
    rival: int | None,
    seed: int,
    batch_size: int | str,
) -> tuple[dict[str, Float[Tensor, " cells"]], Cost]:
    """The maps of another class, by methods that are cheap to ask."""
    cheap = [one for one in maps if _passes(one.cost) <= CHEAP]
    if rival is None or not cheap:
        return {}, Cost()
    size = (batch.inputs.shape[-2], batch.inputs.shape[-1])
    extras = None if batch.extras is None else batch.extras.of(image)
    try:
        outcomes, cost = attribute(
            model, batch.inputs[image : image + 1], [one.request for one in cheap], [rival],
            extras=extras, seed=seed, batch_size=batch_size, progress=False,
        )  # fmt: skip
    except ModelError:
        return {}, Cost()
    found = {}
    for one, outcome in zip(cheap, outcomes, strict=True):
        if not isinstance(outcome.answer, PellucidError):
            map = at_input(outcome.answer.finding.on_cpu().map, size)
            found[one.title] = cell_evidence(Grid.over(size), map)[0]
    return found, cost


def _passes(cost: Cost) -> int:
    return cost.forward + cost.backward + cost.resumed


def _rounds(budget: Budget) -> tuple[int, ...]:
    """The blocks of interventions after which maps are judged; at least one block is made."""
    if budget.passes is None:
        return ROUNDS if budget.seconds is None else (*ROUNDS, *FURTHER)
    most = max(1, (budget.passes - len(REPLACEMENTS)) // BLOCK)
    return tuple(blocks for blocks in (*ROUNDS, *FURTHER) if blocks <= most) or (most,)


def _affordable(budget: Budget, engine: Engine, seconds: float, blocks: int) -> bool:
    """Whether the next round fits, as long as the passes until now took."""
    if budget.seconds is None:
        return True
    passes = blocks * BLOCK + len(REPLACEMENTS)
    return seconds * passes / max(1, engine.spent.forward) <= budget.seconds
