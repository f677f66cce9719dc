"""The operands of one operation, as the rules of axes read them."""

from typing import Any

from torch import Tensor

from pellucid.engine.axes.kinds import Axes, Edges


class Operands:
    """The axes of the tensors that one operation was given.

    `why` says how some were lost, `edges` by how many cells rows or columns reach further at their beginning
    and end than before (less far, if below 0), of how many.
    """

    def __init__(self, batch: int, axes: dict[int, Axes | None], name: str = "") -> None:
        self.batch, self.axes, self.name, self.why = batch, axes, name, ""
        self.edges: dict[Any, Edges] = {}
        self.mixed: set[int] = set()  # operands in which attention had a part

    def of(self, value: Any) -> Axes | None:
        """The axes of an operand: all "-" for one that does not depend on the picture."""
        if not isinstance(value, Tensor):
            return None
        return self.axes.get(id(value), ("-",) * value.ndim)


def first_argument(args: Any, kwargs: Any) -> Any:
    """What an operation works on, however it was passed."""
    return args[0] if args else kwargs.get("input", kwargs.get("self"))
