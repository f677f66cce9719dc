"""Attention matrices of a run, kept in its graph, whoever computes them."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.engine.axes.kinds import Axes, Tokens
from pellucid.engine.calls import Call, Tag
from pellucid.engine.following import Following
from pellucid.engine.operations import Operations
from pellucid.errors import ModelError
from pellucid.layers import Layout, first_tensor, with_first_tensor
from pellucid.model import Model


def mixing(operations: Operations, call: Call) -> Tensor | None:
    """The attention weights by which an operation mixes values, if it does: the first factor of a product."""
    if call.name not in ("matmul", "einsum"):
        return None
    weights = call.get(int(call.name == "einsum"), "input")
    return weights if _attends(operations, weights) else None


def follow(operations: Operations, call: Call, made: Any) -> None:
    """Notes what is attention: a softmax, also when it is reshaped, masked, scaled, or its heads mixed."""
    if not isinstance(made, Tensor) or not made.requires_grad or call.name in ("matmul", "einsum"):
        return
    if call.name == "softmax":
        attends = made.ndim > 2 and call.get(1, "dim") in (-1, made.ndim - 1)
    else:
        given = [value for value in (*call.args, *call.kwargs.values()) if _attends(operations, value)]
        attends = bool(given) and made.numel() == given[0].numel()
    if attends:
        operations.tags.setdefault(made, Tag()).notes["attends"] = True


def _attends(operations: Operations, value: Any) -> bool:
    return operations.depends_on_input(value) and "attends" in operations.tags[value].notes


@dataclass(eq=False)
class Attention:
    """The weights by which values were mixed, in the graph, and the module that did it; `axes` are theirs.

    `number` is its place among all attentions of the run, from 0.
    """

    weights: Tensor
    where: str
    number: int
    axes: Axes | None = None

    def heads(self, images: int, of: Tensor | None = None) -> Float[Tensor, "N heads T S"]:
        """The weights by head, or something `of` their shape, such as their gradient; float32 at least."""
        values = self.weights.detach() if of is None else of
        precise = values.to(torch.promote_types(values.dtype, torch.float32))
        return precise.reshape(images, -1, *values.shape[-2:])


class Attending(Following):
    """The model as it is; every softmax that multiplies values is kept.

    `found` holds the attentions in the order in which they were run; `shapes` what layers gave, which tells
    how many tokens there are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Attention] = []
        self.shapes: set[torch.Size] = set()

    def other(self, call: Call) -> Any:
        """Every operation runs as it is."""
        weights = mixing(self, call)
        if weights is not None:
            trace = self.follower.of(weights) if self.follower is not None else None
            axes = trace.axes if trace is not None else None
            self.found.append(Attention(weights, call.where, len(self.found), axes))
        made = call.run()
        if call.name in ("linear", "conv2d", "layer_norm", "add"):
            self.shapes.add(made.shape)
        follow(self, call, made)
        return made


@dataclass(frozen=True)
class Attentions:
    """The attentions of all layers over all tokens, and where the patches are among these.

    `layers` mix T tokens, (N, heads, T, T); `pooling`, if there is one, lets queries of its own read the
    tokens of the last layer, (N, heads, Q, T).
    """

    layers: Sequence[Attention]
    pooling: Attention | None
    layout: Layout

    @property
    def tokens(self) -> int:
        """T."""
        return self.layers[0].weights.shape[-1]

    @property
    def all(self) -> list[Attention]:
        """The layers', and then the pooling's."""
        return [*self.layers, *([self.pooling] if self.pooling else [])]


def attentions(operations: Attending, outputs: Tensor, inputs: torch.Size) -> Attentions:
    """The attentions of a run on inputs of that shape, of which its outputs depend on them.

    A model may run others, as a pooling head of which its classifier makes no use.

    Raises:
        ModelError: there is none, or they are not over all tokens, the same ones in every layer, or do not
            follow from one another.
    """
    found = read(operations.found, outputs) or operations.found
    if not found:
        raise ModelError(
            "Attention methods need a transformer; this model has no attention: no softmax of what depends "
            "on the input (and is not under no_grad) multiplies anything. Use another family of methods."
        )
    images, tokens = inputs[0], found[0].weights.shape[-1]
    pooling = found[-1] if len(found) > 1 and found[-1].weights.shape[-2] < tokens else None
    layers = found[:-1] if pooling else found
    keys = found[0].axes[-1] if found[0].axes is not None else None
    layout = Layout("NTC", keys.grid, keys.before) if isinstance(keys, Tokens) else None
    odd = [one for one in found if not _over_all(one, images, tokens, 1 if one is pooling else tokens)]
    if layout is None or odd or tokens not in _lengths(operations.shapes, images):
        one = (odd or found)[0]
        where = f"that of layer {one.where!r}" if one.where else "its attention"
        raise ModelError(
            "Attention methods need attentions over all tokens, (N, heads, T, T) with the same T in every "
            f"layer; {where} is {tuple(one.weights.shape)}, for {images} images: what is mixed in windows, "
            "between channels or at several scales cannot be followed from token to token. Use another "
            "family of methods."
        )
    for before, one in pairwise(found):
        if not depends(one.weights, before.weights):
            raise ModelError(
                "Attention methods follow tokens from layer to layer; the attention of "
                f"{one.where or 'the model'!r} (number {one.number + 1}) does not depend on that of "
                f"{before.where or 'the model'!r} (number {before.number + 1}): they are side by side, as "
                "in an ensemble, branches or test-time augmentation. Explain one member or one pass by "
                "itself, or use another family of methods."
            )
    return Attentions(layers, pooling, layout)


