"""A model, a batch and a target: what is asked, and what the model answers."""

from collections.abc import Hashable, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.baselines import baseline
from pellucid.caching import cached_property
from pellucid.engine.looking import first_nonfinite
from pellucid.engine.run import Engine
from pellucid.errors import InvalidValue
from pellucid.images import Picture
from pellucid.layers import layer_names
from pellucid.model import Model
from pellucid.outputs import Reading
from pellucid.probe.ledger import Ledger
from pellucid.probe.pass_cache import PassCache
from pellucid.renamed import Renamed
from pellucid.target import Output, Target, TargetFn, resolve

_BASELINE = 1 << 40  # a draw of its own, apart from those of masks and noise


class Question(Ledger, Renamed):
    """One model, one batch, one target.

    Args:
        engine: what runs the model; the batch must be small enough to be run at once.
        inputs: (N, C, H, W), the model's own input.
        target: a target, or a `TargetFn` already resolved.
        output: which number a class target stands for.
        layers: layers whose evidence will be asked for, so that one pass serves them all.
        with_input: whether the input's gradient will be asked for too.
        seed: of everything drawn at random.
        limit: the most perturbed inputs to run together.
        numbers: which of all images these are; by default the first.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Float[Tensor, "N C H W"],
        target: Target | TargetFn = None,
        output: Output = "logit",
        *,
        layers: Sequence[str] = (),
        with_input: bool = False,
        seed: int = 0,
        limit: int = 4,
        numbers: Sequence[int] | None = None,
    ) -> None:
        super().__init__(engine, len(inputs))
        self.inputs, self.seed, self.limit = inputs, seed, limit
        self.target, self.output = target, output
        self.numbers = list(range(len(inputs)) if numbers is None else numbers)
        self.passes = PassCache(engine, inputs, self.numbers, planned=(tuple(layers), with_input))
        self.lenient = False  # whether scores that are not finite are given as they are
        # Who asks about the same inputs, each for another target; held weakly, so that no cycle keeps a pass.
        self._family: WeakSet[Any] = WeakSet([self])
        self._scored: dict[Hashable, Any] = {}  # scores of perturbed inputs, for all who ask
        self._gradients: dict[Any, Any] = {}  # of each pass

    @property
    def model(self) -> Model:
        """The model, as the user gave it: what it says of its inputs, outputs and labels."""
        return self.engine.model

    @property
    def network(self) -> nn.Module:
        """The `nn.Module` that runs, to look into and to hook; `model.network` is the user's own."""
        return self.engine.network

    def layer_names(self, layer: Any, layout: Any = None) -> tuple[str, ...]:
        """The layers that `layer=` and `layout=` ask for, as `at` takes them: see `pellucid.layers`."""
        return layer_names(self.model.network, layer, layout)

    @property
    def may_use_bf16(self) -> bool:
        """Whether bfloat16 may stand in for the model's own precision, and is faster on this device."""
        return self.engine.may_lower(self.inputs)

    @property
    def raw(self) -> Any:
        """The model's raw output: of a pass the asker has paid for, else of the first, which is billed."""
        return self.passes.output(self)

    @property
    def outputs(self) -> Float[Tensor, "N K"]:
        """The model's outputs, outside the graph."""
        raw = self.raw
        return self.reading.outputs(raw, len(self.inputs)).detach()

    @property
    def reading(self) -> Reading:
        """Where the classes' scores are in the raw output, and on what scale.

        Raises:
            PellucidError: there are none.
        """
        return self.engine.read(self.raw, len(self.inputs))

    @property
    def class_values(self) -> Float[Tensor, "N classes"]:
        """Each class's score on the model's own scale, outside the graph; a single output has two classes."""
        return self.reading.scale.class_values(self.outputs, "logit")

    @cached_property
    def target_fn(self) -> TargetFn:
        """The target, resolved."""
        if isinstance(self.target, TargetFn):
            return self.target
        with torch.no_grad():
            score = resolve(
                self.target,
                self.raw,
                self.engine.model,
                self.output,
                reading=lambda: self.reading,
                numbers=self.numbers,
                images=self.engine.images,
            )
        if len(score.names) != len(self.inputs):
            raise InvalidValue(
                f"There must be one score per image: {len(self.inputs)} images, {len(score.names)} scores."
            )
        return score

    @property
    def score(self) -> Float[Tensor, " N"]:
        """The explained number of each sample, outside the graph."""
        return self.checked(self._score)

    @cached_property
    def _score(self) -> Float[Tensor, " scores"]:
        with torch.no_grad():
            return self.target_fn(self.raw)

    @cached_property
    def pictures(self) -> list[Picture]:
        """What the inputs show, at their own resolution."""
        return self.engine.model.pictures(self.inputs)

    def baseline(self, spec: Any) -> Float[Tensor, "N C H W"]:
        """What stands for hidden parts of each image; see `pellucid.baselines.baseline`."""
        if isinstance(spec, Tensor | np.ndarray) and spec.ndim == 4 and len(spec) > 1:
            if max(self.numbers) >= len(spec):
                raise InvalidValue(
                    f"baseline must be one image, or one for each image; got {len(spec)}, too few."
                )
            spec = spec[self.numbers]
        return baseline(spec, self.inputs, self.engine.model, self.generator(_BASELINE))

    def generator(self, draw: int = 0) -> torch.Generator:
        """The source of the numbers of one draw: the same for every image, batch size and device."""
        return torch.Generator(device="cpu").manual_seed(folded(self.seed * 1_000_003 + draw))

    def checked(self, score: Float[Tensor, " scores"]) -> Float[Tensor, " N"]:
        """One finite score per image: images with another one fail, the others go on."""
        if len(score) != len(self.inputs):
            raise InvalidValue(
                f"There must be one score per image: {len(self.inputs)} images, {len(score)} scores."
            )
        self.refuse_nonfinite("The score", score[:, None])
        return score

    def refuse_nonfinite(self, what: str, values: Float[Tensor, "N *rest"]) -> None:
        """Lets images fail that have a NaN or an infinity, and says where it came from; the others go on.

        Raises:
            InvalidValue: naming the image, the value, and the first layer of the model that gave such a one,
                if no image is left.
        """
        if self.lenient:
            return
        bad = ~values.detach().isfinite()
        images = [i for i in bad.flatten(1).any(1).nonzero()[:, 0].tolist() if i not in self.failed]
        if not images:
            return
        layer = self.once("first non-finite", lambda: first_nonfinite(self.engine, self.inputs, self.numbers))
        where = f". The first layer to give such a value is {layer!r}." if layer else "."
        for image in images:
            value = values[image][bad[image]][0].item()
            text = f"{what} must be finite; image {self.numbers[image]} has {value}{where}"
            self.fail(image, InvalidValue(text))


def folded(number: int) -> int:
    """A number in 32 bits, all that PyTorch's generator on the CPU takes of a seed; small ones as they are.

    The bits above are mixed in, so that draws 2^32 apart are not the same draw.

    Example:
        >>> folded(7), folded(7 + (1 << 40)) != folded(7 + (1 << 41))
        (7, True)
    """
    high = number >> 32
    return (number ^ (high * 0x9E3779B1) ^ (high >> 15)) & 0xFFFFFFFF
