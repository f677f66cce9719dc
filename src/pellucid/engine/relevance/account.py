"""The account of relevance: what did not arrive at the inputs, image by image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.engine.mixing import RowsUnknown
from pellucid.engine.sharing import Shared


class Account:
    """What biases answer for and what stabilisers took, (N,) each, of `samples` images since `clear`."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.clear()

    def clear(self) -> None:
        """Begins the count anew, before a backward pass."""
        self.biases = torch.zeros(self.samples, dtype=torch.float64, device="cpu")
        self.absorbed = torch.zeros(self.samples, dtype=torch.float64, device="cpu")

    def count(self, shared: Shared) -> Tensor:
        """Keeps what a rule gave the bias and the stabiliser; gives what goes on to the inputs."""
        for total, part in ((self.biases, shared.bias), (self.absorbed, shared.absorbed)):
            total += self.by_sample(part.detach().expand(self.samples) if not part.ndim else part).cpu()
        return shared.inputs

    def count_constants(self, came: Tensor, went: Sequence[Tensor]) -> None:
        """Counts what constants beside the inputs answer for: the relevance that came, less what went on."""
        rest = self._rest(came, went)
        self.count(Shared(came, rest, torch.zeros_like(rest)))

    def count_absorbed(self, came: Tensor, went: Sequence[Tensor]) -> None:
        """Counts what a stabiliser took: the relevance that came, less what went on."""
        rest = self._rest(came, went)
        self.count(Shared(came, torch.zeros_like(rest), rest))

    def _rest(self, came: Tensor, went: Sequence[Tensor]) -> Tensor:
        return self.by_sample(came) - sum(map(self.by_sample, went))

    def by_sample(self, values: Tensor) -> Tensor:
        """The sum of values of each sample, (N,).

        Raises:
            RowsUnknown: not one row for each sample, as where a model loops over its samples, joins copies of
                them, or cuts them into windows: each must be run alone.
        """
        rows = values.movedim(self.axis(values), 0)
        if self.samples > 1 and (not rows.ndim or len(rows) != self.samples):
            raise RowsUnknown("operations")
        return rows.reshape(self.samples, -1).sum(1, dtype=torch.float64)

    def axis(self, values: Tensor) -> int:
        """Which axis samples lie along: the first, or the second of tokens (T, N, E), (3, N, heads, T, E)."""
        return int(values.ndim in (3, 5) and values.shape[0] != self.samples == values.shape[1])
