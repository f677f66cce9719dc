"""Rank correlation: whether two maps order their pixels the same way."""

import torch
from jaxtyping import Float
from torch import Tensor


def rank_correlation(rows: Float[Tensor, "M P"]) -> Float[Tensor, "M M"]:
    """Spearman's rank correlation of every pair of rows; ties share their mean rank."""
    ranked = torch.stack([ranks(row) for row in rows])
    centred = ranked - ranked.mean(1, keepdim=True)
    norm = centred.norm(dim=1, keepdim=True)
    unit = centred / torch.where(norm > 0, norm, torch.ones_like(norm))
    return unit @ unit.T


def ranks(row: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The rank of each value, from 1 on; ties share their mean rank."""
    _, group, count = row.unique(return_inverse=True, return_counts=True)
    mean_rank: Tensor = count.cumsum(0).to(row) - (count.to(row) - 1) / 2
    return mean_rank[group]
