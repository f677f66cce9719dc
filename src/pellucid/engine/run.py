"""How a model is run: a shadow of it in evaluation mode, its own state untouched, each pass billed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pellucid.allocator import Region
from pellucid.engine.billing import Bill, Charge
from pellucid.engine.chunks import out_of_memory
from pellucid.engine.cost import Cost
from pellucid.engine.mixing import SamplesMix, Watch, differ, known_apart, remember_apart
from pellucid.engine.pace import bfloat16_pays
from pellucid.engine.precision import Precision, bf16_autocast
from pellucid.engine.progress import Progress, Silent
from pellucid.engine.randomness import Randomness
from pellucid.engine.shadow import shadow_of
from pellucid.errors import InvalidValue, ModelError, ModelFailed, PellucidError, first_line, in_own_code
from pellucid.inputs import Extras
from pellucid.model import Model
from pellucid.output_scale import Origin
from pellucid.outputs import Reading
from pellucid.structures import as_plain, restored

T = TypeVar("T")
_VIEW = "view size is not compatible"
"""What PyTorch says where `view` meets activations that are not contiguous."""


def _of_inputs(error: Exception) -> str:
    """How a model that wants more than a picture is given the rest."""
    if not (isinstance(error, TypeError) and "missing" in str(error) and "argument" in str(error)):
        return ""
    return (
        " (a model of several inputs is given others by forward_kwargs=, or as a tuple (images, others); "
        "on the command line, the function of --model FILE.py:function returns a module that holds them)"
    )


def _of_channels(error: Exception) -> str:
    """What to do where a model reads another number of channels than its pictures were given."""
    if "channels" not in first_line(error):
        return ""
    return (
        " (pictures get as many channels as the mean and std of the model's Preprocess have values; on the "
        "command line, --channels)"
    )


@dataclass
class Engine:
    """Runs one model: the single place where it is called.

    `spent` is what was really run; a bill says what one method would have cost alone. `watching` lets it find
    out whether the samples of a batch influence one another.
    """

    model: Model
    precision: Precision = "auto"
    batch_size: int | str = "auto"
    progress: Progress = field(default_factory=Silent)
    spent: Cost = field(default_factory=Cost)
    watching: bool = False
    alone: str = ""  # why each sample of a batch is run alone, where it must be
    channels_last: bool = True  # whether the model takes inputs whose channels lie last in memory
    resumable: dict[tuple[str, tuple[int, ...]], bool] = field(default_factory=dict)  # by layer, input size
    extras: Extras | None = None  # what the model is given besides the picture
    images: int | None = None  # how many there are, where that is known
    reading: Reading | PellucidError | None = None  # how outputs are read, or why they cannot be
    running: Model = field(init=False)  # a shadow of the model, within a session
    _random: Randomness | None = None
    _bills: list[Bill] = field(default_factory=list)
    _region: Region | None = None  # of the session that is on
    _ran: bool = False  # whether the model was run in it
    # What may mix samples, the last one, its number, and what came out.
    _suspicion: tuple[str, Tensor, Sequence[int] | None, Any] | None = None

    def __post_init__(self) -> None:
        self.running = self.model
        if self.precision not in get_args(Precision):
            raise InvalidValue(
                f"precision must be one of {', '.join(get_args(Precision))}; got {self.precision!r}."
            )

    @property
    def network(self) -> nn.Module:
        """The `nn.Module` that runs, to look into and to hook; `model.network` is the user's own.

        Raises:
            ModelError: there is none: see `Model.network`.
        """
        return self.running.network

    def to_memory_format(self, inputs: Tensor, channels_last: bool = True) -> Tensor:
        """Inputs as they lie best in memory: on a CPU, convolutions are faster with channels last."""
        last = channels_last and self.channels_last and inputs.ndim == 4
        return inputs.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def with_layout_fallback(self, run: Callable[[], T]) -> T:
        """What `run` gives; once more with contiguous inputs where the model cannot take channels last.

        Models that `view` their activations cannot. That is remembered.
        """
        try:
            return run()
        except ModelError as error:
            if not self.channels_last or _VIEW not in str(error):
                raise
        self.channels_last = False
        return run()

    def forward(
        self,
        inputs: Float[Tensor, "N C H W"],
        numbers: Sequence[int] | None = None,
        rows: int | None = None,
        plain: Callable[[Any], Any] = as_plain,
    ) -> Any:
        """The model's raw output; a batch axis that it squeezed away is put back.

        Args:
            inputs: what it is run on.
            numbers: which image each input was made of, for a model that takes more than the picture.
            rows: of its output, where a layer's output is replaced by a larger batch.
            plain: makes plain tensors of those that are of a subclass.

        Raises:
            ModelError: the model failed on these inputs; its own message is kept.
        """
        low = self.precision == "bfloat16"
        watch = self._watch(inputs)
        last = inputs[-1:].clone() if watch else None  # the model may change its input in place
        if self._ran and self._region is not None and inputs.device.type == "cpu":
            self._region.hold()  # for a single pass it would not pay
        self._ran = True
        try:
            with bf16_autocast(inputs.device) if low else nullcontext():
                raw = self._drawing(lambda: self._watched(inputs, watch, numbers))
        except (torch.OutOfMemoryError, ModelError):
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            raise ModelFailed(
                f"The model failed{self.in_bfloat16} on an input of shape {tuple(inputs.shape)}: "
                f"{first_line(error)}{self._hint(inputs)}{_of_channels(error)}{_of_inputs(error)}"
            ) from in_own_code(error)
        if watch and last is not None:
            leaves = [leaf for leaf in tree_leaves(raw) if isinstance(leaf, Tensor) and leaf.ndim]
            if watch.suspect and any(len(leaf) == len(inputs) for leaf in leaves):
                self._suspicion = watch.suspect, last, numbers and numbers[-1:], raw
            else:
                remember_apart(self.model.module, inputs)
        return restored(plain(raw), len(inputs) if rows is None else rows)

    def _watch(self, inputs: Tensor) -> Watch | None:
        """What looks for operations that may mix the samples of a batch, where that is not known yet."""
        kind = inputs.device.type
        if not self.watching or len(inputs) < 2 or torch.is_autocast_enabled(kind):
            return None
        module = self.model.module
        return None if known_apart(module, inputs) else Watch(module, len(inputs))

    def _watched(self, inputs: Tensor, watch: Watch | None, numbers: Sequence[int] | None) -> Any:
        with watch or nullcontext():
            return self.running(inputs, self.extras, numbers)

    def _check_apart(self) -> None:
        """Runs the last sample of a suspicious batch alone.

        Raises:
            SamplesMix: something else came out for it.
        """
        if self._suspicion is None:
            return
        (suspect, last, number, raw), self._suspicion = self._suspicion, None
        alone: list[Any] = []
        low = self.precision == "bfloat16"
        own, self._random = self._random, Randomness(self.model.module, last.device, 0)
        try:
            for _ in range(2):
                with self.making(forward=1), torch.no_grad():
                    alone.append(self.forward(last.clone(), number))
                if not differ(raw, alone[0], -1, low=low):
                    remember_apart(self.model.module, last)
                    return
        except ModelFailed:  # which needs several samples
            raise SamplesMix(suspect) from None
        finally:
            self._random = own
        if not differ(alone[0], alone[1], 0, low=low):  # else the model draws numbers, and nothing is known
            raise SamplesMix(suspect)

    @property
    def in_bfloat16(self) -> str:
        """What error messages say where low precision was asked for, which may be the fault."""
        return " in bfloat16 (precision='float32' may run)" if self.precision == "bfloat16" else ""

    def _hint(self, inputs: Tensor) -> str:
        """What may be wrong where the model is shown another number of images than the user gave."""
        if self.extras is not None or self.images is None or len(inputs) == self.images:
            return ""
        return (
            f" (images are run in chunks, and perturbed inputs together: here {len(inputs)} inputs of "
            f"{self.images} images; a model that keeps a row for each image takes it with forward_kwargs= or "
            "as a tuple (images, rows), or all images at once with batch_size=)"
        )

    def read(self, raw: Any, rows: int | None, origin_of: Callable[[Any], Origin] | None = None) -> Reading:
        """How the model's outputs are read, found out once.

        Raises:
            PellucidError: they cannot be.
        """
        if self.reading is None:
            try:
                self.reading = self.model.reading(raw, rows, origin_of)
            except PellucidError as error:
                self.reading = error
        if isinstance(self.reading, PellucidError):
            raise self.reading
        return self.reading

    @contextmanager
    def making(self, forward: int = 0, backward: int = 0, resumed: int = 0) -> Iterator[Charge]:
        """Counts the passes made in this block; the charge is kept with the evidence they gave."""
        start = time.perf_counter()
        charge = Charge()
        yield charge
        charge.cost = Cost(forward, backward, time.perf_counter() - start, resumed)
        self.spent += charge.cost
        self.progress.advance(forward + resumed)
        for bill in self._bills:
            bill.measured += charge.cost.seconds
        self.use(charge)
        self._check_apart()

    def use(self, charge: Charge) -> None:
        """Puts evidence on every open bill."""
        for bill in self._bills:
            bill.used.add(charge)

    def take(self, cost: Cost) -> None:
        """Adds passes that another engine made for this one, to all open bills."""
        charge = Charge()
        charge.cost = cost
        self.spent += cost
        for bill in self._bills:
            bill.measured += cost.seconds
        self.use(charge)

    def billed(self, charge: Charge) -> bool:
        """Whether evidence is on every open bill already, so that using it again costs nothing."""
        return bool(self._bills) and all(charge in bill.used for bill in self._bills)

    @contextmanager
    def bill(self) -> Iterator[Bill]:
        """A bill for the work done in this block."""
        bill = Bill()
        self._bills.append(bill)
        try:
            yield bill
        finally:
            self._bills.remove(bill)

    def _drawing(self, run: Callable[[], Any]) -> Any:
        return run() if self._random is None else self._random.run(run)

    @contextmanager
    def session(self, seed: int) -> Iterator[None]:
        """All that the model is run under; other threads see nothing of it.

        A shadow of the model in evaluation mode; gradients possible even for callers under `no_grad` or
        `inference_mode`, no autocast (that of low precision is around the model alone, see `forward`), and
        random numbers of our own for models that draw in their forward pass.
        """
        model = self.model
        module = model.module if isinstance(model.module, nn.Module) else None
        if module is not None and any(p.is_inference() for p in module.parameters()):
            raise ModelError(
                "The model's weights were made under torch.inference_mode(), where gradients cannot be had: "
                "build or load the model outside it."
            )
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(model.device.type, enabled=False))
            if module is not None:
                self.running = copy(model)
                self.running.module = shadow_of(module)
            self._random = Randomness(model.module, model.device, seed)
            self._region, self._ran = Region(), False
            stack.callback(self._let_go)
            yield

    def _let_go(self) -> None:
        self.running, self._random = self.model, None
        if self._region is not None:
            self._region.release()
        self._region = None

    def may_lower(self, inputs: Tensor) -> bool:
        """Whether bfloat16 can stand in for the model's own precision here, and is faster on this device."""
        model = self.model
        lower = isinstance(model.module, nn.Module) and model.dtype == inputs.dtype == torch.float32
        return lower and self.precision == "auto" and bfloat16_pays(inputs.device)

    def ran_in(self) -> str:
        """The precision that ran: 'float32', 'bfloat16', ..."""
        if self.precision == "bfloat16":
            return "bfloat16"
        return str(self.model.dtype).removeprefix("torch.")
