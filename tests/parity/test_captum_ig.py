"""Integrated Gradients against captum, live; its trapezoid is wrong, ours is not."""

import pytest
from captum.attr import IntegratedGradients

import pellucid
from zoo import ResidualNet, assert_close, images, seeded

SHARED = {"gauss-legendre": "gausslegendre", "left": "riemann_left", "right": "riemann_right",
          "middle": "riemann_middle"}  # fmt: skip


@pytest.mark.parametrize("quadrature", SHARED)
def test_integrated_gradients_are_captums(quadrature: str) -> None:
    net, x, start = seeded(ResidualNet).double(), images(), images(seed=5)
    ours = pellucid.explain(net, x, "integrated-gradients", target=1, baseline=start, steps=9,
                            quadrature=quadrature, progress=False)  # fmt: skip
    theirs, delta = IntegratedGradients(net).attribute(
        x, start, target=1, n_steps=9, method=SHARED[quadrature], return_convergence_delta=True
    )
    assert_close(ours.raw, theirs, 1e-7)  # captum steps in float32
    assert_close(ours.delta, delta, 1e-5)


def test_real_weights_give_captums_map(lite0: pellucid.Model) -> None:
    x = lite0.prepare("sample:cat")[..., :160, :128]
    ours = pellucid.explain(lite0.module, x, "integrated-gradients", target=282, steps=12, progress=False,
                            quadrature="gauss-legendre")  # fmt: skip
    theirs = IntegratedGradients(lite0.module).attribute(x, target=282, n_steps=12, internal_batch_size=4)
    assert_close(ours.raw, theirs, 1e-4)


def test_captums_trapezoid_is_ours_but_for_the_share_of_the_path_it_leaves_out() -> None:
    """Its weights sum to (n - 1) / n: the map of a linear score comes out too small by as much."""
    net, x = seeded(ResidualNet).double(), images()
    ours = pellucid.explain(net, x, "integrated-gradients", target=1, steps=10, quadrature="trapezoid",
                            progress=False)  # fmt: skip
    theirs = IntegratedGradients(net).attribute(x, target=1, n_steps=10, method="riemann_trapezoid")
    assert_close(ours.raw, theirs * 10 / 9, 1e-7)  # captum steps in float32
    fine = pellucid.explain(net, x, "integrated-gradients", target=1, steps=400, quadrature="middle",
                            progress=False)  # fmt: skip
    errors = [float((map - fine.raw).abs().sum()) for map in (ours.raw, theirs)]
    assert errors[0] < errors[1]
