"""What `diff` found: in sentences, as Markdown, and as one page with both maps of each picture."""

import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from PIL import Image

from pellucid.audit.pairing import Kept, Rows
from pellucid.errors import PellucidError
from pellucid.intervals import Interval
from pellucid.render import drawing, html
from pellucid.render.panel import Panel
from pellucid.render.text import number
from pellucid.render.words import percent

SIDE = 240
"""The longer side of a picture on the page, in pixels."""
LISTED = 50
"""Classes in tables of people; JSON has all."""
_SURE = 0.05

_STYLE = """
<style>
.diff{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1a1a1a;background:#fff;
  max-width:1080px;margin:24px auto;padding:16px 20px;border-radius:8px;box-sizing:border-box}
.diff h1{font-size:19px;margin:0 0 4px}.diff h2{font-size:16px;margin:22px 0 6px}
.diff .quiet{color:#5f6368;font-size:13px;margin:0 0 8px;overflow-wrap:anywhere}
.diff ul.said{margin:8px 0;padding-left:20px}
.diff .wide{overflow-x:auto}
.diff table{border-collapse:collapse}
.diff th,.diff td{text-align:left;padding:4px 16px 4px 0;border-bottom:1px solid #e5e7ea;white-space:nowrap;
  font-variant-numeric:tabular-nums}
.diff .cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,500px),1fr));gap:16px}
.diff .card{border:1px solid #e5e7ea;border-radius:8px;padding:10px 12px;min-width:0}
.diff .card b{overflow-wrap:anywhere}
.diff .pair{display:grid;grid-template-columns:1fr 1fr;gap:10px;margin-top:6px}
.diff figure{margin:0;min-width:0}.diff img{max-width:100%;height:auto;display:block}
.diff figcaption{font-size:12.5px;color:#5f6368;margin-top:4px;overflow-wrap:anywhere}
.diff .wrong{color:#b3470c}.diff .right{color:#146c2e}
</style>"""


def sentences(diff: Any) -> Iterator[str]:
    """What a `Diff` says, in words with its numbers."""
    moved = diff.movement
    yield (
        f"On the {diff.matched} pictures that both explain, {_shares(moved)} of the evidence lies elsewhere "
        f"in the second run, on average{_apart(diff)}."
    )
    if diff.control is not None:
        yield _controlled(diff.control)
    flips = diff.flips
    if flips.share.count:
        yield (
            f"The prediction changed for {flips.count} of {flips.share.count} pictures "
            f"({_shares(flips.share)})."
        )
    if flips.p is not None and flips.accuracy_a and flips.accuracy_b and flips.gain:
        verdict = "more than chance would make" if flips.p < _SURE else "no more than chance would make"
        yield (
            f"{flips.to_right} became right and {flips.to_wrong} wrong, {verdict} (McNemar {_p(flips.p)}): "
            f"accuracy went from {_shares(flips.accuracy_a)} to {_shares(flips.accuracy_b)}."
        )
    if diff.score.count and diff.score.mean is not None:
        yield (
            f"Where both explain the same class, its score changed by {number(diff.score.mean)} on average "
            f"[{number(diff.score.low)}, {number(diff.score.high)}]."
        )
    known = [one for one in diff.classes if one.movement.low is not None][:1]
    if len(diff.classes) > 1 and known:
        yield f"Of the classes the evidence of “{known[0].name}” moved most: {_shares(known[0].movement)}."
    left = [
        text
        for count, text in (
            (diff.only_a, f"{diff.only_a} pictures are in the first run alone"),
            (diff.only_b, f"{diff.only_b} in the second alone"),
            (diff.failed_a, f"{diff.failed_a} have no map in the first"),
            (diff.failed_b, f"{diff.failed_b} have none in the second"),
        )
        if count
    ]
    if left:
        yield f"Left out: {', '.join(left)}."


