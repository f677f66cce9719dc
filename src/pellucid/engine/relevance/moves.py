"""Operations that move numbers, and operations on one number each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from pellucid.engine.operations import Call, Tag
from pellucid.engine.relevance.account import Account
from pellucid.engine.relevance.names import BESIDE, GATES, SIZES
from pellucid.engine.relevance.ways import carried, leading, whole
from pellucid.engine.rules import STABILISER, stabilised
from pellucid.errors import ModelError


class Moves(Account):
    """Relevance goes where the numbers came from."""

    def _same(self, call: Call) -> Any:
        made, (x, *_) = call.run(), self._carriers(call)
        if made is not x and isinstance(made, Tensor) and made.requires_grad:
            self.tags[made] = Tag(dict(self.tags[x].notes))
        return made

    def _dropped(self, call: Call) -> Any:
        default = call.kwargs.get("train", "alpha" not in call.name)  # torch's own names and defaults
        training = call.get(2, "training", default)
        return self._passed(call) if training else self._same(call)

    def _moved(self, call: Call) -> Any:
        carriers = self._carriers(call)
        if call.name in BESIDE:
            given = [v for v in tree_flatten((call.args, call.kwargs))[0] if isinstance(v, Tensor)]
            if len(given) > len(carriers):  # constants among them
                return self._partly(call)
        return self._inherited(call.run(), carriers)

    def _inherited(self, made: Any, carriers: Sequence[Tensor]) -> Any:
        kept = {name: all(self._note(c, name) for c in carriers) for name in ("raw", "gate")}
        for value in tree_flatten(made)[0]:
            if isinstance(value, Tensor) and value.requires_grad:
                self._know(value, **kept)
        return made

    def _partly(self, call: Call) -> Any:
        """Numbers moved by the operation's own gradient; what falls to constants is counted."""
        carriers = self._carriers(call)

        def back(relevance: Tensor) -> Sequence[Tensor]:
            _, slopes = self._sloped(call, carriers, relevance)
            self._to_constants(relevance, slopes)
            return slopes

        return self._inherited(carried(call.value, back, *carriers), carriers)

    def _sloped(
        self,
        call: Call,
        carriers: Sequence[Tensor],
        weights: Tensor | Callable[[Tensor], Tensor],
        part: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The operation run once more, and its gradients: its result, and J^T weights for each carrier."""
        leaves = {id(carrier): carrier.detach().requires_grad_() for carrier in carriers}
        args, kwargs = tree_map(lambda value: leaves.get(id(value), value), (call.args, call.kwargs))
        with torch.enable_grad():
            made: Tensor = tree_flatten(replace(call, args=args, kwargs=kwargs).run())[0][part]
        weights = weights(made.detach()) if callable(weights) else weights
        given = list(leaves.values())
        slopes = torch.autograd.grad(made, given, weights, allow_unused=True)
        return made.detach(), tuple(
            torch.zeros_like(leaf) if slope is None else slope
            for slope, leaf in zip(slopes, given, strict=True)
        )

    def _passed(self, call: Call) -> Any:
        (x,) = leading(call, "input")
        if not self.carries(x) or len(self._carriers(call)) > 1:
            return self.other(call)
        if call.name == "softmax" and self.composite.choice("attention") == "all":
            return self._softmax(call, x)
        affine = self._note(x, "affine") if call.name == "relu" else None
        made = whole(call, x)
        return self._know(
            made,
            gate=call.name in GATES or self._note(x, "gate"),
            raw=self._note(x, "raw"),
            affine=affine and replace(affine, rectified=True),
            kept=affine and self._note(x, "kept"),
        )

    def _sized(self, call: Call) -> Any:
        (x,) = leading(call, "input")
        if not self.carries(x):
            return self.other(call)

        def back(relevance: Tensor) -> Sequence[Tensor]:
            went = [self._first_order(call, [x], relevance)[0] / SIZES[call.name]]
            self._absorb(relevance, went)
            return went

        return self._know(carried(call.value, back, x), gate=True)

    def _spread(self, call: Call) -> Any:
        with self:
            x, options = call.get(0, "input"), {k: v for k, v in call.kwargs.items() if k != "input"}
            spread = getattr(torch, call.name.removesuffix("_mean"))(x, *call.args[1:], **options)
            dim = call.get(1, "dim")
            return spread, x.mean() if dim is None else x.mean(dim, options.get("keepdim", False))

    def _softmax(self, call: Call, x: Tensor) -> Tensor:
        """AttnLRP's: R_i = x_i (R_i - s_i sum R), the first-order expansion. Achtibat 2024, eq. 11."""
        s = call.value()
        dim = call.get(1, "dim", -1)
        a = x.detach()

        def back(relevance: Tensor) -> tuple[Tensor]:
            on = relevance - s * relevance.sum(dim, keepdim=True)
            passed = torch.where(s == 0, 0, a * on)
            self._to_constants(relevance, [passed])
            return (passed,)

        return self._know(carried(lambda: s.clone(), back, x), gate=True)

    def other(self, call: Call) -> Any:
        """An operation without a rule: told, or taken by its first-order expansion R_i = x_i J^T (R / y)."""
        made = call.run()
        parts, form = tree_flatten(made)
        flowing = [i for i, part in enumerate(parts) if isinstance(part, Tensor) and part.requires_grad]
        if not flowing:
            return made
        self.unknown.setdefault(call.name, call.where)
        carriers = self._carriers(call)
        if any(parts[i].is_complex() for i in flowing):
            if self.composite.choice("unknown") == "gradient":
                raise ModelError(
                    f"The model computes with complex numbers ({call.name}), which carry no relevance: use a "
                    "gradient method."
                )
            return made

        def back(relevance: Tensor, part: int) -> Sequence[Tensor]:
            went = self._first_order(call, carriers, relevance, part)
            self._to_constants(relevance, went)
            return went

        for i in flowing:
            parts[i] = carried(parts[i].detach, partial(back, part=i), *carriers)
        return tree_unflatten(parts, form)

    def _first_order(
        self, call: Call, carriers: Sequence[Tensor], relevance: Tensor, part: int = 0
    ) -> list[Tensor]:
        """x J^T (R / y) for each carrier x of y, or of one part of what the operation gives."""
        _, slopes = self._sloped(call, carriers, lambda y: relevance / stabilised(y, STABILISER), part)
        return [carrier.detach() * slope for carrier, slope in zip(carriers, slopes, strict=True)]
