"""The engine of paths: quadrature rules, and the rule that refines itself."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.paths import FIRST, Node, Quadrature, refine, rule
from pellucid.errors import InvalidValue

RULES: dict[Quadrature, int] = {"left": 1, "right": 1, "trapezoid": 2, "middle": 2}
"""The order of each rule's convergence; that of Gauss and Legendre grows with its nodes."""
every = pytest.mark.parametrize("name", [*RULES, "gauss-legendre"])


def integral(name: Quadrature, steps: int, f) -> float:
    nodes, weights = rule(name, steps)
    return float((weights * f(nodes)).sum())


@every
@pytest.mark.parametrize("steps", [2, 3, 7, 50])
def test_weights_sum_to_one_and_nodes_lie_in_order_inside(name, steps):
    nodes, weights = rule(name, steps)
    assert len(nodes) == len(weights) == steps
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert (nodes.diff() > 0).all()
    assert 0 <= nodes[0] <= nodes[-1] <= 1


@every
def test_constants_are_integrated_exactly_and_straight_lines_by_all_symmetric_rules(name):
    assert integral(name, 5, torch.ones_like) == pytest.approx(1)
    line = integral(name, 5, lambda t: 3 * t)
    assert line == pytest.approx({"left": 1.2, "right": 1.8}.get(name, 1.5))


@pytest.mark.parametrize(("name", "order"), RULES.items())
def test_the_error_falls_at_the_rules_order(name, order):
    errors = [abs(integral(name, n + (name == "trapezoid"), torch.exp) - (math.e - 1)) for n in (32, 64)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_gauss_and_legendre_are_exact_up_to_degree_2n_minus_1_and_no_further(steps):
    exact = integral("gauss-legendre", steps, lambda t: t ** (2 * steps - 1))
    assert exact == pytest.approx(1 / (2 * steps), rel=1e-12)
    beyond = integral("gauss-legendre", steps, lambda t: t ** (2 * steps))
    assert abs(beyond - 1 / (2 * steps + 1)) > 1e-12


def test_captums_trapezoid_is_not_one():
    """Its weights are those of n intervals over n nodes: they sum to (n - 1) / n."""
    from captum.attr._utils.approximation_methods import approximation_parameters

    sizes, alphas = approximation_parameters("riemann_trapezoid")
    assert sum(sizes(10)) == pytest.approx(0.9)
    nodes, weights = rule("trapezoid", 10)
    assert alphas(10) == pytest.approx(nodes.tolist())
    assert [size / 0.9 for size in sizes(10)] == pytest.approx(weights.tolist())


@pytest.mark.parametrize(("name", "steps"), [("middle", 0), ("trapezoid", 1), ("gauss-legendre", -2)])
def test_too_few_steps_are_refused(name, steps):
    with pytest.raises(InvalidValue, match=rf"steps must be at least \d for quadrature='{name}'; got"):
        rule(name, steps)


class Course:
    """A score over [0, 1] with its slope, which says at which times it was asked."""

    def __init__(self, score, slope) -> None:
        self.score, self.slope = score, slope
        self.times: list[float] = []

    def __call__(self, times: Sequence[float]) -> list[Node]:
        self.times += times
        return [Node(t, self.score(t), self.slope(t), torch.tensor([self.slope(t)])) for t in times]


def corner(at: float) -> Course:
    """A score that rises steeply up to a place and is level from there on, as a network's on its way."""
    return Course(lambda t: min(t / at, 1.0), lambda t: float(t < at) / at)


@given(st.floats(0.01, 0.99), st.sampled_from([0.1, 0.01, 1e-3]))
def test_refined_to_its_tolerance_with_no_node_evaluated_twice(at, tolerance):
    course = corner(at)
    found = refine(course, tolerance=tolerance, most=500)
    assert len(set(course.times)) == len(course.times) == found.steps
    assert abs(float(found.gradient) - 1) <= tolerance
    assert found.change == 1
    assert found.error <= tolerance


def test_nodes_go_where_the_score_bends():
    course = corner(0.03)
    refine(course, tolerance=1e-3, most=500)
    assert sum(t < 0.1 for t in course.times) > len(course.times) / 2
    assert len(course.times) < 70  # a trapezoid of equal parts takes 1 / (2 * 0.03 * 0.001), some 17,000


def test_straight_scores_take_no_more_than_the_first_nodes():
    assert refine(Course(lambda t: 2 * t, lambda t: 2.0), tolerance=1e-9, most=500).steps == 5


def test_scores_that_do_not_change_take_no_more_than_the_first_nodes():
    found = refine(Course(lambda t: 4.0, lambda t: 0.0), tolerance=0.01, most=500)
    assert (found.steps, found.change, found.error) == (5, 0, 0)


def test_errors_that_cancel_do_not_count_as_accuracy():
    """By the first nodes one part gains too much and one too little, and their sum is right."""

    def bump(t: float) -> float:
        return 5 * t * (1 - 4 * t) ** 2 if t < 0.25 else 0.0

    def rise(t: float) -> float:
        return 5 * (1 - 4 * t) * (1 - 12 * t) if t < 0.25 else 0.0

    course = Course(lambda t: t + bump(t) + bump(1 - t), lambda t: 1 + rise(t) - rise(1 - t))
    first = course(FIRST)
    assert sum(node.slope for node in first[1:-1]) + (first[0].slope + first[-1].slope) / 2 == 4
    assert refine(course, tolerance=0.05, most=500).steps > 5


def test_a_jump_ends_at_the_most_steps_with_its_error():
    """No gradient sees a jump."""
    found = refine(Course(lambda t: float(t > 0.3), lambda t: 0.0), tolerance=0.01, most=40)
    assert found.steps == 40
    assert found.error == pytest.approx(1)
