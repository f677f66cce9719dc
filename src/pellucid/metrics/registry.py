"""The registry of metrics: `(probe, attribution, *, options) -> (N,)`, found as the methods are.

Metrics come from the folders of this package, from installed packages by the entry-point group
`pellucid.metrics`, and from a user's own code by `@pellucid.metric`.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pellucid.errors import InvalidValue
from pellucid.metrics.definition import FAMILIES, Counting, Metric, MetricPasses, Needs, folder_of
from pellucid.options.signature import keyword_options
from pellucid.options.types import Option
from pellucid.plugins import Registry, check_name
from pellucid.target import Output

Formula = TypeVar("Formula", bound=Callable[..., Any])
METRICS: Registry[Metric] = Registry("pellucid.metrics")
"""All metrics by name."""


def metric(
    name: str,
    *,
    paper: str,
    higher_is_better: bool | None,
    range: tuple[float, float],
    passes: tuple[int, ...] | Counting = (),
    family: str | None = None,
    output: Output = "logit",
    quick: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[Formula], Formula]:
    """Registers a function `(probe, attribution, *, options) -> (N,)`, and gives it back as it is.

    Its options are its keyword-only arguments, each with a type and a default. A metric that explains again
    takes `explain` behind the attribution, one that knows where the object is `truth`. Registering the same
    function again replaces it.

    Args:
        name: the paper's name, in kebab-case.
        paper: authors, year, arXiv number or DOI.
        higher_is_better: None where neither is better by itself.
        range: the least and the greatest value it can take.
        passes: samples run per image and map, forward and backward, and explanations made again (see
            `MetricPasses`); or a function of the options and of the input's (height, width).
        family: of built-in metrics the folder they live in; of others one of these families.
        output: what its paper scores, "logit", "probability" or "loss".
        quick: options by which a test or a demonstration is quick.

    Raises:
        InvalidValue: a name that is not in kebab-case or belongs to another function, an unknown family, an
            option without type or default.

    Example:
        >>> @metric("brightest", family="complexity", paper="Me", higher_is_better=True, range=(0.0, 1.0))
        ... def brightest(probe, attribution, *, power: float = 1.0):
        ...     return attribution.flatten(1).amax(1) ** power
        >>> get_metric("brightest").options
        (Option(name='power', type=<class 'float'>, default=1.0),)
        >>> del METRICS["brightest"]
    """

    def register(function: Formula) -> Formula:
        check_name("metric", name)
        where = f"{function.__module__}.{function.__qualname__}"
        home = folder_of(function) or family
        if home not in FAMILIES:
            raise InvalidValue(f"{where}: family must be one of {', '.join(FAMILIES)}; got {home!r}.")
        parameters = inspect.signature(function).parameters
        needs = frozenset(need for need in get_args(Needs) if need in parameters)
        options = tuple(
            Option(p.name, p.annotation, p.default)
            for p in keyword_options(function, evidence=("attribution", *get_args(Needs)))
        )
        fixed = MetricPasses(*passes) if isinstance(passes, tuple) else None
        count = passes if callable(passes) else partial(_fixed, fixed or MetricPasses())
        METRICS.add(
            Metric(name, home, paper, function, options, higher_is_better, range, count, output, needs, quick)
        )
        return function

    return register


def _fixed(passes: MetricPasses, options: Mapping[str, Any], size: tuple[int, int]) -> MetricPasses:
    return passes


def get_metric(name: str) -> Metric:
    """The metric registered under a name.

    Raises:
        InvalidValue: there is none; the message names the closest.
    """
    found = METRICS.get(name)
    if found is None:
        close = difflib.get_close_matches(name.lower().replace("_", "-"), METRICS, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise InvalidValue(f"There is no metric {name!r}.{hint} `pellucid metrics` lists them all.")
    return found
