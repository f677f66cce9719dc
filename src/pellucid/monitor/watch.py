"""The verb `monitor`: it explains a fixed set of pictures every so many steps of a training, unnoticed."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pellucid.agreement import agreement_of_maps
from pellucid.errors import (
    InvalidValue,
    MonitorWarning,
    PellucidError,
    first_line,
    short_traceback,
)
from pellucid.explain import explain_all
from pellucid.explanation import Explanation
from pellucid.files import save_by_suffix
from pellucid.images import Batch
from pellucid.model import Model
from pellucid.monitor.board import About, Film, reduced
from pellucid.monitor.callbacks import lightning_callback, transformers_callback
from pellucid.monitor.folder import Folder
from pellucid.monitor.guard import first_process, is_lazy, refuse_sharded, same_hook_state, same_random_states
from pellucid.monitor.looks import KEPT, History, Look, Seen
from pellucid.monitor.sinks import Sink, open_sinks
from pellucid.options.written import plain
from pellucid.preprocess import Preprocess
from pellucid.render import video
from pellucid.request import Request
from pellucid.target import Output, Target


@short_traceback
def monitor(
    model: Model | nn.Module | Callable[[Tensor], Any],
    pictures: Any,
    method: str = "grad-cam",
    *,
    every: int = 100,
    to: Any = None,
    target: Target = None,
    output: Output | None = None,
    labels: Any = None,
    preprocess: Preprocess | Callable[[Image.Image], Any] | None = None,
    seed: int = 0,
    batch_size: int | str = "auto",
    start: int | None = None,
    **options: Any,
) -> "Watch":
    """Explains a fixed set of pictures every so many steps of a training, which does not notice.

    The first look is taken now, before training, so that a request that does not hold is refused at once.
    Later looks never stop a training: what goes wrong is told in one warning and kept in `.history.failures`.

    Nothing of the training changes: modes, gradients, `requires_grad`, hooks, random states (PyTorch's,
    NumPy's, Python's), the optimiser, autocast and gradient modes. Weights trained with a watch are those
    trained without, bit for bit. Of processes that train together (DDP) the first looks, the others only
    count. Forward hooks run in a look, as some change what a layer gives; what they collect there is taken
    out of their lists and dicts again.

    Args:
        model: what is trained: a `Model`, an `nn.Module` (also compiled, in DDP, or a LightningModule), or a
            callable.
        pictures: see `explain`: paths, pictures, or a float tensor (N, C, H, W). A dozen or less is best:
            sheets and films show twelve.
        method: see `explain`.
        every: a look is taken after so many optimiser steps.
        to: where looks go besides `.history`: a folder, "tensorboard:FOLDER", a `SummaryWriter`, "wandb", a
            W&B run, a function that is called with each look, or a list of these. A folder that has looks of
            the same request is gone on with.
        target: see `explain`; one class per picture keeps maps of different steps about the same question.
            None explains what is predicted at each step.
        output: see `explain`.
        labels: class names, see `Model`.
        preprocess: makes inputs of pictures, see `Model`.
        seed: of everything drawn at random.
        batch_size: the most samples run together.
        start: how many steps were done before; None for 0, or, in a folder with looks, that of the last look,
            with a warning if steps are then counted without their numbers.
        **options: the method's.

    Returns:
        A `Watch`: call `.step()` after each optimiser step, or pass `.lightning()` or `.hf()` to a trainer.

    Raises:
        InvalidValue, InvalidType: a request that does not hold; a folder of looks of another request.
        ModelError: the model cannot be explained by this method.
        ExtraMissing: TensorBoard or W&B is named and not installed.

    Cost:
        The method's for these pictures, once every so many steps, and the drawing of a sheet.

    Example:
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Linear(4, 2))
        >>> optimiser = torch.optim.SGD(net.parameters(), 0.1)
        >>> with monitor(net, torch.rand(2, 3, 8, 8), every=2, target=1) as watch:
        ...     for _ in range(5):
        ...         net(torch.rand(4, 3, 8, 8))[:, 1].mean().backward()
        ...         optimiser.step()
        ...         _ = watch.step()
        >>> watch.history.steps.tolist(), tuple(watch.history.maps.shape)
        ([0, 2, 4, 5], (4, 2, 6, 6))
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InvalidValue(f"every must be a whole number of steps, at least 1; got {every!r}.")
    request = Request.of(method, options)
    wrapped = _model(model, labels, preprocess)
    refuse_sharded(wrapped.module)
    with same_random_states(wrapped.device):
        return Watch(
            wrapped,
            wrapped.read(pictures),
            request,
            every=every,
            to=to,
            target=target,
            output=output,
            seed=seed,
            batch_size=batch_size,
            start=start,
        )


