"""What the commands of the digits laboratory share: where pictures come from, how results are told."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.choices import Architecture, Downloadable
from pellucid.errors import InvalidValue

if TYPE_CHECKING:
    from pellucid.digits.data import Digits
    from pellucid.digits.training import Epoch
    from pellucid.intervals import Interval

_PICTURES, _NETWORK = "The pictures", "The network"

Arch = Annotated[
    Architecture,
    typer.Option(
        "--arch",
        help="cnn: two convolutions and 1024 units; residual: a small ResNet; vit: a small transformer.",
        rich_help_panel=_NETWORK,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="How often each picture is seen.",
        rich_help_panel=_NETWORK,
        show_default="5; of vit 10",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of IDX files, gzipped or not: MNIST, Fashion-MNIST or your own.",
        rich_help_panel=_PICTURES,
        show_default="1,797 digits of scikit-learn",
    ),
]
Download = Annotated[
    Downloadable | None,
    typer.Option(
        help="Have a set from the network first, into --data or the user's cache.",
        rich_help_panel=_PICTURES,
        show_default=False,
    ),
]


def read_digits(data: Path | None, download: Downloadable | None, quiet: bool) -> "Digits":
    """The set of pictures that a command was asked about.

    Raises:
        PellucidError: it cannot be read, or not be downloaded.
    """
    from pellucid.digits.data import bundled, read_folder
    from pellucid.digits.download import download as fetch

    if download is not None:
        return read_folder(fetch(download, data, progress=False if quiet else None))
    return bundled() if data is None else read_folder(data)


def epoch_line(course: "Sequence[Epoch]", epochs: int, held_out: int) -> str:
    """What came of the last epoch.

    >>> from pellucid.digits.training import Epoch
    >>> epoch_line([Epoch(0.25, 97, 3.2)], 5, 100)
    'epoch 1 of 5: loss 0.2500, 97.0 % right, 3.2 s'
    """
    last = course[-1]
    share = f"{100 * last.right / held_out:.1f} % right"
    return f"epoch {len(course)} of {epochs}: loss {last.loss:.4f}, {share}, {last.seconds:.1f} s"


def accuracy_words(accuracy: "Interval") -> str:
    """How often a network is right.

    >>> from pellucid.intervals import proportion
    >>> accuracy_words(proportion(98, 100))
    'right in 98.0 % of 100 held-out pictures (95 % interval 93.0 to 99.4 %)'
    """
    if accuracy.mean is None or accuracy.low is None or accuracy.high is None:
        raise InvalidValue("There must be held-out pictures to say how often a network is right.")
    return (
        f"right in {100 * accuracy.mean:.1f} % of {accuracy.count:,} held-out pictures (95 % interval "
        f"{100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} %)"
    )
