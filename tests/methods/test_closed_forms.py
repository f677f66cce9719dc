"""Closed forms: networks whose explanation can be written down, in float64, to 1e-10."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import pellucid
from pellucid import Contrast
from zoo import GapNet, Homogeneous, LinearNet, Quadratic, ResidualNet, assert_close, images, raw, seeded

EXACT = 1e-10
CLASSES = [3, 0, 4]
LINEAR_IN_SCORE = [
    ("cam", {}),
    ("grad-cam", {"signed": True}),
    ("hirescam", {}),
    ("xgrad-cam", {"signed": True}),
    ("saliency", {"signed": True}),
    ("input-x-gradient", {}),
    ("smooth-grad", {"samples": 3}),
]
"""Methods whose signed map is a linear function of the score."""


class Gap:
    """A GAP net, its activations at the ReLU, and the weights of the explained classes."""

    def __init__(self, width: int = 7) -> None:
        self.net = seeded(GapNet, 5, width).double()
        self.x = images()
        with torch.no_grad():
            self.A = self.net.conv(self.x).relu()  # (N, K, h, w)
            self.S = self.net(self.x)[range(3), CLASSES]  # (N,)
        self.Z = self.A[0, 0].numel()
        self.w = self.net.fc.weight.detach()[CLASSES][..., None, None]  # (N, K, 1, 1)
        self.b = self.net.fc.bias.detach()[CLASSES]
        self.F = self.A.mean((2, 3), keepdim=True)

    def map(self, method: str, **options: object) -> Tensor:
        return raw(self.net, self.x, method, target=CLASSES, **options)

    def matrix(self, image: int) -> np.ndarray:
        """(Z, K): a row for each position."""
        return self.A[image].flatten(1).T.numpy()


@pytest.fixture(scope="module")
def gap() -> Gap:
    return Gap()


# ---------------------------------------------------------------------------------- CAMs on a GAP net


@pytest.mark.parametrize("layer", ["relu", "auto"])
def test_cam_is_the_sum_of_class_weights_times_activations(gap: Gap, layer: str) -> None:
    assert_close(gap.map("cam", layer=layer), (gap.w * gap.A).sum(1), EXACT)


def test_the_mean_of_cam_is_the_score_without_its_bias(gap: Gap) -> None:
    assert_close(gap.map("cam").mean((1, 2)), gap.S - gap.b, EXACT)


@pytest.mark.parametrize("method", ["grad-cam", "hirescam", "xgrad-cam"])
def test_on_a_gap_net_three_cams_are_cam_over_the_number_of_positions(gap: Gap, method: str) -> None:
    assert_close(gap.map(method, signed=True), gap.map("cam") / gap.Z, EXACT)
    assert_close(gap.map(method, signed=False), gap.map("cam").relu() / gap.Z, EXACT)


@pytest.mark.parametrize("method", ["hirescam", "xgrad-cam"])
def test_hirescam_and_xgrad_cam_sum_to_the_score_without_its_bias(gap: Gap, method: str) -> None:
    assert_close(gap.map(method, signed=True).sum((1, 2)), gap.S - gap.b, EXACT)


def test_hirescam_sums_to_the_score_where_a_linear_reads_every_position() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 10 * 15, 5)).double()
    x = images()
    score = net(x)[:, 2] - net[3].bias[2]
    assert_close(raw(net, x, "hirescam", target=2).sum((1, 2)), score.detach(), EXACT)


def test_xgrad_cam_conserves_what_hirescam_finds_on_any_net() -> None:
    net, x = seeded(ResidualNet).double(), images(size=(24, 32))
    sums = [
        raw(net, x, m, target=1, layer="stage1", signed=True).sum((1, 2)) for m in ("xgrad-cam", "hirescam")
    ]
    assert_close(sums[0], sums[1], EXACT)


@pytest.mark.parametrize("eps", [1e-7, 0.5])
def test_xgrad_cam_adds_eps_to_each_channels_sum(gap: Gap, eps: float) -> None:
    total = gap.A.sum((2, 3), keepdim=True)
    expected = (gap.w / gap.Z * total / (total + eps) * gap.A).sum(1)
    assert_close(gap.map("xgrad-cam", eps=eps, signed=True), expected, EXACT)


@pytest.mark.parametrize("method", ["layer-cam", "grad-cam-elementwise"])
def test_layer_cam_and_elementwise_keep_positive_weights_only(gap: Gap, method: str) -> None:
    assert_close(gap.map(method), (gap.w.relu() * gap.A).sum(1) / gap.Z, EXACT)


@pytest.mark.parametrize("eps", [0.0, 1e-6, 1e-2])
def test_grad_cam_plus_plus_weights_have_a_closed_form(gap: Gap, eps: float) -> None:
    slope = gap.w / gap.Z
    w = gap.w.relu() / (2 + gap.w * gap.F + eps / slope**2)
    assert_close(gap.map("grad-cam++", eps=eps), (w * gap.A).sum(1).relu(), EXACT)


def test_grad_cam_plus_plus_with_normalised_alphas_has_the_positive_weights_of_grad_cam(gap: Gap) -> None:
    expected = (gap.w.relu() * gap.A).sum(1) / gap.Z
    assert_close(gap.map("grad-cam++", normalize_alphas=True), expected, EXACT)


def test_a_cams_weights_are_among_its_details(gap: Gap) -> None:
    details = pellucid.explain(gap.net, gap.x, "grad-cam", target=CLASSES, progress=False).details
    assert_close(details["weights"], gap.w[..., 0, 0] / gap.Z, EXACT)


def test_cam_of_a_probability_is_grad_cam_of_it_times_the_number_of_positions(gap: Gap) -> None:
    cam = gap.map("cam", output="probability")
    assert_close(cam, gap.Z * gap.map("grad-cam", output="probability", signed=True), EXACT)


def test_a_dead_channel_leaves_every_cam_finite(gap: Gap) -> None:
    net = seeded(GapNet).double()
    nn.init.constant_(net.conv.bias, -100.0)  # the ReLU gives nothing at all
    for method in ("cam", "grad-cam", "grad-cam++", "xgrad-cam", "layer-cam", "eigen-cam", "eigen-grad-cam"):
        assert raw(net, gap.x, method, target=0).eq(0).all(), method


# ------------------------------------------------------------------------------ principal components


def first_component(matrix: np.ndarray, center: bool) -> np.ndarray:
    """(Z, K) projected on its first right singular vector, whose sign is arbitrary."""
    matrix = matrix - matrix.mean(0) if center else matrix
    U, s, _ = np.linalg.svd(matrix, full_matrices=False)
    return U[:, 0] * s[0]


def turned(map: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """`map` with the sign that does not run against `toward`."""
    return map if np.dot(map, toward - toward.mean()) >= 0 else -map


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("width", [7, 200])  # fewer and more channels than the 150 positions
def test_eigen_cam_is_the_first_principal_component(width: int, center: bool) -> None:
    gap = Gap(width)
    found = gap.map("eigen-cam", center=center)
    for i, map in enumerate(found):
        expected = turned(first_component(gap.matrix(i), center), np.abs(gap.matrix(i)).sum(1))
        assert_close(map.flatten(), torch.from_numpy(expected), 1e-9)  # a Gram matrix squares the rounding


@pytest.mark.parametrize("center", [False, True])
def test_eigen_grad_cam_is_the_first_principal_component_of_gradient_times_activation(
    gap: Gap, center: bool
) -> None:
    found = gap.map("eigen-grad-cam", center=center, signed=True)
    for i, map in enumerate(found):
        products = gap.matrix(i) * gap.w[i].flatten().numpy() / gap.Z
        expected = turned(first_component(products, center), products.sum(1))
        assert_close(map.flatten(), torch.from_numpy(expected), 1e-9)


def test_eigen_cam_is_the_same_for_every_class_and_eigen_grad_cam_is_not(gap: Gap) -> None:
    maps = {m: [raw(gap.net, gap.x, m, target=c) for c in range(5)] for m in ("eigen-cam", "eigen-grad-cam")}
    assert all(torch.equal(map, maps["eigen-cam"][0]) for map in maps["eigen-cam"])
    assert not torch.allclose(maps["eigen-grad-cam"][0], maps["eigen-grad-cam"][1])


@pytest.mark.parametrize("method", ["grad-cam", "hirescam", "layer-cam"])
def test_principal_projects_the_weighted_maps_on_their_first_component(gap: Gap, method: str) -> None:
    found = gap.map(method, principal=True, signed=True)
    for i, map in enumerate(found):
        w = gap.w[i].flatten().numpy() / gap.Z
        weighted = gap.matrix(i) * (np.maximum(w, 0) if method == "layer-cam" else w)
        expected = turned(first_component(weighted, center=True), weighted.sum(1))
        assert_close(map.flatten(), torch.from_numpy(expected), 1e-9)


# ------------------------------------------------------------------------------------ several layers

STRIDES = {"stem": 2, "stage1": 2, "stage2": 4, "last": 8}


@pytest.mark.parametrize("fusion", ["mean", "max", "tanh-max"])
@pytest.mark.parametrize("method", ["grad-cam", "layer-cam"])
def test_layers_are_fused_after_each_is_divided_by_its_largest_value(method: str, fusion: str) -> None:
    net, x = seeded(ResidualNet).double(), images(size=(64, 96))
    found = raw(net, x, method, target=2, layer=list(STRIDES), fusion=fusion)
    maps = []
    for layer, stride in STRIDES.items():
        map = raw(net, x, method, target=2, layer=layer)
        map = torch.stack([m / m.max() if m.max() > 0 else m for m in map])
        if fusion == "tanh-max" and stride <= 4:
            map = torch.tanh(2 * map)
        maps.append(interpolate(map[:, None], (32, 48), mode="bilinear", align_corners=False)[:, 0])
    expected = sum(maps) / 4 if fusion == "mean" else torch.stack(maps).amax(0)
    assert_close(found, expected, EXACT)


def test_layer_cam_fuses_by_tanh_and_maximum_unless_asked_otherwise() -> None:
    net, x = seeded(ResidualNet).double(), images(size=(24, 32))
    asked = ({}, {"fusion": "tanh-max"})
    assert torch.equal(*(raw(net, x, "layer-cam", target=1, layer=list(STRIDES), **o) for o in asked))


# ------------------------------------------------------------------------------------------ random


def test_random_cam_draws_weights_from_minus_one_to_one_by_its_seed() -> None:
    gap = Gap(width=200)
    first, again, other = (
        pellucid.explain(gap.net, gap.x, "random-cam", signed=True, seed=s, progress=False) for s in (0, 0, 1)
    )
    assert torch.equal(first.raw, again.raw)
    assert not torch.allclose(first.raw, other.raw)
    assert_close(gap.map("random-cam", signed=True, batch_size=1), first.raw, EXACT)
    w = first.details["weights"]
    assert torch.equal(w[0], w[2])
    assert -1 <= w.min() < -0.9
    assert 0.9 < w.max() <= 1
    assert abs(w[0].mean()) < 0.15
    assert_close(first.raw, torch.einsum("k,nkhw->nhw", w[0], gap.A), EXACT)


def test_random_cam_leaves_the_global_random_state_alone(gap: Gap) -> None:
    before = torch.get_rng_state()
    gap.map("random-cam")
    assert torch.equal(before, torch.get_rng_state())


# ------------------------------------------------------------------------------- gradients of scores


def test_input_x_gradient_sums_to_the_score_without_biases() -> None:
    net, x = seeded(Homogeneous).double(), images()
    scores = net(x)[:, 1].detach()
    assert_close(raw(net, x, "input-x-gradient", target=1).sum((1, 2, 3)), scores, EXACT)


def test_saliency_is_the_largest_magnitude_over_channels() -> None:
    net, x = seeded(LinearNet, 3 * 12 * 17).double(), images()
    w = net.fc.weight.detach()[2].view(3, 12, 17)
    assert_close(raw(net, x, "saliency", target=2), w.abs().amax(0).expand(3, 1, 12, 17), EXACT)
    assert_close(raw(net, x, "saliency", target=2, signed=True), w.expand(3, 3, 12, 17), EXACT)


def test_on_a_linear_model_smooth_grad_is_the_gradient_and_its_variance_zero() -> None:
    net, x = seeded(LinearNet, 3 * 12 * 17).double(), images()
    gradient = raw(net, x, "saliency", target=2, signed=True)
    smooth = pellucid.explain(net, x, "smooth-grad", target=2, samples=7, progress=False)
    assert_close(smooth.raw, gradient, 1e-14)
    assert_close(raw(net, x, "smooth-grad-squared", target=2, samples=7), gradient**2, 1e-14)
    assert raw(net, x, "var-grad", target=2, samples=7).max() <= 1e-15 * gradient.abs().max() ** 2
    assert smooth.stderr.max() <= 1e-7 * gradient.abs().max()


def test_squares_minus_the_squared_mean_is_the_variance() -> None:
    net, x = seeded(ResidualNet).double(), images(size=(24, 32))
    mean, square, variance = (
        raw(net, x, m, target=0, samples=6, seed=3)
        for m in ("smooth-grad", "smooth-grad-squared", "var-grad")
    )
    assert_close(square - mean**2, variance, EXACT)
    assert variance.min() >= 0


@pytest.mark.parametrize(
    ("method", "samples"), [("smooth-grad", 60), ("smooth-grad-squared", 600), ("var-grad", 600)]
)
def test_the_truth_lies_within_two_standard_errors_as_often_as_it_should(method: str, samples: int) -> None:
    """On a quadratic, gradients under noise are Gaussian: mean a x + b, standard deviation a sigma."""
    x = images(n=1, size=(20, 31))
    net = seeded(Quadratic, x.numel()).double()
    e = pellucid.explain(net, x, method, target=1, samples=samples, noise=0.2, batch_size=64, progress=False)
    a, b = net.a.detach()[1].view_as(x), net.b.detach()[1].view_as(x)
    mean, variance = a * x + b, (a * 0.2 * (x.max() - x.min())) ** 2
    truth = {
        "smooth-grad": mean,
        "smooth-grad-squared": mean**2 + variance,
        "var-grad": variance * (samples - 1) / samples,
    }[method]
    within = ((e.raw - truth).abs() <= 2 * e.stderr).double().mean()  # of 1860 independent pixels
    assert 0.93 < within < 0.97


def test_the_standard_error_shrinks_with_the_square_root_of_the_samples() -> None:
    net, x = seeded(Quadratic, 3 * 12 * 17).double(), images(n=1)
    few, many = (
        pellucid.explain(net, x, "smooth-grad", target=1, samples=samples, progress=False).stderr.mean()
        for samples in (50, 200)
    )
    assert few / many == pytest.approx(2, rel=0.05)


def test_noise_is_measured_by_each_images_own_range() -> None:
    """Of a quadratic, an image stretched tenfold has a hundredfold variance of the gradient."""
    x = images(n=1)
    net = seeded(Quadratic, x.numel()).double()
    both = raw(net, torch.cat([x, 10 * x]), "var-grad", target=1, samples=9)
    assert_close(both[1], 100 * both[0], EXACT)


# ------------------------------------------------------------------------------ what is explained


def linear(outputs: int) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear model, a batch, its logits (N, K), and its weights (K, C, H, W)."""
    net, x = seeded(LinearNet, 3 * 12 * 17, outputs).double(), images()
    return net, x, net(x).detach(), net.fc.weight.detach().view(-1, 3, 12, 17)


