"""What a picture shows and where it comes from, as plain JSON that fits into its file."""

from collections.abc import Sequence
from typing import Any

from pellucid.measured import Measured
from pellucid.render.drawing import scale_of
from pellucid.render.style import Style
from pellucid.render.text import in_short

_LEFT_OUT = {"attribution", "raw", "stderr", "delta", "details", "trace", "notes"}


def provenance_of(
    explanations: Sequence[Measured], style: Style, drawn: Sequence[Style] = ()
) -> dict[str, Any]:
    """Of everything drawn in one picture: all but the maps, and how they were drawn.

    `drawn` is by what style each explanation was drawn, where it is not `style`: a scale that maps share is
    known only when all are.

    Where a picture lay is left out, for a figure may be published: its name and size tell it.
    """
    first = explanations[0]
    methods = in_short([one.method for one in explanations])
    labels = in_short([label for one in explanations for label in one.labels])
    models = in_short([one.model for one in explanations])
    names = in_short([name for one in explanations for name in one.names])
    layers = in_short([layer for one in explanations for layer in one.layer])
    read = f"; layer {layers}" if layers else ""
    return {
        "format": "pellucid.picture",
        "title": f"{methods}: {labels}",
        "description": f"{methods} of {models} for {labels}, {names}{read}",
        "versions": first.versions,
        "drawing": vars(style),
        "explanations": [
            _one(explanation, by)
            for explanation, by in zip(explanations, drawn or [style] * len(explanations), strict=True)
        ],
    }


def _one(explanation: Measured, style: Style) -> dict[str, Any]:
    told = {name: value for name, value in explanation.to_dict().items() if name not in _LEFT_OUT}
    told["pictures"] = [{k: v for k, v in picture.items() if k != "path"} for picture in told["pictures"]]
    told["limits"] = [
        {"vmin": scale.low, "vmax": scale.high}
        for scale in (scale_of(panel, style) for panel in explanation.panels())
    ]
    return told
