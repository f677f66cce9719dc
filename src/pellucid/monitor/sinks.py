"""Where looks go besides the history: a folder, TensorBoard, Weights & Biases, or a function."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pellucid.errors import ExtraMissing, InvalidType
from pellucid.monitor.board import About
from pellucid.monitor.folder import Folder
from pellucid.monitor.looks import History, Look

TENSORBOARD, WANDB = "tensorboard:", "wandb"


@runtime_checkable
class Sink(Protocol):
    """What takes looks."""

    def take(self, look: Look, history: History) -> None:
        """Writes one look, the last of the history."""

    def close(self) -> None:
        """Writes what is left."""


def open_sinks(to: Any, request: Mapping[str, Any], about: About) -> list[Sink]:
    """What `to=` of `pellucid.monitor` stands for.

    Raises:
        InvalidType: something else than a folder, a writer, a run or a function, or a list of them.
        InvalidValue: a folder of another request.
        ExtraMissing: TensorBoard or W&B is named and not installed.
    """
    if to is None:
        return []
    if isinstance(to, list | tuple):
        return [sink for one in to for sink in open_sinks(one, request, about)]
    if isinstance(to, str) and to.startswith(TENSORBOARD):
        return [TensorBoard(_writer(to.removeprefix(TENSORBOARD)), about, own=True)]
    if isinstance(to, str) and to == WANDB:
        return [WeightsAndBiases(_run(), about)]
    if isinstance(to, str | os.PathLike):
        return [Folder(Path(to), request, about)]
    if callable(getattr(to, "add_image", None)) and callable(getattr(to, "add_scalar", None)):
        return [TensorBoard(to, about)]
    if callable(getattr(to, "log", None)):
        return [WeightsAndBiases(to, about)]
    if callable(to):
        return [Function(to)]
    raise InvalidType(
        "to must be a folder, 'tensorboard:FOLDER', a SummaryWriter, 'wandb', a W&B run, a function of a "
        f"look, or a list of these; got {type(to).__name__}."
    )


class Function:
    """A user's function, called with each look."""

    def __init__(self, function: Callable[[Look], Any]) -> None:
        self.function = function

    def take(self, look: Look, history: History) -> None:
        """Calls it."""
        self.function(look)

    def close(self) -> None:
        """There is nothing to close."""


class TensorBoard:
    """Writes overlays and numbers of each picture to a `SummaryWriter`, or to what is called alike."""

    def __init__(self, writer: Any, about: About, *, own: bool = False) -> None:
        self.writer, self.about, self.own = writer, about, own

    def take(self, look: Look, history: History) -> None:
        """An image of each picture, its score, probability and agreement, at the step of the look."""
        for name, numbers in _by_picture(look, self.about.names):
            for what, value in numbers.items():
                self.writer.add_scalar(f"pellucid {what}/{name}", value, look.step)
        for i, name in enumerate(_tags(self.about.names)[: len(self.about.panels)]):
            if look.pictures[i].error is None:
                pixels = np.asarray(self.about.overlay(look, i))
                self.writer.add_image(f"pellucid/{name}", pixels, look.step, dataformats="HWC")
        flush = getattr(self.writer, "flush", None)
        if callable(flush):
            flush()

    def close(self) -> None:
        """Closes a writer that was opened here; a user's own stays open."""
        if self.own:
            self.writer.close()


class WeightsAndBiases:
    """Logs overlays and numbers to a run, against a step of their own.

    The run's own count of steps is left alone: what is logged joins what the user logs next
    (`commit=False`). Where nothing was logged since the look before, that one is committed first, so that
    none is lost.
    """

    def __init__(self, run: Any, about: About) -> None:
        self.run, self.about = run, about
        self.logged: Any = None
        define = getattr(run, "define_metric", None)
        if callable(define):
            define("pellucid/step")
            define("pellucid/*", step_metric="pellucid/step")

    def take(self, look: Look, history: History) -> None:
        """One entry with an image and the numbers of each picture."""
        entry: dict[str, Any] = {"pellucid/step": look.step}
        for name, numbers in _by_picture(look, self.about.names):
            entry |= {f"pellucid/{what}/{name}": value for what, value in numbers.items()}
        picture_of = getattr(sys.modules.get("wandb"), "Image", lambda image, caption: image)
        for i, name in enumerate(_tags(self.about.names)[: len(self.about.panels)]):
            seen = look.pictures[i]
            if seen.error is None:
                caption = f"step {look.step}: {seen.label or self.about.output} {seen.score:.3g}"
                entry[f"pellucid/maps/{name}"] = picture_of(self.about.overlay(look, i), caption=caption)
        at = getattr(self.run, "step", None)
        if self.logged is not None and self.logged == at:
            self.run.log({}, commit=True)
        self.run.log(entry, commit=False)
        self.logged = getattr(self.run, "step", None)

    def close(self) -> None:
        """Commits the last look; the run stays open."""
        if self.logged is not None:
            self.run.log({}, commit=True)


def _tags(names: Sequence[str]) -> list[str]:
    """Names that can be told apart."""
    counts: dict[str, int] = {}
    tags = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        tags.append(name if counts[name] == 1 else f"{name} {counts[name]}")
    return tags


def _by_picture(look: Look, names: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
    """The numbers that each picture has."""
    return [
        (name, {
            what: value
            for what in ("score", "probability", "agreement")
            if (value := getattr(seen, what)) is not None
        })
        for name, seen in zip(_tags(names), look.pictures, strict=True)
    ]  # fmt: skip


def _writer(folder: str) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ExtraMissing(
            f"to='tensorboard:…' needs TensorBoard ({error}): pip install tensorboard."
        ) from None
    return SummaryWriter(folder or None)


def _run() -> Any:
    try:
        import wandb  # type: ignore[import-not-found]
    except ImportError as error:
        raise ExtraMissing(f"to='wandb' needs Weights & Biases ({error}): pip install wandb.") from None
    return wandb.run or wandb.init()
