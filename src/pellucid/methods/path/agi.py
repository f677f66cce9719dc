"""AGI: gradients along the ways on which the image becomes one of several false classes."""

from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.path.random_baseline_ig import value_range
from pellucid.methods.registry import method
from pellucid.probe import Probe


@method(
    "agi",
    paper="Pan et al. 2021, doi:10.24963/ijcai.2021/396",
    passes=lambda options: Passes(
        options["classes"] * (options["steps"] + 1), 2 * options["classes"] * options["steps"]
    ),
    reads="perturbed inputs",
    output="probability",
    promises=("dummy", "implementation invariance"),
    quick={"classes": 2, "steps": 2, "epsilon": 0.001},  # no other class is reached so soon
)
def agi(
    probe: Probe, *, classes: int = 15, steps: int = 15, epsilon: float = 0.05, official: bool = False
) -> Finding:
    r"""-sum over false classes i of Int dS/dx . dx along steepest ascent of p_i: what i would have to undo.

    Walk from the picture to a wrong class by the steepest ascent, and note at each step what the true
    class loses. Added up over many wrong classes this needs no baseline.

    From the image on, each step adds epsilon * sign(dp_i/dx), until the class is i.

    Formula:
        M = -\sum_{c} \int \frac{\partial S}{\partial x} \odot \mathrm{d}x, \qquad
        \mathrm{d}x \propto \mathrm{sign}\Big(\frac{\partial p_c}{\partial x}\Big)

        $c$: a false class, 15 by default.
        $p_c$: its probability, which each step raises until it is the predicted one.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        classes: false classes, spread evenly over all classes but the target's; all of these if so few.
        steps: at most so many towards each.
        epsilon: of a step, as a share of the way from black to white, within which the ways stay; for a
            model that does not say how pixels become inputs, from the image's smallest to its largest value.
        official: as the authors' code: each step leaves from the image, in the direction of the gradient
            where the one before it ended, so that no way is longer than one step.

    Returns:
        (N, C, H, W), signed; `details` tells the `false_classes` (N, K) and which were `reached` (N, K).
        `delta` compares the map's sum with that of S(x) - S(end of the way) over the false classes. It is
        large, as the steps are: on a photograph of a cat the map sums to 111 where the scores change by 5.8,
        with epsilon=0.01 to 26 where they change by 5.5. There is none if official.

    Raises:
        InvalidValue: a callable as target, which has no false classes; fewer than one class or step, an
            epsilon that is not above 0.

    Cost:
        At most classes * (steps + 1) forward and twice classes * steps backward; a few of the steps where
        classes are close. 1 forward of the image itself.

    Source:
        algorithms 1 and 2, with the 15 classes and steps of the authors' code; the paper has 20 of each.

    Strengths:
        No baseline to choose.
        Compares with what the model could have said instead.

    Weaknesses:
        Steps are large and the gradient turns between them: the sum misses the change of the score by
            far, 111 for 5.8 on a photograph of a cat. `delta` says by how much.
        The way is an adversarial one: it leaves the photographs.

    Pitfalls:
        The authors' code takes every step from the original picture, so its way never leaves the first
            step: `official=true`.

    See Also:
        integrated-gradients, guided-ig, blur-ig

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> e = pellucid.explain(net, x, "agi", steps=2, classes=1)
        >>> e.raw.shape
        torch.Size([1, 3, 4, 4])
    """
    if classes < 1 or steps < 1:
        raise InvalidValue(f"classes and steps must be at least 1; got classes={classes} and steps={steps}.")
    if epsilon <= 0:
        raise InvalidValue(f"epsilon must be above 0; got {epsilon}.")
    score = probe.target_fn
    if score.classes is None or score.against is None:
        raise InvalidValue(
            "AGI asks what would turn the target's class into others: the target must be a class or a "
            "Contrast; it is a callable."
        )
    x, goals = probe.inputs, adversarial_classes(score.classes, probe.class_values.shape[1], classes)
    black, white = value_range(probe)
    low, high, size = black.minimum(x), white.maximum(x), epsilon * (white - black)
    # From here on every way is a row; those of one image are adjacent.
    image = torch.arange(len(x), device=x.device, dtype=torch.long).repeat_interleave(goals.shape[1])
    goal, points, total = goals.flatten(), x[image], torch.zeros_like(x)
    ends, reached = x.new_zeros(len(image)), torch.zeros_like(goal, dtype=torch.bool)
    going = torch.arange(len(image), device=x.device, dtype=torch.long)

    def step(start: int, stop: int, walking: bool) -> tuple[Tensor, ...]:
        """Where ways go from here, what they add to the maps, the scores here, and which have arrived."""
        rows = going[start:stop]
        whose, moved = image[rows], points[rows]
        gained = torch.zeros_like(moved)
        seen = probe.perturbed(points[rows], whose)
        if walking:
            upwards = seen.about(goal[rows], "probability").input_gradient().sign()
        there = seen.class_values.argmax(1) == goal[rows]
        if walking and not there.all():
            upwards[there] = 0
            origin = x[whose] if official else points[rows]
            moved = (origin + size[whose] * upwards).clamp(low[whose], high[whose]).to(points)
            gained = seen.input_gradient() * (origin - moved)
        return moved, gained, seen.score.to(ends), there

    for number in range(steps + 1):
        if not len(going):
            break
        points[going], gained, ends[going], reached[going] = probe.concat_over(
            len(going), partial(step, walking=number < steps), dim=0, size=1
        )
        total.index_add_(0, image[going], gained)
        going = going[~reached[going]]
    change = (probe.score[image] - ends).view(goals.shape).sum(1)
    delta = None if official else total.sum((1, 2, 3)) - change
    details = {"false_classes": goals, "reached": reached.view(goals.shape)}
    return Finding(total, delta=delta, details=details)


def adversarial_classes(classes: Int[Tensor, " N"], among: int, most: int) -> Int[Tensor, "N K"]:
    """At most so many classes besides each image's own, spread evenly.

    Example:
        >>> adversarial_classes(torch.tensor([0, 4]), 10, 3)
        tensor([[1, 4, 7],
                [0, 3, 7]])
    """
    count = min(most, among - 1)
    others = torch.arange(count, device=classes.device, dtype=torch.long) * (among - 1) // count
    return others + (others >= classes[:, None])
