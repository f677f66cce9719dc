"""`pellucid lab`: the whole lesson on digits, as one page."""

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import digits_options as own
from pellucid.cli import options
from pellucid.cli.screen import complain, console, plain_errors, print_json


def lab(
    arch: own.Arch | None = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.safetensors",
            help="A network that `pellucid train digits` wrote, instead of training one.",
            rich_help_panel="The network",
            show_default=False,
        ),
    ] = None,
    epochs: own.Epochs = None,
    data: own.Data = None,
    download: own.Download = None,
    method: options.Methods = None,
    out: options.Out = Path("pellucid-lab"),
    json: options.Json = False,
    quiet: options.Quiet = False,
    seed: options.Seed = 0,
    debug: options.Debug = False,
) -> None:
    """Train a network on digits, explain its answers by many methods, judge the methods: a page, lab.html.

    It explains one digit of each class and the network's worst mistakes. On two cores all of it takes about
    a minute with the bundled digits.

    Example: pellucid lab --arch residual
    """
    with plain_errors(debug):
        from pellucid.cli.learning import learn
        from pellucid.cli.reading import check_folder, read_requests
        from pellucid.digits.lesson import make_lesson
        from pellucid.digits.page import save_page, to_dict
        from pellucid.digits.training import Plan
        from pellucid.errors import InvalidValue
        from pellucid.files import make_folder
        from pellucid.model_file import read_model, read_record

        if model is not None and (arch is not None or epochs is not None):
            raise InvalidValue("--model FILE is trained already: leave out --arch and --epochs.")
        read_requests(method or [], None)
        check_folder(out)
        tell = not (quiet or json)
        record = None if model is None else read_record(model)
        plan = Plan(arch or "cnn", epochs, seed=seed)
        pictures = own.read_digits(data, download, not tell)
        if model is None or record is None:
            make_folder(out)
            trained = learn(pictures, plan, out / "digits.safetensors", tell=tell)
            network, record = trained.model(f"{trained.plan.architecture} on digits"), trained.record
        else:
            network = read_model(model)
        lesson = make_lesson(
            network,
            pictures,
            architecture=record.architecture,
            training=record.training,
            methods=method,
            seed=seed,
            progress=None if tell else False,
        )
        file = save_page(lesson, out / "lab.html")
        if json:
            print_json({"file": str(file), **to_dict(lesson)})
        elif tell:
            console().print(f"{file}: {len(lesson.answers)} decisions, {len(lesson.comparison)} methods")
            for refusal in lesson.comparison.refusals:
                complain(f"{refusal.title}: {refusal.reason}")
