"""PartitionSHAP: Owen values over a hierarchy of superpixels."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding, each
from pellucid.methods.perturb.superpixels import Superpixels
from pellucid.methods.perturbation import perturbation
from pellucid.options.parts import SegmentBaseline, Segments
from pellucid.probe import Probe
from pellucid.segments import hierarchy

TOGETHER = 32
"""Questions taken at once from the most pressing on, whatever the chunk: the order decides which are left."""


def _passes(options: Mapping[str, Any]) -> Passes:
    return Passes(options["samples"])


@perturbation(
    "partition-shap",
    paper="Owen 1977, doi:10.1007/978-3-642-45494-3_7; Lundberg, SHAP's Partition explainer",
    passes=_passes,
    # As Owen's value of a fixed tree that is opened wholly; it is symmetric only within a node of the tree.
    promises=("completeness", "sensitivity", "dummy", "implementation invariance", "linearity"),
    quick={"samples": 8, "segments": "grid:2"},
)
def partition_shap(
    probe: Probe,
    *,
    samples: int = 1000,
    segments: Segments = "slic",
    baseline: SegmentBaseline = "zero",
) -> Finding:
    r"""phi_i = mean of S(z + i) - S(z) over all orders that a tree of superpixels allows: Owen values.

    Shapley values when superpixels form a tree of neighbours: coalitions join whole branches, which
    needs far fewer of them.

    In each node of the tree one side comes wholly before the other, in either order alike. Where the
    largest differences are the tree is opened first; what is left when the samples are used up is
    shared out evenly among its superpixels. Nothing is drawn at random, and the values always sum to
    S(1) - S(0).

    Formula:
        \phi_i = \frac{1}{|\Pi|} \sum_{\pi \in \Pi} \big(S(z^\pi_i \cup \{i\}) - S(z^\pi_i)\big)

        $\phi_i$: the value of superpixel i.
        $\Pi$: the orders that the tree allows: in each node one side comes wholly before the other.
        $\pi$: one of them.
        $z^\pi_i$: the superpixels that come before i in it.

    Args:
        probe: the evidence.
        samples: the most pictures scored, the whole and the empty one among them.
        segments: superpixels: an algorithm, labels (H, W), or a callable `rgb (H, W, 3) -> labels`; similar
            neighbours are merged, step by step, into the tree.
        baseline: what shows where a superpixel is hidden.

    Returns:
        (N, H, W), signed, in units of the score; in `details` the `coefficients` of each image
        (d,) and the `segments` (N, H, W).

    Raises:
        InvalidValue: segments that do not hold, or fewer than 2 samples.

    Cost:
        At most samples forward, 1 forward of the image itself.

    Source:
        Owen 1977, "Values of games with a priori unions"; nested unions: Winter 1989.

    Strengths:
        No randomness: the same map each time.
        Values sum to the difference of the scores however few samples are used.

    Weaknesses:
        Another tree, other values: they are Owen values, not Shapley values.
        What the samples do not reach is shared out evenly.

    Pitfalls:
        The tree here is of neighbours that look alike; SHAP cuts the picture in halves.

    See Also:
        kernel-shap, lime

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> options = {"samples": 16, "segments": "grid:2"}
        >>> e = pellucid.explain(net, x, "partition-shap", target=1, output="logit", **options)
        >>> torch.allclose(e.details["coefficients"][0].sum().float(), (w * x).sum(), atol=1e-5)
        True
    """
    if samples < 2:
        raise InvalidValue(f"samples must be at least 2, the whole picture and the empty one; got {samples}.")

    def one(probe: Probe, image: int) -> Finding:
        cut = Superpixels.of(probe, segments, baseline)
        tree = Tree.over(hierarchy(np.asarray(probe.pictures[0].rgb), cut.labels), cut.count)

        def score(rows: Bool[Tensor, "n d"]) -> Float[Tensor, " n"]:
            return probe.score_perturbed(cut.hiding(rows.double()), 0, len(rows))

        values, used, opened = owen_values(score, tree, samples)
        if not opened:
            probe.note(
                f"{used} samples did not open the whole tree of {cut.count} segments: where it is closed, "
                "they share what they add together."
            )
        details = {
            "segments": cut.labels[None],
            "coefficients": values[None],
            "samples": torch.tensor([used], dtype=torch.long, device="cpu"),
        }
        return Finding(cut.painted(values), details=details)

    return each(probe, one)


@dataclass(frozen=True)
class Tree:
    """A binary tree over d segments: the segments of each node, and the two parts of each inner one."""

    members: Bool[Tensor, "nodes d"]
    parts: dict[int, tuple[int, int]]

    @classmethod
    def over(cls, merges: Tensor, d: int) -> "Tree":
        """From merges in SciPy's numbering: row i makes node d + i of two earlier ones."""
        members = list(torch.eye(d, dtype=torch.bool, device="cpu"))
        parts = {}
        for a, b in merges.tolist():
            parts[len(members)] = a, b
            members.append(members[a] | members[b])
        return cls(torch.stack(members), parts)


@dataclass(frozen=True, order=True)
class Question:
    """What a node adds to the segments that came before it; the most pressing sorts first."""

    pressing: float  # minus the most that opening it can move
    number: int
    node: int = field(compare=False)
    before: Tensor = field(compare=False)
    without: float = field(compare=False)
    with_it: float = field(compare=False)
    weight: float = field(compare=False)


def owen_values(
    score: Callable[[Tensor], Tensor], tree: Tree, samples: int
) -> tuple[Float[Tensor, " d"], int, bool]:
    """The values, how many coalitions were scored, and whether the tree was opened wholly.

    Args:
        score: the scores (n,) of coalitions, rows (n, d) of segments kept.
        tree: over the segments.
        samples: the most coalitions to score.
    """
    root = len(tree.members) - 1
    d = tree.members.shape[1]
    full, empty = score(
        torch.stack([tree.members[root], torch.zeros(d, dtype=torch.bool, device="cpu")])
    ).tolist()
    numbers = count()
    values = torch.zeros(d, dtype=torch.float64, device="cpu")
    used = 2
    waiting: list[Question] = []

    def ask(node: int, before: Tensor, without: float, with_it: float, weight: float) -> None:
        gain = weight * (with_it - without)
        if node in tree.parts:
            question = Question(-abs(gain), next(numbers), node, before, without, with_it, weight)
            heapq.heappush(waiting, question)
        else:
            values[node] += gain

    ask(root, torch.zeros(d, dtype=torch.bool, device="cpu"), empty, full, 1.0)
    while waiting and used + 2 <= samples:
        together = min(TOGETHER, len(waiting), (samples - used) // 2)
        now = [heapq.heappop(waiting) for _ in range(together)]
        rows = [q.before | tree.members[part] for q in now for part in tree.parts[q.node]]
        scores = score(torch.stack(rows)).tolist()
        used += len(rows)
        for q, left, right in zip(now, scores[::2], scores[1::2], strict=True):
            a, b = tree.parts[q.node]
            half = q.weight / 2
            ask(a, q.before, q.without, left, half)
            ask(a, q.before | tree.members[b], right, q.with_it, half)
            ask(b, q.before, q.without, right, half)
            ask(b, q.before | tree.members[a], left, q.with_it, half)
    for q in waiting:
        shared = tree.members[q.node]
        values[shared] += q.weight * (q.with_it - q.without) / int(shared.sum())
    return values, used, not waiting
