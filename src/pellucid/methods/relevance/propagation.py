"""Relevance from a score back to layers and to the input: what the methods of this family share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.engine.composites import check_composite, read_composite
from pellucid.engine.relevance import Relevance
from pellucid.errors import InvalidType, InvalidValue, ModelError
from pellucid.options.types import Kind
from pellucid.probe import ModifiedRun, Probe, run_with
from pellucid.structures import tensor_of

Start = Literal["logit", "one", "contrast"]
"""What is shared out: the score itself; one; or the score, less as much evenly over all other classes."""

OutputRelevance = Callable[[Probe, Tensor], Tensor]
"""(probe, outputs (N, K)) -> the relevance of each output, for a start of a method's own."""

CompositeOption = Annotated[Any, Kind("NAME[;KEY=RULE]...", check_composite)]
"""Which rule for which operation: see `engine.composites.read_composite`."""

Biases = Literal["share", "ignore"]
"""Whether biases answer for their part of what an operation gives, or leave it all to the inputs."""

TOLERATED = 1e-3
"""A conservation error that is a larger share of what was shared out is noted."""
FAINT = 0.1
"""So is a map whose pixels hold a smaller share of it."""

LARGE = 1e4
"""Relevance of so many times the score, both signs added up, is noted: it comes of denominators near zero."""


def _bound(name: str, value: Any) -> Tensor | None:
    """A lowest or highest input: a number or one per channel."""
    if value is None or (isinstance(value, str) and value == "None"):
        return None
    try:
        numbers = [float(part) for part in value.split(",")] if isinstance(value, str) else value
        bound = tensor_of(numbers).double().flatten()
    except (ValueError, TypeError, RuntimeError):
        raise InvalidType(f"{name} must be a number, or one per channel; got {value!r}.") from None
    if not len(bound) or not bound.isfinite().all():
        raise InvalidValue(f"{name} must be finite, a number or one per channel; got {value!r}.")
    return bound


Bound = Annotated[Any, Kind("number | one per channel", _bound)]
"""The lowest or highest value an input can have, in the model's own (normalised) input space."""


@dataclass(frozen=True)
class Relevances:
    """Where relevance went, of each image.

    Attributes:
        at_input: (N, C, H, W).
        at_layers: (N, K, h, w) by layer, of those that were asked for.
        start: (N,), what was shared out.
        biases: (N,), what biases answer for.
        absorbed: (N,), what stabilisers took, or what had no one to go to.
        pixel_share: (N,), which share of what was shared out arrived at the input; NaN where that is nothing.
        delta: (N,), all that arrived, less what was shared out: rounding, unless something is lost.
        modified: the run it went back through.
    """

    at_input: Float[Tensor, "N C H W"]
    at_layers: dict[str, Float[Tensor, "N K h w"]]
    start: Float[Tensor, " N"]
    biases: Float[Tensor, " N"]
    absorbed: Float[Tensor, " N"]
    pixel_share: Float[Tensor, " N"]
    delta: Float[Tensor, " N"]
    modified: ModifiedRun

    @property
    def details(self) -> dict[str, Tensor]:
        """Where relevance went besides the pixels, and how much of it these hold, as `details` tell it."""
        shared = {} if self.pixel_share.isnan().any() else {"pixel_share": self.pixel_share}
        return {"shared_out": self.start, "biases": self.biases, "absorbed": self.absorbed, **shared}


def with_biases(composite: str, biases: Biases) -> str:
    """A composite with the choice about biases, unless it says `bias=` itself."""
    if biases == "share" or "bias" in read_composite(composite).choices:
        return composite
    return f"{composite};bias=ignored"


def propagate(
    probe: Probe,
    composite: str,
    start: Start | OutputRelevance,
    *layers: str,
    low: Any = None,
    high: Any = None,
) -> Relevances:
    """Shares the score out by a composite: one forward and one backward pass.

    Raises:
        InvalidValue: an outer bound without the other, none where z-box needs them, or one where nothing
            reads it; a target without other classes to contrast with.
        ModelError: operations that no rule knows; a target that does not depend on the outputs.
    """
    modified, given = prepare_run(probe, composite, start, *layers, low=low, high=high)
    operations = operations_of(modified)
    operations.clear()
    at_layers, at_input = modified.backward(modified.outputs, given)
    biases, absorbed = operations.account.biases.clone(), operations.account.absorbed.clone()
    whole = given.sum(1, dtype=torch.float64).cpu()
    arrived = at_input.flatten(1).sum(1, dtype=torch.float64).cpu()
    size = at_input.flatten(1).abs().sum(1).cpu()
    if start in ("logit", "one"):
        for image, (much, one) in enumerate(zip(size.tolist(), whole.tolist(), strict=True)):
            if much > LARGE * abs(one):
                probe.note(
                    f"Relevance grew to {much:.1e}, both signs added up, where {one:.3g} was shared out: "
                    "denominators near zero. Take another composite, such as epsilon-plus or gamma:0.25.",
                    torch.arange(len(whole), dtype=torch.long, device="cpu") == image,
                )
    delta = arrived + biases + absorbed - whole
    warn_if_lost(probe, delta, given)
    share = torch.where(whole.abs() > TOLERATED * given.abs().sum(1).cpu(), arrived / whole, torch.nan)
    return Relevances(at_input, at_layers, whole, biases, absorbed, share, delta, modified)


