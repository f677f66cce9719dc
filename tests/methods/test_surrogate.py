"""Surrogates against scikit-learn, closed forms, brute force and repeated sampling."""

import time
from itertools import combinations
from math import comb, factorial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import BayesianRidge, LinearRegression, Ridge
from sklearn.metrics import pairwise_distances
from torch import Tensor

from pellucid.errors import InvalidValue
from pellucid.methods.perturb import surrogate
from pellucid.methods.perturb.bayes_surrogate import bayes_fit
from pellucid.methods.perturb.shapley_surrogate import shapley_fit


def drawn(n: int = 200, d: int = 12, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Masks with all on in row 0, a score that is not linear in them, and LIME's weights."""
    source = torch.Generator().manual_seed(seed)
    z = torch.randint(0, 2, (n, d), generator=source).double()
    z[0] = 1
    y = scores(z)
    return z, y, surrogate.kernel(surrogate.cosine_distance(z), 0.25)


def scores(z: Tensor) -> Tensor:
    source = torch.Generator().manual_seed(99)
    b = torch.randn(z.shape[1], generator=source).double()
    return torch.sigmoid(z @ b + 2 * z[:, 0] * z[:, 1] - z[:, 2] * z[:, -1])


def test_distances_equal_scikit_learn():
    z = drawn()[0]
    z[1] = 0
    cosine = pairwise_distances(z.numpy(), z[:1].numpy(), metric="cosine").ravel()
    euclidean = pairwise_distances(z.numpy(), z[:1].numpy()).ravel()
    np.testing.assert_allclose(surrogate.cosine_distance(z).numpy(), cosine, atol=1e-12)
    np.testing.assert_allclose(surrogate.euclidean_distance(z).numpy(), euclidean, atol=1e-7)
    assert cosine[1] == surrogate.cosine_distance(z)[1] == 1


def test_kernel_is_lime_kernel():
    distance = torch.linspace(0, 2, 7).double()
    d = distance.numpy()
    np.testing.assert_allclose(
        surrogate.kernel(distance, 0.25).numpy(), np.sqrt(np.exp(-(d**2) / 0.25**2)), rtol=1e-12
    )


@given(n=st.integers(3, 60), d=st.integers(1, 12), ridge=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_fit_is_weighted_ridge_with_a_free_intercept(n, d, ridge, seed):
    rng = np.random.default_rng(seed)
    z, y, w = rng.normal(size=(n, d)), rng.normal(size=n), rng.uniform(0.1, 1, n)
    peer = Ridge(alpha=ridge).fit(z, y, sample_weight=w)
    found = surrogate.fit(torch.tensor(z), torch.tensor(y), torch.tensor(w), ridge=ridge)
    np.testing.assert_allclose(found.coefficients.numpy(), peer.coef_, rtol=1e-6, atol=1e-9)
    assert found.intercept == pytest.approx(peer.intercept_, rel=1e-6, abs=1e-9)
    assert found.r2 == pytest.approx(peer.score(z, y, sample_weight=w), rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(found.predict(torch.tensor(z)).numpy(), peer.predict(z), rtol=1e-6, atol=1e-8)


def test_constant_scores_have_no_coefficients_and_are_explained():
    z, _, w = drawn()
    found = surrogate.fit(z, torch.full((200,), 0.3), w)
    assert found.coefficients.abs().max() < 1e-12
    assert found.r2 == 1
    assert found.intercept == pytest.approx(0.3, rel=1e-6)


def test_a_singular_unpenalised_fit_is_the_least_norm_one():
    z, y, w = drawn()
    twice = torch.cat([z, z[:, :1]], 1)  # the first feature again
    found, once = (surrogate.fit(x, y, w, ridge=0.0).coefficients for x in (twice, z))
    torch.testing.assert_close(found[0], once[0] / 2)
    torch.testing.assert_close(found[0], found[-1])


@pytest.mark.parametrize("count", [1, 3, 6, 12, 50])
def test_forward_selection_takes_the_best_next_feature_by_brute_force(count):
    z, y, w = drawn(d=12)
    x, target, weight = z.numpy(), y.numpy(), w.numpy()
    used: list[int] = []
    for _ in range(min(count, 12)):

        def score(j, used=used):
            columns = x[:, [*used, j]]
            return LinearRegression().fit(columns, target, weight).score(columns, target, weight)

        used.append(max((j for j in range(12) if j not in used), key=score))
    found = surrogate.fit(z, y, w, features=count, selection="forward")
    assert found.chosen.tolist() == used
    peer = Ridge(alpha=1).fit(x[:, used], target, sample_weight=weight)
    np.testing.assert_allclose(found.coefficients.numpy()[used], peer.coef_, rtol=1e-8)
    left_out = sorted(set(range(12)) - set(used))
    assert (found.coefficients[left_out] == 0).all()
    assert (found.stderr[left_out] == 0).all()


def test_forward_selection_passes_over_copies_and_constants():
    z, y, w = drawn(d=6)
    first = int(surrogate.select(z, y, w, 1, "forward"))
    more = torch.cat([z, z[:, [first]], torch.ones(len(z), 1).double()], 1)  # its copy, and a constant
    assert sorted(surrogate.select(more, y, w, 6, "forward").tolist()) == list(range(6))


def test_auto_is_forward_up_to_six_features_and_highest_above():
    z, y, w = drawn()
    for count, name in ((6, "forward"), (7, "highest")):
        auto = surrogate.select(z, y, w, count)
        assert auto.tolist() == surrogate.select(z, y, w, count, name).tolist()
    strength = Ridge(alpha=0.01).fit(z.numpy(), y.numpy(), sample_weight=w.numpy()).coef_ * z[0].numpy()
    assert surrogate.select(z, y, w, 7).tolist() == np.argsort(-abs(strength))[:7].tolist()


def test_highest_counts_only_what_is_there():
    z, y, w = drawn()
    z[0, 0] = 0  # a feature that row 0 lacks cannot matter to it
    assert surrogate.select(z, y, w, 12, "highest")[-1] == 0


def test_zero_features_are_refused():
    with pytest.raises(InvalidValue, match="features must be at least 1, or None for all; got 0"):
        surrogate.fit(*drawn(), features=0)


@pytest.mark.parametrize("estimate", ["lime", "shapley"])
def test_stderr_covers_what_repeated_sampling_scatters(estimate):
    """95 % intervals hold the mean over repetitions 95 % of the time, on a function that is not linear."""
    d, n, found = 8, 300, []
    for seed in range(400):
        z, y, w = drawn(n, d, seed)
        if estimate == "lime":
            found.append(surrogate.fit(z, y, w))
        else:
            empty, full = (float(scores(torch.full((1, d), v).double())) for v in (0.0, 1.0))
            found.append(shapley_fit(z, y, torch.ones(n), empty, full))
    b, s = (torch.stack([getattr(f, part) for f in found]) for part in ("coefficients", "stderr"))
    inside = ((b - b.mean(0)).abs() < 1.96 * s).double().mean(0)
    assert (inside > 0.90).all()
    assert 0.93 < inside.mean() < 0.975
    assert ((s.mean(0) / b.std(0)).log().abs() < 0.12).all()


def test_stderr_is_the_jackknife():
    z, y, w = drawn(60, 4)
    full = surrogate.fit(z, y, w, ridge=0.5)
    moves = [surrogate.fit(z[keep], y[keep], w[keep], ridge=0.5).coefficients - full.coefficients
             for keep in (torch.arange(60) != i for i in range(60))]  # fmt: skip
    torch.testing.assert_close(full.stderr, torch.stack(moves).square().sum(0).sqrt(), rtol=1e-9, atol=0)


def test_groups_see_that_antithetic_pairs_are_not_independent():
    d, n, found = 6, 200, []
    for seed in range(300):
        source = torch.Generator().manual_seed(seed)
        half = torch.randint(0, 2, (n // 2, d), generator=source).double()
        z, pair = torch.cat([half, 1 - half]), torch.arange(n // 2).repeat(2)
        y, w = scores(z), torch.ones(n)
        empty, full = (float(scores(torch.full((1, d), v).double())) for v in (0.0, 1.0))
        fits = [shapley_fit(z, y, w, empty, full, groups=g) for g in (pair, None)]
        found.append(torch.stack([fits[0].coefficients, fits[0].stderr, fits[1].stderr]))
    b, grouped, alone = torch.stack(found).unbind(1)
    scatter = b.std(0)
    assert ((grouped.mean(0) / scatter).log().abs() < 0.15).all()
    assert (alone.mean(0) / scatter).log().abs().max() > 0.2


def test_coefficients_that_rest_on_one_sample_have_no_finite_error():
    z = torch.eye(3).double()
    assert surrogate.fit(z, torch.tensor([1.0, 2, 4]), torch.ones(3), ridge=0.0).stderr.isinf().all()


# --- BayLIME ---------------------------------------------------------------------------------------------


def test_fitted_precisions_equal_scikit_learn_bayesian_ridge():
    z, y, w = drawn(150, 10)
    peer = BayesianRidge(tol=1e-12, max_iter=1000).fit(z.numpy(), y.numpy(), sample_weight=w.numpy())
    found = bayes_fit(z, y, w)
    np.testing.assert_allclose(found.fit.coefficients.numpy(), peer.coef_, rtol=1e-6)
    np.testing.assert_allclose(found.deviation.numpy(), np.sqrt(np.diag(peer.sigma_)), rtol=1e-6)
    assert found.fit.intercept == pytest.approx(peer.intercept_)
    assert found.noise_precision == pytest.approx(peer.alpha_, rel=1e-6)
    assert found.prior_precision == pytest.approx(peer.lambda_, rel=1e-6)


def test_informative_posterior_is_the_papers_formula():
    z, y, w = drawn(80, 5)
    mean, lambda_, alpha = torch.tensor([0.3, -0.2, 0.1, 0.0, 1.0]).double(), 3.0, 7.0
    found = bayes_fit(z, y, w, prior_mean=mean, prior_precision=lambda_, noise_precision=alpha)
    x, W = z.numpy() - np.average(z, axis=0, weights=w), np.diag(w.numpy())
    target = y.numpy() - np.average(y, weights=w)
    precision = lambda_ * np.eye(5) + alpha * x.T @ W @ x
    expected = np.linalg.solve(precision, lambda_ * mean.numpy() + alpha * x.T @ W @ target)
    np.testing.assert_allclose(found.fit.coefficients.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(found.deviation.numpy(), np.sqrt(np.diag(np.linalg.inv(precision))), rtol=1e-9)


def test_posterior_with_equal_precisions_and_no_prior_mean_is_lime():
    z, y, w = drawn()
    found = bayes_fit(z, y, w, prior_precision=5.0, noise_precision=5.0)
    torch.testing.assert_close(found.fit.coefficients, surrogate.fit(z, y, w).coefficients)
    torch.testing.assert_close(found.fit.stderr, surrogate.fit(z, y, w).stderr)


def test_a_certain_prior_is_kept():
    z, y, w = drawn(d=4)
    mean = torch.tensor([1.0, -2.0, 0.5, 0.0]).double()
    found = bayes_fit(z, y, w, prior_mean=mean, prior_precision=1e12, noise_precision=1.0)
    torch.testing.assert_close(found.fit.coefficients, mean, atol=1e-9, rtol=0)


def test_fitted_noise_maximises_the_evidence_around_a_given_prior():
    """alpha of the fixed point against the log evidence of weighted scores, on a fine grid."""
    z, y, w = drawn(60, 4)
    mean, lambda_ = torch.tensor([0.1, 0.2, -0.3, 0.0]).double(), 2.0
    found = bayes_fit(z, y, w, prior_mean=mean, prior_precision=lambda_)
    x = z.numpy() - np.average(z, axis=0, weights=w)
    gap = y.numpy() - np.average(y, weights=w) - x @ mean.numpy()
    gram, total = x.T @ (w.numpy()[:, None] * x), float(w.sum())

    def evidence(alpha):
        b = np.linalg.solve(gram + lambda_ / alpha * np.eye(4), x.T @ (w.numpy() * gap))
        misfit = float((w.numpy() * (gap - x @ b) ** 2).sum())
        curve = np.linalg.slogdet(lambda_ * np.eye(4) + alpha * gram)[1]
        return 0.5 * (total * np.log(alpha) - alpha * misfit - lambda_ * b @ b - curve)

    best = found.noise_precision
    assert evidence(best) > max(evidence(best * factor) for factor in (0.97, 1.03))
    assert found.prior_precision == lambda_


def test_bad_precisions_are_refused():
    with pytest.raises(InvalidValue, match="prior_precision must be positive"):
        bayes_fit(*drawn(), prior_precision=0.0)


# --- KernelSHAP ------------------------------------------------------------------------------------------


def all_coalitions(d: int) -> tuple[Tensor, Tensor]:
    """All but the empty and the full one, with the Shapley kernel."""
    z = torch.tensor([[i >> j & 1 for j in range(d)] for i in range(1, 2**d - 1)], dtype=torch.float64)
    size = z.sum(1).long().tolist()
    return z, torch.tensor([(d - 1) / (comb(d, k) * k * (d - k)) for k in size], dtype=torch.float64)


@given(d=st.integers(2, 7), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_all_coalitions_give_the_shapley_values_of_any_game(d, seed):
    game = dict(enumerate(np.random.default_rng(seed).normal(size=2**d)))
    exact = np.zeros(d)
    for j in range(d):
        rest = [i for i in range(d) if i != j]
        for size in range(d):
            share = factorial(size) * factorial(d - 1 - size) / factorial(d)
            for members in combinations(rest, size):
                key = sum(1 << i for i in members)
                exact[j] += share * (game[key | 1 << j] - game[key])
    z, w = all_coalitions(d)
    y = torch.tensor([game[i] for i in range(1, 2**d - 1)])
    found = shapley_fit(z, y, w, game[0], game[2**d - 1])
    np.testing.assert_allclose(found.coefficients.numpy(), exact, atol=1e-9)


def test_shapley_coefficients_sum_to_the_gain_and_minimise_the_squares():
    z, y, _ = drawn(100, 9)
    w = torch.rand(100).double()
    found = shapley_fit(z, y, w, 0.2, 0.9)
    assert float(found.coefficients.sum()) == pytest.approx(0.7, abs=1e-14)
    slope = z.T @ (w * (y - 0.2 - z @ found.coefficients))
    torch.testing.assert_close(slope, slope.mean().expand(9), rtol=0, atol=1e-10)  # Lagrange's condition


def test_additive_games_are_solved_from_few_coalitions_whatever_the_weights():
    b = torch.randn(20).double()
    z = drawn(40, 20)[0][1:]
    found = shapley_fit(z, 1 + z @ b, torch.rand(39), 1.0, 1 + float(b.sum()))
    torch.testing.assert_close(found.coefficients, b, rtol=0, atol=1e-9)
    assert found.stderr.max() < 1e-9
    assert found.r2 == pytest.approx(1)


def test_too_few_coalitions_are_refused_with_their_number():
    z = torch.eye(8).double()[:4].repeat(5, 1)
    with pytest.raises(InvalidValue, match="8 features need at least 7 independent coalitions; the 20 drawn"):
        shapley_fit(z, torch.rand(20), torch.ones(20), 0.0, 1.0)


def test_a_single_player_gets_everything():
    found = shapley_fit(torch.ones(1, 1), torch.ones(1), torch.ones(1), 0.25, 1.0)
    assert found.coefficients.tolist() == [0.75]


# --- speed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "limit"), [({}, 0.02), ({"features": 6}, 0.04)])
def test_a_thousand_samples_of_sixty_segments_take_milliseconds(options, limit):
    sample = drawn(1000, 60)
    surrogate.fit(*sample, **options)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        surrogate.fit(*sample, **options)
        times.append(time.perf_counter() - start)
    assert min(times) < limit
