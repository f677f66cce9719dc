"""Scores with a layer's output altered: only the part of the model behind the layer sees the large batch.

A forward hook may give back a larger batch than it got. The layers before it then run once, for one
image, those behind it for all altered versions of its output, and what bypasses it broadcasts. That this
gives what the whole model would give is never taken for granted: the unaltered output goes along in
every batch and must get the score that is known, and the first versions are run alone as well.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.engine.chunks import in_chunks, out_of_memory
from pellucid.engine.run import Engine
from pellucid.engine.taps import Tap
from pellucid.errors import ModelError
from pellucid.layers import with_first_tensor
from pellucid.target import TargetFn

Alter = Callable[[Tensor, int, int], None]
"""`alter(maps, start, stop)` makes versions start to stop, in place, of as many copies of the maps."""

CHUNK_BYTES = 64 * 2**20
"""Of the layer's outputs that are run together."""
MOST = 256
"""Versions run together, however small they are: the model's later layers may be larger than this one."""


class NotAlone(Exception):
    """The part behind the layer, run alone for many versions, does not give what the whole model gives."""


def resume(
    engine: Engine,
    inputs: Float[Tensor, "N C H W"],
    tap: Tap,
    image: int,
    alter: Alter,
    total: int,
    score: TargetFn,
    value: Float[Tensor, ""],
    numbers: Sequence[int] | None = None,
) -> Float[Tensor, " total"]:
    """The scores of one image with the output of a layer altered in `total` ways.

    Args:
        engine: what runs the model.
        inputs: the batch that `tap` was captured of.
        tap: what the layer gave.
        image: which of the batch.
        alter: `alter(maps, start, stop)` changes maps (B, K, h, w), copies of the image's own, in place.
        total: how many versions there are.
        score: of that image alone.
        value: its score with the layer's output unaltered.
        numbers: which of all images the batch's are.

    Where the part behind the layer cannot be run alone (it fails, mixes the samples of a batch, or kept the
    batch size from before) `engine.resumable` is False for the layer from then on, and every version runs
    the whole model.

    Raises:
        ModelError: the model failed, or does not reach the layer for this image alone.

    Cost:
        One forward pass per chunk, and the part behind the layer for each version and once more per chunk;
        two forward passes the first time a layer is altered. One forward pass per version where the part
        behind the layer cannot be run alone.
    """
    number = None if numbers is None else numbers[image : image + 1]
    rerun = Rerun(engine, inputs[image : image + 1], tap, image, alter, score, number)
    known = tap.title, tuple(inputs.shape[1:])
    engine.progress.at_least(total)
    if engine.resumable.get(known, True):
        try:
            scores = rerun.together(total, value, check=known not in engine.resumable)
        except NotAlone:
            engine.resumable[known] = False
        else:
            engine.resumable[known] = True
            return scores
    return rerun.one_by_one(total, value)


