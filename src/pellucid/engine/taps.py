"""What a layer gave in one pass, kept in the graph."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.layers import Layout


@dataclass(eq=False)
class Tap:
    """What one call of a layer gave: `value` is in the graph; the model went on with `passed`, a copy of it.

    `call` tells which of the layer's calls in this pass it was, from 1 on, and `runs` of how many; `layout`
    may be found out after the pass.
    """

    name: str
    layout: Layout | None
    value: Tensor
    passed: Tensor
    call: int
    runs: int = 1

    def __post_init__(self) -> None:
        # Asked later, under replaced operations, a tensor answers as what became of it.
        self._address = self.passed.data_ptr()

    def holds(self, output: Tensor) -> bool:
        """Whether an output met later is what was passed on, untouched: itself, or in another shape."""
        if output is self.passed:
            return output._version == 0
        return output.data_ptr() == self._address

    @property
    def title(self) -> str:
        """The layer's name, with the call's number where it runs several times."""
        return f"{self.name}#{self.call}" if self.runs > 1 else self.name

    @property
    def read_as(self) -> Layout:
        """The layout, which is known by the time that it is asked for."""
        if self.layout is None:
            raise AssertionError(f"the layout of {self.name} is not known yet")
        return self.layout

    @property
    def maps(self) -> Float[Tensor, "N K h w"]:
        """The activations as feature maps, outside the graph."""
        return self.read_as.maps(self.value.detach())


def make_tap(name: str, layout: Layout | None, output: Tensor, call: int) -> Tap:
    """Keeps an output in the graph: as it is if a gradient reaches it already, else as a new leaf."""
    with torch.enable_grad():
        value = output if output.requires_grad else output.detach().requires_grad_()
        return Tap(name, layout, value, value.clone(), call)
