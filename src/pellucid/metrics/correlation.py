"""How well evidence predicts what becomes of the score."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pellucid.metrics.definition import undefined
from pellucid.ranks import ranks


def correlation(
    name: str,
    evidence: Float[Tensor, " S"],
    scores: Float[Tensor, " S"],
    precision: torch.dtype,
    kind: Literal["pearson", "spearman"] = "pearson",
) -> Float[Tensor, ""]:
    """The correlation of evidence with scores; 0 where the evidence is always the same, up to rounding.

    Args:
        name: the metric's.
        evidence: in float64.
        scores: in float64.
        precision: what the scores were computed in.
        kind: Pearson's, or Spearman's of the ranks.

    Raises:
        InvalidValue: the scores are all the same, up to rounding.

    Example:
        >>> a, b = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([1.0, 2.0, 9.0]).double()
        >>> correlation("mine", a, b, torch.float32, "spearman").round(decimals=6)
        tensor(1., dtype=torch.float64)
    """
    if _constant(scores, precision):
        raise undefined(name, "the score is the same whatever is hidden")
    if _constant(evidence, torch.float32):
        return evidence.new_zeros(())
    if kind == "spearman":
        evidence, scores = ranks(evidence), ranks(scores)
    a, b = evidence - evidence.mean(), scores - scores.mean()
    found: Tensor = a @ b / (a.norm() * b.norm())
    return found.clamp(-1, 1)


def _constant(values: Float[Tensor, " S"], precision: torch.dtype) -> bool:
    rounding = 4 * torch.finfo(precision).eps * float(values.abs().max())
    return float(values.max() - values.min()) <= rounding
