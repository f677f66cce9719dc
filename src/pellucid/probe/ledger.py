"""Evidence: a value, with what it cost and what was said of it, both of which are repeated on reuse."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from torch import Tensor

from pellucid.engine.billing import Charge
from pellucid.engine.run import Engine
from pellucid.errors import PellucidError

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Remark:
    """Something said of some images of a batch while their evidence was made.

    A note in words; a choice, its name and value; that scores which count were had in bfloat16; or the error
    for which an image has no answer.
    """

    kind: Literal["note", "choice", "bfloat16", "failure"]
    what: Any
    images: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Evidence(Generic[T]):
    """What was made once and is used by many: each is billed for it, and told what was said of it."""

    value: T
    charges: tuple[Charge, ...] = ()
    remarks: tuple[Remark, ...] = ()


class Ledger:
    """What is known and was said of `count` images: each piece of evidence is made once."""

    def __init__(self, engine: Engine, count: int) -> None:
        self.engine, self.count = engine, count
        self._made: dict[Hashable, Evidence[Any]] = {}
        self._records: list[list[Remark]] = []  # of the evidence that is being made
        self._parent: tuple[Ledger, int] | None = None  # of which this is a single image
        self._original: tuple[Ledger, list[int]] | None = None  # of which these are perturbed copies
        self.start()

    def start(self) -> None:
        """Forgets what was noted: another method begins, which is told again what concerns it."""
        self.notes: dict[str, list[int]] = {}
        self.chosen: dict[str, Any] = {}
        self.lowered: set[int] = set()  # images of which some scores that count were had in bfloat16
        self.failures: dict[int, PellucidError] = {}  # images that have no answer, and why

    @property
    def failed(self) -> set[int]:
        """The images of this batch that have no answer, or whose originals have none."""
        known = set(self.failures)
        if self._original is not None:
            ledger, whose = self._original
            lost = ledger.failed
            known |= {i for i, image in enumerate(whose) if image in lost}
        return known

    def note(self, text: str, where: Tensor | None = None) -> None:
        """A warning about some images of the batch (a mask (N,)), or about all."""
        images = range(self.count) if where is None else where.nonzero()[:, 0].tolist()
        if len(images):
            self._remark(Remark("note", text, tuple(images)))

    def choose(self, what: str, choice: Any) -> None:
        """Reports a choice that was inferred, and what else there was: plain data, as JSON takes it.

        It becomes `Explanation.details["chosen"][what]`; the same of all images of a batch.
        """
        self._remark(Remark("choice", (what, choice), tuple(range(self.count))))

    def mark_bf16(self) -> None:
        """Keeps in mind that some scores that count were had in bfloat16."""
        self._remark(Remark("bfloat16", None, tuple(range(self.count))))

    def fail(self, image: int, error: PellucidError) -> None:
        """One image of the batch has no answer; the others go on, and its row of the map is not read.

        Raises:
            PellucidError: the error, if no image is left.
        """
        self._remark(Remark("failure", error, (image,)))

    def _remark(self, remark: Remark) -> None:
        """Keeps what was said, also with evidence that is being made, so that it is said again on reuse."""
        for record in self._records:
            record.append(remark)
        match remark.kind:
            case "note":
                known = self.notes.setdefault(remark.what, [])
                known.extend(image for image in remark.images if image not in known)
            case "choice":
                self.chosen[remark.what[0]] = remark.what[1]
                if self._original is not None:
                    self._original[0].choose(*remark.what)
            case "bfloat16":
                self.lowered.update(remark.images)
            case "failure":
                for image in remark.images:
                    self.failures.setdefault(image, remark.what)
                if len(self.failures) == self.count:
                    raise self.failures[min(self.failures)]
                if self._original is not None:
                    ledger, whose = self._original
                    ledger._remark(replace(remark, images=tuple({whose[image] for image in remark.images})))
                return
        if self._parent is not None:
            ledger, image = self._parent
            ledger._remark(replace(remark, images=(image,)))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once per probe; whoever asks again is billed and told the same."""
        if key not in self._made:
            self._made[key] = self.make_evidence(make)
        made: T = self.use_evidence(self._made[key])
        return made

    def make_evidence(self, make: Callable[[], T]) -> Evidence[T]:
        """What `make` gives, with what it costs and what is said meanwhile."""
        record: list[Remark] = []
        self._records.append(record)
        try:
            with self.engine.bill() as bill:
                value = make()
        finally:
            self._records.pop()
        return Evidence(value, tuple(bill.used), tuple(record))

    def use_evidence(self, evidence: Evidence[T]) -> T:
        """The value of evidence made before: it is billed, and what was said of it is said again."""
        for charge in evidence.charges:
            self.engine.use(charge)
        for remark in evidence.remarks:
            self._remark(remark)
        return evidence.value