def gradient(net: nn.Module, x: Tensor, **asked: object) -> Tensor:
    return raw(net, x, "saliency", signed=True, **asked)


def test_the_gradient_of_a_probability_is_that_of_a_softmax() -> None:
    net, x, z, W = linear(4)
    p = z.softmax(1)
    centred = W[2] - torch.einsum("nk,kchw->nchw", p, W)
    assert_close(gradient(net, x, target=2, output="probability"), p[:, 2, None, None, None] * centred, EXACT)


def test_the_gradient_of_a_loss_is_probabilities_minus_the_target() -> None:
    net, x, z, W = linear(4)
    error = z.softmax(1) - torch.eye(4, dtype=z.dtype)[2]
    assert_close(gradient(net, x, target=2, output="loss"), torch.einsum("nk,kchw->nchw", error, W), EXACT)


def test_a_model_that_ends_in_a_softmax_is_not_given_another() -> None:
    net, x, _, _ = linear(4)
    ends_in_softmax = nn.Sequential(net, nn.Softmax(1))
    for output in ("probability", "loss"):
        ours = gradient(ends_in_softmax, x, target=2, output=output)
        assert_close(ours, gradient(net, x, target=2, output=output), 1e-9)


@pytest.mark.parametrize(("target", "sign"), [(1, 1), (0, -1)])
def test_a_single_logit_speaks_for_class_one_and_against_class_zero(target: int, sign: int) -> None:
    net, x, z, W = linear(1)
    z = z[..., None, None]
    slope = (sign * z).sigmoid() * (-sign * z).sigmoid()
    assert_close(gradient(net, x, target=target), sign * W.expand(3, -1, -1, -1), EXACT)
    assert_close(gradient(net, x, target=target, output="probability"), sign * slope * W, EXACT)
    assert_close(gradient(net, x, target=target, output="loss"), -sign * (-sign * z).sigmoid() * W, EXACT)


