"""A callable as a target: raw output -> one number per image, right whatever rows it is shown.

The model is run on chunks of the images and on perturbed copies of them. A callable that holds something of
its own for each image (a class, a reference) must know which image each row is of: it takes their numbers as
a second argument, or is shown each row in the place of its own image.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.errors import InvalidValue, PellucidError, first_line, in_own_code
from pellucid.structures import repeated, some_rows

_FORM = (
    "a callable target is shown the outputs of several images, and must score each row by itself, as "
    "lambda outputs: outputs[:, 3] does; what belongs to each image is picked by the images' numbers: "
    "lambda outputs, indices: outputs.gather(1, classes[indices, None])[:, 0]"
)

_MOST = 10_000_000  # numbers that a callable is shown at once to find out whether a row's place matters


@dataclass(frozen=True)
class TargetFunction:
    """A callable target, and how it may be called.

    Attributes:
        function: the user's.
        name: what the target is called.
        numbers: which image each row is of.
        images: how many images there are.
        indexed: whether it takes the images' numbers.
        anywhere: whether a row's score does not depend on where the row stands.
    """

    function: Callable[..., Tensor]
    name: str
    numbers: tuple[int, ...]
    images: int
    indexed: bool
    anywhere: bool = False

    @classmethod
    def of(
        cls,
        function: Callable[..., Tensor],
        raw: Any,
        numbers: Sequence[int] | None = None,
        images: int | None = None,
    ) -> "TargetFunction":
        """Tries it on the outputs of some images.

        Raises:
            InvalidValue: it fails, does not give one number per image, or mixes the images.
        """
        name = getattr(function, "__name__", type(function).__name__)
        indexed = _takes_numbers(function)
        if numbers is None:
            numbers = range(len(_first_tensor(raw)))
        rows = tuple(numbers)
        found = cls(function, name, rows, max(images or 0, max(rows, default=-1) + 1), indexed)
        return found if indexed else found._tried(raw)

    def __call__(self, raw: Any, numbers: tuple[int, ...]) -> Float[Tensor, " N"]:
        """One number per row of the output; `numbers` tells which image each is of."""
        if self.indexed or self.anywhere or numbers == tuple(range(self.images)):
            return self._scores(raw, len(numbers), numbers if self.indexed else None)
        return torch.stack(
            [self._in_place(raw, row, number, len(numbers)) for row, number in enumerate(numbers)]
        )

    def _run(self, raw: Any, numbers: tuple[int, ...] | None = None) -> Any:
        try:
            if numbers is None:
                return self.function(raw)
            return self.function(raw, torch.tensor(numbers, dtype=torch.long, device=_device(raw)))
        except PellucidError:
            raise
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            reason = first_line(error)
            raise InvalidValue(
                f"The callable target {self.name!r} failed ({reason}): {_FORM}."
            ) from in_own_code(error)

    def _in_place(self, raw: Any, row: int, number: int, rows: int) -> Float[Tensor, ""]:
        """The score of one row where the callable sees it in the place of its image, and in all others."""
        return self._scores(repeated(raw, row, self.images, rows), self.images)[number]

    def _scores(self, raw: Any, rows: int, numbers: tuple[int, ...] | None = None) -> Float[Tensor, " rows"]:
        scores = _score(self._run(raw, numbers))
        if len(scores) != rows:
            raise InvalidValue(
                f"There must be one score per image: {rows} images, {len(scores)} scores; {_FORM}."
            )
        return scores

    def _tried(self, raw: Any) -> "TargetFunction":
        """Itself, knowing whether it may be shown rows in any place: found by showing it rows in several."""
        rows = len(self.numbers)
        direct = self._scores(raw, rows) if self.numbers == tuple(range(self.images)) else None
        if self._moves_along(raw, rows, direct):
            return replace(self, anywhere=True)
        self._refuse_mixing(raw, rows, direct)
        return self

    def _moves_along(self, raw: Any, rows: int, direct: Tensor | None) -> bool:
        """Whether rows are scored alike wherever they stand: turned round, twice, in every image's place."""
        order = torch.arange(rows, dtype=torch.long, device="cpu")
        size = max(1, _first_tensor(raw)[0].numel())
        times = max(2, min(self.images, _MOST // size))
        try:
            own = self._scores(raw, rows) if direct is None else direct
            for which in (order.flip(0), torch.cat([order, order])):
                if not _close(
                    self._scores(some_rows(raw, which, rows), len(which)), own[which.to(own.device)]
                ):
                    return False
            for row in {0, rows - 1}:
                if not _close(self._scores(repeated(raw, row, times, rows), times), own[row].expand(times)):
                    return False
        except InvalidValue:
            return False
        return True

    def _refuse_mixing(self, raw: Any, rows: int, direct: Tensor | None) -> None:
        """Stops where a row's score depends on what stands in the other rows."""
        for row, number in enumerate(self.numbers):
            alone = self._in_place(raw, row, number, rows)
            other = (row + 1) % rows
            which = torch.full((self.images,), other, dtype=torch.long, device="cpu")
            which[number] = row
            beside = self._scores(some_rows(raw, which, rows), self.images)[number]
            if not _close(alone, beside) or (direct is not None and not _close(alone, direct[row])):
                raise InvalidValue(
                    f"The callable target {self.name!r} scores an image by the outputs of others: {_FORM}."
                )


def _takes_numbers(function: Callable[..., Any]) -> bool:
    """Whether a callable has a second argument that must be given."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]
    return len(needed) >= 2


def _score(score: Any) -> Tensor:
    if not isinstance(score, Tensor) or score.ndim != 1:
        came = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
        raise InvalidValue(f"A callable target must give one number per image, a tensor (N,); got {came}.")
    return score


def _close(one: Tensor, other: Tensor) -> bool:
    one, other = one.detach().double(), other.detach().double()
    scale = float(other.abs().max()) if other.numel() else 0.0
    exact = 1e-4 * max(scale, 1e-6)
    return bool(torch.isclose(one, other, rtol=0.0, atol=exact, equal_nan=True).all())


def _first_tensor(raw: Any) -> Tensor:
    """The first tensor of an output that has rows."""
    if isinstance(raw, Tensor | np.ndarray):
        return torch.from_numpy(raw) if isinstance(raw, np.ndarray) else raw
    items = (
        list(raw.values()) if isinstance(raw, Mapping) else list(raw) if isinstance(raw, tuple | list) else []
    )
    found = (_first_tensor(item) for item in items)
    return next((one for one in found if one.ndim), torch.empty(1, dtype=torch.float32, device="cpu"))


def _device(raw: Any) -> torch.device:
    return _first_tensor(raw).device
