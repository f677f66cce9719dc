"""What a check of a method is about: one picture, a class and another one, and how the method is run."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pellucid.axioms.rewriting import Rewriting, duplicate, rewrite
from pellucid.caching import cached_property
from pellucid.engine.run import Engine
from pellucid.errors import InvalidType, InvalidValue, PellucidError
from pellucid.explain import explain_all
from pellucid.explanation import Explanation
from pellucid.images import Batch
from pellucid.inputs import Extras
from pellucid.layers import layer_names
from pellucid.model import Model
from pellucid.options.parts import SEGMENT_MEAN, Segments
from pellucid.outputs import Reading
from pellucid.probe import Probe
from pellucid.request import Request
from pellucid.segments import segment
from pellucid.target import Contrast, OneTarget, Output

PLACES = 3
"""The picture is cut into so many places along each side; one of them is asked about."""


@dataclass(frozen=True, eq=False)
class Question:
    """One picture and a class, another class beside it, and how methods are run.

    Attributes:
        model: the user's, or one made of it.
        batch: the picture.
        target: the class, a contrast of two, or a score of raw outputs.
        other: the most likely class besides.
        label: the target in words.
        output: which number is explained; None for each method's own.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        reading: how the model's outputs are read.
    """

    model: Model
    batch: Batch
    target: int | Contrast | Callable[[Any], Tensor]
    other: int
    label: str
    output: Output | None
    seed: int
    batch_size: int | str
    reading: Reading

    @classmethod
    def of(
        cls,
        model: Model,
        image: Any,
        target: OneTarget,
        output: Output | None,
        seed: int,
        batch_size: int | str,
        forward_kwargs: Mapping[str, Any] | None = None,
    ) -> "Question":
        """With its target fixed to a class, whatever becomes of picture and model.

        Further inputs become a part of the model, in which the user's own is "net".

        Raises:
            InvalidValue, InvalidType: several images, a target without a second class beside it.
        """
        batch = model.read(image, forward_kwargs)
        if len(batch.inputs) != 1:
            raise InvalidValue(f"image must be one image; got {len(batch.inputs)}.")
        if batch.extras is not None:
            model, batch = bound(model, batch.extras), replace(batch, extras=None)
        engine = Engine(model)
        with engine.session(seed):
            probe = Probe(engine, batch.inputs, target)
            score, outputs, reading = probe.target_fn, probe.class_values, probe.reading
        if score.classes is None or score.against is None:
            raise InvalidType(
                "target must be a class or a Contrast; a callable has no second class beside it."
            )
        first, against = int(score.classes[0]), int(score.against[0])
        rivals = [c for c in outputs[0].argsort(descending=True).tolist() if c != first]
        asked = first if against < 0 else Contrast(first, against)
        return cls(model, batch, asked, rivals[0], score.names[0], output, seed, batch_size, reading)

    @property
    def inputs(self) -> Float[Tensor, "1 C H W"]:
        """The picture as the model gets it."""
        return self.batch.inputs

    def about(self, inputs: Float[Tensor, "1 C H W"]) -> "Question":
        """The same question about another input."""
        return replace(self, batch=self.model.read(inputs))

    def around(self, module: nn.Module, scores: bool = False) -> "Question":
        """The same question to a module made of the model's own; `scores` says that it gives them alone."""
        model = copy(self.model)
        model.module = module
        if scores:
            model.output_key, scale = None, self.reading.scale
            model.output_scale, model.multi_label = scale.name, scale.multi_label
        return replace(self, model=model)

    def explain(self, request: Request) -> Explanation:
        """What a method says.

        Raises:
            PellucidError: it cannot explain this.
        """
        (outcome,), _ = explain_all(
            self.model,
            self.batch,
            [request],
            [self.target],
            output=self.output,
            seed=self.seed,
            batch_size=self.batch_size,
            precision="float32",
            progress=False,
        )
        if isinstance(outcome.answer, PellucidError):
            raise outcome.answer
        return outcome.answer

    def explains(self, request: Request) -> Output:
        """Which number a method explains here."""
        return request.method.explains(request.options) if self.output is None else self.output

    def scores(self, inputs: Float[Tensor, "N C H W"], output: Output = "logit") -> Float[Tensor, " N"]:
        """The scores of other inputs, in float64 on the CPU."""
        engine = Engine(self.model)
        with engine.session(self.seed):
            return Probe(engine, inputs, self.target, output).score.double().cpu()

    def baseline(self, request: Request) -> Float[Tensor, "1 C H W"]:
        """The baseline x' of a method; zero if it names none."""
        spec = request.options.get("baseline", "zero")
        if isinstance(spec, str) and spec == SEGMENT_MEAN:
            raise InvalidValue("Its baseline is each segment's own mean, not one image.")
        engine = Engine(self.model)
        with engine.session(self.seed):
            return Probe(engine, self.inputs, seed=self.seed).baseline(spec)

    def labels(self, request: Request) -> Int[Tensor, "H W"] | None:
        """The segments of a method that explains segments, else None."""
        if not any(option.type is Segments for option in request.method.options):
            return None
        return segment(np.asarray(self.model.pictures(self.inputs)[0].rgb), request.options["segments"])

    @cached_property
    def place(self) -> Bool[Tensor, "H W"]:
        """The place that moves the score most when it is hidden."""
        height, width = self.inputs.shape[-2:]
        rows, columns = (
            torch.arange(side, dtype=torch.long, device="cpu") * PLACES // side for side in (height, width)
        )
        number = (rows[:, None] * PLACES + columns).to(self.inputs.device)
        places = torch.stack([number == n for n in number.unique()])
        hidden = torch.where(places[:, None], torch.zeros_like(self.inputs), self.inputs)
        scores = self.scores(torch.cat([self.inputs, hidden]))
        return places[int((scores[1:] - scores[0]).abs().argmax())]

    def rewritten(self, rewriting: Rewriting) -> "Question":
        """The same question to the same network written another way.

        Raises:
            ModelError: it cannot be written so.
        """
        return replace(self, model=rewrite(self.model, self.inputs, rewriting))

    def in_float64(self) -> "Question":
        """The same question to a copy of the model in double precision.

        Raises:
            ModelError: the model cannot be copied.
        """
        model = duplicate(self.model)
        model.module = model.network.double()
        return replace(self, model=model, batch=model.read(self.inputs.double()))


class Bound(nn.Module):
    """A model of several inputs as one of a picture alone."""

    def __init__(self, net: Any, extras: Extras) -> None:
        super().__init__()
        self.net, self.extras = net, extras

    def forward(self, x: Tensor) -> Any:
        """What it gives for x with the further inputs of the one image."""
        return self.extras.of_type(x.dtype).call(self.net, x, [0] * len(x))


def bound(model: Model, extras: Extras) -> Model:
    """The model with its further inputs inside."""
    own, module = copy(model), Bound(model.module, extras)
    own.module = module if isinstance(model.module, nn.Module) else module.forward
    return own


def changed(request: Request, **options: Any) -> Request:
    """A method with some options changed."""
    return Request.of(request.method.name, {**request.given, **options})


def by_name(model: Model, request: Request, prefix: str = "") -> Request:
    """A method that reads its layers by name, so that it finds them in a copy, or behind a prefix."""
    if "layer" not in request.options:
        return request
    names = layer_names(model.network, request.options["layer"])
    return changed(request, layer=[name if name == "auto" else prefix + name for name in names])