def test_none_asks_for_the_class_each_image_is_predicted_as(gap: Gap) -> None:
    predicted = gap.net(gap.x).argmax(1).tolist()
    e = pellucid.explain(gap.net, gap.x, "hirescam", progress=False)
    assert e.target == predicted
    assert torch.equal(e.raw, raw(gap.net, gap.x, "hirescam", target=predicted))


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize(("method", "options"), LINEAR_IN_SCORE)
def test_a_contrast_gives_the_difference_of_the_signed_maps(
    gap: Gap, method: str, options: dict[str, object], output: str
) -> None:
    a, b, contrast = (
        raw(gap.net, gap.x, method, target=t, output=output, **options) for t in (3, 1, Contrast(3, 1))
    )
    assert_close(contrast, a - b, EXACT)


def test_a_contrast_is_rectified_after_the_difference(gap: Gap) -> None:
    a, b = (raw(gap.net, gap.x, "grad-cam", target=t, signed=True) for t in (3, 1))
    assert_close(raw(gap.net, gap.x, "grad-cam", target=Contrast(3, 1)), (a - b).relu(), EXACT)


@pytest.mark.parametrize(("method", "options"), LINEAR_IN_SCORE[1:])
def test_a_callable_target_is_what_it_computes(gap: Gap, method: str, options: dict[str, object]) -> None:
    found = raw(gap.net, gap.x, method, target=lambda z: 2 * z[:, 3] - z[:, 1], **options)
    a, b = (raw(gap.net, gap.x, method, target=t, **options) for t in (3, 1))
    assert_close(found, 2 * a - b, EXACT)