def _apart(diff: Any) -> str:
    same = diff.same_class
    if not same.count or same.count == diff.matched:
        return ""
    return f" ({_shares(same)} where both explain the same class, {same.count} pictures)"


def _controlled(control: Any) -> str:
    if control.excess.mean is None:
        return f"The control's maps moved by {_shares(control.movement)}."
    surely = control.p < _SURE and control.excess.mean > 0
    verdict = "so it moved more than it does anyway" if surely else "so it is not known to have moved more"
    return (
        f"In the control {_shares(control.movement)} moves, {verdict} ({_p(control.p)}); "
        f"{_shares(control.beyond)} of the pictures moved more than 95 % of the control's did."
    )


def _shares(interval: Interval) -> str:
    """A share in percent, with its interval."""
    if interval.mean is None or interval.low is None or interval.high is None:
        return "–"
    return f"{100 * interval.mean:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def heading(diff: Any) -> str:
    """What is compared with what."""
    methods = diff.method_a if diff.method_a == diff.method_b else f"{diff.method_a}, {diff.method_b}"
    return f"{diff.a} → {diff.b} · {methods} · target: {diff.target}"


CLASSES = ("class", "pictures", "evidence moved", "predictions changed", "accuracy gained", "score changed")


def _rows(diff: Any) -> list[tuple[str, ...]]:
    """The table of classes."""
    return [
        (
            one.name,
            str(one.count),
            _shares(one.movement),
            _shares(one.flips),
            "–" if one.gain is None else _shares(one.gain),
            "–" if one.score.mean is None else number(one.score.mean),
        )
        for one in diff.classes[:LISTED]
    ]


def _more(diff: Any) -> str:
    rest = len(diff.classes) - LISTED
    return f"and {rest} more classes: the JSON has all" if rest > 0 else ""


def markdown(diff: Any) -> str:
    """Sentences and tables in Markdown."""
    lines = ["# What moved", "", heading(diff), "", *(f"- {one}" for one in sentences(diff)), ""]
    lines += _table(CLASSES, _rows(diff))
    lines += [_more(diff), ""] if _more(diff) else []
    head = ("picture", "class", "evidence moved", "predicted first", "predicted then")
    for title, some in (
        ("Evidence that moved most", diff.pictures),
        ("Predictions that changed", diff.flipped),
    ):
        if some:
            rows = [
                (
                    one.id,
                    one.label or "–",
                    f"{100 * one.movement:.0f} %",
                    one.prediction_a or "–",
                    one.prediction_b or "–",
                )
                for one in some
            ]
            lines += [f"## {title}", "", *_table(head, rows)]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines] + [""]


# --- the page -----------------------------------------------------------------------------------------------


def page(diff: Any) -> str:
    """The page: sentences, classes, and the ranked pictures with both maps; it needs nothing else."""
    album = Album(diff.sources, [*diff.pictures, *diff.flipped])
    parts = [f'<h1>What moved</h1><p class="quiet">{escape(heading(diff))}</p>']
    said = "".join(f"<li>{escape(one)}</li>" for one in sentences(diff))
    parts.append(f'<ul class="said">{said}</ul>')
    titles = "".join(f"<th>{escape(one)}</th>" for one in CLASSES)
    cells = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in _rows(diff))
    parts.append(
        f'<h2>Classes</h2><div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{cells}</tbody>'
        f'</table></div><p class="quiet">{escape(_more(diff))}</p>'
    )
    for title, some in (
        ("Pictures whose evidence moved most", diff.pictures),
        ("Predictions that changed, both models sure", diff.flipped),
    ):
        if some:
            cards = "".join(_card(one, album) for one in some)
            parts.append(f'<h2>{title}</h2><div class="cards">{cards}</div>')
    parts.append(
        '<p class="quiet">Evidence moved: the share of a map that would have to be moved to make it the '
        "other, in cells of a common grid; 0 % is the same map up to a factor, 100 % has no cell in common. "
        "Colours end at each map's own strongest evidence. Intervals: 95 %.</p>"
    )
    return html.page("What moved", f'{_STYLE}<div class="diff">{"".join(parts)}</div>')


