"""The verb `cite`: what to cite where maps or metrics of ours are shown."""

import difflib

from pellucid.choices import Citation
from pellucid.errors import InvalidValue, short_traceback
from pellucid.methods import METHODS
from pellucid.metrics import METRICS
from pellucid.references import written


@short_traceback
def cite(*names: str, format: Citation = "bibtex") -> str:
    """The papers of methods and metrics, and Pellucid's own entry behind them.

    Args:
        *names: methods and metrics; none gives Pellucid's entry alone.
        format: "bibtex", or "text" for a list of references in words.

    Returns:
        The entries, each once, with empty lines between them.

    Raises:
        InvalidValue: there is no such method or metric, or no such format.

    Cost:
        None: nothing is run.

    Source:
        `references.bib` of the package, by the arXiv numbers and DOIs in the registry.

    Example:
        >>> import pellucid
        >>> pellucid.cite("cam").splitlines()[0]
        '@inproceedings{zhou2016,'
        >>> pellucid.cite("cam", format="text").splitlines()[-1]
        'The Pellucid authors (2026). Pellucid: see why an image classifier decided.'
    """
    return written(tuple(_paper(name) for name in names), format)


def _paper(name: str) -> str:
    """What a method or metric names as its source."""
    found = METHODS.get(name) or METRICS.get(name)
    if found is None:
        known = [*METHODS, *METRICS]
        close = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise InvalidValue(
            f"There is no method or metric {name!r}.{hint} "
            "`pellucid methods` and `pellucid metrics` list them."
        )
    return found.paper