def warn_if_lost(probe: Probe, delta: Float[Tensor, " N"], given: Float[Tensor, "N K"]) -> None:
    """Notes a conservation error above a thousandth of what was shared out.

    Raises:
        InvalidValue: an error that is not finite.
    """
    probe.refuse_nonfinite("The relevance that arrives", delta[:, None])
    size = given.abs().sum(1, dtype=torch.float64).cpu()
    for image, (lost, much) in enumerate(zip(delta.tolist(), size.tolist(), strict=True)):
        if abs(lost) > TOLERATED * much:
            how = "was lost" if lost < 0 else "was added"
            probe.note(
                f"Relevance is not conserved: of {much:.3g} shared out, {abs(lost):.3g} {how}, which no "
                "bias or stabiliser answers for. Do not rely on this map; take a gradient method.",
                torch.arange(len(delta), dtype=torch.long, device="cpu") == image,
            )


def warn_if_faint(probe: Probe, share: Float[Tensor, " N"], biases: str) -> None:
    """Notes pixels that hold less than a tenth of what was shared out."""
    advice = " Take biases='ignore' to leave more to the pixels." if biases == "share" else ""
    for image, held in enumerate(share.tolist()):
        if abs(held) < FAINT:
            probe.note(
                f"The pixels hold {100 * held:.2g} % of what was shared out; biases and stabilisers hold the "
                f"rest.{advice}",
                torch.arange(len(share), dtype=torch.long, device="cpu") == image,
            )


def prepare_run(
    probe: Probe,
    composite: str,
    start: Start | OutputRelevance,
    *layers: str,
    low: Any = None,
    high: Any = None,
) -> tuple[ModifiedRun, Tensor]:
    """The run that relevance goes back through, and the relevance (N, K) that its outputs begin with."""
    read = read_composite(composite)
    if not read.boxed and not (low is None and high is None):
        raise InvalidValue(
            f"low and high are read by the rule z-box, which {composite!r} does not have: leave them out, or "
            "write 'epsilon-plus;first=z-box'."
        )
    box = bounds(probe, low, high) if read.boxed else None
    key = ("relevance", composite, None if box is None else tuple(torch.cat(box).flatten().tolist()))
    modified = run_with(probe, key, partial(Relevance, read, len(probe.inputs), box), *layers)
    operations = operations_of(modified)
    if operations.unknown:
        probe.note(
            f"Operations without a rule were taken by their first-order expansion: {operations.listed()}. "
            "What they do not hand on is counted among the biases."
        )
    begin = partial(output_relevance, start=start) if isinstance(start, str) else start
    return modified, begin(probe, modified.outputs)


def operations_of(modified: ModifiedRun) -> Relevance:
    """The relevance operations of a run."""
    if not isinstance(modified.operations, Relevance):
        raise TypeError("a run under relevance operations has them")
    return modified.operations


def output_relevance(probe: Probe, outputs: Float[Tensor, "N K"], start: Start) -> Float[Tensor, "N K"]:
    """The relevance of each output that is shared out.

    Raises:
        InvalidValue: a contrast for a target that is no single class, or for a model of one class.
        ModelError: a score that does not depend on the outputs.
    """
    if start not in get_args(Start):
        raise InvalidValue(f"start must be one of {', '.join(get_args(Start))}; got {start!r}.")
    score, leaf = probe.target_fn, outputs.detach().requires_grad_()
    with torch.enable_grad():
        value = score.of_outputs(leaf) if score.function is None else score(leaf)
    (slope,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
    if slope is None:
        raise ModelError(
            "Relevance starts at the model's outputs (N, K); the target does not depend on them."
        )
    if start == "one":
        return slope.detach()
    given = torch.where(
        slope == 0, 0, slope * leaf.detach()
    )  # classes masked by minus infinity share nothing
    if start == "logit":
        return given
    if score.function is not None or (slope != 0).sum(1).max() > 1 or outputs.shape[1] < 2:
        raise InvalidValue("start='contrast' needs a target that is one class, of a model with several.")
    return subtract_others(given, slope == 0, outputs)


def subtract_others(
    given: Float[Tensor, "N K"], others: Bool[Tensor, "N K"], outputs: Float[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    """A start, less as much evenly over the other classes that the model does not hide at infinity."""
    others = others & outputs.isfinite()
    return given - torch.where(others, given.sum(1, keepdim=True) / others.sum(1, keepdim=True), 0)


def bounds(probe: Probe, low: Any, high: Any) -> tuple[Tensor, Tensor] | None:
    """The lowest and highest inputs, (1, C, 1, 1) each: as given, else those of pictures' black and white.

    Raises:
        InvalidValue: one bound without the other, a number of channels that is not the input's.
    """
    if (low is None) != (high is None):
        raise InvalidValue("low and high must come together: the lowest and the highest input.")
    preprocess, channels = probe.model.preprocess, probe.inputs.shape[1]
    if low is None:
        if preprocess is None:
            return None
        mean, std = (
            torch.tensor(v, dtype=torch.float64, device="cpu") for v in (preprocess.mean, preprocess.std)
        )
        low, high = -mean / std, (1 - mean) / std
    for name, bound in (("low", low), ("high", high)):
        if len(bound) not in (1, channels):
            raise InvalidValue(
                f"{name} must be one number, or one for each of {channels} channels; got {len(bound)}."
            )
    if (low >= high).any():
        raise InvalidValue(f"low must be below high; got {low.tolist()} and {high.tolist()}.")
    return tuple(bound.expand(channels).view(1, -1, 1, 1).to(probe.inputs) for bound in (low, high))
