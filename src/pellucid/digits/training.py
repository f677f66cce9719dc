"""A network learns labelled pictures: Adam and cross-entropy, by epochs that can be resumed bit for bit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pellucid.choices import Architecture
from pellucid.digits import checkpoints
from pellucid.digits.data import PREPROCESS, Digits, Part
from pellucid.engine.progress import Progress, showing
from pellucid.errors import InvalidValue
from pellucid.intervals import Interval, proportion
from pellucid.model import Model
from pellucid.model_file import ModelRecord, save_model
from pellucid.networks.architectures import ARCHITECTURES, build
from pellucid.seeding import seeded

EPOCHS = {"cnn": 5, "residual": 5, "vit": 10}
"""How often a network sees each picture, unless said; a transformer has more to find out."""


@dataclass(frozen=True)
class Plan:
    """All that trained weights follow from, besides the pictures.

    Attributes:
        architecture: a name in `ARCHITECTURES`.
        epochs: how often each picture is seen; None for what suits the architecture.
        batch: pictures of a step.
        rate: Adam's learning rate.
        patience: training ends early when for so many epochs the loss has not fallen below its lowest.
        seed: of weights, order and dropout.

    Raises:
        InvalidValue: an architecture that is not known, or a number that is too small.
    """

    architecture: Architecture = "cnn"
    epochs: int | None = None
    batch: int = 64
    rate: float = 1e-3
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InvalidValue(f"The architecture must be one of {known}; got {self.architecture!r}.")
        for name, value in {"epochs": self.most, "batch": self.batch, "patience": self.patience}.items():
            if value < 1:
                raise InvalidValue(f"{name} must be at least 1; got {value}.")
        if not 0 < self.rate < float("inf"):
            raise InvalidValue(f"The learning rate must be above 0; got {self.rate}.")

    @property
    def most(self) -> int:
        """How many epochs there are if none ends training early."""
        return EPOCHS[self.architecture] if self.epochs is None else self.epochs

    def ended(self, course: Sequence["Epoch"]) -> bool:
        """Whether training is over: all epochs are done, or the loss no longer falls."""
        if len(course) >= self.most:
            return True
        losses = [epoch.loss for epoch in course]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience


@dataclass(frozen=True)
class Epoch:
    """What came of one pass over all pictures.

    Attributes:
        loss: the mean cross-entropy while learning.
        right: how many of the held-out pictures are recognised afterwards; they take no part in training.
        seconds: that it took.
    """

    loss: float
    right: int
    seconds: float


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, and how it came about.

    Attributes:
        module: the network.
        plan: by which it was trained.
        course: of its epochs.
        digits: the pictures.
        resumed: how many epochs were read from a checkpoint.
    """

    module: nn.Module
    plan: Plan
    course: tuple[Epoch, ...]
    digits: Digits
    resumed: int = 0

    @property
    def accuracy(self) -> Interval:
        """The share of held-out pictures that it recognises, with its 95 % interval."""
        return proportion(self.course[-1].right, len(self.digits.test))

    @property
    def record(self) -> ModelRecord:
        """What its file says besides the weights."""
        accuracy = self.accuracy
        training = {
            "data": self.digits.name,
            "digest": self.digits.digest,
            "pictures": len(self.digits.train),
            "held_out": len(self.digits.test),
            "accuracy": accuracy.mean,
            "interval": [accuracy.low, accuracy.high],
            "course": [asdict(epoch) for epoch in self.course],
            **{name: value for name, value in asdict(self.plan).items() if name != "architecture"},
            "versions": {name: version(name) for name in ("pellucid", "torch")},
        }
        return ModelRecord(self.plan.architecture, PREPROCESS, self.digits.labels, training)

    def model(self, name: str = "") -> Model:
        """As a model that reads pictures."""
        return self.record.model(self.module, name or self.plan.architecture)

    def save(self, path: str | Path) -> Path:
        """Writes a model file, which `pellucid.load` and `--model` take.

        Raises:
            InvalidValue: its name does not end in .safetensors.
            NotWritten: it cannot be written there.
        """
        return save_model(path, self.module, self.record)


def train(
    digits: Digits,
    plan: Plan | None = None,
    *,
    checkpoint: Path | None = None,
    progress: bool | None = None,
    after: Callable[[Sequence[Epoch]], object] = lambda course: None,
) -> Trained:
    """Trains a network, or goes on where training was interrupted.

    The same weights come for the same pictures, plan, versions and number of threads, however often it was
    interrupted; torch's global state of random numbers stays as it is.

    Args:
        digits: the pictures.
        plan: how; a `Plan()` unless given.
        checkpoint: where what is needed to go on is kept after each epoch, and read from if it is there.
        progress: whether a bar is shown; None where there is a terminal.
        after: told the epochs so far, after each.

    Raises:
        InvalidValue: the checkpoint is damaged or of another training; the loss is no longer a number.
        NotWritten: the checkpoint cannot be written.

    Example:
        >>> from pellucid.digits.data import bundled
        >>> digits = bundled()
        >>> few = Digits("few", digits.train.chosen(slice(64)), digits.test.chosen(slice(20)))
        >>> len(train(few, Plan("residual", epochs=1)).course)
        1
    """
    plan = plan if plan is not None else Plan()
    request = {"digits": digits.digest, **asdict(plan), "epochs": plan.most}
    title = f"{plan.architecture} learns {digits.name}"
    with seeded(plan.seed), showing(title, plan.most * len(digits.train), progress) as bar:
        module = build(plan.architecture, len(digits.labels))
        optimiser = torch.optim.Adam(module.parameters(), plan.rate)
        course: list[Epoch] = []
        if checkpoint is not None and checkpoint.is_file():
            course = [Epoch(**one) for one in checkpoints.read(checkpoint, request, module, optimiser)]
            bar.advance(len(course) * len(digits.train))
        resumed = len(course)
        while not plan.ended(course):
            began = time.monotonic()
            loss = _epoch(module, optimiser, digits.train, plan.batch, bar)
            if not loss < float("inf"):
                raise InvalidValue(
                    f"The loss is {loss} in epoch {len(course) + 1}: try a learning rate below {plan.rate}."
                )
            right = int((scores(module, digits.test.inputs).argmax(1) == digits.test.targets).sum())
            course.append(Epoch(loss, right, time.monotonic() - began))
            if checkpoint is not None:
                checkpoints.write(checkpoint, request, module, optimiser, [asdict(one) for one in course])
            after(course)
    for parameter in module.parameters():
        parameter.grad = None
    return Trained(module.eval(), plan, tuple(course), digits, resumed)


@torch.no_grad()
def scores(module: nn.Module, inputs: Float[Tensor, "N C H W"], batch: int = 256) -> Float[Tensor, "N K"]:
    """What a network in evaluation mode gives for many inputs."""
    module.eval()
    return torch.cat([module(part) for part in inputs.split(batch)])


def _epoch(
    module: nn.Module, optimiser: torch.optim.Optimizer, part: Part, batch: int, bar: Progress
) -> float:
    """One pass over all pictures in a random order: the mean loss."""
    module.train()
    total = 0.0
    for chosen in torch.randperm(len(part), dtype=torch.long, device="cpu").split(batch):
        total += _step(module, optimiser, part.inputs[chosen], part.targets[chosen]) * len(chosen)
        bar.advance(len(chosen))
    return total / len(part)


def _step(module: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, wanted: Tensor) -> float:
    loss = functional.cross_entropy(module(inputs), wanted)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())
