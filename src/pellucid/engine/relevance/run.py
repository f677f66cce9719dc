"""One run of a model whose way back is relevance: what its handlers know and share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from pellucid.engine.calls import Call, Tag
from pellucid.engine.composites import Composite
from pellucid.engine.operations import Operations
from pellucid.engine.relevance.account import Account
from pellucid.engine.rule_registry import Sharing
from pellucid.engine.rules import ZBox
from pellucid.engine.tables import Table
from pellucid.errors import InvalidValue, ModelError
from pellucid.model import Model


class Run(Operations):
    """A run on so many samples, by a composite and by the `table` of handlers that a subclass gives.

    `box` holds the lowest and highest inputs, for z-box. After a backward pass `account` tells what biases
    answer for and what stabilisers took. What is known of a tensor are its notes: "raw", it is the picture
    itself, at most shifted or scaled; "gate", it scales something else; "linear" and "affine", the linear map
    or batch norm that made it, see `folding`; "kept", relevance is asked for at it.
    """

    table: ClassVar[Table[Any]]

    def __init__(self, composite: Composite, samples: int, box: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.composite, self.box = composite, box
        self.account = Account(samples)
        self.linear_maps = 0  # with weights, so far
        self.matched: set[str] = set()  # patterns of the composite
        self.unknown: dict[str, str] = {}  # operations without a rule -> where
        self.handlers = self.table.bound(self)

    def refuses_complex(self) -> bool:
        """They carry no relevance; a run refused for operations without a rule tells all of these."""
        return not (self.unknown and self.composite.choice("unknown") == "refuse")

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

    def clear(self) -> None:
        """Begins anew, before a backward pass."""
        self.account.clear()

    def other(self, call: Call) -> Any:
        """An operation that the table does not have."""
        return self.table.other(self, call)

    def carriers(self, call: Call) -> list[Tensor]:
        """The operands that depend on the input, each as often as it is one."""
        return [value for value in tree_flatten((call.args, call.kwargs))[0] if self.depends_on_input(value)]

    def note(self, tensor: Any, name: str) -> Any:
        """One note of a tensor; None if there is none."""
        return self.tags[tensor].notes.get(name) if self.depends_on_input(tensor) else None

    def noted(self, tensor: Tensor, **notes: Any) -> Tensor:
        """The tensor, with these notes; those that are false are left out."""
        if torch.is_grad_enabled():  # not within a custom autograd function, which may give this very tensor
            self.tags[tensor] = Tag({name: note for name, note in notes.items() if note})
        return tensor

    def rule(self, where: str, family: str, *, first: bool, last: bool) -> Sharing:
        """The composite's rule for a linear map with weights, in layer `where`.

        Raises:
            InvalidValue: a box that is not known, or is to hold what is not the input.
        """
        rule = self.composite.rule(where, family, first=first, last=last)
        if not isinstance(rule, ZBox):
            return rule
        if not first:
            raise InvalidValue(
                "The rule z-box is for operations that read the input itself: use it as first=z-box."
            )
        return rule.within(self.box)
