"""What `pellucid doctor` and `pellucid choose` found, for people."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from pellucid.choice import Choice
from pellucid.cli.screen import console
from pellucid.cli.tables import NBSP, Column, print_table
from pellucid.doctor import Diagnosis, FeatureLayer, Verdict
from pellucid.preprocess import Preprocess
from pellucid.render.words import percent

_DEEP = 2  # dots in a layer's name, from which on only --layers lists it


def show(found: Diagnosis, all_layers: bool) -> None:
    """All of it; of the layers the outer ones, unless all are asked for."""
    screen = console()
    screen.print(found.model, style="bold")
    screen.print(_facts(found))
    screen.print()
    shown = [layer for layer in found.layers if all_layers or _outer(layer, found)]
    screen.print("Layers with feature maps", style="bold")
    if shown:
        columns = [Column("layer"), Column("class", fold=2), Column("layout"), Column("shape", fold=1)]
        rows = []
        for layer in shown:
            name = f"{layer.name} (auto)" if layer.name == found.auto else layer.name
            rows.append((name, layer.kind, str(layer.layout), "×".join(map(str, layer.shape))))
        styles = ["green" if layer.name == found.auto else None for layer in shown]
        print_table(screen, columns, rows, styles)
    auto = found.chosen.get("layer")
    if auto is None:
        screen.print("None is chosen by layer=auto: no layer's cells are known to be parts of the picture.")
    else:
        calls = f", {auto['runs']} calls a pass" if auto["runs"] > 1 else ""
        around = [name or "a path of its own" for name in auto["around"] or []]
        rest = f"; a part of the score goes around it, through {', '.join(around)}" if around else ""
        screen.print(f"auto: {auto['name']}, {auto['proof']}{calls}{rest}.", style="dim")
    if len(shown) < len(found.layers):
        screen.print(f"{len(found.layers) - len(shown)} more inside these: --layers lists them.", style="dim")
    screen.print()
    works = [verdict for verdict in found.methods if verdict.works]
    screen.print(f"Methods: {len(works)} of {len(found.methods)} work", style="bold")
    columns = [
        Column("method"),
        Column("passes", fold=2, right=True),
        Column("per picture", right=True),
        Column("remark", fold=1),
    ]
    rows = [
        (
            verdict.method,
            f"{verdict.forward}+{verdict.backward}",
            _seconds(verdict),
            remark,
        )
        for verdict, remark in zip(found.methods, remarks(found.methods), strict=True)
    ]
    print_table(screen, columns, rows, [None if verdict.works else "red" for verdict in found.methods])
    told = "per picture: measured; with ~ estimated, from a shorter run or, for each channel, from one pass."
    screen.print(told, style="dim")
    if found.recommended is not None:
        screen.print()
        screen.print(f"Recommended: {found.recommended.method}", style="bold")
        screen.print(found.recommended.because)


def remarks(verdicts: Sequence[Verdict]) -> list[str]:
    """What is said of each method; a reason is given once, and then the method that it was given for."""
    first: dict[str, str] = {}
    remarks = []
    for verdict in verdicts:
        if verdict.works:
            remarks.append(" ".join(verdict.warnings))
            continue
        named = first.setdefault(verdict.reason, verdict.method)
        why = f": {verdict.reason}" if named == verdict.method else f", for the reason given for {named}."
        remarks.append(f"does not work{why}")
    return remarks


def _seconds(verdict: Verdict) -> str:
    if verdict.seconds is None:
        return ""
    return ("" if verdict.measured else "~") + duration(verdict.seconds).replace(" ", NBSP)


def _facts(found: Diagnosis) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    frozen = f", {found.frozen:,} of them frozen (no matter)" if found.frozen else ""
    training = f"{found.training} modules in training mode (run in evaluation mode)"
    memory = f"{size(found.parameter_bytes)} weights"
    if found.graph_bytes is not None:
        memory += f", {size(found.graph_bytes)} per picture for a backward pass"
    seconds = f"{duration(found.forward_seconds)} forward"
    if found.backward_seconds is not None:
        seconds += f", {duration(found.backward_seconds)} backward"
    scale, output = (found.chosen.get(what) for what in ("output_scale", "output"))
    many = ", each class a question of its own" if scale and scale["multi_label"] else ""
    outputs = f"{scale['choice']}{many}: {scale['because']}" if scale else ""
    if output:
        outputs += f"; {output['choice']}: {output['because']}"
    for name, text in {
        "class": found.kind,
        "parameters": f"{found.parameters:,}{frozen}",
        "runs on": f"{found.device}, {found.dtype}",
        "mode": training if found.training else "evaluation",
        "input": "×".join(map(str, found.input_shape)),
        "preprocessing": preprocessing(found.preprocess),
        "classes": f"{found.classes}, {'named' if found.named else 'without names'}",
        **({"outputs": outputs} if outputs else {}),
        "sees here": f"{found.prediction.label} {percent(found.prediction.probability)}",
        "memory": memory,
        "per picture": seconds,
    }.items():
        facts.add_row(name, text)
    return facts


def _outer(layer: FeatureLayer, found: Diagnosis) -> bool:
    return layer.name == found.auto or (layer.name.count(".") < _DEEP and layer.kind != "Identity")


def preprocessing(preprocess: Preprocess | None) -> str:
    """In words: "resize to 256, crop 224×224, bicubic, mean (...), std (...)"."""
    if preprocess is None:
        return "none: it was given noise; pictures need Model(module, preprocess=pellucid.Preprocess(...))"
    scale = preprocess.scale_to
    to = "×".join(map(str, scale)) if isinstance(scale, tuple) else scale
    values = [", ".join(f"{value:.3g}" for value in row) for row in (preprocess.mean, preprocess.std)]
    resize = f"resize to {to}, " if to is not None else ""
    return (
        f"{resize}{preprocess.fit} {'×'.join(map(str, preprocess.size))}, {preprocess.interpolation}, "
        f"mean ({values[0]}), std ({values[1]})"
    )


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(0.0123), duration(2.5), duration(200.0)
    ('12 ms', '2.5 s', '3.3 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def size(count: int) -> str:
    """Bytes for people.

    >>> size(18_700_000), size(900)
    ('18.7 MB', '0.0 MB')
    """
    return f"{count / 1e6:.1f} MB"


def show_choice(found: Choice, file: Path) -> None:
    """Which method suits a model, and how the others did."""
    screen = console()
    rows = [
        (
            one.title,
            f"{one.q.mean:.2f}" if one.q.mean is not None else "–",
            f"{one.q.low:.2f} to {one.q.high:.2f}" if one.q.low is not None else "",
            percent(one.supported),
            str(one.passes),
            f"{one.seconds:.2f}",
            "beaten" if one.beaten else "chosen" if one is found.chosen else "",
        )
        for one in found.candidates
    ]
    columns = [
        Column("method"), Column("q", right=True), Column("95 %", fold=2, right=True),
        Column("supported", fold=3, right=True), Column("passes", fold=1, right=True),
        Column("seconds", fold=4, right=True), Column(""),
    ]  # fmt: skip
    print_table(screen, columns, rows)
    for text in found.sentences:
        screen.print(text)
    screen.print(str(file), soft_wrap=True)
