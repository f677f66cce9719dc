"""Enhanced IG's baselines: a few of many references, or their centres, in whatever space these are given."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor


def centres(codes: Float[Tensor, "R *code"], count: int, generator: Generator) -> Float[Tensor, "B *code"]:
    """The centres of `count` clusters: k-means from references drawn; fewer where a cluster ends up empty."""
    from scipy.cluster.vq import kmeans

    rows = codes.flatten(1).double().cpu().numpy()
    distinct = np.unique(rows, axis=0)
    found, _ = kmeans(rows, distinct[torch.randperm(len(distinct), generator=generator)[:count].numpy()])
    return torch.as_tensor(found).to(codes).view(-1, *codes.shape[1:])


def central(codes: Float[Tensor, "R *code"], count: int, generator: Generator) -> Float[Tensor, "B *code"]:
    """The references nearest to the median of each number."""
    median = np.median(codes.double().cpu().numpy(), axis=0)
    return nearest(codes, torch.from_numpy(median).to(codes), count)


def drawn(codes: Float[Tensor, "R *code"], count: int, generator: Generator) -> Float[Tensor, "B *code"]:
    """Some references, drawn without repetition."""
    return codes[torch.randperm(len(codes), generator=generator)[:count].to(codes.device)]


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
