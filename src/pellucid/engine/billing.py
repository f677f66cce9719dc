"""What evidence cost, and who is billed for it."""

import time
from dataclasses import dataclass, field

from pellucid.engine.cost import Cost


@dataclass(eq=False)
class Charge:
    """The cost of one piece of evidence; whoever uses that evidence is billed for it, once."""

    cost: Cost = field(default_factory=Cost)


@dataclass(eq=False)
class Bill:
    """What one method used: evidence shared with others counts in full, as if it had run alone."""

    used: set[Charge] = field(default_factory=set)
    measured: float = 0.0  # seconds spent making evidence while this bill was open
    opened: float = field(default_factory=time.perf_counter)

    def total(self) -> Cost:
        """What the work done since the bill was opened would have cost alone."""
        own = time.perf_counter() - self.opened - self.measured
        return sum((charge.cost for charge in self.used), Cost(seconds=own))
