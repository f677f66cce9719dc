"""What a card says of its map in words: scores, costs, samples, errors and sums."""

from pellucid.engine.cost import Cost
from pellucid.explanation import Explanation
from pellucid.render.panel import Panel
from pellucid.render.text import number
from pellucid.render.words import percent


def facts(explanation: Explanation, panel: Panel, index: int) -> list[tuple[str, str]]:
    """What is known of one image's map, whose `panel` it is, besides its picture: names and values."""
    batch = f", {len(explanation)} pictures together" if len(explanation) > 1 else ""
    rows = [
        ("Explains", f"{explanation.labels[index]}, {score(explanation, index)}"),
        ("Cost", spent(explanation.cost) + batch),
    ]
    if explanation.layer:
        rows.append(("Layer" if len(explanation.layer) == 1 else "Layers", ", ".join(explanation.layer)))
    details = explanation.details
    if panel.diagnostics.samples is not None:
        rows.append(("Samples", f"{panel.diagnostics.samples} per picture"))
    if (error := panel.relative_error) is not None:
        rows.append(("Std. error", f"±{percent(error)} where the map is strongest"))
    if panel.diagnostics.r2 is not None:
        rows.append(("Local R²", f"{panel.diagnostics.r2:.2f}"))
    if {"kept_share", "deleted_share"} <= details.keys():
        kept, deleted = (percent(float(details[name][index])) for name in ("kept_share", "deleted_share"))
        rows.append(("Half the score", f"with the top {kept} shown, or the top {deleted} hidden"))
    if explanation.delta is not None:
        delta, total = float(explanation.delta[index]), float(explanation.raw[index].double().sum())
        share = panel.diagnostics.relative_delta
        off = number(delta) + (f", {percent(share)}" if share is not None else "")
        if "biases" in details and "absorbed" in details:
            rows.append(("Relevance", _relevance(explanation, index, off)))
        else:
            sums = f"{number(total)}, should be {number(total - delta)}: completeness error {off}"
            rows.append(("Map’s sum", sums))
    return rows


def _relevance(explanation: Explanation, index: int, off: str) -> str:
    """Where relevance went: to pixels, biases and stabilisers."""
    details = explanation.details
    biases, absorbed = (number(float(details[name][index])) for name in ("biases", "absorbed"))
    total = number(float(explanation.raw[index].double().sum()))
    held = f" ({percent(float(details['pixel_share'][index]))})" if "pixel_share" in details else ""
    return f"{total}{held} at the pixels, {biases} at biases, {absorbed} absorbed: conservation error {off}"


def score(explanation: Explanation, index: int) -> str:
    """The explained number of one image, and which it is."""
    return f"{explanation.output} {number(float(explanation.score[index]))}"


def spent(cost: Cost) -> str:
    """A cost in words.

    >>> spent(Cost(1, 2, 0.25))
    '1 forward and 2 backward passes, 250 ms'
    """
    ms = round(1000 * cost.seconds)
    time = f"{ms} ms" if ms < 1000 else f"{number(cost.seconds)} s"
    return f"{cost}, {time}"


def count(n: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "model"), count(3, "model")
    ('1 model', '3 models')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def correlation(r: float) -> str:
    """A correlation in two decimals, zero without a sign.

    >>> correlation(-0.254), correlation(-0.001)
    ('−0.25', '0.00')
    """
    return f"{round(r, 2) + 0:.2f}".replace("-", "−")
