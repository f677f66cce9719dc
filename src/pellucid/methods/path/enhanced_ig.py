"""Enhanced Integrated Gradients: baselines chosen from data, and paths that stay near data.

`significant` says which features matter for a whole class of pictures.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.methods.definition import Axiom, Passes
from pellucid.methods.finding import Finding, each
from pellucid.methods.path.baseline_sets import CHOICES, nearest
from pellucid.methods.path.integrated_gradients import NO_PATH, TOLERATED, warn_if_incomplete
from pellucid.methods.path.neighbours import Neighbourhood, along
from pellucid.methods.path.references import References, references_of
from pellucid.methods.registry import method
from pellucid.options.types import Kind
from pellucid.probe import Probe
from pellucid.probe.latent import Space


def _callable(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value == "None"):
        return None
    if not callable(value):
        raise InvalidType(f"{name} must be a module or callable on tensors; got {type(value).__name__}.")
    return value


Coder = Annotated[Any, Kind("module", _callable)]
"""Half of an autoencoder: a module or callable from pictures (N, C, H, W) to codes (N, ...), or back."""

Baselines = Literal["zero", "encoded-zero", "k-means", "median", "close", "random"]
PathKind = Literal["linear", "neighbours"]
SINGLE = ("zero", "encoded-zero")
"""The sets of one baseline, which need no references."""


def _passes(options: Mapping[str, Any]) -> Passes:
    points = options["steps"] * (1 if options["baselines"] in SINGLE else options["count"])
    return Passes(points, points)


def _promises(options: Mapping[str, Any]) -> tuple[Axiom, ...]:
    promised: tuple[Axiom, ...] = ("dummy", "implementation invariance", "linearity")
    if options["encoder"] is None:
        promised += ("completeness",)
        if (options["baselines"], options["path"]) == ("zero", "linear"):
            promised += ("sensitivity", "symmetry")
    return promised


@method(
    "enhanced-ig",
    paper="Jha et al. 2020, doi:10.1186/s13059-020-02055-7",
    passes=_passes,
    reads="perturbed inputs",
    promises=_promises,
    random=lambda options: options["baselines"] in ("k-means", "random"),
    quick={"steps": 3},
)
def enhanced_ig(
    probe: Probe,
    *,
    baselines: Baselines = "zero",
    path: PathKind = "linear",
    references: References = None,
    count: int = 3,
    steps: int = 250,
    neighbours: int = 5,
    encoder: Coder = None,
    decoder: Coder = None,
) -> Finding:
    r"""Mean over baselines x' of the integral of dS/dx * dx on a path from x': sums to S(x) - mean S(x').

    Integrated gradients with more to choose from: several baselines from your own data, their centres
    or medians, a path that follows real examples, or one laid in the code of an autoencoder.

    With an encoder and a decoder, baselines are chosen and paths are laid among codes, and each point
    of a path is decoded: paths run from decoded baselines to decoder(encoder(x)), and it is that copy's
    score that the map shares out.

    Formula:
        M = \frac{1}{K} \sum_{k=1}^K \int_{\gamma_k} \frac{\partial S}{\partial x} \odot \mathrm{d}x

        $\gamma_k$: the path from baseline $k$ of $K$ to the picture.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        baselines: "zero", the zero of the space that paths run in; "encoded-zero", the code of a zero input;
            or of the references: "k-means", the centres of clusters; "median", those nearest to the median;
            "close", those nearest to the image; "random", some drawn, the same for all images.
        path: "linear", the straight line, or "neighbours", the shortest way by links between references.
        references: pictures that lack what is explained, such as those of another class.
        count: how many baselines (authors' code: 3); fewer where there are fewer references.
        steps: points of each path (authors' code: 250), evenly by the length covered.
        neighbours: to how many references nearest to it each is linked, and the ends of a path too.
        encoder: pictures (N, C, H, W), as the model takes them, to codes (N, ...).
        decoder: codes to pictures.

    Returns:
        (N, C, H, W), signed, in units of the score, with the standard error of the mean for
        baselines="random"; `delta` is the completeness error, of decoded ends where there is a decoder. In
        `details`, with path="neighbours", `passed`, (N, baselines): the references that each path runs
        through; with a decoder, `score_gap`, |S(x) - S(decoder(encoder(x)))|, and `reconstruction_error`,
        the L2 distance of that copy, (N,) each.

    Raises:
        InvalidValue: no references where they are needed, an encoder without a decoder, a decoder that gives
            another shape than the inputs', fewer than 2 steps, 1 baseline or 1 neighbour.
        ModelError: the encoder or the decoder failed.

    Cost:
        `steps` forward and backward for each baseline.

    Source:
        the paper's O-L, O-N, H-L and H-N are the two paths without and with a decoder; gradients are
        integrated by the trapezoid rule. The authors' code takes as "median" the references farthest from
        it, leaves out the nearest of the "close" ones also where it is not the image, and draws "random"
        ones with repetition.

    Strengths:
        Baselines and paths that mean something in the field of the data, such as cells of another
            tissue.
        Significance of features between groups, by a test.

    Weaknesses:
        Needs references, and for coded paths an autoencoder of yours.
        With a decoder it explains the copy's score, not the picture's: the gap is told.

    Pitfalls:
        The authors' code takes as median the references farthest from it, and draws random ones with
            repetition.

    See Also:
        integrated-gradients, expected-gradients

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net, x = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.rand(1, 3, 4, 4)
        >>> w = net[1].weight.detach()[1].view(3, 4, 4)
        >>> e = pellucid.explain(net, x, "enhanced-ig", target=1, steps=3)
        >>> torch.allclose(e.raw, w * x, atol=1e-5)
        True
    """
    for name, number, least in (("count", count, 1), ("steps", steps, 2), ("neighbours", neighbours, 1)):
        if number < least:
            raise InvalidValue(f"{name} must be at least {least}; got {number}.")
    if baselines == "encoded-zero" and encoder is None:
        raise InvalidValue("baselines='encoded-zero' needs an encoder: pass encoder= and decoder=.")
    space = Space.of(probe, encoder, decoder)
    codes = space.encode(probe.inputs)
    needed = baselines not in SINGLE or path == "neighbours"
    sets = list(references_of(probe, references)) if needed else []  # one for all images, or one for each
    coded = [space.encode(pictures) for pictures in sets]
    starts = _starts(probe, space, codes, baselines, sets, coded, count)
    links = [Neighbourhood.of(some, neighbours) for some in coded] if path == "neighbours" else [None]

    def one(alone: Probe, image: int) -> Finding:
        mine = starts[image % len(starts)]
        paths = _paths(alone, mine, codes[image], links[image % len(links)])
        lines = [_line(alone, space, corners, steps) for corners in paths]
        maps = torch.stack([line.map for line in lines])  # (baselines, 1, C, H, W)
        map, change = maps.mean(0), torch.stack([line.end - line.start for line in lines]).mean(0)
        delta = map.sum((1, 2, 3)) - change
        warn_if_incomplete(alone, delta, change)
        details: dict[str, Tensor] = {}
        if path == "neighbours":
            details["passed"] = torch.tensor(
                [[len(corners) - 2 for corners in paths]], dtype=torch.long, device="cpu"
            )
        if space.latent:
            copy = space.decode(codes[image : image + 1])
            details["score_gap"] = _completeness_error(
                alone, probe.score[image : image + 1], lines[0].end, change
            )
            details["reconstruction_error"] = (alone.inputs - copy).flatten(1).norm(dim=1)
        sampled = baselines == "random" and len(maps) > 1
        return Finding(map, maps.std(0) / len(maps) ** 0.5 if sampled else None, details, delta=delta)

    return each(probe, one)


def _starts(
    probe: Probe,
    space: Space,
    codes: Float[Tensor, "N *code"],
    baselines: Baselines,
    sets: Sequence[Float[Tensor, "R C H W"]],
    coded: Sequence[Float[Tensor, "R *code"]],
    count: int,
) -> list[Float[Tensor, "B *code"]]:
    """The codes of the baselines: one tensor for all images, or one for each."""
    x = probe.inputs
    if baselines == "zero":
        return [torch.zeros_like(codes[:1])]
    if baselines == "encoded-zero":
        return [space.encode(torch.zeros_like(x[:1]))]
    if baselines != "close":
        return [CHOICES[baselines](some, count, probe.generator()) for some in coded]
    found = []
    for image, code in enumerate(codes):
        pictures, some = sets[image % len(sets)], coded[image % len(sets)]
        others = (pictures != x[image]).flatten(1).any(1)  # the image may be a reference itself
        found.append(nearest(some[others] if others.any() else some, code, count))
    return found


def _paths(
    probe: Probe, starts: Float[Tensor, "B *code"], code: Float[Tensor, "*code"], links: Neighbourhood | None
) -> list[Float[Tensor, "V *code"]]:
    """The corners of the path from each baseline to one image."""
    probe.note(NO_PATH, (starts == code).all()[None])
    straight = [torch.stack([start, code]) for start in starts]
    if links is None:
        return straight
    found = [links.path(start, code) for start in starts]
    lost = sum(path is None for path in found)
    if lost:
        probe.note(
            f"No links between references lead from {lost} of {len(starts)} baselines to the image: these "
            "paths are straight. Raise neighbours=."
        )
    return [line if path is None else path for path, line in zip(found, straight, strict=True)]


@dataclass(frozen=True)
class Line:
    """The integral of dS/dx * dx along a part of a path by the trapezoid rule, and what its ends are.

    Two adjacent parts add up to one: their sum has the trapezoid between them.
    """

    map: Float[Tensor, "1 C H W"]
    points: Float[Tensor, "2 C H W"]
    gradients: Float[Tensor, "2 C H W"]
    scores: Float[Tensor, " 2"]

    @classmethod
    def of(
        cls,
        points: Float[Tensor, "B C H W"],
        gradients: Float[Tensor, "B C H W"],
        scores: Float[Tensor, " B"],
    ) -> "Line":
        """The part of a path through these points."""
        means = (gradients[1:] + gradients[:-1]) / 2
        map = (means * points.diff(dim=0)).sum(0, keepdim=True)
        ends = [0, -1]
        return cls(map, points[ends], gradients[ends], scores[ends])

    def __add__(self, more: "Line") -> "Line":
        between = Line.of(*(torch.stack([a[1], b[0]]) for a, b in zip(self._ends, more._ends, strict=True)))
        ends = (torch.stack([a[0], b[1]]) for a, b in zip(self._ends, more._ends, strict=True))
        return Line(self.map + between.map + more.map, *ends)

    @property
    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.points, self.gradients, self.scores

    @property
    def start(self) -> Float[Tensor, " 1"]:
        """The score where the path begins."""
        return self.scores[:1]

    @property
    def end(self) -> Float[Tensor, " 1"]:
        """The score where it ends."""
        return self.scores[1:]


def _line(probe: Probe, space: Space, corners: Float[Tensor, "V *code"], steps: int) -> Line:
    """The trapezoid rule along one path to one image, decoded where it runs among codes."""
    times = torch.linspace(0, 1, steps, dtype=torch.float64, device=corners.device)

    def part(first: int, stop: int) -> Line:
        points = space.decode(along(corners, times[first:stop]))
        seen = probe.perturbed(points)
        return Line.of(points, seen.input_gradient(), seen.score)

    return probe.sum_over(steps, part)


def _completeness_error(
    probe: Probe, score: Float[Tensor, " 1"], copied: Float[Tensor, " 1"], change: Float[Tensor, " 1"]
) -> Float[Tensor, " 1"]:
    """How far the score of the decoder's copy is from the image's; noted above 5 % of the map's sum."""
    gap = (score - copied).abs()
    probe.note(
        f"The decoder's copy of the image has the score {float(copied):.3g}, the image {float(score):.3g}: "
        "the map explains the copy.",
        gap > TOLERATED * change.abs(),
    )
    return gap


def significant(
    attributions: Float[Tensor, "N *feature"], null: Float[Tensor, "M *feature"], *, alpha: float = 0.05
) -> Bool[Tensor, "*feature"]:
    """Which features have larger attributions in the pictures of a class than in others, as a t-test tells.

    Each feature has a one-sided t-test for unequal variances (Welch's); its p-value is multiplied by the
    number of features tested (Bonferroni), so that the chance of any false one is at most `alpha`. A feature
    whose attributions do not vary is not tested.

    Args:
        attributions: of N pictures of the class, such as `explanation.attribution`.
        null: of M others, such as pictures of all classes, explained for the same class.
        alpha: the chance of a false one.

    Returns:
        A mask of the features' shape.

    Raises:
        InvalidValue: fewer than two pictures in a set, features that differ, alpha outside (0, 1).

    Source:
        the paper's significance of features. The authors' code draws as many of the others as the class has;
        its p-value is wrong where the class has the smaller mean, which it may then call significant.

    Example:
        >>> class_of_interest = torch.tensor([[0.9, 0.1], [1.1, 0.2], [1.0, 0.0], [0.8, 0.1]])
        >>> others = torch.tensor([[0.1, 0.2], [0.0, 0.0], [0.2, 0.1], [0.1, 0.1]])
        >>> significant(class_of_interest, others)
        tensor([ True, False])
    """
    from scipy.stats import ttest_ind

    if not 0 < alpha < 1:
        raise InvalidValue(f"alpha must be between 0 and 1; got {alpha}.")
    if min(len(attributions), len(null)) < 2 or attributions.shape[1:] != null.shape[1:]:
        raise InvalidValue(
            "A t-test compares the same features of at least two pictures in each set; "
            f"got {tuple(attributions.shape)} and {tuple(null.shape)}."
        )
    rows = [values.detach().flatten(1).double().cpu().numpy() for values in (attributions, null)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of features that do not vary: their p-value is NaN
        p = torch.from_numpy(ttest_ind(*rows, equal_var=False, alternative="greater").pvalue)
    tested = p.isfinite()
    return (tested & (p * tested.sum() <= alpha)).view(attributions.shape[1:])