def depends(made: Tensor, of: Tensor) -> bool:
    """Whether a tensor was computed from another, by its graph; True where a graph is missing."""
    if made.grad_fn is None or of.grad_fn is None:
        return True
    seen: set[Any] = set()
    todo: deque[Any] = deque([made.grad_fn])
    while todo:
        node = todo.popleft()  # the nearest first: the layer before is not far
        if node is of.grad_fn:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            todo += [before for before, _ in node.next_functions]
    return False


def read(found: Sequence[Attention], outputs: Tensor) -> list[Attention]:
    """Those attentions on which outputs depend, by their graph."""
    wanted = {one.weights.grad_fn for one in found}
    seen: set[Any] = set()
    todo = [outputs.grad_fn]
    while todo and wanted - {None}:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        wanted.discard(node)
        todo += [before for before, _ in node.next_functions]
    return [one for one in found if one.weights.grad_fn in seen]


def _over_all(attention: Attention, images: int, tokens: int, queries: int) -> bool:
    """Whether an attention has each image's tokens as keys, and at least so many queries."""
    first, (least, keys) = attention.weights.shape[:-2], attention.weights.shape[-2:]
    each = first[0] == images if len(first) == 2 else len(first) == 1 and first[0] % images == 0
    return each and keys == tokens and queries <= least <= tokens


def _lengths(shapes: set[torch.Size], images: int) -> set[int]:
    """How many tokens there may be, by what layers gave: (N, T, K), (T, N, K) or (N, K, h, w)."""
    rows = {a if b == images else b for a, b, _ in (s for s in shapes if len(s) == 3) if images in (a, b)}
    return rows | {s[2] * s[3] for s in shapes if len(s) == 4 and s[0] == images}


def blocks(layers: Sequence[Attention]) -> list[str]:
    """The modules between which tokens pass, one for each attention: the outermost that hold no other.

    Raises:
        ModelError: a module holds several attentions, or is used several times.
    """
    names = []
    for one in layers:
        others = [other.where + "." for other in layers if other is not one]
        parts = one.where.split(".")
        ancestors = (".".join(parts[: i + 1]) for i in range(len(parts)))
        name = next((a for a in ancestors if not any(o.startswith(a + ".") for o in others)), "")
        if not name:
            raise ModelError(
                "LeGrad needs a module for each layer, by which it can be read out; the attention of "
                f"{one.where!r} shares its module with another layer's."
            )
        names.append(name)
    return names


class TokenReadout(Attending):
    """Every layer's tokens are read out by what follows the last layer, all in one pass.

    The last block gives on the tokens of all blocks, layer by layer, as a batch of L * N; each block takes
    the tokens of the one before as a constant, so a layer's score depends on that layer's attention alone.
    `alter` may change the tokens, (N, T, K), before they are read out.
    """

    def __init__(self, names: Sequence[str], alter: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.names, self.alter = list(names), alter
        self.read: list[Tensor] = []
        self.passed: Tensor | None = None

    @contextmanager
    def over(self, model: Model, inputs: Tensor) -> Iterator[None]:
        """As `Operations.over`, with the blocks' hooks.

        Raises:
            ModelError: a block does not take what the one before it gave.
        """
        with ExitStack() as hooks:
            for name in self.names:
                block = model.network.get_submodule(name)
                hooks.callback(block.register_forward_pre_hook(self._check_input, with_kwargs=True).remove)
                hooks.callback(block.register_forward_hook(self._replace_output).remove)
            hooks.enter_context(super().over(model, inputs))
            yield

    def _check_input(self, block: nn.Module, args: Any, kwargs: Any) -> None:
        if self.passed is not None and first_tensor([*args, *kwargs.values()]) is not self.passed:
            raise ModelError(
                f"LeGrad needs layers in a row; {self.names[len(self.read)]!r} does not take what "
                f"{self.names[len(self.read) - 1]!r} gave."
            )

    def _replace_output(self, block: nn.Module, args: Any, output: Any) -> Any:
        tokens = first_tensor(output)
        if tokens is None:
            return output
        self.read.append(self.alter(tokens))
        if len(self.read) == len(self.names):
            return with_first_tensor(output, torch.cat(self.read))
        self.passed = tokens.detach().requires_grad_()
        self.tags[self.passed] = Tag()
        return with_first_tensor(output, self.passed)
