"""What is written beside maps, in words: predictions, remarks, and how sure a map is."""

from collections.abc import Sequence

from pellucid.prediction import Prediction
from pellucid.render.panel import Panel

COMPLETE = 0.05
"""A map whose sum misses more than this share of what it should be is not called complete."""


def percent(probability: float) -> str:
    """A probability for people.

    >>> percent(0.6231), percent(0.0004), percent(1.0)
    ('62 %', '<0.1 %', '100 %')
    """
    if 0 < probability < 0.001:
        return "<0.1 %"
    return (
        f"{100 * probability:.1f} %"
        if probability < 0.1 or 0.99 < probability < 1
        else f"{100 * probability:.0f} %"
    )


def predicted(prediction: Sequence[Prediction], count: int = 2) -> str:
    """The best classes in words: `"tiger cat 62 %, tabby 21 %"`."""
    return ", ".join(f"{p.label} {percent(p.probability)}" for p in prediction[:count])


def remark(panel: Panel) -> str:
    """What a reader must know about a map that has nothing to show; empty for all others."""
    if panel.lowest == panel.highest == 0:
        return "empty map: zero everywhere"
    if panel.lowest == panel.highest:
        return "constant map: the same everywhere"
    if panel.highest <= 0:
        return "no evidence for it, only against"
    return ""


def reliability(panel: Panel) -> str:
    """How sure a map is: `"1000 samples, ±4.2 %, R² 0.83"`, `"complete to 0.6 %"`; empty if unknown.

    Of a map that is not complete it says `"sum off by 20 %"`; of relevance, which biases and stabilisers hold
    too, `"conserved to 0.6 %, 4 % of it in pixels"`.
    """
    about, error = panel.diagnostics, panel.relative_error
    delta, held = about.relative_delta, about.pixel_share
    whole = "complete to" if held is None else "conserved to"
    words = (
        None if about.samples is None else f"{about.samples} samples",
        None if error is None else f"±{percent(error)}",
        None if about.r2 is None else f"R² {about.r2:.2f}",
        None if delta is None else f"{whole if delta <= COMPLETE else 'sum off by'} {percent(delta)}",
        None if held is None else f"{percent(held)} of it in pixels",
    )
    return ", ".join(filter(None, words))
