"""Which tensors of a pass depend on the input, followed through views, copies and operations in place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from pellucid.engine.backward_hooks import FUNCTION
from pellucid.engine.calls import Tag
from pellucid.engine.memory import ByTensor, Memory
from pellucid.errors import ModelError
from pellucid.structures import as_plain


class InputDependence:
    """What depends on the input has a tag; everything else, parameters too, is a constant without a graph.

    Attributes:
        tags: what is known of each tensor that depends on the input.
        memory: what operations in place have made of tensors, and which are views of which.
        places: the names of the modules that are running, the innermost last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tags: ByTensor[Tag] = ByTensor()
        self.memory = Memory()
        self.now = self.memory.now  # a tensor -> what operations in place have made of it
        self.places: list[str] = [""]
        self._constants: ByTensor[Tensor] = ByTensor()
        self._root: Any = None

    @contextmanager
    def _following(self, inputs: Tensor) -> Iterator[None]:
        """Within this block, in which the model is run on `inputs`, tensors are followed."""
        self.tags[inputs] = Tag()
        self._root = inputs if inputs.grad_fn is None else inputs.grad_fn
        try:
            yield
        finally:
            self.memory.clear()
            self._constants.clear()

    def depends_on_input(self, value: Any) -> bool:
        """Whether a value is a tensor that depends on the input."""
        return value in self.tags

    def current(self, value: Any) -> Any:
        """What operations in place have made of a tensor, or of all in a structure of them."""
        if isinstance(value, Tensor):
            return self.memory.latest(value)
        return tree_map_only(Tensor, self.memory.latest, value) if self.now else value

    def plain(self, raw: Any) -> Any:
        """An output whose tensors are plain ones, of which as much is known as before."""

        def without_class(tensor: Tensor) -> Tensor:
            made: Tensor = as_plain(tensor)
            if made is tensor:
                return tensor
            source = self._source(tensor)
            if type(source) is Tensor:
                return source
            if source in self.tags:
                self.tags[made] = self.tags[source]
            return made

        return tree_map_only(Tensor, without_class, raw)

    def _transformed(self, value: Any) -> bool:
        """Whether a value is a transform's own tensor that depends on the input."""
        if not isinstance(value, Tensor):
            return False
        while torch._C._functorch.is_functorch_wrapped_tensor(value):
            value = torch._C._functorch.get_unwrapped(value)
        return value.grad_fn is not None and self._follows(value.grad_fn)

    def _source(self, tensor: Tensor) -> Tensor:
        """What a tensor is another name of: `as_subclass` makes one without a word to modes."""
        node = tensor.grad_fn
        if node is None or node.name() != "AliasBackward0":
            return tensor
        nodes: list[Any] = [node]
        while node is not None and node.name() == "AliasBackward0":
            node = node.next_functions[0][0]
            nodes.append(node)
        known = (t for t in self.tags if any(t.grad_fn is n for n in nodes) and t.shape == tensor.shape)
        return next(known, tensor)

    def _constant(self, tensor: Tensor) -> Tensor:
        """A tensor without its graph, the same one each time."""
        if tensor not in self._constants:
            if tensor.grad_fn is not None and self._follows(tensor.grad_fn):
                if tensor.grad_fn.name() == FUNCTION:
                    raise ModelError(
                        "There is a backward hook on all modules (torch.nn.modules.module."
                        "register_module_full_backward_hook or ..._pre_hook), through which no operation can "
                        "be followed: remove it, or use a gradient method."
                    )
                raise ModelError(
                    f"The model{self._place} computes something by {tensor.grad_fn.name()}, which is no "
                    "operation of PyTorch's own (a custom autograd function, compiled code): no rule can "
                    "stand in for its gradient: write it in plain operations, or use a gradient method."
                )
            self._constants[tensor] = tensor.detach()
        return self._constants[tensor]

    def _follows(self, node: Any) -> bool:
        """Whether a node of the graph comes after the input."""
        seen, todo = {node}, [node]
        while todo:
            node = todo.pop()
            if node is self._root or getattr(node, "variable", None) is self._root:
                return True
            following = {n for n, _ in node.next_functions if n is not None} - seen
            seen |= following
            todo += following
        return False

    @property
    def _place(self) -> str:
        return f" in layer {self.places[-1]!r}" if self.places[-1] else ""

    def _seen(self, made: Any, depends: bool = True) -> None:
        """Keeps in mind what an operation gave, a tensor or several: which are views, and which carry."""
        if isinstance(made, Tensor):
            self.memory.watch(made)
            # A custom autograd function computes without a graph; what it gives is not to pass for ours.
            if depends and made.requires_grad and torch.is_grad_enabled() and made not in self.tags:
                self.tags[made] = Tag()
        elif isinstance(made, (list, tuple)):
            for part in made:
                self._seen(part, depends)
