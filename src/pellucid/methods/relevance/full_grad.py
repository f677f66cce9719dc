"""FullGrad and its kin: the input's gradient and those of all biases in one map."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pellucid.engine.biases import Bias, Biases, See, by_sample
from pellucid.errors import InvalidValue
from pellucid.methods.definition import Passes
from pellucid.methods.finding import Finding
from pellucid.methods.registry import method
from pellucid.probe import Probe, run_with
from pellucid.probe.noise import noisy, sigma_of

TOLERATED = 1e-3
"""A score that its parts miss by a larger share is noted."""
NAMED = 4
"""So many of the layers that are left out are named."""

full = partial(method, paper="Srinivas & Fleuret 2019, arXiv:1905.00780")


@full("full-grad", passes=(1, 1), reads="replaced operations")
def full_grad(probe: Probe) -> Finding:
    r"""psi(x * dS/dx) + sum over biases l, channels c of psi(b_l * dS/dz_l)_c, psi = upsample(minmax(|.|)).

    A network's score is its input times the gradient plus its biases times theirs: exactly. FullGrad
    draws both, each layer's biases where they act.

    That sum is the score exactly, if every bias is counted, explicit or implicit. They are found per
    operation and call, whatever module or function it is of: those of convolutions, linear layers and
    norms; batch norm's beta - mean gamma / sigma; whatever constant is added or joined on, as position
    embeddings and class tokens; f(z) - f'(z) z of every other operation, which ReLU and max pools do not
    have but GELU, SiLU, layer norm, softmax and products do.

    Formula:
        M = \psi\Big(x \odot \frac{\partial S}{\partial x}\Big) + \sum_l \sum_c \psi\Big(b_l \odot
        \frac{\partial S}{\partial z_l}\Big)_c, \qquad
        S = \sum_i x_i \frac{\partial S}{\partial x_i} + \sum_l b_l^{\mathsf{T}} \frac{\partial
        S}{\partial z_l}

        $b_l$: the l-th bias, explicit or implicit.
        $z_l$: what it is added to.
        $c$: a channel.
        $\psi$: magnitude, scaled to [0, 1], enlarged to the input's size.
        $\odot$: the product entry by entry.
        $M$: the map.

    Returns:
        (N, H, W), at least 0, without a unit: each term is scaled to [0, 1] by itself. Biases whose
        operation's output holds no grid are in no map; those of layers whose output holds one that cannot be
        followed are left out, and noted. That all are found is told by `details`: `input_part`
        and `bias_part`, the two sums above, and `missed`, (N,), by how much these together miss the score.

    Raises:
        ModelError: an operation whose derivative PyTorch does not know.

    Cost:
        1 forward, 1 backward.

    Source:
        Proposition 1, and section 4 for the map. psi scales all channels of a term together, as the authors'
        code does; as it is written in the paper it would scale each channel by itself, to which the faintest
        counts as much as the strongest. That code counts the biases of Conv2d, Linear and BatchNorm2d modules
        only; resizes with align_corners=True, which moves evidence towards the borders, where this takes
        False; and adds 1e-6 to the range it divides by, by which terms with small gradients fade.

    Strengths:
        Every bias of any operation is found, GELU and attention included: `missed` tells by how much
            the sum misses the score.
        Sharp where the input matters, wide where layers do.

    Weaknesses:
        Each term is scaled by itself, so the map has no unit, no signs and no sum.
        Hardly differs between classes.

    Pitfalls:
        pytorch-grad-cam knows exact types of modules only: on timm's EfficientNet-Lite0 it finds no
            bias at all (a test shows it).
        Pairing biases and gradients by the order of registration is wrong where modules are reused.

    See Also:
        simple-full-grad, smooth-full-grad, input-x-gradient

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "full-grad")
        >>> bool(e.details["missed"].abs() < 1e-5)
        True
    """
    map, decomposed = _aggregated(probe, Bias.times)
    return Finding(map, details=decomposed.details)


@full("simple-full-grad", passes=(1, 1), reads="replaced operations")
def simple_full_grad(probe: Probe) -> Finding:
    r"""psi(x * dS/dx) + sum over biases l, channels c of psi(dS/dz_l)_c: gradients of biases.

    FullGrad with the gradients at the biases, but without the biases themselves: every layer has its
    say, however small its biases are.

    Only operations that add constants count: convolutions, linear layers, norms, and additions.

    Formula:
        M = \psi\Big(x \odot \frac{\partial S}{\partial x}\Big) + \sum_l \sum_c \psi\Big(\frac{\partial
        S}{\partial z_l}\Big)_c

        $z_l$: what the l-th bias is added to.
        $c$: a channel.
        $\psi$: magnitude, scaled to [0, 1], enlarged to the input's size.
        $\odot$: the product entry by entry.
        $M$: the map.

    Returns:
        (N, H, W), at least 0, without a unit.

    Cost:
        1 forward, 1 backward, the same as full-grad's.

    Source:
        the authors' code (SimpleFullGrad); differs as full-grad does.

    Strengths:
        Does not depend on how a network spreads its biases.

    Weaknesses:
        Not the sum that FullGrad rests on: no theory.
        No unit, no signs.

    Pitfalls:
        Only operations that add constants count; implicit biases of GELU or softmax do not.

    See Also:
        full-grad, smooth-full-grad

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "simple-full-grad")
        >>> e.raw.shape
        torch.Size([1, 8, 8])
    """
    map, _ = _aggregated(probe, lambda bias, gradient: gradient if bias.added else None)
    return Finding(map)


def _passes(options: Mapping[str, Any]) -> Passes:
    return Passes(options["samples"], options["samples"])


@full(
    "smooth-full-grad",
    passes=_passes,
    reads="perturbed inputs",
    random=True,
    quick={"samples": 3},
)
def smooth_full_grad(probe: Probe, *, samples: int = 25, noise: float = 0.15) -> Finding:
    r"""full-grad of the mean terms: x * dS/dx and every b_l * dS/dz_l, over copies x + e, before psi.

    FullGrad of noisy copies: its terms are averaged with their signs before they are made magnitudes,
    so that what flickers cancels.

    e ~ N(0, (noise * (max x - min x))^2); signs that change from copy to copy cancel, as in
    smooth-grad.

    Formula:
        M = \psi\Big(\frac{1}{N} \sum_n x_n \odot \frac{\partial S}{\partial x}(x_n)\Big) + \sum_l
        \sum_c \psi\Big(\frac{1}{N} \sum_n b_l \odot \frac{\partial S}{\partial z_l}(x_n)\Big)_c, \quad
        x_n = x + e_n

        $e_n$: noise, of copy $n$ of $N$, normal with a standard deviation of `noise` times the image's
            range.
        $b_l$: the l-th bias.
        $z_l$: what it is added to.
        $c$: a channel.
        $\psi$: magnitude, scaled to [0, 1], enlarged to the input's size.
        $\odot$: the product entry by entry.
        $M$: the map.

    Args:
        probe: the evidence.
        samples: noisy copies.
        noise: standard deviation as a share of each image's range.

    Returns:
        (N, H, W), at least 0, without a unit; `details` are full-grad's, means over the copies.

    Raises:
        InvalidValue: fewer than one sample, or noise below zero.

    Cost:
        samples forward and backward, 1 forward of the image itself.

    Source:
        the authors' code (SmoothFullGrad), which sums x * dS/dx over the colours first; here it is treated
        as full-grad treats it. full-grad with `smooth=` is the mean of whole maps instead.

    Strengths:
        Less speckle than FullGrad.

    Weaknesses:
        25 times its passes.
        No unit, no signs; hardly differs between classes.

    Pitfalls:
        FullGrad with `smooth=` averages whole maps instead, after magnitudes are taken: another method.

    See Also:
        full-grad, smooth-grad

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import pellucid
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = torch.rand(1, 3, 8, 8)
        >>> e = pellucid.explain(net, x, "smooth-full-grad", samples=3)
        >>> e.raw.shape
        torch.Size([1, 8, 8])
    """
    if samples < 1:
        raise InvalidValue(f"samples must be at least 1; got {samples}.")
    x, sigma = probe.inputs, sigma_of(probe.inputs, noise)

    def mean(of_copies: Tensor) -> Tensor:
        each: Tensor = of_copies.unflatten(0, (len(x), -1))
        return each.sum(1) / samples

    lost: dict[str, None] = {}

    def means(start: int, stop: int) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
        """The terms by number, of which 0 is the input's, and what they sum to."""
        terms: dict[int, Tensor] = {}

        def see(bias: Bias, gradient: Tensor) -> None:
            if bias.layout is not None:
                term = mean(bias.layout.maps(bias.times(gradient)))
                terms[bias.number] = terms[bias.number] + term if bias.number in terms else term
            elif bias.lost:
                lost[bias.where] = None

        decomposed = decompose(probe.perturbed(noisy(probe, sigma, range(start, stop))), see)
        terms[0] = mean(decomposed.at_input)
        return terms, {name: mean(value) for name, value in decomposed.details.items()}

    terms, details = probe.sum_over(samples, means)
    _note_lost(probe, lost)
    map = torch.stack([psi(terms[number], x.shape[-2:]) for number in sorted(terms)]).sum(0)
    return Finding(map, details=details)


