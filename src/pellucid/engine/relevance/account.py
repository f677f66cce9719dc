"""The account of relevance: what did not arrive at the inputs, image by image."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
        """The sum of values of each sample, (N,)."""
        rows = values.movedim(self.axis(values), 0)
        if len(rows) % self.samples:  # of no sample alone
            return (values.sum(dtype=torch.float64) / self.samples).expand(self.samples)
        return rows.reshape(self.samples, -1).sum(1, dtype=torch.float64)

    def axis(self, values: Tensor) -> int:
        """Along which axis samples lie: the first, or, of tokens before the batch, the second."""
        if values.ndim < 2:
            return 0
        if values.ndim == 3 and values.shape[0] != self.samples == values.shape[1]:
            return 1
        return 1 if values.shape[0] % self.samples and not values.shape[1] % self.samples else 0
