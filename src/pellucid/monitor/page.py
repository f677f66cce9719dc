"""The page of a folder: its sheets, played by a slider, and how score and class moved, in a table."""

import json
from collections.abc import Mapping
from html import escape
from itertools import pairwise

from pellucid.monitor.board import About, Curve, signed
from pellucid.monitor.looks import History
from pellucid.render import html
from pellucid.render.text import number
from pellucid.render.video import thinned
from pellucid.render.words import percent

MOST = 300
"""Sheets that the page leads to; of more, evenly so many."""

_STYLE = """
<style>
body{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1a1a1a;
  background:#f3f4f6;margin:0}
main{background:#fff;max-width:1040px;margin:24px auto;padding:16px 20px;border-radius:8px;
  box-sizing:border-box}
h1{font-size:18px;margin:0 0 2px}
.quiet{color:#5f6368;font-size:13px;margin:0 0 12px;overflow-wrap:anywhere}
.bar{display:flex;gap:12px;align-items:center;margin:12px 0;padding:6px 0;position:sticky;top:0;
  background:#fff}
.bar input{flex:1;min-width:80px}
.bar button{font:inherit;padding:4px 12px;border:1px solid #c8ccd0;border-radius:6px;background:#fff;
  cursor:pointer}
.bar output{min-width:8em;text-align:right;font-variant-numeric:tabular-nums}
#sheet{width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:14px 0;width:100%}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid #e5e7ea;vertical-align:middle}
th{font-weight:600;font-size:13px}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
.wrong{color:#b3470c}
svg{display:block}
ul.warn{margin:8px 0;padding:8px 12px 8px 28px;background:#fff4e0;border-left:3px solid #e8940c;
  border-radius:3px;color:#5a3b00;overflow-wrap:anywhere}
@media(max-width:1040px){main{margin:0;border-radius:0}}
</style>"""

_SCRIPT = """
<script>
const looks=JSON.parse(document.getElementById("data").textContent).looks;
const [sheet,at,told,play]=["sheet","at","told","play"].map(id=>document.getElementById(id));
let timer=null;
function show(i){at.value=i;sheet.src=looks[i].sheet;sheet.alt="step "+looks[i].step;
  told.textContent="step "+looks[i].step+" of "+looks[looks.length-1].step}
function stop(){clearInterval(timer);timer=null;play.textContent="Play"}
at.addEventListener("input",()=>{stop();show(+at.value)});
play.addEventListener("click",()=>{if(timer){stop();return}
  if(+at.value>=looks.length-1)show(0);play.textContent="Stop";
  timer=setInterval(()=>{if(+at.value>=looks.length-1){stop()}else{show(+at.value+1)}},250)});
show(looks.length-1);
</script>"""


def page(about: About, history: History, sheets: Mapping[int, str]) -> str:
    """The page of all looks; `sheets` has the file of each step's sheet, as seen from the page."""
    looks = [look for look in history.looks if look.step in sheets]
    shown = [looks[i] for i in thinned(len(looks), MOST)] if looks else []
    rows = "".join(_row(about, history, i) for i in range(len(history.names)))
    failures = [f"step {step}: {text}" for step, text in sorted(history.failures.items())]
    facts = " · ".join((
        about.method, f"explained: {about.output}", f"{len(history.names)} pictures", f"{len(looks)} looks",
        f"explaining took {history.seconds:.1f} s in all",
    ))  # fmt: skip
    steps = [look.step for look in looks]
    title = f"{about.model} in training, {_span(steps)}"
    body = (
        f"{_STYLE}<main><h1>{escape(title)}</h1>"
        f'<p class="quiet">{escape(facts)}</p>{html.warning_list(failures)}'
        '<div class="bar"><button id="play">Play</button>'
        f'<input id="at" type="range" min="0" max="{max(0, len(shown) - 1)}" value="0" aria-label="step">'
        '<output id="told"></output></div><img id="sheet" alt="">'
        '<div class="wide"><table><thead><tr><th>picture</th><th>explained</th><th>score by step</th>'
        "<th>first → last</th><th>predicted first</th><th>predicted last</th><th>class changed</th>"
        f"<th>agreement of the last two maps</th></tr></thead><tbody>{rows}</tbody></table></div></main>"
    )
    data = {"looks": [{"step": look.step, "sheet": sheets[look.step]} for look in shown]}
    held = json.dumps(data).replace("<", "\\u003c")
    script = _SCRIPT if shown else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="data">{held}</script>{script}\n</body>\n</html>\n'
    )


def _span(steps: list[int]) -> str:
    if not steps:
        return "no look yet"
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def _row(about: About, history: History, index: int) -> str:
    known = [look.pictures[index] for look in history.looks if look.pictures[index].error is None]
    name = f'<td class="n">{escape(history.names[index])}</td>'
    if not known:
        errors = [look.pictures[index].error or "" for look in history.looks[-1:]]
        return f'<tr>{name}<td colspan="7" class="wrong">{escape("".join(errors))}</td></tr>'
    first, last = known[0], known[-1]
    classes = [one.prediction for one in known]
    changed = sum(a != b for a, b in pairwise(classes))
    told = [
        f'<td class="{"" if one.right else "wrong"}">{escape(one.predicted or "")} '
        f"{percent(one.probability or 0)}</td>"
        for one in (first, last)
    ]
    agreement = "" if last.agreement is None else signed(last.agreement)
    times = f"{changed} {'time' if changed == 1 else 'times'}"
    scores = f"{number(first.score or 0.0)} → {number(last.score or 0.0)}"
    return (
        f"<tr>{name}<td>{escape(last.label or about.output)}</td>"
        f"<td>{_curve(Curve.of(history.looks, index))}</td>"
        f'<td class="n">{scores}</td>{"".join(told)}<td class="n">{times}</td>'
        f'<td class="n">{agreement}</td></tr>'
    )


def _curve(curve: Curve, width: int = 150, height: int = 26) -> str:
    points = " ".join(f"{x + 3:.1f},{y + 3:.1f}" for x, y in curve.points(width - 6, height - 6))
    x, y = points.rsplit(" ", 1)[-1].split(",") if points else ("0", "0")
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="score by step">'
        f'<polyline points="{points}" fill="none" stroke="#1a1a1a" stroke-width="1.5"/>'
        f'<circle cx="{x}" cy="{y}" r="2.5" fill="#1a1a1a"/></svg>'
    )
