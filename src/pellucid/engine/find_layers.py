"""Layers found in a forward pass: those that were asked for by name, and which one "auto" is."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pellucid.engine.finding.events import Event, NoGrid, Unclear
from pellucid.engine.finding.finder import Finder
from pellucid.engine.finding.found import Found, found_of, keep_found
from pellucid.engine.forward_pass import Capture, ForwardPass
from pellucid.engine.operations import Operations
from pellucid.engine.run import Engine
from pellucid.engine.scripted import scripted_parts
from pellucid.engine.taps import Tap
from pellucid.engine.tracing import trace_changes
from pellucid.errors import ModelError, PellucidError


def find_layers(forward: ForwardPass, layers: Sequence[str]) -> tuple[dict[str, Found], Capture | None]:
    """The layers as they are found in a pass that follows them; and the pass, if it kept what is needed."""
    engine, inputs = forward.engine, forward.inputs
    capture, finder = _followed(forward, layers, grad="auto" in layers)
    known: dict[str, Found] = {}
    whole = True
    for layer in layers:
        found, taps = _result(forward, layer, finder, capture.raw)
        keep_found(engine, inputs, layer, found)
        known[layer] = found
        whole = whole and bool(taps)
        capture.keep(layer, found, taps)
    return known, capture if whole else None


def _followed(forward: ForwardPass, layers: Sequence[str], grad: bool = False) -> tuple[Capture, Finder]:
    """A pass that follows the picture's rows and columns through the model."""
    network = forward.engine.network

    def watch(own: Tensor, operations: Operations | None, stack: ExitStack) -> Finder:
        finder = Finder(own, layers, forward.whole_graph, operations)
        stack.enter_context(finder.watching(network))
        return finder

    return forward.watched(watch, grad)


def _result(forward: ForwardPass, layer: str, finder: Finder, raw: Any) -> tuple[Found, list[Tap]]:
    """A layer as a pass found it; what the pass could not follow is traced."""
    engine, inputs, numbers = forward.engine, forward.inputs, forward.numbers
    outputs = None
    with suppress(PellucidError):  # a callable target may read what holds no classes
        outputs = engine.read(raw, len(inputs)).outputs(raw, len(inputs))
    while True:
        try:
            return finder.result(layer, outputs)
        except Unclear as unclear:
            finder.resolve(trace_changes(engine, inputs, sorted(unclear.names), numbers), unclear.names)
        except NoGrid as none:
            auto = None if layer == "auto" else _auto(forward)
            raise _refused(none, auto, tuple(scripted_parts(engine.network))) from None


def _auto(forward: ForwardPass) -> Found | None:
    """What "auto" would be."""
    plain = ForwardPass(forward.engine, forward.inputs, numbers=forward.numbers)
    try:
        return found_of(plain.engine, plain.inputs, "auto") or find_layers(plain, ("auto",))[0]["auto"]
    except ModelError:
        return None


def survey(engine: Engine, inputs: Float[Tensor, "N C H W"]) -> tuple[Found | None, list[Event]]:
    """What "auto" is, and what every module gives: one pass, and where it takes one, one of changed pictures.

    Raises:
        ModelError: the model fails, or is no nn.Module.
    """
    forward = ForwardPass(engine, inputs)

    def run() -> tuple[Found | None, list[Event]]:
        capture, finder = _followed(forward, ("auto",))
        unknown = {event.name for event in finder.events if event.unknown}
        if unknown:
            finder.resolve(trace_changes(engine, inputs, sorted(unknown)), unknown)
        try:
            found, _ = _result(forward, "auto", finder, capture.raw)
        except ModelError:
            return None, finder.events
        return found, finder.events

    return engine.with_layout_fallback(run)


def _refused(none: NoGrid, auto: Found | None, scripted: Sequence[str]) -> ModelError:
    """The error for a layer whose output holds no grid, which names layers that do."""
    if none.name is None:
        return ModelError(
            "No layer of this model gives feature maps (N, K, h, w), (N, h, w, K) or (N, tokens, K) whose "
            "cells are known to be parts of the picture: name one with layer= and layout=, or use a gradient "
            "method."
            + (f" Layers in {scripted[0]!r}, TorchScript, are not read." if scripted else "")
            + (f" {none.why}." if none.why else "")
        )
    shape = f" {tuple(none.shape)}" if none.shape is not None else " none"
    why = f": {none.why}" if none.why else ""
    others = [auto.name, *(name for name, _ in auto.others[:2])] if auto is not None else []
    instead = f"such as {', '.join(others)}" if others else "`pellucid doctor` lists those that do"
    return ModelError(
        "layer must give feature maps whose cells are parts of the picture; "
        f"{none.name!r} gives{shape}{why}. Choose one that does, {instead}."
    )
