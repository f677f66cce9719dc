"""Drawing until a map has converged: what that means, and that it changes nothing but how much is drawn."""

import itertools

import pytest
import torch

import pellucid
from nets import net, pictures
from pellucid.engine.run import Engine
from pellucid.errors import InvalidValue
from pellucid.model import Model
from pellucid.probe import Probe
from pellucid.probe.convergence import Estimate, sample_until_converged

GRADIENTS = ["smooth-grad", "smooth-grad-squared", "var-grad"]


def watched_probe():
    probe = Probe(Engine(Model.wrap(net("in-place"))), pictures("in-place")[:1])
    return probe, probe.notes


def estimate(stderr, agree=True):
    value = torch.arange(20.0)
    return Estimate(value, torch.full((20,), stderr), lambda: (value, value if agree else value.flip(0)))


def test_a_map_is_settled_when_its_top_decile_is_known_and_its_halves_agree():
    # the top decile of 0..19 is two of the values farthest from the median 9: 19 and 18, 9.5 above it
    assert estimate(0.94).relative_error == pytest.approx(0.94 / 9.5)
    assert estimate(0.94).converged(0.1)
    assert not estimate(0.96).converged(0.1)
    assert not estimate(0.0, agree=False).converged(0.1)


def test_more_is_drawn_until_it_suffices_and_never_more_than_the_most():
    probe, notes = watched_probe()
    asked = []

    def upto(count):
        asked.append(count)
        return estimate(9.5 / count**0.5)

    found, count = sample_until_converged(probe, upto, first=10, most=1000, tolerance=0.1)
    assert asked[0] == 10
    assert asked == sorted(set(asked))
    assert all(later <= 2 * earlier for earlier, later in itertools.pairwise(asked))
    assert 100 <= count < 125
    assert found.converged(0.1)
    assert not notes
    _, count = sample_until_converged(probe, upto, first=10, most=50, tolerance=0.1)
    assert count == 50
    assert "not converged after 50 samples" in next(iter(notes))


@pytest.mark.parametrize("method", GRADIENTS)
def test_auto_gives_what_as_many_samples_give(method):
    module, x = net("residual"), pictures("residual")
    e = pellucid.explain(module, x, method, samples="auto", tolerance=0.1)
    for image, count in enumerate(e.details["samples"].tolist()):
        fixed = pellucid.explain(module, x[image : image + 1], method, samples=count)
        torch.testing.assert_close(e.raw[image], fixed.raw[0])
        torch.testing.assert_close(e.stderr[image], fixed.stderr[0])
    loose = pellucid.explain(module, x, method, samples="auto", tolerance=0.5)
    assert int(loose.details["samples"].sum()) <= int(e.details["samples"].sum())
    assert e.cost.backward == int(e.details["samples"].sum())


def test_a_map_that_never_settles_says_so():
    module, x = net("in-place"), pictures("in-place")[:1]
    e = pellucid.explain(module, x, "smooth-grad", samples="auto", tolerance=0.001, noise=2.0)
    assert int(e.details["samples"][0]) == 1000
    assert "not converged after 1000 samples" in e.warnings[0]


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("method", [*GRADIENTS, "rise", "lime", "kernel-shap"])
def test_a_tolerance_is_a_share(method, tolerance):
    x = pictures("in-place")[:1]
    with pytest.raises(InvalidValue, match="tolerance must be between 0 and 1"):
        pellucid.explain(net("in-place"), x, method, samples="auto", tolerance=tolerance,
                         **({"segments": "grid:2"} if method in ("lime", "kernel-shap") else {}))  # fmt: skip
