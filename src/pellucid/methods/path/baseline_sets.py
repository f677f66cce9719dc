"""Enhanced IG's baselines: a few of many references, or their centres, in whatever space these are given."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from pellucid.methods.path.neighbours import distances

MOST = 100
"""Rounds of k-means, which hardly ever takes so many until nothing moves."""


def centres(codes: Float[Tensor, "R *code"], count: int, generator: Generator) -> Float[Tensor, "B *code"]:
    """The centres of `count` clusters by k-means++; fewer if fewer references differ, or a cluster empties.

    It begins at references drawn in proportion to the squared distance from those before.
    """
    rows = codes.flatten(1).double()
    found = drawn(rows, 1, generator)
    while len(found) < count and (apart := distances(rows, found).amin(1)).any():
        found = torch.cat([found, rows[torch.multinomial(apart.cpu() ** 2, 1, generator=generator)]])
    for _ in range(MOST):
        owner = distances(rows, found).argmin(1)
        means = torch.stack([rows[owner == k].mean(0) for k in owner.unique()])
        if torch.equal(means, found):
            break
        found = means
    return found.to(codes).view(-1, *codes.shape[1:])


def central(codes: Float[Tensor, "R *code"], count: int, generator: Generator) -> Float[Tensor, "B *code"]:
    """The references nearest to the median of each number."""
    median = np.median(codes.double().cpu().numpy(), axis=0)
    return nearest(codes, torch.from_numpy(median).to(codes), count)


def drawn(codes: Float[Tensor, "R *code"], count: int, generator: Generator) -> Float[Tensor, "B *code"]:
    """Some references, drawn without repetition."""
    return codes[
        torch.randperm(len(codes), generator=generator, dtype=torch.long, device="cpu")[:count].to(
            codes.device
        )
    ]


CHOICES: Mapping[str, Callable[[Tensor, int, Generator], Tensor]] = {
    "k-means": centres,
    "median": central,
    "random": drawn,
}
"""Baselines that depend on the references alone."""


def nearest(
    codes: Float[Tensor, "R *code"], to: Float[Tensor, "*code"], count: int
) -> Float[Tensor, "B *code"]:
    """The references nearest to a point, in L1."""
    return codes[(codes - to).abs().flatten(1).sum(1).argsort(stable=True)[:count]]