@dataclass(frozen=True)
class Decomposed:
    """A score taken apart: x * dS/dx (N, C, H, W), and what its parts sum to, (N,) each."""

    at_input: Float[Tensor, "N C H W"]
    details: dict[str, Tensor]


def decompose(probe: Probe, see: See) -> Decomposed:
    """S = sum x * dS/dx + sum_l b_l * dS/dz_l; `see` is shown each bias with its gradient dS/dz_l."""
    inputs = probe.inputs
    modified = run_with(probe, "biases", partial(Biases, inputs.shape))
    operations = cast(Biases, modified.operations)
    value = modified.score.detach()
    bias_part = value.new_zeros(len(inputs), dtype=torch.float64)

    def shown(bias: Bias, gradient: Tensor) -> None:
        bias_part.add_(by_sample(bias, gradient, len(inputs)).double().sum(1))
        see(bias, gradient)

    with operations:  # a probability, or a target of the user's own, has biases too
        score = modified.score
    with operations.shown(shown):
        _, gradient = modified.backward(score)
    at_input = inputs.to(gradient) * gradient
    input_part = at_input.double().sum((1, 2, 3))
    missed = input_part + bias_part - value
    _warn_if_missed(probe, missed, value)
    return Decomposed(at_input, {"input_part": input_part, "bias_part": bias_part, "missed": missed})


