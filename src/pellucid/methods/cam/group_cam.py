"""Group-CAM: groups of channels weighed by what they add to a blurred image."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from pellucid.errors import InvalidValue
from pellucid.methods.cam.form import cam
from pellucid.methods.cam.score_cam import enlarged
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.options.parts import Baseline
from pellucid.probe import LayerEvidence, Probe, of_each


@cam(
    "group-cam",
    paper="Zhang et al. 2021, arXiv:2103.13859",
    gradient=False,
    passes=lambda options: Passes(options["groups"] + 2, 1),
    output="probability",
    quick={"groups": 3},
)
def group_cam(
    at: LayerEvidence, *, groups: int = 32, threshold: float = 70.0, baseline: Baseline = "blur"
) -> Finding:
    r"""ReLU(sum_g w_g L_g), w_g = ReLU(S(x * M_g + x' * (1 - M_g)) - S(x')): what groups add to a blur x'.

    Feature maps are put together in groups, each group becomes one mask, and each mask is weighed by
    what it adds to a blurred picture when it uncovers the sharp one. Score-CAM's question, asked 32
    times instead of a thousand.

    Groups are `groups` runs of consecutive channels. The gradients are those of the logit, also where
    probabilities are scored.

    Formula:
        L = \mathrm{ReLU}\Big(\sum_g w_g L_g\Big), \qquad
        w_g = \mathrm{ReLU}\big(S(x \odot M_g + x' \odot (1 - M_g)) - S(x')\big)

        $L_g$: Grad-CAM's sum over the channels of group g, rectified.
        $M_g$: that map enlarged and scaled to [0, 1].
        $w_g$: what the group adds to the baseline's score.
        $x'$: the blurred picture.
        $\odot$: the product pixel by pixel.
        $L$: the map.

    Args:
        at: the evidence.
        groups: how many groups (paper: 32), of equal size or one channel more; at most one per channel.
        threshold: the percentile up to which a group's map is set to 0 (paper: 70); 0 for none.
        baseline: the image x' into which the groups are pasted.

    Returns:
        (N, h, w), at least 0; in `details` the `group_weights` w_g, (N, groups). A group whose map is
        constant has no mask and adds nothing.

    Raises:
        InvalidValue: fewer than one group, or a threshold outside 0 to 100.

    Cost:
        1 forward, 1 backward to the layer, 1 forward per group and one of the baseline.

    Source:
        section 3. The authors' code adds up the masks M_g instead, and keeps negative w_g.

    Strengths:
        Weights are measured on the model, not read off a slope, for 33 passes.
        The blurred background is closer to a photograph than black.

    Weaknesses:
        Groups are runs of consecutive channels, whose order means nothing.
        Groups without a mask of their own add nothing.

    Pitfalls:
        A group whose map is zero everywhere gives 0/0, and so NaN, in the original code; here it adds
            nothing.
        The authors' code adds the masks instead of the maps and keeps negative weights.

    See Also:
        score-cam, grad-cam, rise

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "group-cam", groups=2)
        >>> e.raw.shape
        torch.Size([1, 6, 6])
    """
    if groups < 1:
        raise InvalidValue(f"groups must be at least 1; got {groups}.")
    if not 0 <= threshold < 100:
        raise InvalidValue(f"threshold must be a percentile from 0 to below 100; got {threshold}.")
    A, probe = at.A, at.probe
    weighted = logit_gradient(at).mean((2, 3), keepdim=True) * A
    parts = weighted.tensor_split(min(groups, A.shape[1]), 1)
    maps = torch.stack([part.sum(1).relu() for part in parts], 1)  # (N, groups, h, w)
    if threshold:
        maps = maps.where(maps > percentile(maps, threshold), 0.0)
    fills = probe.baseline(baseline)
    gains = torch.stack(of_each(probe, lambda one, image: gained(one, maps[image], fills[image : image + 1])))
    silent = (maps == 0).flatten(1).all(1)
    probe.note(f"No group of channels at layer {at.name} speaks for this class: the map is empty.", silent)
    probe.note(
        f"No group of channels at layer {at.name} raises the score of the baseline: the map is empty.",
        (gains == 0).all(1).to(silent.device) & ~silent,
    )
    return Finding(gains.to(maps)[..., None, None] * maps, details={"group_weights": gains})


def logit_gradient(at: LayerEvidence) -> Float[Tensor, "N K h w"]:
    """dS/dA of the logit where S is a probability, whose gradient fades as it nears 1; else of S itself."""
    probe = at.probe
    if probe.target_fn.output != "probability":
        return at.G
    return at.of(probe.about(replace(probe.target_fn, output="logit"), "logit")).G


def percentile(maps: Float[Tensor, "N groups h w"], q: float) -> Float[Tensor, "N groups 1 1"]:
    """The largest value up to the q-th percentile of each map, for maps of any size and type."""
    ranked = maps.flatten(2).sort(2).values
    return ranked[..., int(q / 100 * (ranked.shape[2] - 1)), None, None]


def gained(
    probe: Probe, maps: Float[Tensor, "groups h w"], fill: Float[Tensor, "1 C H W"]
) -> Float[Tensor, " groups"]:
    """How far the score of one image's baseline rises with each group pasted into it; at least 0."""
    masks = enlarged(pad(maps, (0, 0, 0, 0, 1, 0)), probe.inputs)  # the first shows the baseline alone

    def copies(start: int, stop: int) -> Tensor:
        return torch.lerp(fill, probe.inputs, masks[start:stop, None])

    scores = probe.score_perturbed(copies, 0, len(masks))
    return (scores[1:] - scores[0]).relu()
