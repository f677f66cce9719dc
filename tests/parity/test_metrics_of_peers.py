"""Metrics against captum's and Quantus', live, on the same draws; and where Quantus' are others."""

import sys
from copy import deepcopy
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import quantus
import torch
from captum.attr import InputXGradient
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor, nn

import pellucid
from pellucid.measure import measure
from zoo import GapNet, seeded

sys.path.append(str(Path(__file__).parents[1] / "metrics"))
from judging import linear, perturbed_inputs, truth_of

SIZE, TARGET = (12, 15), 2
METHOD = "input-x-gradient"


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(GapNet).double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 3, *SIZE, dtype=torch.float64) + 1


def theirs(metric: quantus.Metric, net: nn.Module, x: Tensor, map: Tensor, **given: object) -> object:
    """What a metric of Quantus says."""
    target, net = np.full(len(x), TARGET), deepcopy(net).float().eval()  # it runs everything in float32
    return metric(net, x.numpy(), target, map.numpy(), device="cpu", channel_first=True, **given)


QUIET = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("perturbation", ["patches", "gaussian"])
def test_infidelity_is_captums(net: nn.Module, x: Tensor, perturbation: str, normalised: bool):
    map = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    found, copies = perturbed_inputs(
        net, x, map, "infidelity", perturbation=perturbation, samples=9, multiply_by_inputs=False,
        normalised=normalised, target=TARGET,
    )  # fmt: skip
    perturbed = torch.stack(copies)
    peer = infidelity(
        net, lambda inputs: (inputs - perturbed, perturbed), x, map, target=TARGET, n_perturb_samples=9,
        normalize=normalised,
    )  # fmt: skip
    assert found.value.item() == pytest.approx(peer.item(), rel=1e-6)


def explained(net: nn.Module, inputs: Tensor) -> Tensor:
    return InputXGradient(net).attribute(inputs.clone().requires_grad_(), target=TARGET).detach()


def test_max_sensitivity_is_captums_and_quantus(net: nn.Module, x: Tensor):
    seen: list[Tensor] = []
    map = pellucid.explain(net, x, METHOD, target=TARGET, progress=False).attribution
    handle = net.register_forward_pre_hook(lambda module, args: seen.extend(args[0].detach().clone()))
    found = measure(net, x, map, "max-sensitivity", method=METHOD, target=TARGET, samples=8).value.item()
    handle.remove()
    near = torch.stack(list({float(c.sum()): c for c in seen if not torch.equal(c, x[0])}.values()))
    assert len(near) == 8
    captum = sensitivity_max(
        lambda inputs: (explained(net, inputs[0] if isinstance(inputs, tuple) else inputs),),
        x,
        perturb_func=lambda inputs, radius: near.clone(),
        n_perturb_samples=8,
    )
    assert found == pytest.approx(captum.item(), rel=1e-5)
    drawn = iter(near.flatten(1).numpy())
    metric = quantus.MaxSensitivity(
        nr_samples=8, perturb_func=lambda arr, indices, **_: next(drawn)[None], **QUIET
    )
    (peer,) = theirs(
        metric, net, x, map, explain_func=lambda model, inputs, targets, **_: explained(
            net, torch.as_tensor(inputs).double()
        ).numpy(),
    )  # fmt: skip
    assert found == pytest.approx(peer, rel=1e-5)


def test_faithfulness_correlation_is_quantus_where_a_pixel_is_one_value(x: Tensor):
    """Of three channels, Quantus replaces single values."""
    grey, net = x[:, :1], linear(channels=1, size=SIZE)
    map = torch.randn(1, 1, *SIZE, dtype=torch.float64)
    found, copies = perturbed_inputs(
        net, grey, map, "faithfulness-correlation", size=20, samples=11, target=TARGET
    )
    subsets = iter([(copy == 0).flatten().nonzero()[:, 0].numpy() for copy in copies])
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=11, subset_size=20, perturb_baseline=0.0, return_aggregate=False, **QUIET
    )
    with patch.object(np.random, "choice", lambda *args, **kwargs: next(subsets)):
        (peer,) = theirs(metric, net, grey, map, softmax=False)
    assert found.value.item() == pytest.approx(peer, rel=1e-5)


def test_complexity_is_quantus():
    net, x = linear(channels=1, size=SIZE), torch.zeros(3, 1, *SIZE, dtype=torch.float64)
    map = torch.randn(3, 1, *SIZE, dtype=torch.float64)
    map[:, :, :4] *= 1e-3
    for name, metric in {
        "sparseness": quantus.Sparseness(**{**QUIET, "abs": True}),
        "complexity": quantus.Complexity(**{**QUIET, "abs": True}),
        "effective-complexity:tolerance=0.01": quantus.EffectiveComplexity(
            eps=0.01, **{**QUIET, "abs": True, "normalise": True}
        ),
    }.items():
        found = measure(net, x, map, name, target=TARGET).value.tolist()
        assert found == pytest.approx(list(theirs(metric, net, x, map)), rel=1e-5), name


def test_localisation_is_quantus():
    net, x = linear(channels=1, size=SIZE), torch.zeros(3, 1, *SIZE, dtype=torch.float64)
    map = torch.rand(3, 1, *SIZE, dtype=torch.float64)  # positive: Quantus divides by the sum of all signs
    truth = truth_of((2, 8, 3, 9), (0, 12, 0, 2), (6, 8, 1, 14), size=SIZE)
    for name, metric in {
        "pointing-game:tolerance=0": quantus.PointingGame(**QUIET),
        "top-k-intersection:k=30": quantus.TopKIntersection(k=30, **QUIET),
        "relevance-mass": quantus.RelevanceMassAccuracy(**QUIET),
        "relevance-rank": quantus.RelevanceRankAccuracy(**QUIET),
        "localisation-auc": quantus.AUC(**QUIET),
    }.items():
        found = measure(net, x, map, name, truth=truth, target=TARGET).value.tolist()
        peer = theirs(metric, net, x, map, s_batch=truth[:, None].numpy())
        assert found == pytest.approx([float(value) for value in peer], rel=1e-5), name


def test_quantus_completeness_is_false_even_of_an_exact_map(x: Tensor):
    net = linear(size=SIZE)
    exact = x * net.weight(TARGET)
    given = {"disable_warnings": True, "display_progressbar": False}
    assert theirs(quantus.Completeness(**given), net, x, exact) == [False]
    assert measure(net, x, exact, "completeness", target=TARGET).value.item() == pytest.approx(0, abs=1e-12)


def test_quantus_infidelity_goes_on_from_what_it_has_replaced_before(net: nn.Module, x: Tensor):
    """So its inputs have more and more patches, up to all; the paper's have one change each."""
    changed: list[int] = []

    class Watched(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            changed.append(int((inputs != x.float()).any(1).sum()))
            return net(inputs.double())

    metric = quantus.Infidelity(perturb_patch_sizes=[3], n_perturb_samples=1, perturb_baseline=0.0, **QUIET)
    theirs(metric, Watched(), x, torch.randn(1, 3, *SIZE, dtype=torch.float64))
    assert changed == sorted(changed)
    assert changed[-1] > 100
