"""Mermaid's flowcharts as plain HTML, so that the site needs no library to draw them."""

import re
from itertools import pairwise

BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_EDGE = re.compile(r"--+>(?:\|\"?(.*?)\"?\|)?")
_NODE = re.compile(r"(\w+)(?:\[\"(.+?)\"\])?")


def drawn(page: str) -> str:
    """A page whose flowcharts are trees where their arrows have labels, and else boxes below each other."""
    return BLOCK.sub(lambda found: flowchart(found[1]), page)


def flowchart(source: str) -> str:
    """One flowchart.

    >>> print(flowchart('flowchart TD\\n    a["What?"] -->|"this"| b["One"]\\n    a -->|"that"| c["Two"]\\n'))
    <div class="tree"><ul>
    <li>What?<ul>
    <li><em>this</em> One</li>
    <li><em>that</em> Two</li>
    </ul></li>
    </ul></div>
    """
    texts: dict[str, str] = {}
    arrows: dict[str, list[tuple[str, str]]] = {}
    for line in source.splitlines()[1:]:
        parts = _EDGE.split(line)
        nodes = [match for part in parts[::2] if (match := _NODE.search(part))]
        for node in nodes:
            texts.setdefault(node[1], node[1])
            if node[2]:
                texts[node[1]] = node[2].replace("<br/>", " ")
        for label, (start, end) in zip(parts[1::2], pairwise(nodes), strict=True):
            arrows.setdefault(start[1], []).append((label or "", end[1]))
    labelled = any(label for ends in arrows.values() for label, _ in ends)
    if not labelled:
        boxes = "\n".join(f"<div>{text}</div>" for text in texts.values())
        return f'<div class="floors">\n{boxes}\n</div>'
    aims = {end for ends in arrows.values() for _, end in ends}

    def item(node: str, label: str = "") -> str:
        below = "\n".join(item(end, text) for text, end in arrows.get(node, []))
        told = f"<em>{label}</em> {texts[node]}" if label else texts[node]
        return f"<li>{told}<ul>\n{below}\n</ul></li>" if below else f"<li>{told}</li>"

    roots = "\n".join(item(node) for node in texts if node not in aims)
    return f'<div class="tree"><ul>\n{roots}\n</ul></div>'