# -------------------------------------------------------------------------------- copies of an image


class Recorder(nn.Module):
    """Keeps what a model was given."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.seen = SimpleNamespace(copies=[])  # what runs is a shadow, with lists of its own

    def forward(self, x: Tensor) -> Tensor:
        self.seen.copies += [copy.detach().clone() for copy in x]
        return self.net(x)


@pytest.mark.parametrize("statistic", ["mean", "square", "variance"])
@pytest.mark.parametrize(
    ("method", "options"), [("grad-cam", {}), ("hirescam", {}), ("eigen-cam", {}), ("saliency", {})]
)
def test_smooth_is_a_statistic_of_the_maps_of_noisy_copies(
    method: str, options: dict[str, object], statistic: str
) -> None:
    net, x = Recorder(seeded(ResidualNet).double()), images(n=1, size=(24, 32))
    found = raw(net, x, method, target=2, smooth=5, smooth_noise=0.1, smooth_statistic=statistic, **options)
    # One of them is run alone once more: a model that takes its batch apart may mix the samples.
    copies = list(
        {copy.sum().item(): copy for copy in net.seen.copies if not torch.equal(copy, x[0])}.values()
    )
    assert len(copies) == 5
    maps = torch.stack([raw(net.net, copy, method, target=2, **options)[0] for copy in copies])
    expected = {
        "mean": maps.mean(0),
        "square": (maps**2).mean(0),
        "variance": maps.var(0, correction=0),
    }[statistic]
    assert_close(found[0], expected, 1e-9)


def test_noise_has_the_standard_deviation_that_was_asked_for() -> None:
    net, x = Recorder(seeded(LinearNet, 3 * 40 * 50).double()), images(n=1, size=(40, 50))
    raw(net, x, "smooth-grad", samples=10, noise=0.3)
    noise = torch.stack([copy - x[0] for copy in net.seen.copies if not torch.equal(copy, x[0])])
    assert noise.std() == pytest.approx(0.3 * float(x.max() - x.min()), rel=0.01)  # 60,000 draws
    assert abs(noise.mean()) < 0.02
    assert noise[0].flatten() @ noise[1].flatten() / noise[0].norm() / noise[1].norm() < 0.05


@pytest.mark.parametrize("method", ["grad-cam", "hirescam", "layer-cam", "saliency", "input-x-gradient"])
def test_augment_is_the_mean_of_six_explanations(method: str) -> None:
    net, x = seeded(ResidualNet).double(), images(size=(24, 32))
    total = torch.zeros(())
    for factor in (0.9, 1.0, 1.1):
        for flip in (False, True):
            copy = x.flip(-1) if flip else x
            map = raw(net, factor * copy, method, target=[0, 1, 2])
            total = total + (map.flip(-1) if flip else map)
    assert_close(raw(net, x, method, target=[0, 1, 2], augment=True), total / 6, EXACT)


@pytest.mark.parametrize("method", ["cam", "grad-cam", "hirescam", "layer-cam", "saliency"])
def test_augment_changes_nothing_where_mirroring_and_scaling_change_nothing(method: str) -> None:
    net, x = seeded(GapNet, bias=False).double(), images()
    net.conv.weight.data += net.conv.weight.data.flip(-1)  # mirrored pictures have mirrored features
    plain, augmented = (raw(net, x, method, target=2, augment=a) for a in (False, True))
    assert_close(augmented, plain, EXACT)


def test_smooth_and_augment_together_average_the_smooth_maps_of_the_copies() -> None:
    net, x = seeded(ResidualNet).double(), images(n=1, size=(24, 32))
    total = torch.zeros(())
    for factor in (0.9, 1.0, 1.1):
        for flip in (False, True):
            copy = factor * (x.flip(-1) if flip else x)
            map = raw(net, copy, "hirescam", target=1, smooth=3)
            total = total + (map.flip(-1) if flip else map)
    assert_close(raw(net, x, "hirescam", target=1, smooth=3, augment=True), total / 6, EXACT)
