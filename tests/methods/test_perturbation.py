"""Laws and literal twins of the methods that hide parts of a picture."""

from itertools import combinations
from math import factorial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.transform import resize
from sklearn.linear_model import Ridge
from torch import Tensor, nn

import pellucid
from pellucid.engine.mixing import remember_apart
from pellucid.engine.run import Engine
from pellucid.methods.perturb import rise
from pellucid.methods.perturb.kernel_shap import Coalitions
from pellucid.methods.perturb.rise import Masks, interpolation
from pellucid.model import Model
from pellucid.probe import Probe
from zoo import GapNet, LinearNet, assert_close, images, seeded

SIZE = (24, 30)


class Smooth(nn.Module):
    """Two scores that bend: tanh of linear ones, summed over regions; the second is the first's half."""

    def __init__(self, size: tuple[int, int] = SIZE, bend: float = 2.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3 * size[0] * size[1]) / (3 * size[0] * size[1]) ** 0.5)
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        score = torch.tanh(self.bend * x.flatten(1) @ self.weight.T).sum(1)
        return torch.stack([score, score / 2], 1)


class Constant(nn.Module):
    """0.75, whatever it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[0.75, 0.0]]).to(x).expand(len(x), -1)


class Game(nn.Module):
    """Any function of which segments of a picture are shown: `values` in the order of the binary numbers.

    A segment is seen by its first pixel, which must not be 0; hidden ones are.
    """

    def __init__(self, labels: Tensor, values: Tensor) -> None:
        super().__init__()
        d = int(labels.max()) + 1
        self.first = [int((labels.flatten() == i).nonzero()[0]) for i in range(d)]
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        shown = (x[:, 0].flatten(1)[:, self.first] != 0).long()
        score = self.values[shown @ 2 ** torch.arange(len(self.first))].to(x)
        return torch.stack([score, -score], 1)


def shapley(values: Tensor, d: int) -> Tensor:
    """Shapley values of a game by their definition."""
    found = torch.zeros(d, dtype=torch.float64)
    for i in range(d):
        others = [j for j in range(d) if j != i]
        for size in range(d):
            share = factorial(size) * factorial(d - 1 - size) / factorial(d)
            for some in combinations(others, size):
                without = sum(2**j for j in some)
                found[i] += share * (values[without + 2**i] - values[without])
    return found


def blocks(rows: int, columns: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Labels of a grid of blocks."""
    y, x = (torch.arange(side) * n // side for side, n in zip(size, (rows, columns), strict=True))
    return y[:, None] * columns + x


def about(module: nn.Module, x: Tensor, seed: int = 0) -> Probe:
    """A probe of the first class's logit."""
    return Probe(Engine(Model.wrap(module)), x, 0, "logit", seed=seed)


def explained(module: nn.Module, x: Tensor, method: str, **options: Any) -> pellucid.Explanation:
    options = {"target": 0, "output": "logit", "progress": False, "batch_size": 64} | options
    return pellucid.explain(module, x, method, **options)


def linear(size: tuple[int, int] = SIZE) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model, an image, and what each pixel adds to the score, w_i x_i over its channels."""
    net, x = seeded(LinearNet, 3 * size[0] * size[1]).double(), images(1, size)
    return net, x, (net.fc.weight[0].detach() * x[0].flatten()).view(3, *size).sum(0)


# --- RISE ---------------------------------------------------------------------------------------------------


def masks_of(x: Tensor, count: int, cells: int, keep: float, paired: bool, seed: int = 0) -> Tensor:
    with Running(about(Constant(), x, seed)) as probe:
        return Masks(probe, cells, keep, paired)(0, count)


class Running:
    """A probe inside its engine's session."""

    def __init__(self, probe: Probe) -> None:
        self.probe, self.session = probe, probe.engine.session(probe.seed)

    def __enter__(self) -> Probe:
        self.session.__enter__()
        return self.probe

    def __exit__(self, *error: Any) -> None:
        self.session.__exit__(*error)


@pytest.mark.parametrize("cells", [1, 4, 7])
@pytest.mark.parametrize(("keep", "paired"), [(0.5, True), (0.5, False), (0.1, False)])
def test_rise_masks_are_those_of_the_authors_code(cells, keep, paired):
    x = images(1, SIZE)
    drawn = Masks(about(Constant(), x), cells, keep, paired)
    found = drawn(0, 80)
    cell = np.ceil(np.array(SIZE) / cells).astype(int)
    for n in range(80):
        grids, shifts = drawn.drawn[n // 64]
        y, x_ = shifts[n % 64].tolist()
        assert 0 <= y < cell[0]
        assert 0 <= x_ < cell[1]
        large = resize(
            grids[n % 64].numpy().astype(float),
            (cells + 1) * cell,
            order=1,
            mode="reflect",
            anti_aliasing=False,
        )
        expected = large[y : y + SIZE[0], x_ : x_ + SIZE[1]]
        np.testing.assert_allclose(found[n].numpy(), expected, atol=1e-7)
    if paired:
        torch.testing.assert_close(found[::2] + found[1::2], torch.ones(40, *SIZE, dtype=torch.float64))


def test_rise_masks_can_be_made_in_any_pieces():
    drawn = Masks(about(Constant(), images(1, SIZE)), 4, 0.5, True)
    whole = drawn(0, 200)
    other = Masks(about(Constant(), images(1, SIZE)), 4, 0.5, True)
    for start, stop in ((190, 200), (3, 4), (60, 140), (0, 200)):
        assert torch.equal(other(start, stop), whole[start:stop])


@pytest.mark.parametrize(("keep", "paired"), [(0.5, True), (0.5, False), (0.2, False)])
def test_rise_masks_show_the_share_that_is_kept(keep, paired):
    masks = masks_of(images(1, (12, 14)), 6400, 4, keep, paired)
    error = masks.std(0) / 80
    assert ((masks.mean(0) - keep).abs() <= 5 * error).all()
    assert masks.min() >= 0
    assert masks.max() <= 1


def test_rise_of_a_constant_is_the_mean_mask_and_of_pairs_the_constant():
    x = images(1, SIZE)
    for keep, paired in ((0.5, False), (0.3, False)):
        e = explained(Constant(), x, "rise", samples=40, keep=keep, paired=paired, centred=False)
        mean = masks_of(x, 40, 7, keep, paired).mean(0)
        assert_close(e.raw[0], 0.75 * mean / keep, 1e-9)
    e = explained(Constant(), x, "rise", samples=40, centred=False)
    assert_close(e.raw, torch.full_like(e.raw, 0.75), 1e-9)
    assert e.stderr.abs().max() < 1e-8
    assert explained(Constant(), x, "rise", samples=40).raw.abs().max() < 1e-12


def covariance(cells: int, keep: float, size: tuple[int, int]) -> Tensor:
    """Cov(M_i, M_j) of RISE's masks in closed form, (H W, H W): the mean over shifts of p (1 - p) R R'."""
    parts = []
    for side in size:
        cell = -(-side // cells)
        R = interpolation(cells, (cells + 1) * cell)
        parts.append(torch.stack([R[s : s + side] @ R[s : s + side].T for s in range(cell)]).mean(0))
    return keep * (1 - keep) * torch.kron(*parts)


@pytest.mark.parametrize(("keep", "paired"), [(0.5, True), (0.5, False), (0.3, False)])
def test_rise_of_a_linear_model_is_what_the_masks_covariance_says(keep, paired):
    """E[f(x M) M_i] / p = p f(x) + sum_j Cov(M_i, M_j) w_j x_j / p: (1 - p) w_i x_i for masks of pixels."""
    size = (10, 12)
    net, x, parts = linear(size)
    net.fc.bias.data.zero_()
    law = (covariance(5, keep, size) @ parts.flatten() / keep).view(size)
    how = {"samples": 6000, "cells": 5, "keep": keep, "paired": paired}
    e = explained(net, x, "rise", **how)
    z = (e.raw[0] - law) / e.stderr[0, 0]
    assert z.abs().max() < 4.5
    assert e.stderr.max() < 0.1 * law.abs().max()
    e = explained(net, x, "rise", centred=False, **how)
    z = (e.raw[0] - law - keep * parts.sum()) / e.stderr[0, 0]
    assert z.abs().max() < 4.5


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("keep", "paired"), [(0.5, True), (0.4, False)])
def test_rise_is_its_formula_in_a_loop(keep, paired, centred):
    net, x = seeded(Smooth).double(), images(2, SIZE)
    fill = images(1, SIZE, seed=5)
    e = explained(
        net, x, "rise", samples=70, cells=4, keep=keep, paired=paired, centred=centred, baseline=fill
    )
    masks = masks_of(x[:1], 70, 4, keep, paired)
    for image in range(2):
        copies = [x[image : image + 1] * mask + fill * (1 - mask) for mask in masks]
        scores, total = [net(copy)[0, 0].item() for copy in copies], torch.zeros(SIZE, dtype=torch.float64)
        for score, mask in zip(scores, masks, strict=True):
            total += (score - np.mean(scores) * centred) * mask
        assert_close(e.raw[image], total / (70 * keep), 1e-9)


@pytest.mark.parametrize(
    ("paired", "centred"), [(True, True), (False, True), pytest.param(False, False, marks=pytest.mark.full)]
)
def test_rise_errors_cover_what_other_seeds_give(paired, centred):
    net, x = seeded(Smooth, (8, 9)).double(), images(1, (8, 9))
    how = {"samples": 64, "cells": 3, "paired": paired, "centred": centred}
    found = [explained(net, x, "rise", seed=seed, **how) for seed in range(100)]
    maps, errors = (
        torch.stack(some) for some in ([e.raw[0] for e in found], [e.stderr[0, 0] for e in found])
    )
    if centred:  # the mean score is a sample's own: of it 1 / n is lost, as of any covariance
        maps = maps * 64 / 63
    covered = ((maps - maps.mean(0)).abs() <= 2 * errors).double().mean()
    assert 0.92 < covered < 0.97
    assert (errors.mean(0) / maps.std(0)).mean() == pytest.approx(1, abs=0.08)


def test_pairs_settle_rise_sooner_where_the_score_is_almost_additive():
    net, x = seeded(Smooth, (8, 9), bend=0.3).double(), images(1, (8, 9))

    def variance(paired):
        maps = [explained(net, x, "rise", seed=seed, samples=64, cells=3, paired=paired, centred=False).raw
                for seed in range(30)]  # fmt: skip
        return torch.stack(maps).var(0).mean()

    assert variance(True) < 0.6 * variance(False)


def test_rise_with_more_samples_begins_with_the_same():
    x = images(1, SIZE)
    for paired in (True, False):
        assert torch.equal(masks_of(x, 100, 7, 0.5, paired), masks_of(x, 200, 7, 0.5, paired)[:100])


def test_one_sample_or_pair_knows_nothing_of_its_error():
    x = images(1, SIZE)
    for samples in (1, 2):
        e = explained(seeded(Smooth).double(), x, "rise", samples=samples)
        assert e.stderr.isinf().all()


# --- samples until the map has converged ----------------------------------------------------------------


AUTO = ["rise:cells=3", "lime:segments=grid:4", "baylime:segments=grid:4", "kernel-shap:segments=grid:4"]


@pytest.mark.parametrize("method", AUTO)
def test_auto_takes_more_samples_for_a_smaller_tolerance_and_keeps_its_word(method):
    net, x = seeded(Smooth, bend=6.0).double(), images(1, SIZE)
    small = 0.03 if "shap" in method else 0.08
    loose, tight = (explained(net, x, method, samples="auto", tolerance=t) for t in (0.5, small))
    used = [int(e.details["samples"]) for e in (loose, tight)]
    assert used[0] < used[1] < 8000
    assert [e.cost.forward - 1 for e in (loose, tight)] == used
    for e, tolerance in ((loose, 0.5), (tight, small)):
        assert not e.warnings
        value, error = e.raw[0].double(), e.stderr[0, 0].double()
        if "segments" in e.details:
            value, error = e.details["coefficients"][0], e.details["coefficient_stderr"][0]
        apart = (value - value.median()).abs().flatten()
        top = apart.topk(max(1, len(apart) // 10)).indices
        assert error.flatten()[top].mean() <= tolerance * apart[top].mean()
    same = explained(net, x, method, samples=used[1])
    if "kernel-shap" not in method:  # there the coalitions depend on how many there may be
        assert_close(tight.raw, same.raw, 1e-9)


def test_auto_says_when_a_map_does_not_settle(monkeypatch):
    monkeypatch.setattr(rise, "MOST", 300)
    noise = torch.Generator().manual_seed(0)
    net = lambda x: torch.rand(len(x), 2, generator=noise, dtype=torch.float64)  # noqa: E731
    e = explained(net, images(1, SIZE), "rise", samples="auto")
    assert e.details["samples"].tolist() == [300]
    assert any("not converged after 300 samples" in warning for warning in e.warnings)


def test_kernel_shap_auto_stops_at_all_coalitions_there_are():
    labels = blocks(2, 2)
    game = Game(labels, torch.randn(16, dtype=torch.float64))
    e = explained(game, images(1, SIZE), "kernel-shap", samples="auto", segments=labels)
    assert e.details["samples"].tolist() == [16]
    assert not e.warnings


# --- occlusion ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (5, 3), (8, 8), (7, 1)])
def test_occlusion_of_a_linear_model_is_what_each_window_holds(window, stride):
    net, x, _ = linear()
    fill = images(1, SIZE, seed=3)
    hidden = (net.fc.weight[0].detach() * (x - fill)[0].flatten()).view(3, *SIZE).sum(0)
    total, counts = torch.zeros(2, *SIZE, dtype=torch.float64)
    starts = [sorted({*range(0, side - window, stride), side - window}) for side in SIZE]
    for y in starts[0]:
        for x_ in starts[1]:
            where = slice(y, y + window), slice(x_, x_ + window)
            total[where] += hidden[where].sum()
            counts[where] += 1
    assert (counts > 0).all()
    e = explained(net, x, "occlusion", window=window, stride=stride, baseline=fill)
    assert_close(e.raw[0], total / counts, 1e-9)
    if window == 1:
        assert_close(e.raw[0], hidden, 1e-9)
    assert e.cost.forward == len(starts[0]) * len(starts[1]) + 1


def test_occlusion_of_everything_is_the_difference_to_the_fill():
    net, x = seeded(Smooth).double(), images(2, SIZE)
    drop = (net(x) - net(torch.zeros_like(x)))[:, 0].detach()
    for window in (30, 64):
        e = explained(net, x, "occlusion", window=window)
        assert_close(e.raw, drop[:, None, None].expand(2, *SIZE), 1e-9)


def test_occlusion_is_its_formula_in_a_loop():
    net, x = seeded(Smooth).double(), images(2, SIZE)
    e = explained(net, x, "occlusion", window=10, stride=7, target=[0, 1], baseline=0.3)
    for image, target in enumerate((0, 1)):
        drops: dict[tuple[int, int], list[float]] = {}
        for y in (0, 7, 14):
            for x_ in (0, 7, 14, 20):
                copy = x[image : image + 1].clone()
                copy[:, :, y : y + 10, x_ : x_ + 10] = 0.3
                drop = (net(x[image : image + 1]) - net(copy))[0, target].item()
                for i in range(y, y + 10):
                    for j in range(x_, x_ + 10):
                        drops.setdefault((i, j), []).append(drop)
        expected = torch.tensor([[np.mean(drops[i, j]) for j in range(30)] for i in range(24)])
        assert_close(e.raw[image], expected, 1e-9)


# --- LIME ---------------------------------------------------------------------------------------------------


def segment_sums(map: Tensor, labels: Tensor) -> Tensor:
    return torch.zeros(int(labels.max()) + 1, dtype=map.dtype).index_add_(0, labels.flatten(), map.flatten())


@pytest.mark.parametrize("baseline", ["zero", "segment-mean"])
def test_lime_of_a_linear_model_is_what_each_segment_adds(baseline):
    net, x, parts = linear()
    labels = blocks(3, 4)
    slopes = segment_sums(parts, labels)
    if baseline == "segment-mean":
        means = torch.stack(
            [segment_sums(c, labels) / segment_sums(torch.ones_like(c), labels) for c in x[0]]
        )
        filled = means[:, labels]
        slopes -= segment_sums((net.fc.weight[0].detach() * filled.flatten()).view(3, *SIZE).sum(0), labels)
    how = {"samples": 60, "segments": labels, "baseline": baseline}
    e = explained(net, x, "lime", ridge=0.0, **how)
    assert_close(e.details["coefficients"][0], slopes, 1e-9)
    assert_close(e.raw[0], slopes[labels], 1e-9)
    assert e.details["r2"].item() == pytest.approx(1)
    assert e.stderr.max() < 1e-6 * slopes.abs().max()
    shrunk = explained(net, x, "lime", **(how | {"samples": 4000})).details["coefficients"][0]
    assert torch.corrcoef(torch.stack([shrunk, slopes]))[0, 1] > 0.99999


@pytest.mark.parametrize("segments", ["labels", "array", "callable"])
def test_lime_is_its_formula_in_a_loop(segments):
    net, x, labels = seeded(Smooth).double(), images(2, SIZE), blocks(3, 3)
    given = {"labels": labels, "array": labels.numpy() * 10 + 3, "callable": lambda rgb: labels.numpy()}
    e = explained(net, x, "lime", samples=90, segments=given[segments], baseline="zero")
    assert torch.equal(e.details["segments"][0], labels)
    probe = about(net, x)
    z = torch.cat([torch.randint(0, 2, (64, 9), generator=probe.generator(block)) for block in (0, 1)])[:90]
    z[0] = 1
    for image in range(2):
        scores, weights = [], []
        for row in z:
            scores.append(net(x[image : image + 1] * row[labels])[0, 0].item())
            distance = 1 - np.sqrt(row.double().mean().item())
            weights.append(np.sqrt(np.exp(-(distance**2) / 0.25**2)))
        peer = Ridge(alpha=1).fit(z.numpy(), scores, sample_weight=weights)
        assert_close(e.details["coefficients"][image], torch.tensor(peer.coef_), 1e-8)
        assert e.details["r2"][image].item() == pytest.approx(
            peer.score(z.numpy(), scores, weights), rel=1e-6
        )
        assert e.details["intercept"][image].item() == pytest.approx(peer.intercept_, rel=1e-6)
        assert_close(e.raw[image], torch.tensor(peer.coef_)[labels], 1e-8)


@pytest.mark.parametrize("selection", ["forward", "highest", "auto"])
def test_lime_keeps_only_the_features_asked_for(selection):
    net, x, parts = linear()
    labels = blocks(3, 4)
    e = explained(
        net, x, "lime", samples=400, segments=labels, baseline="zero", features=3, selection=selection
    )
    found = e.details["coefficients"][0]
    strongest = segment_sums(parts, labels).abs().topk(3).indices
    assert set(found.nonzero()[:, 0].tolist()) == set(strongest.tolist())


def test_lime_errors_cover_what_other_seeds_give():
    net, x = seeded(Smooth, (8, 8)).double(), images(1, (8, 8))
    how = {"samples": 120, "segments": blocks(2, 3, (8, 8)), "baseline": "zero"}
    found = [explained(net, x, "lime", seed=seed, **how) for seed in range(100)]
    values, errors = (torch.stack([e.details[name][0] for e in found])
                      for name in ("coefficients", "coefficient_stderr"))  # fmt: skip
    covered = ((values - values.mean(0)).abs() <= 2 * errors).double().mean()
    assert 0.92 < covered < 0.985


def baylime(**options: Any) -> pellucid.Explanation:
    net, x = seeded(Smooth).double(), images(1, SIZE)
    return explained(net, x, "baylime", samples=100, segments=blocks(3, 3), **options)


def lime_beside() -> pellucid.Explanation:
    return explained(seeded(Smooth).double(), images(1, SIZE), "lime", samples=100, segments=blocks(3, 3))


@pytest.mark.parametrize(
    "options", [{"mode": "non-bayes"}, {"mode": "informative"},
                {"mode": "informative", "prior_precision": 0.01, "noise_precision": 0.01}]
)  # fmt: skip
def test_baylime_with_equal_precisions_and_no_prior_is_limes_ridge(options):
    assert_close(baylime(**options).raw, lime_beside().raw, 1e-9)


@pytest.mark.parametrize("mode", ["informative", "informative-alpha"])
def test_a_sure_prior_is_what_baylime_finds(mode):
    prior = torch.randn(9, dtype=torch.float64)
    sure = baylime(mode=mode, prior=prior, prior_precision=1e12)
    assert_close(sure.details["coefficients"][0], prior, 1e-6)
    assert sure.details["posterior"].max() < 1e-5
    as_map = baylime(mode=mode, prior=prior[blocks(3, 3)], prior_precision=1e12)
    assert_close(as_map.raw, sure.raw, 1e-6)
    unsure = baylime(mode="informative", prior=prior, prior_precision=1e-9)
    assert_close(unsure.raw, baylime(mode="informative", prior_precision=1e-9).raw, 1e-6)


def test_baylime_without_information_fits_its_precisions_as_scikit_learn():
    from sklearn.linear_model import BayesianRidge

    net, x, labels = seeded(Smooth).double(), images(1, SIZE), blocks(3, 3)
    e = baylime()
    z = torch.cat([torch.randint(0, 2, (64, 9), generator=about(net, x).generator(b)) for b in (0, 1)])[:100]
    z[0] = 1
    with torch.no_grad():
        shown = z[:, labels][:, None]
        mean = torch.stack([segment_sums(c, labels) / segment_sums(torch.ones_like(c), labels) for c in x[0]])
        y = net(x * shown + mean[:, labels] * (1 - shown))[:, 0]
    weights = torch.exp(-((1 - z.double().mean(1).sqrt()) ** 2) / (2 * 0.25**2))
    peer = BayesianRidge(max_iter=2000, tol=1e-10).fit(z.numpy(), y.numpy(), sample_weight=weights.numpy())
    assert_close(e.details["coefficients"][0], torch.tensor(peer.coef_), 1e-3)


@pytest.mark.parametrize("method", ["lime", "kernel-shap", "rise", "occlusion:window=8", "baylime"])
def test_more_targets_cost_no_more_passes(method):
    net, x = seeded(Smooth).double(), images(2, SIZE)
    options = {"samples": 64} if "occlusion" not in method else {}
    if method in ("lime", "kernel-shap", "baylime"):
        options["segments"] = "grid:2"
    one = explained(net, x, method, **options)
    comparison = pellucid.compare(
        net, x, [(method, options)], targets=[0, 1], output="logit", progress=False, verdict=False
    )
    assert comparison.cost.forward == one.cost.forward
    first, second = comparison.explanations
    assert (first.cost.forward, second.cost.forward) == (one.cost.forward,) * 2
    assert_close(first.raw, one.raw, 1e-12)  # in chunks that are still found out
    assert_close(second.raw, explained(net, x, method, target=1, **options).raw, 1e-12)
    assert_close(second.raw, first.raw / 2, 1e-6 if method == "baylime" else 1e-9)


# --- KernelSHAP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3, 4, 6])
def test_kernel_shap_of_all_coalitions_is_shapleys_definition(d):
    labels = blocks(1, d) if d < 6 else blocks(2, 3)
    values = torch.randn(2**d, dtype=torch.float64)
    e = explained(Game(labels, values), images(1, SIZE), "kernel-shap", samples=2**d, segments=labels)
    assert_close(e.details["coefficients"][0], shapley(values, d), 1e-8)
    assert e.details["samples"].tolist() == [2**d]
    assert e.stderr.max() == 0
    assert not e.warnings
    game = Game(labels, values)
    remember_apart(game, images(1, SIZE))  # whose table, as long as a chunk, might be samples
    more = explained(game, images(1, SIZE), "kernel-shap", samples=500, segments=labels)
    assert torch.equal(more.raw, e.raw)
    assert more.cost.forward == 2**d + 1


@pytest.mark.parametrize("samples", [30, 60, 200])
def test_kernel_shap_is_efficient_exactly(samples):
    net, x = seeded(Smooth).double(), images(2, SIZE)
    gain = (net(x) - net(torch.zeros_like(x)))[:, 0].detach()
    e = explained(net, x, "kernel-shap", samples=samples, segments="grid:3")
    for image in range(2):
        assert e.details["coefficients"][image].sum().item() == pytest.approx(gain[image].item(), rel=1e-9)


@pytest.mark.parametrize("samples", [40, 60, 600])
def test_kernel_shap_of_a_linear_model_is_what_each_segment_adds(samples):
    net, x, parts = linear()
    labels = blocks(3, 4)
    e = explained(net, x, "kernel-shap", samples=samples, segments=labels)
    assert_close(e.details["coefficients"][0], segment_sums(parts, labels), 1e-6)


def test_kernel_shap_errors_cover_the_exact_values():
    labels = blocks(2, 5, (8, 10))
    net, x = seeded(Smooth, (8, 10)).double(), images(1, (8, 10))
    exact = explained(net, x, "kernel-shap", samples=1024, segments=labels).details["coefficients"][0]
    found = [explained(net, x, "kernel-shap", samples=140, segments=labels, seed=s) for s in range(100)]
    values, errors = (torch.stack([e.details[name][0] for e in found])
                      for name in ("coefficients", "coefficient_stderr"))  # fmt: skip
    covered = ((values - exact).abs() <= 2 * errors).double().mean()
    assert (errors.square().mean(0).sqrt() / values.std(0)).mean().item() == pytest.approx(1, abs=0.1)
    assert 0.92 < covered < 0.985
    assert ((values.mean(0) - exact).abs() < 5 * values.std(0) / 100**0.5).all()


def test_coalitions_follow_the_shapley_kernel():
    """Coalitions of each size have the kernel's weight in all, and every segment is as likely in them."""
    d, probe = 7, about(Constant(), images(1, SIZE))
    drawn = Coalitions(probe, d, 90, 90)
    sizes = drawn.rows.sum(1).long()
    assert sizes[:2].tolist() == [d, 0]
    kernel = torch.tensor([1 / (m * (d - m)) for m in range(1, d)]).double()
    kernel /= kernel.sum()
    whole = {m for m in range(1, d) if m not in drawn.left}
    for m in whole:
        assert drawn.weights[sizes[: drawn.sure] == m].sum().item() == pytest.approx(kernel[m - 1].item())
    assert whole
    random = drawn.rows[drawn.sure :]
    assert torch.equal(random[::2] + random[1::2], torch.ones_like(random[::2]))
    many = Coalitions(probe, 20, 12000, 12000)
    random = many.rows[many.sure :]
    assert ((random.mean(0) - 0.5).abs() < 1e-6).all()  # by the pairs
    counts = random[::2].sum(1).long().bincount(minlength=21).double() / len(random[::2])
    kernel = torch.tensor([1 / (m * (20 - m)) if m in many.left else 0.0 for m in range(1, 20)]).double()
    torch.testing.assert_close(counts[1:20], kernel / kernel.sum(), atol=0.01, rtol=0)


def test_kernel_shap_says_when_another_seed_would_differ():
    class Rough(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = torch.sin(1e3 * x.flatten(1).sum(1))
            return torch.stack([score, -score], 1)

    e = explained(Rough(), images(1, SIZE), "kernel-shap", samples=120, segments="grid:5")
    assert any("another seed the values would correlate about" in warning for warning in e.warnings)


def test_the_correlation_told_is_that_of_other_seeds():
    """1 - mean stderr^2 / variance of the values, from which the note is made, against seeds."""
    net, x = seeded(Smooth, bend=8.0).double(), images(1, SIZE)
    how = {"samples": 150, "segments": "grid:5"}
    found = [explained(net, x, "kernel-shap", seed=seed, **how) for seed in range(20)]
    values = torch.stack([e.details["coefficients"][0] for e in found])
    errors = torch.stack([e.details["coefficient_stderr"][0] for e in found])
    told = (1 - (errors**2).mean(1) / values.var(1)).mean()
    real = torch.corrcoef(values)[~torch.eye(20, dtype=torch.bool)].mean()
    assert told.item() == pytest.approx(real.item(), abs=0.05)


# --- Score-CAM ----------------------------------------------------------------------------------------------


def channel_mask(A: Tensor, size: tuple[int, int], corners: bool) -> Tensor:
    up = nn.functional.interpolate(A[None, None], size, mode="bilinear", align_corners=corners)[0, 0]
    return (up - up.min()) / (up.max() - up.min()) if up.max() > up.min() else torch.zeros_like(up)


@pytest.mark.parametrize("variant", ["official", "paper", "pytorch-grad-cam"])
def test_score_cam_is_its_algorithm_in_a_loop(variant):
    net, x = seeded(GapNet, classes=4, width=6).double(), images(2, SIZE)
    net.fc.weight.data *= 30
    net.conv.weight.data[2], net.conv.bias.data[2] = 0, 0.4  # a constant channel
    e = pellucid.explain(net, x, "score-cam", variant=variant, layer="relu", target=1, progress=False)
    assert e.output == ("probability" if variant == "official" else "logit")
    with torch.no_grad():
        A = net.relu(net.conv(x))
        for image in range(2):
            scores = []
            for k in range(6):
                mask = channel_mask(A[image, k], SIZE, variant == "pytorch-grad-cam")
                out = net(x[image : image + 1] * mask)[0]
                scores.append(out.softmax(0)[1] if variant == "official" else out[1])
            weights = torch.stack(scores)
            live = torch.arange(6) != 2
            if variant == "official":
                weights[2] = 0
            else:
                weights = torch.zeros(6).double().masked_scatter(live, weights[live].softmax(0))
            assert_close(e.details["weights"][image], weights, 1e-8)
            assert_close(e.raw[image], (weights[:, None, None] * A[image]).sum(0).relu(), 1e-8)
            assert e.details["weights"][image, 2] == 0


@pytest.mark.parametrize("variant", ["official", "paper", "pytorch-grad-cam"])
def test_score_cam_where_every_channel_is_constant_is_empty_and_says_so(variant):
    net = seeded(GapNet).double()
    net.conv.weight.data.zero_()
    e = pellucid.explain(net, images(1, SIZE), "score-cam", variant=variant, layer="relu", progress=False)
    assert not e.raw.any()
    assert e.warnings


# --- batches, seeds, interruptions --------------------------------------------------------------------------


EVERY: list[tuple[str, dict[str, Any]]] = [
    ("rise", {"samples": 70}),
    ("occlusion", {"window": 8, "stride": 5}),
    ("lime", {"samples": 70, "segments": "grid:3"}),
    ("baylime", {"samples": 70, "segments": "grid:3"}),
    ("kernel-shap", {"samples": 70, "segments": "grid:3"}),
    ("score-cam", {"layer": "relu"}),
]
every = pytest.mark.parametrize(("method", "options"), EVERY, ids=[name for name, _ in EVERY])


@every
def test_the_chunk_changes_nothing(method, options):
    net, x = seeded(GapNet), images(2, SIZE).float()
    how = options | {"target": 1, "progress": False}
    maps = {size: pellucid.explain(net, x, method, batch_size=size, **how).raw for size in (1, 3, 7, "auto")}
    for size, map in maps.items():
        assert_close(map, maps[1], 1e-4 if method == "baylime" else 2e-5)
        if size != "auto":  # there the chunk depends on the clock
            assert torch.equal(map, pellucid.explain(net, x, method, batch_size=size, **how).raw)
    exact = [
        pellucid.explain(net.double(), x.double(), method, batch_size=size, **how).raw for size in (1, 7)
    ]
    assert_close(*exact, 1e-9)


class Stops(nn.Module):
    """Stopped by its user at one call."""

    def __init__(self, net: nn.Module, at: int) -> None:
        super().__init__()
        self.net, self.at = net, at
        self.done = SimpleNamespace(calls=0)  # what runs is a shadow, with numbers of its own

    def forward(self, x: Tensor) -> Tensor:
        self.done.calls += 1
        if self.done.calls == self.at:
            raise KeyboardInterrupt
        return self.net(x)


@pytest.mark.parametrize("at", [1, 2, 5])
@every
def test_a_run_that_was_stopped_and_repeated_gives_the_same(method, options, at):
    options = options | ({"layer": "net.relu"} if "layer" in options else {})
    x = images(2, SIZE)
    expected = pellucid.explain(
        Stops(seeded(GapNet).double(), 0), x, method, batch_size=4, progress=False, **options
    )
    module = Stops(seeded(GapNet).double(), at)
    state = torch.get_rng_state()
    kept = x.clone()
    with pytest.raises(KeyboardInterrupt):
        pellucid.explain(module, x, method, batch_size=4, progress=False, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, kept)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    again = pellucid.explain(module, x, method, batch_size=4, progress=False, **options)
    assert torch.equal(again.raw, expected.raw)


def test_maps_of_images_do_not_depend_on_their_batch():
    net, x = seeded(Smooth).double(), images(3, SIZE)
    for method, options in EVERY[:-1]:
        together = explained(net, x, method, **options)
        for image in range(3):
            alone = explained(net, x[image : image + 1], method, **options)
            assert_close(together.raw[image], alone.raw[0], 1e-9)