class Album:
    """The pictures of ranked rows: from the source, else from a thumbnail, else a grey ground."""

    def __init__(self, sources: tuple[Rows, Rows], some: Sequence[Any]) -> None:
        self.sources = sources
        self.opened: dict[tuple[int, Any], Image.Image] = {}
        missing: tuple[set[Any], set[Any]] = set(), set()
        for one in some:
            for side, kept in enumerate((one.a, one.b)):
                picture = _opened(sources[side], kept)
                if picture is not None:
                    self.opened[side, kept.row["row"]] = picture
                else:
                    missing[side].add(kept.row["row"])
        for side, rows in enumerate(missing):
            for row, data in _thumbnails(sources[side], rows):
                self.opened[side, row] = Image.open(io.BytesIO(data)).convert("RGB")

    def picture(self, side: int, kept: Kept, other: Kept) -> Image.Image:
        """The picture of one row at its full size; that of the other run where this one's is gone."""
        found = self.opened.get((side, kept.row["row"])) or self.opened.get((1 - side, other.row["row"]))
        if found is None:
            return Image.new("RGB", kept.size, "#808080")
        return found if found.size == kept.size else found.resize(kept.size)


def _opened(source: Rows, kept: Kept) -> Image.Image | None:
    if source.picture is None:
        return None
    try:
        return source.picture(kept.row["row"]).rgb
    except (PellucidError, OSError):
        return None


def _thumbnails(source: Rows, rows: set[Any]) -> Iterator[tuple[Any, bytes]]:
    """The thumbnails of some rows."""
    left = set(rows)
    try:
        for batch in source.batches(["row", "thumbnail"]) if left else ():
            for row, data in zip(
                batch.column("row").to_pylist(), batch.column("thumbnail").to_pylist(), strict=True
            ):
                if data is not None and row in left:
                    left.remove(row)
                    yield row, data
            if not left:
                return
    except KeyError:  # a table without thumbnails
        return


def _card(one: Any, album: Album) -> str:
    label = f" · {one.label}" if one.label else ""
    figures = "".join(_figure(one, side, album) for side in range(2))
    return (
        f'<div class="card"><b>{escape(one.id)}</b>{escape(label)}<br>'
        f'{100 * one.movement:.0f} % of the evidence moved<div class="pair">{figures}</div></div>'
    )


def _figure(one: Any, side: int, album: Album) -> str:
    """One run's map of a picture, and what that run says of it."""
    kept, other = (one.a, one.b) if side == 0 else (one.b, one.a)
    target, score, prediction, probability, right = (
        getattr(one, f"{name}_{'ab'[side]}")
        for name in ("target", "score", "prediction", "probability", "right")
    )
    image = overlay(kept, album.picture(side, kept, other))
    title = ("first", "second")[side]
    named = f"{target}: " if target else ""
    explained = f"explained: {named}{kept.row['output']} {number(score or 0.0)}"
    kind = {True: "right", False: "wrong", None: ""}[right]
    sure = "" if probability is None else f" {percent(probability)}"
    said = f'<br><span class="{kind}">predicted: {escape(prediction)}{sure}</span>' if prediction else ""
    return (
        f'<figure><img alt="{escape(f"{title} run, {explained}")}" src="{html.data_uri(image, "JPEG")}">'
        f"<figcaption>{title} run, {escape(explained)}{said}</figcaption></figure>"
    )


def overlay(kept: Kept, rgb: Image.Image) -> Image.Image:
    """A kept map over its picture."""
    if kept.map is None:
        return rgb
    size = kept.row["input_height"], kept.row["input_width"]
    panel = Panel.of_map(kept.map, size, rgb, kept.box)
    return drawing.overlay(drawing.fitted_to(panel, SIDE))
