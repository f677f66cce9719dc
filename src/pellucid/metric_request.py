"""One metric with its options, as a user writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.errors import InvalidType
from pellucid.metrics import Metric, get_metric
from pellucid.options.resolve import parse
from pellucid.options.written import titled


@dataclass(frozen=True)
class MetricRequest:
    """One metric with the options it was given, and all its options resolved."""

    metric: Metric
    given: Mapping[str, Any]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, spec: str, given: Mapping[str, Any] | None = None) -> "MetricRequest":
        """From a name, or as on the command line: "deletion:steps=100", with further options.

        Raises:
            InvalidType: something else than a name.
            InvalidValue: an unknown metric, or an option that does not hold.
        """
        if not isinstance(spec, str):
            raise InvalidType(f"A metric must be a name, such as 'deletion'; got {type(spec).__name__}.")
        name, written = parse(spec)
        metric = get_metric(name)
        given = {**written, **(given or {})}
        return cls(metric, given, metric.resolve_options(given))

    @classmethod
    def several(cls, specs: str | Sequence[str | tuple[str, Mapping[str, Any]]]) -> "list[MetricRequest]":
        """From one of these or a list: names with options, "name:option=value", or (name, options)."""
        listed = [specs] if isinstance(specs, str) else specs
        return [cls.of(one) if isinstance(one, str) else cls.of(*one) for one in listed]

    @property
    def title(self) -> str:
        """The metric and the options it was given, as on the command line."""
        return titled(self.metric.name, self.given)