class Rerun:
    """One image, run again with versions of one layer's output."""

    def __init__(
        self,
        engine: Engine,
        x: Float[Tensor, "1 C H W"],
        tap: Tap,
        image: int,
        alter: Alter,
        score: TargetFn,
        number: Sequence[int] | None = None,
    ) -> None:
        self.number = number
        self.engine, self.x, self.tap, self.alter, self.score = engine, x, tap, alter, score
        self.axis = tap.read_as.batch_axis
        self.own = tap.value.detach().narrow(self.axis, image, 1)
        self.output: Tensor | None = None

    def versions(self, start: int, stop: int, unaltered: int = 0) -> Tensor:
        """The layer's output in versions start to stop, and then as it is; good until it is called again."""
        n = stop - start + unaltered
        if self.output is not None and self.output.shape[self.axis] == n:
            self.output.copy_(self.own)  # much faster than memory that is mapped anew
        else:
            self.output = torch.cat([self.own] * n, self.axis)
        self.alter(self.tap.read_as.view(self.output)[: stop - start], start, stop)  # a view
        return self.output

    def together(self, total: int, value: Float[Tensor, ""], check: bool) -> Float[Tensor, " total"]:
        """The scores of all versions, many at once; `check` runs two of the first chunk alone as well.

        Raises:
            NotAlone: a score is not what the whole model gives.
        """
        scores = value.new_empty(total)

        def step(start: int, stop: int) -> None:
            output, n = self.versions(start, stop, unaltered=1), stop - start
            checked = [self.most_changed(output)] if check and not start else []
            failure: Exception | None = None
            with self.engine.making(forward=1, resumed=n + 1):
                try:
                    found, tolerance = self.run(output)
                except Exception as error:  # an error of the model's own will come again, one by one
                    if out_of_memory(error):
                        raise
                    failure = error
            if failure:
                raise NotAlone from failure
            if checked:
                checked.append(int((found[:n] - value).abs().argmax()))
            expected = {n: value, **{i: self.alone(i) for i in checked}}
            if not all(abs(found[i] - known) <= tolerance for i, known in expected.items()):
                raise NotAlone
            scores[start:stop] = found[:n]

        most = MOST if self.engine.batch_size == "auto" else int(self.engine.batch_size) - 1
        size = CHUNK_BYTES // (self.own.numel() * self.own.element_size())
        in_chunks(total, max(1, min(most, size)), step)
        return scores

    def most_changed(self, output: Tensor) -> int:
        """Which of the versions is the least like the unaltered output."""
        distances = torch.stack([(one - self.own).norm() for one in output.split(1, self.axis)])
        return int(distances.argmax())

    def alone(self, version: int) -> Float[Tensor, ""]:
        """The score of one version, by the whole model."""
        with self.engine.making(forward=1):
            return self.run(self.versions(version, version + 1))[0][0]

    def one_by_one(self, total: int, value: Float[Tensor, ""]) -> Float[Tensor, " total"]:
        """The scores of all versions, each by the whole model."""
        return torch.stack([self.alone(version) for version in range(total)]).to(value)

    def run(self, output: Tensor) -> tuple[Float[Tensor, " B"], float]:
        """One pass with the layer's output replaced: the score of each version, and how exact it is.

        Raises:
            ModelError: the model failed, did not reach the layer, or gave another number of scores.
        """
        batch = output.shape[self.axis]
        with torch.no_grad(), replaced(self.engine, self.tap, output) as reached, Widening(batch):
            raw = self.engine.forward(self.x.clone(), self.number, rows=batch)
            scores = self.score.repeat(batch)(raw).clone()  # what it reads may be the altered output itself
        if not reached:
            raise ModelError(
                f"The model does not run its layer {self.tap.name!r} again for one image alone: "
                "choose another layer."
            )
        if len(scores) != batch:
            raise ModelError(f"There must be one score per sample: {batch} samples, {len(scores)} scores.")
        read = self.score.reading.outputs
        scale = (scores if self.score.function else read(raw, batch)).abs().max()
        ran = torch.bfloat16 if self.engine.precision == "bfloat16" else self.engine.model.dtype
        eps = max(torch.finfo(dtype).eps for dtype in (ran, scores.dtype))
        return scores, eps**0.6 * float(scale)


@contextmanager
def replaced(engine: Engine, tap: Tap, output: Tensor) -> Iterator[list[str]]:
    """In this block the layer gives `output` in the call that was captured; the list then holds its name."""
    reached: list[str] = []
    calls = 0

    def replace(module: nn.Module, args: Any, given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != tap.call:
            return given
        reached.append(tap.name)
        return with_first_tensor(given, output)

    handle = engine.network.get_submodule(tap.name).register_forward_hook(replace)
    try:
        yield reached
    finally:
        handle.remove()


class Widening(TorchFunctionMode):
    """Repeats what bypassed the layer, a batch of 1, where torch does not broadcast it by itself.

    Those are `cat`, `bmm` and the like, and operations in place on what bypassed the layer, whose result
    goes on in a new tensor. Only what torch refuses is tried again. Besides, shapes that were noted down
    before the layer, for a batch of 1, are read as of the large batch.
    """

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        try:
            return func(*self.reshaped(func, args), **kwargs)
        except RuntimeError as error:
            wide = {t.ndim for t in tensors((args, kwargs)) if t.ndim and len(t) == self.batch}
            if out_of_memory(error) or not wide:
                raise
            args, kwargs = self.widened((args, kwargs), wide)
        return out_of_place(func)(*args, **kwargs)

    def reshaped(self, func: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a function; of `x.view(1, ...)` and its like, with the large batch for the 1."""
        if getattr(func, "__name__", "") not in ("view", "reshape") or len(args) < 2:
            return args
        x, shape = args[0], args[1] if isinstance(args[1], (tuple, list)) else args[1:]
        if not x.ndim or len(x) != self.batch or not shape or shape[0] != 1:
            return args
        return x, (self.batch, *shape[1:])

    def widened(self, value: Any, wide: set[int]) -> Any:
        """Arguments with tensors of batch 1 repeated, of as many dimensions as those of the large batch."""
        if isinstance(value, Tensor):
            return (
                value.expand(self.batch, *value.shape[1:])
                if value.ndim in wide and len(value) == 1
                else value
            )
        if isinstance(value, dict):
            return {key: self.widened(item, wide) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.widened(item, wide) for item in value)
        return value


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors among the arguments of a function."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def out_of_place(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function that gives the result of one that works in place; other functions themselves.

    Example:
        >>> out_of_place(Tensor.add_).__name__, out_of_place(Tensor.__iadd__).__name__
        ('add', '__add__')
    """
    name = getattr(func, "__name__", "")
    if name.startswith("__i"):
        return getattr(Tensor, f"__{name[3:]}", func)
    return getattr(Tensor, name[:-1], func) if name.endswith("_") else func
