"""The passes of a batch, plain and with modified operations: each is run once for all who ask."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.engine.capture import capture
from pellucid.engine.chunks import out_of_memory
from pellucid.engine.forward_pass import Capture
from pellucid.engine.operations import Operations
from pellucid.engine.run import Engine
from pellucid.errors import ModelError, ModelFailed, first_line, in_own_code
from pellucid.layers import quantised_layer
from pellucid.probe.ledger import Evidence, Ledger

NO_GRADIENT = (
    "The score does not depend on the input through differentiable operations (a detached output, no_grad "
    "inside the model, integer weights): gradients cannot explain it."
)


class PassCache:
    """What was run on one batch. The `ledger` of whoever asks is billed and told what was noted.

    Args:
        engine: what runs the model.
        inputs: (N, C, H, W), the batch.
        numbers: which of all images these are.
        planned: the layers that will be asked for, and whether the input's gradient will be, so that the
            first pass serves all.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Float[Tensor, "N C H W"],
        numbers: Sequence[int],
        planned: tuple[tuple[str, ...], bool] = ((), False),
    ) -> None:
        self.engine, self.inputs, self.numbers = engine, inputs, numbers
        self.channels_last = False  # images' own maps keep a plain pass's numerics
        self._planned = planned
        self._plain: list[Evidence[Capture]] = []
        self._modified: dict[Hashable, list[Evidence[Capture]]] = {}
        self._broken: ModelFailed | None = None  # the error of a plain pass, which fails whoever asks

    def output(self, ledger: Ledger) -> Any:
        """The raw output of a pass that the ledger has paid for, else of the first plain one."""
        runs = [*self._plain, *(run for runs in self._modified.values() for run in runs)]
        paid = next((run for run in runs if self.engine.billed(run.value.charge)), None)
        return (ledger.use_evidence(paid) if paid else self.plain(ledger, ())).raw

    def plain(self, ledger: Ledger, layers: Sequence[str], with_input: bool = False) -> Capture:
        """A pass of the model as it is that kept these layers, and the input if its gradient is wanted.

        Raises:
            ModelError: the model fails, does not run a layer, or a layer holds no grid.
        """
        for run in self._plain:
            kept = run.value
            if set(layers) <= set(kept.calls) and (kept.leaf is not None or not with_input):
                return ledger.use_evidence(run)
        if self._broken is not None:
            raise self._broken
        planned, with_planned = self._planned
        if not self._plain and set(layers) <= set(planned) and with_input <= with_planned:
            try:
                return self._run(ledger, planned, with_planned)
            except ModelFailed:
                raise
            except ModelError:  # a layer that others asked for: each asks for its own from here on
                self._planned = ((), False)
        return self._run(ledger, layers, with_input)

    def rerun_from_input(self, ledger: Ledger, kept: Capture) -> None:
        """Runs a plain pass again, in place of `kept`, with its graph from the input on."""
        self._plain[:] = [run for run in self._plain if run.value is not kept]
        self._run(ledger, tuple(kept.calls), True)

    def _run(self, ledger: Ledger, layers: Sequence[str], whole_graph: bool) -> Capture:
        try:
            run = ledger.make_evidence(
                lambda: capture(
                    self.engine,
                    self.inputs,
                    layers,
                    whole_graph,
                    channels_last=self.channels_last,
                    numbers=self.numbers,
                )
            )
        except ModelFailed as error:
            self._broken = error
            raise
        self._plain.append(run)
        return run.value

    def modified(
        self, ledger: Ledger, key: Hashable, make: Callable[[], Operations], layers: Sequence[str]
    ) -> Capture:
        """A pass with the model's operations replaced by what `make` gives, kept for all who give its key.

        Raises:
            ModelError: an operation that cannot be replaced, a layer that is not run or holds no grid.
        """
        for run in self._modified.get(key, []):
            if set(layers) <= set(run.value.calls):
                return ledger.use_evidence(run)
        self._refuse_quantised()
        run = ledger.make_evidence(
            lambda: capture(
                self.engine,
                self.inputs,
                layers,
                True,
                channels_last=self.channels_last,
                replaced=make,
                numbers=self.numbers,
            )
        )
        self._modified.setdefault(key, []).append(run)
        if not self._plain and self._planned == ((), False):  # its output serves as a plain pass's
            output = Capture(run.value.raw, {}, None, run.value.charge)
            self._plain.append(Evidence(output, run.charges, run.remarks))
        return run.value

    def backward(
        self, kept: Capture, outputs: Tensor, start: Tensor | None = None, of_input: bool = True
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """The gradients of a pass at its layers and its input, from `outputs` back; `start` goes in there.

        Raises:
            ModelError: the outputs do not depend on the input, or a layer is quantised.
            ModelFailed: the model's backward pass fails.
        """
        self._refuse_quantised()
        if not outputs.requires_grad:
            raise ModelError(NO_GRADIENT)
        try:
            with self.engine.making(backward=len(self.inputs)):
                return kept.gradients(outputs, start, of_input=of_input)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise ModelFailed(
                f"The model's gradients cannot be computed{self.engine.in_bfloat16}: {first_line(error)}"
            ) from in_own_code(error)

    def gradients_at(self, tensors: Sequence[Tensor], outputs: Tensor) -> list[Tensor]:
        """d(sum of outputs)/d(tensors), of tensors inside a pass; zero for those on which nothing depends.

        Raises:
            ModelError: the outputs depend on nothing by differentiable operations.
        """
        if not outputs.requires_grad:
            raise ModelError(NO_GRADIENT)
        with self.engine.making(backward=len(self.inputs)):
            return list(
                torch.autograd.grad(
                    outputs.sum(), list(tensors), retain_graph=True, allow_unused=True, materialize_grads=True
                )
            )

    def _refuse_quantised(self) -> None:
        if quantised := quantised_layer(self.engine.model.module):
            raise ModelError(
                f"The model's layer {quantised!r} is quantised and has no gradient: explain the model it was "
                "made of, or use a method without gradients."
            )
