"""What relevance of one run is known to have done: notes of tensors, and an account by sample."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from pellucid.engine.composites import Composite
from pellucid.engine.operations import Call, Operations, Tag
from pellucid.engine.relevance.ways import Linear, carried, whole
from pellucid.engine.rules import Operands, Rule, Shared, epsilon


class Account(Operations):
    """A run on so many samples, by a composite.

    `box` holds the lowest and highest inputs, for z-box. After a way back, `biases` and `absorbed` (N,) tell
    what biases answer for and what stabilisers took, since `clear` was called.
    """

    def __init__(self, composite: Composite, samples: int, box: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.composite, self.samples, self.box = composite, samples, box
        self.linears = 0
        self.matched: set[str] = set()
        self.unknown: dict[str, str] = {}  # operations without a rule -> where
        self.clear()

    def clear(self) -> None:
        """Begins the count anew, before a way back."""
        self.biases = torch.zeros(self.samples, dtype=torch.float64, device="cpu")
        self.absorbed = torch.zeros(self.samples, dtype=torch.float64, device="cpu")

    # What is known of tensors

    def _know(self, tensor: Tensor, **notes: Any) -> Tensor:
        """Notes of a tensor; those that are false are left out."""
        if torch.is_grad_enabled():  # not within a custom autograd function, which may give this very tensor
            self.tags[tensor] = Tag({name: note for name, note in notes.items() if note})
        return tensor

    def _note(self, tensor: Any, name: str) -> Any:
        return self.tags[tensor].notes.get(name) if self.carries(tensor) else None

    def _carriers(self, call: Call) -> list[Tensor]:
        return [value for value in tree_flatten((call.args, call.kwargs))[0] if self.carries(value)]

    # Counting

    def _axis(self, values: Tensor) -> int:
        """Along which axis samples lie: the first, or, of tokens before the batch, the second."""
        if values.ndim < 2:
            return 0
        if values.ndim == 3 and values.shape[0] != self.samples == values.shape[1]:
            return 1
        return 1 if values.shape[0] % self.samples and not values.shape[1] % self.samples else 0

    def _count(self, shared: Shared) -> Tensor:
        """Keeps what an operation's biases and stabiliser took; the rest goes on."""
        for total, part in ((self.biases, shared.bias), (self.absorbed, shared.absorbed)):
            total += self._by_sample(part.detach().expand(self.samples) if not part.ndim else part).cpu()
        return shared.inputs

    def _to_constants(self, came: Tensor, went: Sequence[Tensor]) -> None:
        """Counts what constants beside the carriers answer for: what came, less what went on."""
        rest = self._rest(came, went)
        self._count(Shared(came, rest, torch.zeros_like(rest)))

    def _absorb(self, came: Tensor, went: Sequence[Tensor]) -> None:
        """Counts what a stabiliser took: what came, less what went on."""
        rest = self._rest(came, went)
        self._count(Shared(came, torch.zeros_like(rest), rest))

    def _rest(self, came: Tensor, went: Sequence[Tensor]) -> Tensor:
        return self._by_sample(came) - sum(map(self._by_sample, went))

    def _by_sample(self, values: Tensor) -> Tensor:
        rows = values.movedim(self._axis(values), 0)
        if len(rows) % self.samples:  # of no sample alone
            return (values.sum(dtype=torch.float64) / self.samples).expand(self.samples)
        return rows.reshape(self.samples, -1).sum(1, dtype=torch.float64)

    def _shared(self, make: Callable[[], Tensor], linear: Linear) -> Tensor:
        """A linear operation's result, whose relevance goes back by its rule."""

        def back(relevance: Tensor) -> tuple[Tensor]:
            on = replace(linear.operands(), axis=self._axis(relevance))
            if self.composite.choice("bias") == "ignored":
                on = replace(on, bias=None)
            return (self._count(linear.rule()(on, relevance)),)

        return carried(make, back, linear.carrier)

    def _proportional(
        self,
        make: Callable[[], Tensor],
        x: Tensor,
        apply: Callable[[Tensor], Tensor],
        bias: Tensor | None = None,
        a: Tensor | None = None,
        rule: Callable[[], Rule] = lambda: epsilon,
    ) -> Tensor:
        """A linear operation without a rule of its own: its input, or `a`, answers by epsilon."""
        a = x.detach() if a is None else a
        read = partial(Operands, lambda a, _: apply(a), a, a, bias)
        return self._shared(make, Linear(x, read, rule, None))

    def _merged(self, call: Call, x: Tensor, linear: Linear, read: Callable[[], Operands]) -> Tensor:
        """An operation that is one with the linear operation behind x; `read` gives the operands of both.

        Where relevance is asked for in between, it passes this one, and that one takes all of it.
        """
        if self._note(x, "kept"):
            linear.merged.append(read)
            return self._know(whole(call, x), linear=replace(linear, read=read), kept=True)
        both = replace(linear, read=read, merged=[])
        return self._know(self._shared(call.value, both), linear=both)
