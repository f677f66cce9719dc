"""Composites: which rule for which linear operation of a model, written as one line of text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from pellucid.engine.rule_registry import RESERVED, RULES, Sharing, entry_of, read_rule
from pellucid.engine.rules import ZBox
from pellucid.errors import InvalidType, InvalidValue

COMPOSITES = {
    "epsilon-plus": "conv=z-plus;dense=epsilon",
    "epsilon-plus-flat": "conv=z-plus;dense=epsilon;first=flat",
    "epsilon-alpha2-beta1": "conv=alpha-beta:2:1;dense=epsilon",
    "epsilon-alpha2-beta1-flat": "conv=alpha-beta:2:1;dense=epsilon;first=flat",
    "epsilon-gamma-box": "conv=gamma:0.25;dense=epsilon;first=z-box",
    "excitation-backprop": "conv=excitation;dense=excitation",
}
"""The composites that have names, as in zennit. conv and dense are families of operations; first and last
the operations that read the input and give the output."""

GRADIENTS = ("guided-backprop", "deconvnet")
"""Composites of rules for rectifiers, with PyTorch's own gradient for all else: no relevance is shared."""

RESERVED.update(COMPOSITES, GRADIENTS)

FAMILIES = ("conv", "dense", "first", "last")
CHOICES = {
    "bias": ("counted", "ignored"),
    "product": ("signal", "half"),
    "attention": ("value", "all"),
    "unknown": ("refuse", "gradient"),
}
"""What else can be chosen, the default first: whether biases of operations with weights answer for their part
or leave it to the inputs; who answers for a product with a gate, the signal alone or both by half; for an
attention, the values alone or queries and keys too (AttnLRP); and whether an operation without a rule is
refused or taken for its first-order expansion."""


@dataclass(frozen=True)
class Composite:
    """Rules by family, special place and layer name.

    `patterns` are names of layers, as `fnmatch` matches them.
    """

    text: str
    families: Mapping[str, str]
    patterns: Mapping[str, str]
    choices: Mapping[str, str] = field(default_factory=dict)

    def choice(self, about: str) -> str:
        """What was chosen about "bias", "product", "attention" or "unknown"."""
        return self.choices.get(about, CHOICES[about][0])

    def rule(self, layer: str, family: str, *, first: bool, last: bool) -> Sharing:
        """The rule of one operation: by its layer's name, else its place, else its family.

        Raises:
            InvalidValue: two patterns match the layer.
        """
        matching = self.matching(layer)
        if len(matching) > 1:
            raise InvalidValue(
                f"Only one pattern of the composite may match a layer; {layer!r} matches "
                f"{' and '.join(map(repr, matching))}."
            )
        if matching:
            return read_rule(self.patterns[matching[0]])
        for place, here in (("first", first), ("last", last)):
            if here and place in self.families:
                return read_rule(self.families[place])
        return read_rule(self.families[family])

    def matching(self, layer: str) -> list[str]:
        """The patterns that match a layer."""
        return [pattern for pattern in self.patterns if fnmatchcase(layer, pattern)]

    @property
    def boxed(self) -> bool:
        """Whether some rule needs to know between which values the inputs lie."""
        sources = (entry_of(text).source for text in (*self.families.values(), *self.patterns.values()))
        return any(isinstance(source, type) and issubclass(source, ZBox) for source in sources)


@lru_cache(maxsize=64)
def read_composite(text: str) -> Composite:
    """A composite out of text: a name or a rule for all, then what differs, as KEY=RULE behind semicolons.

    A key is a family (conv, dense), a place (first, last), a layer's name or pattern, or one of the choices.

    Example:
        >>> composite = read_composite("epsilon-plus;first=flat;layer4.*=gamma:0.5")
        >>> composite.families["first"], dict(composite.patterns)
        ('flat', {'layer4.*': 'gamma:0.5'})
        >>> read_composite("lrp-0").families["conv"]
        'lrp-0'

    Raises:
        InvalidValue: no such composite or rule, or an entry that is not KEY=VALUE.
    """
    head, *entries = (part.strip() for part in text.split(";"))
    if head in COMPOSITES:
        entries = [*COMPOSITES[head].split(";"), *entries]
    elif head.partition(":")[0] in RULES:
        read_rule(head)
        entries = [f"conv={head}", f"dense={head}", *entries]
    else:
        known = ", ".join((*COMPOSITES, *GRADIENTS))
        raise InvalidValue(
            f"composite must begin with one of {known}, or with a rule ({', '.join(RULES)}); got {head!r}."
        )
    families: dict[str, str] = {}
    patterns: dict[str, str] = {}
    choices: dict[str, str] = {}
    for entry in filter(None, entries):
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not equals or not key:
            raise InvalidValue(
                f"Behind its name a composite has KEY=RULE, as in 'epsilon-plus;first=flat'; got {entry!r}."
            )
        if key in CHOICES:
            if value not in CHOICES[key]:
                raise InvalidValue(f"{key} must be {' or '.join(CHOICES[key])}; got {value!r}.")
            choices[key] = value
            continue
        read_rule(value)
        (families if key in FAMILIES else patterns)[key] = value
    return Composite(text, families, patterns, choices)


def check_composite(name: str, value: object) -> str:
    """A composite as an option takes it: text, which is read so that an error comes at once.

    Raises:
        InvalidType: not text.
        InvalidValue: text that is no composite.
    """
    if not isinstance(value, str):
        raise InvalidType(f"{name} must be text such as 'epsilon-plus-flat'; got {type(value).__name__}.")
    if value not in GRADIENTS:
        read_composite(value)
    return value