def _model(model: Any, labels: Any, preprocess: Any) -> Model:
    """The model with its class names and preprocessing.

    Raises:
        InvalidValue: a `Model`, which has its own, and others beside it.
    """
    wrapped = Model.wrap(model)
    if labels is None and preprocess is None:
        return wrapped
    if wrapped is model:
        raise InvalidValue(
            "A pellucid.Model has class names and preprocessing of its own: give labels= and preprocess= to "
            "it, or the bare module to monitor."
        )
    return Model(
        wrapped.module,
        preprocess=wrapped.preprocess if preprocess is None else preprocess,
        labels=wrapped.labels if labels is None else labels,
        name=wrapped.name,
    )


class Watch:
    """Looks at a training: what `pellucid.monitor` gives.

    Attributes:
        history: all looks, as tensors on the CPU: `.steps` (T,), `.maps` (T, N, h, w), `.scores`,
            `.predictions`, `.probabilities`, `.targets` and `.agreements` (T, N), `.names`, `.looks`, and
            `.failures` {step: why}.
        every: a look is taken after so many steps.
    """

    history: History
    every: int

    def __init__(
        self,
        model: Model,
        batch: Batch,
        request: Request,
        *,
        every: int,
        to: Any,
        target: Target,
        output: Output | None,
        seed: int,
        batch_size: int | str,
        start: int | None,
    ) -> None:
        self._model, self._request = model, request
        self._batch = Batch(batch.inputs.cpu(), batch.pictures, batch.boxes, batch.extras, batch.chosen)
        self._target = target.tolist() if isinstance(target, Tensor) else target
        self._settings: dict[str, Any] = {
            "output": output, "seed": seed, "batch_size": batch_size, "progress": False,
        }  # fmt: skip
        self.every = every
        names = [picture.name for picture in batch.pictures]
        self.history = History(names)
        explained = request.method.explains(request.options) if output is None else output
        self._about = About.of(self._batch, names, model.name, request.title, explained)
        self._warned = self._closed = self._assumed = False
        self._sinks: list[Sink] = []
        self._at = start or 0
        if not first_process():
            return
        asked = {
            "method": request.title,
            "target": _written(self._target),
            "output": explained,
            "seed": seed,
            "pictures": names,
            "inputs": _digest(self._batch.inputs),
            "model": model.name,
        }
        self._sinks = open_sinks(to, asked, self._about)
        folders = [sink for sink in self._sinks if isinstance(sink, Folder)]
        for look in folders[0].looks() if folders else ():
            self.history.add(look)
        if start is None and self.history.last is not None:
            self._at, self._assumed = self.history.last.step, True
        elif self.history.last is None and not is_lazy(model.module):
            self._give(self._look(self._at))

    # --- in a loop -----------------------------------------------------------------------------------------

    def step(self, step: int | None = None) -> Look | None:
        """Counts one optimiser step, and takes a look where it is due. Never raises.

        Args:
            step: how many steps were done, this one included; None counts on.

        Returns:
            The look, or None.
        """
        if step is None and self._assumed:
            _warn(
                f"The folder has looks up to step {self._at}, and steps are counted on from there: pass "
                "start=0 to begin anew, start=N where training goes on from step N, or call watch(step)."
            )
        self._assumed = False
        before, self._at = self._at, self._at + 1 if step is None else step
        if before > self._at:  # training went back to an earlier checkpoint
            before = self._at - 1
        return self.look() if self._at // self.every > before // self.every else None

    __call__ = step

    def look(self) -> Look | None:
        """Takes a look now, whatever `every` says. Never raises: the reason is in `.history.failures`."""
        if self._closed or not first_process():
            return None
        with same_random_states(self._model.device):
            try:
                look = self._look(self._at)
            except Exception as error:
                self._fail(f"The look at step {self._at} failed: {_said(error)}")
                return None
            self._give(look)
            return look

    def close(self) -> None:
        """Takes a last look where training went on since the one before, and closes what is written to."""
        last = self.history.last
        if not self._closed and (last is None or last.step != self._at):
            self.look()
        self._end()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._end()

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            with same_random_states(self._model.device):
                for sink in self._sinks:
                    self._try(sink.close)

    # --- in a trainer --------------------------------------------------------------------------------------

    def lightning(self) -> Any:
        """A Lightning `Callback`: `Trainer(callbacks=[watch.lightning()])`.

        Raises:
            ExtraMissing: Lightning is not installed.
        """
        return lightning_callback(self)

    def hf(self) -> Any:
        """A `TrainerCallback` of transformers: `Trainer(callbacks=[watch.hf()])`.

        Raises:
            ExtraMissing: transformers is not installed.
        """
        return transformers_callback(self)

    def begin(self, step: int, trained: Any) -> None:
        """Training begins, or goes on, at a step."""
        self._closed = self._assumed = False
        self._at = step
        self._check_trained(trained)
        last = self.history.last
        if last is None or last.step != step:
            self.look()

    def after(self, step: int, trained: Any) -> None:
        """Some batch was done, and so many optimiser steps."""
        if step != self._at:
            self.step(step)

    def _check_trained(self, trained: Any) -> None:
        """Tells once where the trainer trains another network than the one that is watched."""
        watched = self._model.module
        if not (isinstance(trained, nn.Module) and isinstance(watched, nn.Module)):
            return
        weights = {id(weight) for weight in trained.parameters()}
        if weights and not any(id(weight) in weights for weight in watched.parameters()):
            self._fail(
                "The trainer must train the model that is watched, and trains another one, whose weights are "
                "not those given to pellucid.monitor: pass it the very same module."
            )

    # --- results -------------------------------------------------------------------------------------------

    def film(self, path: str | os.PathLike[str]) -> Path | None:
        """Writes a film of how evidence moved: .mp4 (needs imageio-ffmpeg) or .gif.

        Each frame is a look: every picture under its map, with the class explained, its score, the class
        predicted, the step, and the curve of scores so far. Colours end at each map's own strongest evidence.

        Returns:
            The path; None in processes that take no looks.

        Raises:
            InvalidValue: another suffix, or there is no look yet.
            ExtraMissing: an .mp4, but no encoder is installed.
            NotWritten: it cannot be written there.
        """
        if not first_process():
            return None
        if not len(self.history):
            raise InvalidValue("A film needs a look, and there is none yet: see .history.failures.")

        def write(file: Path) -> None:
            video.write_film(file, lambda most: Film(self._about, self.history, most))

        return save_by_suffix(path, dict.fromkeys(video.SUFFIXES, write))

    # --- a look --------------------------------------------------------------------------------------------

    def _look(self, step: int) -> Look:
        """Explains all pictures as the model is now.

        Raises:
            PellucidError: no picture can be explained.
        """
        began = time.perf_counter()
        model, batch = self._model, self._batch
        refuse_sharded(model.module)
        inputs = batch.inputs.to(model.device, model.dtype)
        here = Batch(inputs, batch.pictures, batch.boxes, batch.extras, batch.chosen)
        with same_hook_state(model.module):
            (found,), _ = explain_all(model, here, [self._request], [self._target], **self._settings)
        if isinstance(found.answer, PellucidError):
            raise found.answer
        answer, count = found.answer, len(batch.pictures)
        some = reduced(answer.raw, KEPT)
        maps = torch.full((count, *some.shape[1:]), float("nan"), dtype=torch.float32, device="cpu")
        maps[list(found.images)] = some
        pictures = [
            Seen(name, error=first_line(found.failures[i])) if i in found.failures else Seen(name)
            for i, name in enumerate(self.history.names)
        ]
        for row, image in enumerate(found.images):
            pictures[image] = self._seen(answer, row, image, maps[image])
        return Look(step, maps, tuple(pictures), time.perf_counter() - began, answer.per_pixel)

    def _seen(self, answer: Explanation, row: int, image: int, map: Tensor) -> Seen:
        """One picture that was explained, and how its map agrees with the one before."""
        name, score = self.history.names[image], float(answer.score[row])
        best = answer.prediction[row][0] if answer.prediction[row] else None
        agreement, last = None, self.history.last
        if last is not None and last.pictures[image].error is None and last.maps[image].shape == map.shape:
            box, size = self._batch.boxes[image], self._batch.pictures[image].rgb.size
            agreement = float(agreement_of_maps([last.maps[image], map], [box, box], size)[0, 1])
        return Seen(
            name,
            answer.target[row],
            answer.labels[row],
            score,
            None if best is None else best.index,
            None if best is None else best.label,
            None if best is None or not isfinite(best.probability) else best.probability,
            agreement,
            tuple(answer.notes[row]),
        )

    def _give(self, look: Look) -> None:
        """To the history and wherever looks go."""
        self.history.add(look)
        for sink in self._sinks:
            self._try(lambda sink=sink: sink.take(look, self.history))  # type: ignore[misc]

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:
            self._fail(f"What was seen at step {self._at} could not be written: {_said(error)}")

    def _fail(self, text: str) -> None:
        """Keeps why something failed, and tells of the first time."""
        self.history.failures[self._at] = text
        for sink in self._sinks:
            if isinstance(sink, Folder):
                with suppress(Exception):
                    sink.fail(self._at, text)
        if self._warned:
            return
        self._warned = True
        _warn(f"{text} Training goes on; further failures are kept in .history.failures alone.")


def _warn(text: str) -> None:
    """Warns; where warnings are errors it says so on standard error, as a look must not stop a training."""
    try:
        warnings.warn(text, MonitorWarning, stacklevel=3)
    except MonitorWarning:
        sys.stderr.write(f"{text}\n")


def _said(error: Exception) -> str:
    """What went wrong, with its type where it is none of ours."""
    return str(error) if isinstance(error, PellucidError) else f"{type(error).__name__}: {first_line(error)}"


def _digest(inputs: Tensor) -> str:
    """What tells these inputs from others."""
    plain_bytes = inputs.detach().float().contiguous().numpy().tobytes()
    return blake2b(plain_bytes, digest_size=16).hexdigest()


def _written(target: Any) -> Any:
    """A target as it is kept in JSON."""
    if isinstance(target, Sequence | Mapping) and not isinstance(target, str):
        return [_written(one) for one in target]
    if target is None or isinstance(target, str | int):
        return target
    return str(target) if type(target).__name__ == "Contrast" else plain(target)
