"""Layer-wise relevance propagation on a network as it stands: every operation's way back is a rule.

What flows back through the graph is relevance instead of a gradient. What becomes of it at an operation says
one function, `(run, call) -> result`, found by the operation's name in the table of its family:

- `linear`: linear maps with weights share by the composite's rule;
- `norms`: a batch norm is folded into the linear map before it, or, if there is none, into the one after it,
  through a ReLU and into zero-padded borders; other norms, their scale taken as it is, share in proportion;
- `activations`: they hand relevance on;
- `products`, `sums`: of a product with a gate the signal answers, of a sum each part for its own;
- `pooling`: averages share in proportion;
- `shapes`: what only moves numbers moves relevance by its own gradient;
- `attention`, `statistics`, `unknown`: the softmax, norms and variances, and what has no rule.

The `run` holds the state. What biases answer for and what stabilisers take is counted in its account, so that
the sum of all can be compared with what went in. A layer between a linear map and what is folded into it has
the relevance of the two as one.
"""

from pellucid.engine.relevance.activations import ACTIVATIONS
from pellucid.engine.relevance.attention import ATTENTION
from pellucid.engine.relevance.linear import LINEAR
from pellucid.engine.relevance.norms import NORMS
from pellucid.engine.relevance.pooling import POOLING
from pellucid.engine.relevance.products import PRODUCTS
from pellucid.engine.relevance.run import Run
from pellucid.engine.relevance.shapes import SHAPES
from pellucid.engine.relevance.statistics import STATISTICS
from pellucid.engine.relevance.sums import SUMS
from pellucid.engine.relevance.unknown import UNKNOWN
from pellucid.engine.tables import Table

__all__ = ["OPERATIONS", "Relevance", "Run"]

OPERATIONS = Table(
    LINEAR, NORMS, ACTIVATIONS, PRODUCTS, SUMS, POOLING, SHAPES, ATTENTION, STATISTICS, UNKNOWN
)
"""Every operation through which relevance goes back, by its name."""


class Relevance(Run):
    """A run whose way back is relevance by a composite's rules."""

    table = OPERATIONS