def _note_lost(probe: Probe, layers: Iterable[str]) -> None:
    """Notes the layers whose biases are left out of the map, as no one knows where its pixels lie in them."""
    names = sorted(layers)
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        probe.note(
            f"The map leaves out the biases of {', '.join(names[:NAMED])}{more}: how their outputs hold the "
            "picture's positions is not known, as of windows, or of copies of the picture in one batch."
        )


def _warn_if_missed(probe: Probe, missed: Tensor, value: Tensor) -> None:
    """Notes a score that its parts miss by more than a thousandth."""
    probe.refuse_nonfinite("The sum of the score's parts", missed[:, None])
    probe.note(
        "The parts that the map is made of do not sum to the score: biases are missing, or rounding is "
        "large beside the score (details: missed).",
        missed.abs() > TOLERATED * value.abs(),
    )


def psi(term: Float[Tensor, "N K h w"], size: Sequence[int]) -> Float[Tensor, "N H W"]:
    """The magnitudes of a term, scaled to [0, 1] in each image, summed over channels and resized.

    A term that is the same everywhere is 0.
    """
    strength = term.abs()
    low, high = (extreme((1, 2, 3), keepdim=True) for extreme in (strength.amin, strength.amax))
    unit = (strength - low) / torch.where(high > low, high - low, torch.inf)
    # Resizing is linear: it is done once, after the sum.
    return interpolate(unit.sum(1, keepdim=True), list(size), mode="bilinear", align_corners=False)[:, 0]


def _aggregated(
    probe: Probe, term: Callable[[Bias, Tensor], Tensor | None]
) -> tuple[Float[Tensor, "N H W"], Decomposed]:
    """psi(x * dS/dx) + sum_l psi(term_l), and the decomposition it comes of; only the sum is held."""
    size = probe.inputs.shape[-2:]
    precise = torch.promote_types(probe.inputs.dtype, torch.float32)
    map = probe.inputs.new_zeros(len(probe.inputs), *size, dtype=precise)

    lost: dict[str, None] = {}

    def see(bias: Bias, gradient: Tensor) -> None:
        found = term(bias, gradient) if bias.layout is not None or bias.lost else None
        if found is None:
            return
        if bias.layout is None:
            lost[bias.where] = None
        else:
            map.add_(psi(bias.layout.maps(found), size))

    decomposed = decompose(probe, see)
    _note_lost(probe, lost)
    return map + psi(decomposed.at_input, size), decomposed
