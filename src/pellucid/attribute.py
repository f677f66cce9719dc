"""The tensor core that every verb calls: inputs and requests in, one outcome per request and target out.

No pictures are read and nothing is drawn; what one image or method cannot give costs the others nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float
from torch import Tensor

from pellucid.answering import answer_request
from pellucid.engine.chunks import batch_limit, gradient_batch_limit, in_chunks
from pellucid.engine.cost import Cost
from pellucid.engine.mixing import RowsUnknown, SamplesMix
from pellucid.engine.precision import Precision
from pellucid.engine.progress import showing
from pellucid.engine.run import Engine
from pellucid.errors import InvalidType, InvalidValue, PellucidError
from pellucid.inputs import Extras
from pellucid.layers import layer_names
from pellucid.model import Model
from pellucid.outcomes import Answer, Outcome, Part, outcome_of
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.target import OneTarget, Output, Target

Tried = tuple[int, range, Part | PellucidError | None, Cost]
"""The number of a request, some images, and what came of them at what cost."""


def attribute(
    model: Model,
    inputs: Float[Tensor, "N C H W"],
    requests: Sequence[Request],
    targets: Sequence[Target] = (None,),
    *,
    output: Output | None = None,
    extras: Extras | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    precision: Precision = "auto",
    progress: bool | None = None,
) -> tuple[list[Outcome], Cost]:
    """Every request for every target over one batch of inputs, evidence shared; and what was really run.

    A method that cannot explain this model, or an image that cannot be explained, costs the others nothing:
    the outcome holds the reason. Images that fail together, with nothing to tell which of them it was, are
    run again one by one, for the methods that failed.

    Args:
        model: the model.
        inputs: (N, C, H, W), the model's own input, on its device.
        requests: methods with their options.
        targets: see `explain`; each request is answered for each.
        output: which number a class target stands for; None for each method's own.
        extras: what the model is given besides the inputs: see `Model.read`.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        precision: see `explain`.
        progress: see `explain`.

    Returns:
        One outcome for each target and request, targets in the outer order, and the cost of all. Tensors are
        outside the graph and stay on the device where they were computed.

    Raises:
        InvalidValue, InvalidType: a seed, batch size or number of targets that does not hold.

    Cost:
        What the methods cost together, less what they share.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> requested = [Request.of("grad-cam"), Request.of("saliency")]
        >>> outcomes, cost = attribute(Model.wrap(net), torch.rand(2, 3, 9, 12), requested, [1])
        >>> [tuple(outcome.answer.finding.map.shape) for outcome in outcomes], cost.forward, cost.backward
        ([(2, 7, 10), (2, 1, 9, 12)], 2, 2)
    """
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InvalidType(f"seed must be a whole number; got {seed!r}.")
    limit, most = batch_limit(batch_size, model.device), gradient_batch_limit(batch_size, model.device)
    for target in targets:
        if _is_list(target) and len(target) != len(inputs):
            raise InvalidValue(
                f"There must be one target per image: {len(inputs)} images, {len(target)} targets."
            )
    requested = [
        (t, request, request.method.explains(request.options) if output is None else output)
        for t in range(len(targets))
        for request in requests
    ]
    announced = [request.method.cost(request.options).forward for _, request, _ in requested]
    left = len(inputs) * sum(announced)
    engine, plan = Engine(model, precision, batch_size, watching=True), _plan(model, requests)
    engine.extras, engine.images = extras, len(inputs)
    answers = [Answer() for _ in requested]
    alone: dict[int, str] = {}  # requests whose images are run one by one, and why
    with showing(model.name, left, progress) as engine.progress, engine.session(seed):
        inputs = inputs.clone() if inputs.is_inference() else inputs

        def tried(images: range, which: Iterable[int]) -> Iterator[Tried]:
            """What comes of some images: together, and where that fails for a request, of each of them."""
            nonlocal left
            start, stop = images.start, images.stop
            base = Probe(engine, inputs[start:stop], seed=seed, limit=most, numbers=images, **plan)
            probes: dict[tuple[int, str], Probe] = {}
            again: list[int] = []
            which = [i for i in which if answers[i].refused is None]
            # All probes are there before the first is asked: evidence is made for all their targets.
            for t, _, about in (requested[i] for i in which):
                if (t, about) not in probes:
                    probes[t, about] = base.about(some_targets(targets[t], start, stop), about)
            for i in which:
                t, request, about = requested[i]
                found: Part | PellucidError | None = None
                with engine.bill() as bill:
                    try:
                        if len(images) == 1 or i not in alone:
                            note = engine.alone or alone.get(i)
                            found = answer_request(probes[t, about], request, len(inputs), note)
                    except PellucidError as error:
                        found = error
                    except RowsUnknown as unknown:
                        if len(images) == 1:
                            raise
                        alone[i] = unknown.note
                refused = isinstance(found, PellucidError) and answers[i].refuses(found)
                if len(images) > 1 and not isinstance(found, Part) and not refused:
                    again.append(i)
                left -= len(images) * announced[i]
                engine.progress.left(left)
                yield i, images, found, bill.total()
            del base, probes  # with what they keep of a pass
            left += len(images) * sum(announced[i] for i in again)
            for image in images if again else ():
                yield from tried(range(image, image + 1), again)

        def step(start: int, stop: int) -> None:
            # Nothing is kept before all of it is done: where memory runs out the chunk begins again.
            for i, images, found, cost in list(tried(range(start, stop), range(len(requested)))):
                answers[i].take(images, found, cost)

        try:
            in_chunks(len(inputs), limit, step)
        except SamplesMix as mixed:
            engine.alone, engine.batch_size, most = mixed.note, 1, 1
            answers[:] = [Answer() for _ in requested]
            alone.clear()
        if engine.alone:
            in_chunks(len(inputs), 1, step)
    return [
        outcome_of(request, answer, engine, seed)
        for answer, (_, request, _) in zip(answers, requested, strict=True)
    ], engine.spent


def _plan(model: Model, requests: Sequence[Request]) -> dict[str, Any]:
    """All evidence the requests will ask for, so that one pass serves them; wrapped ones ask for more."""
    layers: list[str] = []
    for request in requests:
        if request.method.reads == "layers" and request.method.shares(request.options):
            try:
                layers += layer_names(model.network, request.options["layer"], request.options.get("layout"))
            except PellucidError:
                continue  # this request will fail by itself
    with_input = any(r.method.reads == "input gradient" and r.method.shares(r.options) for r in requests)
    return {"layers": tuple(dict.fromkeys(layers)), "with_input": with_input}


def some_targets(target: Target, start: int, stop: int) -> Target:
    """The targets of some of the images."""
    return target[start:stop] if _is_list(target) else target


def _is_list(target: Target) -> TypeGuard[Sequence[OneTarget] | Tensor]:
    return (isinstance(target, Sequence) and not isinstance(target, str)) or (
        isinstance(target, Tensor | np.ndarray) and target.ndim > 0
    )
