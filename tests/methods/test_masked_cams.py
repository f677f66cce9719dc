"""ss-cam, is-cam, group-cam and opti-cam: literal twins in loops of plain model calls, and closed forms."""

import importlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import pellucid
from nets import TinyCNN, watched
from pellucid.errors import InvalidValue
from zoo import GapNet, ResidualNet, images, seeded

METHODS = {"ss-cam": {"samples": 3}, "is-cam": {}, "group-cam": {"groups": 3}, "opti-cam": {"steps": 4}}
methods = pytest.mark.parametrize(("method", "options"), METHODS.items())
CLASSES = [3, 1]
BLUR_RADIUS, BLUR_SIGMA = 25, 50.0


def explained(module: nn.Module, x: Tensor, method: str, **options: object) -> pellucid.Explanation:
    return pellucid.explain(module, x, method, progress=False, **{"layer": "relu", **options})


def evidence(module: GapNet, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Activations and gradients (K, h, w) of the logit of one image (1, C, H, W) behind a GapNet's ReLU."""
    A = module.conv(x).relu().detach().requires_grad_()
    (G,) = torch.autograd.grad(module.fc(A.mean((2, 3)))[0, target], A)
    return A.detach()[0], G[0]


def enlarged(map: Tensor, like: Tensor) -> Tensor:
    return interpolate(map[None, None], like.shape[-2:], mode="bilinear", align_corners=False)[0, 0]


def unit(map: Tensor) -> Tensor:
    """Scaled to [0, 1]; zero if it is constant."""
    return (map - map.min()) / (map.max() - map.min()) if map.max() > map.min() else torch.zeros_like(map)


@torch.no_grad()
def probability(module: nn.Module, x: Tensor, target: int) -> float:
    return float(module(x).softmax(1)[0, target])


def each(x: Tensor) -> Iterator[tuple[Tensor, int]]:
    for i, target in enumerate(CLASSES):
        yield x[i : i + 1], target


@pytest.fixture(params=[True, False], ids=["every channel varies", "a constant channel"])
def module(request: pytest.FixtureRequest) -> nn.Module:
    """A network with and without a channel that is the same everywhere."""
    return clear(constant=not request.param)


def clear(constant: bool = False) -> nn.Module:
    """A network whose scores depend on the image clearly."""
    net = seeded(GapNet).double()
    with torch.no_grad():
        net.fc.weight *= 8
        if constant:
            net.conv.weight[2], net.conv.bias[2] = 0, 1
    return net


# --- SS-CAM -------------------------------------------------------------------------------------------------


def noises(x: Tensor, seed: int, rounds: int, K: int) -> list[list[Tensor]]:
    """The noise of each round and channel: that of one generator for each, numbered round by round."""
    sources = [torch.Generator().manual_seed(seed * 1_000_003 + n) for n in range(rounds * K)]
    draw = [torch.randn(x.shape[-2:], generator=source).double() for source in sources]
    return [draw[i * K : (i + 1) * K] for i in range(rounds)]


@pytest.mark.parametrize("noise", [2.0, 0.5])
def test_ss_cam_is_its_equation(module, noise):
    x, samples, seed = images(2), 4, 3
    e = explained(module, x, "ss-cam", samples=samples, noise=noise, target=CLASSES, seed=seed)
    for i, (one, target) in enumerate(each(x)):
        A, _ = evidence(module, one, target)
        drawn = noises(one, seed, samples, len(A))
        weights, errors = torch.zeros(len(A)).double(), torch.zeros(len(A)).double()
        for k in range(len(A)):
            if A[k].max() == A[k].min():
                continue
            mask = unit(enlarged(A[k], one))
            scores = [probability(module, one * (mask + noise * drawn[n][k]), target) for n in range(samples)]
            weights[k], errors[k] = np.mean(scores), np.std(scores, ddof=1) / samples**0.5
        torch.testing.assert_close(e.details["weights"][i], weights)
        torch.testing.assert_close(e.raw[i], sum(w * a for w, a in zip(weights, A, strict=True)).relu())
        stderr = sum((s * a) ** 2 for s, a in zip(errors, A, strict=True)).sqrt()
        up = enlarged(stderr.float(), one)
        torch.testing.assert_close(e.stderr[i, 0], up)
    assert e.details["samples"].tolist() == [samples] * 2


def test_without_noise_ss_cam_is_score_cam(module):
    x = images(2)
    a, b = explained(module, x, "ss-cam", samples=2, noise=0), explained(module, x, "score-cam")
    torch.testing.assert_close(a.raw, b.raw)
    assert a.stderr.abs().max() < 1e-12


class Linear(GapNet):
    """Its score is linear in the image, though its layer is not."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return (
            x.flatten(1)
            @ torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype)[:, None]
            @ self.fc.weight[:, :1].T
        )


def test_noise_leaves_a_linear_score_where_it_was_but_for_the_error_told():
    module, x, samples = seeded(Linear).double(), images(1), 200
    options = {"target": 1, "output": "logit", "signed": True}
    e = explained(module, x, "ss-cam", samples=samples, **options)
    exact = explained(module, x, "score-cam", **options)
    stderr, off = e.stderr[0, 0], (e.attribution - exact.attribution)[0, 0]
    assert 0.3 < float((off / stderr).square().mean()) < 3
    # the noise moves a linear score by a normal number of this deviation, whatever the channel
    a = torch.linspace(-1, 1, x[0].numel()).double().view(x[0].shape) * module.fc.weight[1, 0].detach()
    sigma = 2 * float((a * x[0]).sum(0).norm()) / samples**0.5
    A, _ = evidence(module, x, 1)
    expected = sigma * enlarged((A**2).sum(0).sqrt().float(), x)
    assert float((stderr / expected - 1).abs().max()) < 0.12


def test_auto_draws_until_the_map_is_settled_and_says_how_many(module):
    x = images(2)
    few = explained(module, x, "ss-cam", samples="auto", tolerance=0.5, noise=0.1)
    many = explained(module, x, "ss-cam", samples="auto", tolerance=0.001)
    assert (few.details["samples"] < 35).all()
    assert (many.details["samples"] == 35).all()
    assert not few.warnings
    assert "not converged" in many.warnings[0]
    copies = few.cost.forward - 2
    assert 7 * few.details["samples"].sum() <= copies < 7 * (few.details["samples"] + 1).sum()


def test_unfinished_rounds_of_auto_weigh_each_channel_by_its_own_samples():
    from pellucid.methods.cam.ss_cam import channel_weights, in_rounds

    scores = torch.tensor([1.0, 2, 3, 5, 6, 9, 9], dtype=torch.float64)
    mean, stderr = channel_weights(in_rounds(scores, 3), torch.arange(12.0).double().view(3, 2, 2))
    torch.testing.assert_close(mean, torch.tensor([5.0, 4, 6]).double())
    columns = [[1, 5, 9], [2, 6], [3, 9]]
    expected = [np.std(c, ddof=1) / len(c) ** 0.5 for c in columns]
    torch.testing.assert_close(stderr, torch.tensor(expected).double())


def test_one_sample_has_no_standard_error_nor_have_several_layers_or_a_principal_component():
    module, x = seeded(ResidualNet).double(), images(1, (16, 24))
    assert explained(module, x, "ss-cam", samples=1).stderr is None
    assert explained(module, x, "ss-cam", samples=2, layer=["relu", "stage2"]).stderr is None
    assert explained(module, x, "ss-cam", samples=2, principal=True).stderr is None


def test_ss_cam_depends_on_its_seed_and_on_no_batch_size(module):
    x = images(2)
    first = explained(module, x, "ss-cam", samples=3, seed=1)
    assert not torch.equal(first.raw, explained(module, x, "ss-cam", samples=3, seed=2).raw)
    for size in (1, 5, 64):
        again = explained(module, x, "ss-cam", samples=3, seed=1, batch_size=size)
        torch.testing.assert_close(again.raw, first.raw, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(again.stderr, first.stderr)


# --- IS-CAM -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_is_cam_is_its_equation(module, steps):
    x = images(2)
    e = explained(module, x, "is-cam", steps=steps, target=CLASSES)
    for i, (one, target) in enumerate(each(x)):
        A, _ = evidence(module, one, target)
        weights = torch.zeros(len(A)).double()
        for k in range(len(A)):
            if A[k].max() > A[k].min():
                mask = unit(enlarged(A[k], one))
                for step in range(1, steps + 1):
                    weights[k] += probability(module, one * mask * step / steps, target) / steps
        torch.testing.assert_close(e.details["weights"][i], weights)
        torch.testing.assert_close(e.raw[i], sum(w * a for w, a in zip(weights, A, strict=True)).relu())


@pytest.mark.parametrize("batch_size", [1, 3, 4, 64])
def test_is_cam_depends_on_no_batch_size(module, batch_size):
    x = images(2)
    a, b = (explained(module, x, "is-cam", batch_size=size) for size in ("auto", batch_size))
    torch.testing.assert_close(a.raw, b.raw, rtol=1e-12, atol=1e-14)


def test_of_a_linear_score_is_cam_is_a_share_of_score_cam():
    module, x, options = seeded(Linear).double(), images(2), {"output": "logit", "signed": True}
    a = explained(module, x, "is-cam", steps=10, **options)
    b = explained(module, x, "score-cam", **options)
    torch.testing.assert_close(a.raw, b.raw * 11 / 20)  # the mean of 1/10, ..., 10/10


def test_screened_is_cam_is_within_a_thousandth(monkeypatch):
    screening = importlib.import_module("pellucid.probe.screening")
    monkeypatch.setattr(screening, "_pays", lambda *_: True)
    module, x = seeded(ResidualNet), images(1, (32, 32)).float()
    low = explained(module, x, "is-cam", layer="stage2", steps=40)
    high = explained(module, x, "is-cam", layer="stage2", steps=40, precision="float32")
    assert low.precision != high.precision
    assert (low.raw - high.raw).abs().max() <= 1e-3 * high.raw.max()


# --- Group-CAM ----------------------------------------------------------------------------------------------


def blurred(x: Tensor) -> Tensor:
    """Each value the weighted mean of those around it, mirrored at the edges."""
    out = x[0].numpy()
    for axis in (1, 2):
        n = out.shape[axis]
        radius = min(BLUR_RADIUS, n - 1)
        offsets = np.arange(-radius, radius + 1)
        kernel = np.exp(-((offsets / BLUR_SIGMA) ** 2) / 2)
        at = np.arange(n)[:, None] + offsets
        at = np.where(at < 0, -at, np.where(at >= n, 2 * (n - 1) - at, at))
        out = np.moveaxis((np.moveaxis(out, axis, -1)[..., at] * kernel).sum(-1) / kernel.sum(), -1, axis)
    return torch.from_numpy(np.ascontiguousarray(out))[None]


@pytest.mark.parametrize("threshold", [0.0, 30.0, 70.0])
@pytest.mark.parametrize("groups", [1, 3, 7, 32])
def test_group_cam_is_its_equation(module, groups, threshold):
    x, targets = images(3), [3, 1, 4]  # every group lowers the last
    e = explained(module, x, "group-cam", groups=groups, threshold=threshold, target=targets)
    for i, target in enumerate(targets):
        one = x[i : i + 1]
        A, G = evidence(module, one, target)
        weighted = [G[k].mean() * A[k] for k in range(7)]
        sizes = {1: [7], 3: [3, 2, 2]}.get(groups, [1] * 7)
        blur, expected, first = blurred(one), torch.zeros_like(A[0]), 0
        gains = []
        for size in sizes:
            map = sum(weighted[first : first + size]).relu()
            first += size
            if threshold:
                map = torch.where(map > np.percentile(map.numpy(), threshold), map, 0)
            M = unit(enlarged(map, one))
            pasted = probability(module, one * M + blur * (1 - M), target)
            gains.append(max(0.0, pasted - probability(module, blur, target)))
            expected += gains[-1] * map
        torch.testing.assert_close(e.details["group_weights"][i], torch.tensor(gains).double())
        torch.testing.assert_close(e.raw[i], expected)
    assert e.raw.any()


def test_the_baseline_of_group_cam_can_be_chosen(module):
    x = images(2)
    black, values = torch.zeros_like(x[:1]), torch.rand(2, 3, 12, 17).double()
    options = {"groups": 3, "target": CLASSES}
    a, b = (explained(module, x, "group-cam", baseline=b, **options) for b in ("zero", black))
    assert torch.equal(a.raw, b.raw)
    c = explained(module, x, "group-cam", baseline=values, **options)
    for i, (one, target) in enumerate(each(x)):
        options = {"groups": 3, "target": target}
        alone = explained(module, one, "group-cam", baseline=values[i : i + 1], **options)
        torch.testing.assert_close(c.raw[i], alone.raw[0])
    assert not torch.allclose(a.raw, c.raw)


def test_group_cams_gradients_are_the_logits_unless_another_output_is_asked_for(module):
    x = images(1)
    A, G = evidence(module, x, 4)
    leaf = A.clone().requires_grad_()
    loss = -module.fc(leaf.mean((1, 2))).log_softmax(0)[4]
    losses = torch.autograd.grad(loss, leaf)[0]
    blur = blurred(x)
    for output, slopes in (("loss", losses), ("logit", G)):
        e = explained(module, x, "group-cam", target=4, groups=1, threshold=0, output=output)
        map = (slopes.mean((1, 2))[:, None, None] * A).sum(0).relu()
        M = unit(enlarged(map, x))
        with torch.no_grad():
            pasted, hidden = module(x * M + blur * (1 - M)), module(blur)
        if output == "loss":
            pasted, hidden = -pasted.log_softmax(1), -hidden.log_softmax(1)
        torch.testing.assert_close(e.raw[0], (pasted - hidden)[0, 4].relu() * map)
        assert output == "logit" or e.raw.any()


def test_group_cam_says_why_a_map_is_empty():
    module, x = seeded(GapNet).double(), images(2)
    with torch.no_grad():
        module.fc.weight.copy_(-module.fc.weight.abs())
    e = explained(module, x, "group-cam", output="logit", groups=2)
    assert not e.raw.any()
    assert any("speaks for this class" in warning for warning in e.warnings)
    assert not any("score of the baseline" in warning for warning in e.warnings)
    module = seeded(GapNet).double()
    e = explained(module, x, "group-cam", target=CLASSES, groups=2, baseline=x)
    assert not e.raw.any()
    assert any("score of the baseline" in warning for warning in e.warnings)
    assert not any("speaks" in warning for warning in e.warnings)


# --- Opti-CAM -----------------------------------------------------------------------------------------------


def ascended(module: nn.Module, A: Tensor, x: Tensor, target: int, steps: int, rate: float) -> list[tuple]:
    """(score, weights, map) at each step of Adam, from its equations."""
    u = torch.zeros(len(A), dtype=A.dtype, requires_grad=True)
    mean, square, course = torch.zeros_like(u), torch.zeros_like(u), []
    for step in range(1, steps + 2):
        L = sum(w * a.clamp(min=0) for w, a in zip(u.softmax(0), A, strict=True))
        up = enlarged(L, x)
        score = module(x * (up - up.min()) / (up.max() - up.min()))[0, target]
        course.append((float(score.detach()), u.detach().softmax(0), L.detach()))
        (g,) = torch.autograd.grad(score, u)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        update = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        u = (u + rate * update).detach().requires_grad_()
    return course


@pytest.mark.parametrize(("steps", "rate"), [(1, 0.1), (9, 0.1), (9, 1.0)])
@pytest.mark.parametrize("layer", ["relu", "conv"])
def test_opti_cam_is_the_best_of_its_ascent(module, steps, rate, layer):
    x = images(2)
    e = explained(module, x, "opti-cam", steps=steps, learning_rate=rate, target=CLASSES, layer=layer)
    for i, (one, target) in enumerate(each(x)):
        with torch.no_grad():
            A = module.conv(one)[0]
        course = ascended(module, A, one, target, steps, rate)
        score, weights, L = max(course, key=lambda found: found[0])
        torch.testing.assert_close(float(e.details["masked_score"][i]), score)
        torch.testing.assert_close(e.details["weights"][i], weights)
        torch.testing.assert_close(e.raw[i], L)
        assert score > course[0][0]


def test_the_best_mask_of_opti_cam_need_not_be_the_last():
    module, x = clear(), images(1)
    course = ascended(module, evidence(module, x, 4)[0], x, 4, 9, 5.0)
    scores = [score for score, _, _ in course]
    assert max(scores) > scores[-1]
    e = explained(module, x, "opti-cam", steps=9, learning_rate=5.0, target=4)
    torch.testing.assert_close(float(e.details["masked_score"]), max(scores))


def test_the_score_told_by_opti_cam_is_that_of_the_image_seen_through_its_map(module):
    x = images(2)
    e = explained(module, x, "opti-cam", steps=20, target=CLASSES)
    for i, (one, target) in enumerate(each(x)):
        with torch.no_grad():
            seen = module(one * unit(enlarged(e.raw[i], one)))[0, target]
        torch.testing.assert_close(seen, e.details["masked_score"][i])


def test_opti_cam_ends_when_nothing_is_gained_any_more_and_each_image_by_itself(module):
    x = images(2)
    e = explained(module, x, "opti-cam", steps=3000)
    singles = [explained(module, x[i : i + 1], "opti-cam", steps=3000) for i in range(2)]
    runs = [one.cost.backward for one in singles]
    assert max(runs) < 3000
    assert len(set(runs)) > 1
    assert e.cost.backward == 2 * max(runs)
    for i, one in enumerate(singles):
        torch.testing.assert_close(e.raw[i], one.raw[0], rtol=1e-6, atol=1e-9)
        course = ascended(module, *[evidence(module, x[i : i + 1], one.target[0])[0], x[i : i + 1]],
                          one.target[0], runs[i], 0.1)  # fmt: skip
        tops = np.maximum.accumulate([score for score, _, _ in course])
        gains = [tops[t] - tops[t - 10] <= 1e-3 * (tops[t] - tops[0]) for t in range(10, len(tops))]
        assert gains.index(True) == len(gains) - 2  # the twin's list goes one step on


class Dark(GapNet):
    """Fails in one way or another once the image is darker than it was at first sight."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out = super().forward(x)
        if self.calls < 4:
            return out
        if self.how == "score":
            return out * float("nan")
        return out + 0 * (x * 0).abs().sqrt().sum((1, 2, 3))[:, None]  # 0 times an infinite slope


@pytest.mark.parametrize("how", ["score", "gradient"])
def test_a_search_that_meets_what_is_not_finite_keeps_its_best_and_says_so(how):
    x = images(1)
    e = explained(seeded(Dark, how).double(), x, "opti-cam", steps=8, target=1)
    course = ascended(seeded(GapNet).double(), evidence(seeded(GapNet).double(), x, 1)[0], x, 1, 2, 0.1)
    (warning,) = [warning for warning in e.warnings if "not finite" in warning]
    assert f"met a {how} that is not finite" in warning
    expected = max(course[: 2 if how == "score" else 3], key=lambda found: found[0])
    torch.testing.assert_close(e.raw[0], expected[2])


# --- all of them --------------------------------------------------------------------------------------------


@methods
def test_a_batch_is_its_images_one_by_one(module, method, options):
    x = images(3)
    e = explained(module, x, method, target=[3, 1, 3], **options)
    assert e.raw.flatten(1).any(1).all()
    for i, target in enumerate([3, 1, 3]):
        alone = explained(module, x[i : i + 1], method, target=target, **options)
        torch.testing.assert_close(e.raw[i : i + 1], alone.raw, rtol=1e-9, atol=1e-12)


@methods
def test_each_layer_of_several_is_explained(method, options):
    module, x = seeded(ResidualNet).double(), images(2, (32, 32))
    e = explained(module, x, method, layer=["relu", "stage2"], signed=True, **options)
    for i, layer in enumerate(["relu", "stage2"]):
        one = explained(module, x, method, layer=layer, signed=True, **options)
        assert one.raw.isfinite().all()
        assert e.layer[i] == one.layer[0]
    assert e.raw.isfinite().all()


@methods
def test_dead_layers_give_maps_that_are_zero_and_finite(method, options):
    module, x = seeded(GapNet).double(), images(2)
    with torch.no_grad():
        module.conv.weight.zero_()
        module.conv.bias.fill_(-1)
    e = explained(module, x, method, **options)
    assert not e.raw.any()
    assert all(value.isfinite().all() for name, value in e.details.items() if name != "chosen")
    assert e.stderr is None or not e.stderr.any()


@methods
def test_constant_layers_give_finite_maps(method, options):
    module, x = seeded(GapNet).double(), images(2)
    with torch.no_grad():
        module.conv.weight.zero_()
        module.conv.bias.fill_(1)
    e = explained(module, x, method, **options)
    assert e.raw.isfinite().all()
    assert e.raw.std((1, 2)).max() < 1e-12
    assert e.stderr is None or not e.stderr.any()


@methods
def test_the_passes_announced_are_the_passes_run(method, options):
    module, counter = watched(seeded(TinyCNN).double())
    x = images(2)
    e = explained(module, x, method, layer="net.conv2", **options)
    entry = pellucid.METHODS[method]
    forward, backward, per_channel, _ = entry.cost(entry.resolve_options(options))
    assert (e.cost.forward, e.cost.backward) == (2 * (forward + 8 * per_channel), 2 * backward)
    assert (sum(counter.forward), sum(counter.backward)) == (e.cost.forward, e.cost.backward)
    expected = {"ss-cam": (1, 0, 3), "is-cam": (1, 0, 10), "group-cam": (5, 1, 0), "opti-cam": (6, 4, 0)}
    assert (forward, backward, per_channel) == expected[method]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("ss-cam:samples=0", "samples must be 'auto' or at least 1; got 0"),
        ("ss-cam:noise=-1", "noise must be at least 0"),
        ("ss-cam:samples=auto,tolerance=2", "tolerance must be between 0 and 1; got 2"),
        ("is-cam:steps=0", "steps must be at least 1; got 0"),
        ("group-cam:groups=0", "groups must be at least 1; got 0"),
        ("group-cam:threshold=100", "threshold must be a percentile from 0 to below 100; got 100"),
        ("group-cam:baseline=bluur", "Did you mean 'blur'"),
        ("opti-cam:steps=0", "steps must be at least 1; got 0"),
        ("opti-cam:learning_rate=0", "learning_rate must be above 0; got 0"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(spec, told):
    with pytest.raises(InvalidValue, match=told):
        pellucid.explain(seeded(GapNet).double(), images(1), spec, progress=False)
