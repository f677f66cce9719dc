"""Layer-wise relevance propagation on a network as it stands: every operation's way back is a rule.

What flows back through the graph is relevance instead of a gradient. Operations that only move numbers move
relevance by their own gradient; linear ones share it by the composite's rule; activations pass it on; sums,
means and norms (their scale taken as it is) share it in proportion; of a product with a gate the signal
answers. A batch norm is folded into the linear operation before it, or, if there is none, into the one after
it, through a ReLU and into zero-padded borders; a layer in between has the relevance of the two as one. What
biases answer for and what stabilisers take is counted, so that the sum of all can be compared with what went
in.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from pellucid.engine.composites import Composite
from pellucid.engine.relevance.names import (
    AVERAGING,
    CONVOLUTIONS,
    DROPPING,
    GATES,
    MOVING,
    PARTLY,
    PASSING,
    SAME,
    SIZES,
    TRANSPOSED,
)
from pellucid.engine.relevance.sums import Sums
from pellucid.engine.relevance.ways import carried, whole
from pellucid.errors import InvalidValue, ModelError
from pellucid.model import Model

__all__ = ["Relevance", "carried", "whole"]


class Relevance(Sums):
    """LRP's operations for one run on so many samples, by a composite.

    `box` holds the lowest and highest inputs, for z-box. After a way back, `biases` and `absorbed` (N,) tell
    what biases answer for and what stabilisers took, since `clear` was called.
    """

    def __init__(self, composite: Composite, samples: int, box: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__(composite, samples, box)
        self.handlers = {
            **dict.fromkeys(SAME, self._same),
            **dict.fromkeys(DROPPING, self._dropped),
            **dict.fromkeys(MOVING, self._moved),
            **dict.fromkeys(PARTLY, self._partly),
            **dict.fromkeys((*PASSING, *GATES), self._passed),
            **dict.fromkeys(SIZES, self._sized),
            **dict.fromkeys(AVERAGING, self._averaged),
            **dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED), self._convolved),
            "linear": self._linear, "matmul": self._matmul, "rmatmul": self._rmatmul, "einsum": self._einsum,
            "addmm": self._addmm, "baddbmm": self._addmm, "addcmul": self._addcmul,
            "var_mean": self._spread, "std_mean": self._spread,
            "batch_norm": self._batch_norm, "layer_norm": self._layer_norm, "group_norm": self._group_norm,
            "instance_norm": self._instance_norm, "rms_norm": self._rms_norm,
            "add": self._add, "sub": self._sub, "rsub": self._rsub, "mul": self._mul, "div": self._div,
            "rdiv": self._rdiv, "glu": self._glu,
        }  # fmt: skip

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """Within this block, in which the model is run on `inputs`, its way back is relevance.

        Raises:
            ModelError: operations that have no rule, all of them, with their places.
            InvalidValue: patterns of the composite that match no layer with weights.
        """
        with super().over(model, inputs):
            self.tags[inputs].notes["raw"] = True
            yield
        if self.unknown and self.composite.choice("unknown") == "refuse":
            raise ModelError(
                f"These operations of the model have no rule that carries relevance: {self.listed()}. "
                "composite='...;unknown=gradient' takes them by their first-order expansion."
            )
        if unmatched := [p for p in self.composite.patterns if p not in self.matched]:
            raise InvalidValue(
                f"Every pattern of a composite must match a layer with weights that the model runs; "
                f"{unmatched[0]!r} matches none. `pellucid doctor --layers` lists the layers."
            )

    def listed(self) -> str:
        """The operations without a rule, with the first place of each."""
        return ", ".join(f"{name} in {where}" if where else name for name, where in self.unknown.items())
