"""DeepLIFT's multipliers in the place of gradients, for all that networks are made of.

Times the differences of an operation's inputs they sum to the difference of its outputs, so a chain of them
does as well, and the map is complete. What an operation's are says one function, `(run, call) -> result`,
found by its name in the table of its family:

- `linear`: of a linear operation its own gradient, of a product its gradient in the middle between the
  reference and the image;
- `elementwise`: of a function of one number the quotient (f(x) - f(x')) / (x - x');
- `softmax`, `maxima`: those of `multipliers`;
- `norms`: of what divides by a norm those of the steps that it is made of;
- `integrals`: of others the mean of their gradient on the line from the reference to the image, in a few
  nodes.
"""

from pellucid.engine.rescale.elementwise import ELEMENTWISE
from pellucid.engine.rescale.integrals import UNKNOWN
from pellucid.engine.rescale.linear import LINEAR
from pellucid.engine.rescale.maxima import MAXIMA
from pellucid.engine.rescale.norms import NORMS
from pellucid.engine.rescale.paired import PairedRun
from pellucid.engine.rescale.softmax import SOFTMAX
from pellucid.engine.tables import Table

__all__ = ["OPERATIONS", "Rescale"]

OPERATIONS = Table(LINEAR, ELEMENTWISE, SOFTMAX, NORMS, MAXIMA, UNKNOWN)
"""Every operation whose multipliers are known, by its name."""


class Rescale(PairedRun):
    """A run whose way back is the multipliers of images against references."""

    table = OPERATIONS
