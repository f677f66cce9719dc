"""i-gos and i-gos++: slow literal twins that differentiate through the model, closed forms, and bad luck."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import pellucid
from pellucid.baselines import baseline
from pellucid.engine.run import Engine
from pellucid.errors import InvalidValue, ModelError
from pellucid.methods.mask.descent import MaskProblem
from pellucid.methods.mask.masking import bilateral_total_variation, total_variation
from pellucid.model import Model
from pellucid.probe import Probe
from zoo import images, seeded

SIZE = (12, 10)
CLASSES = [3, 1]


class Net(nn.Module):
    """Smooth, and sharper than a softmax over small logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return 12 * self.fc(nn.functional.softplus(2 * self.conv(x)).mean((2, 3)))


@pytest.fixture
def net() -> nn.Module:
    return seeded(Net).double().eval()


@pytest.fixture
def x() -> Tensor:
    return images(2, SIZE).double()


def explained(net: nn.Module, x: Tensor, method: str = "i-gos", **options: object) -> pellucid.Explanation:
    options = {"target": CLASSES[: len(x)], "points": 4, "resolution": 5, "steps": 4, **options}
    return pellucid.explain(net, x, method, progress=False, **options)


def up(mask: Tensor) -> Tensor:
    return interpolate(mask, SIZE, mode="bilinear", align_corners=False)


def blurred(x: Tensor) -> Tensor:
    return baseline("blur", x, Model(nn.Flatten()), torch.Generator())


def tv(mask: Tensor) -> Tensor:
    m = mask[0, 0]
    return (m[1:] - m[:-1]).pow(2).mean() + (m[:, 1:] - m[:, :-1]).pow(2).mean()


def close(ours: Tensor, twin: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours.double(), twin.double(), atol=tolerance, rtol=0)


class Twin:
    """One image, its probability, and whatever a search asks, by autograd through model, blend and mask."""

    def __init__(
        self, net: nn.Module, x: Tensor, target: int, *, points: int = 4, noise: float = 0.0
    ) -> None:
        self.net, self.x, self.target, self.points, self.noise = net, x, target, points, noise
        self.hidden = blurred(x)

    def score(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(1)[0, self.target]

    @property
    def range(self) -> Tensor:
        with torch.no_grad():
            a, b = self.score(self.x), self.score(self.hidden)
            return max((a - b).abs(), 1e-3 * max(a.abs(), b.abs()))

    def drawn(self, draw: int) -> Tensor:
        return (
            self.noise * torch.randn(self.x.shape[1:], generator=torch.Generator().manual_seed(draw)).double()
        )

    def path(self, M: Tensor, step: int | None, removed: bool = False) -> Tensor:
        """The mean score along the path, differentiable; new noise at each step, or none at the end."""
        near, far = (self.x, self.hidden) if removed else (self.hidden, self.x)
        total = torch.zeros((), dtype=torch.float64)
        for k in range(self.points):
            s = (k + 1) / self.points
            z = far * (s * up(M)) + near * (1 - s * up(M))
            if step is not None:
                z = z + self.drawn(step * self.points + k)
            elif k < self.points - 1:
                z = z + self.drawn(k)
            total = total + self.score(z)
        return total / self.points

    def masked(self, M: Tensor) -> Tensor:
        return self.score(self.x * up(M) + self.hidden * (1 - up(M)))


def gradient(function: Callable[[Tensor], Tensor], M: Tensor) -> Tensor:
    M = M.detach().clone().requires_grad_()
    return torch.autograd.grad(function(M), M)[0]


# --- literal twins ------------------------------------------------------------------------------------------


def official(twin: Twin, steps: int, l1: float, weight: float) -> list[Tensor]:
    """The authors' loop: a new direction, and a step from 200 down by fifths until the score obeys."""
    M = torch.ones(1, 1, 5, 5).double()
    masks, first = [M], twin.masked(M).item()
    for step in range(steps):
        changed = abs(first - twin.masked(M).item())
        if steps > 3 and step == steps // 2 and changed <= 0.001:
            l1 /= 10
        if steps > 3 and step == int(steps / 1.25) and changed <= 0.01:
            l1 /= 5

        def costs(M: Tensor, l1: float = l1) -> Tensor:
            return l1 * (1 - M).abs().mean() + weight * tv(M)

        direction = gradient(lambda M: twin.path(M, step) + costs(M), M)  # noqa: B023
        here, length = (twin.masked(M) + costs(M)).item(), 200.0
        while True:
            trial = (M - length * direction).clamp(0, 1)
            there = (twin.masked(trial) + costs(trial)).item()
            if there <= here - 1e-4 * length * float((direction**2).sum()) or length < 1e-5:
                break
            length *= 0.2
        M = trial
        masks.append(M)
    return masks


@pytest.mark.parametrize(("l1", "noise"), [(0.01, 0.2), (1.0, 0.2), (0.0, 0.0)])
def test_the_official_search_is_the_authors_loop(net: nn.Module, x: Tensor, l1: float, noise: float) -> None:
    e = explained(net, x, search="official", l1=l1, tv=0.5, noise=noise, steps=5)
    for i, target in enumerate(CLASSES):
        masks = official(Twin(net, x[i : i + 1], target, noise=noise), 5, l1, 0.5)
        close(e.trace["mask"][i], torch.cat(masks)[:, 0])


def spectral(twin: Twin, steps: int, l1: float, weight: float) -> tuple[list[Tensor], list[float]]:
    """Projected gradient, Barzilai and Borwein's steps, Armijo's condition: one image, no early end."""

    def loss(M: Tensor) -> Tensor:
        return twin.path(M, None) / twin.range + l1 * (1 - M).mean() + weight * tv(M)

    M = torch.ones(1, 1, 5, 5).double()
    masks, losses, slope, rate = [M], [float(loss(M))], gradient(loss, M), None
    for _ in range(steps):
        rate = rate or 1 / float(slope.max())  # all at 1: only what falls can move
        way, length = (M - rate * slope).clamp(0, 1) - M, 1.0
        while float(loss(M + length * way)) > losses[-1] + 1e-4 * length * float((slope * way).sum()):
            length *= 0.2
        new = M + length * way
        turned = gradient(loss, new) - slope
        bent = float(((new - M) * turned).sum())
        rate = float(((new - M) ** 2).sum()) / bent if bent > 0 else rate / 0.2
        M, slope = new, slope + turned
        masks.append(M)
        losses.append(float(loss(M)))
    return masks, losses


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_search_is_spectral_projected_gradient_on_the_integral(
    net: nn.Module, x: Tensor, noise: float
) -> None:
    e = explained(net, x, l1=0.1, tv=0.2, noise=noise, steps=3)
    for i, target in enumerate(CLASSES):
        twin = Twin(net, x[i : i + 1], target, noise=noise)
        masks, losses = spectral(twin, 3, 0.1, 0.2)
        close(e.trace["mask"][i], torch.cat(masks)[:, 0])
        close(e.trace["loss"][i], torch.tensor(losses))
        assert losses[-1] < losses[0]


def test_nesterov_is_the_authors_recursion_with_a_step_of_each_images_own(net: nn.Module, x: Tensor) -> None:
    e = explained(net, x, search="nesterov", l1=0.1, tv=0.2, steps=3)
    for i, target in enumerate(CLASSES):
        twin = Twin(net, x[i : i + 1], target)

        def loss(M: Tensor, twin: Twin = twin) -> Tensor:
            return twin.path(M, None) / twin.range + 0.1 * (1 - M).mean() + 0.2 * tv(M)

        M = z = torch.ones(1, 1, 5, 5).double()
        rate, masks = 0.2 / gradient(loss, M).max(), [M]
        for k in range(3):
            new = M - rate * gradient(loss, M)
            M, z = (new + k / (k + 3) * (new - z)).clamp(0, 1), new
            masks.append(M)
        close(e.trace["mask"][i], torch.cat(masks)[:, 0])


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_i_gos_plus_plus_descends_the_slope_of_its_four_terms(
    net: nn.Module, x: Tensor, noise: float
) -> None:
    e = explained(net, x, "i-gos++", l1=0.1, tv=0.2, noise=noise, steps=1)
    for i, target in enumerate(CLASSES):
        twin, some = Twin(net, x[i : i + 1], target, noise=noise), x[i : i + 1]

        def loss(m: Tensor, twin: Twin = twin, some: Tensor = some) -> Tensor:
            m1, m2 = m.split(1, 1)
            terms = twin.path(m1, None) - twin.path(m2, None, True)
            terms = terms + twin.path(m1 * m2, None) - twin.path(m1 * m2, None, True)
            rough = bilateral_total_variation(m1 * m2, some)[0]
            return terms / 2 / twin.range + 0.1 * (1 - m1 * m2).mean() + 0.2 * rough

        m = torch.ones(1, 2, 5, 5).double()
        slope, length = gradient(loss, m), 1.0
        way = (m - slope / slope.max()).clamp(0, 1) - m
        while loss(m + length * way) > loss(m) + 1e-4 * length * (slope * way).sum():
            length *= 0.2
        both = (m + length * way).prod(1)
        close(e.trace["mask"][i][-1:], both)
        close(e.trace["loss"][i][-1], loss(m + length * way))
        close(e.raw[i : i + 1], 1 - both)


# --- closed forms -------------------------------------------------------------------------------------------


def test_on_a_linear_model_a_mask_removes_what_adds_more_than_it_costs() -> None:
    x = images(2, (9, 9)).double()
    net = nn.Sequential(nn.Flatten(), seeded(nn.Linear, x[0].numel(), 3)).double()
    weights = net[1].weight[2].view(x.shape[1:])
    e = pellucid.explain(
        net, x, "i-gos", target=2, output="logit", baseline="zero", resolution=x.shape[-1], tv=0, l1=0.2,
        points=4, steps=40, progress=False,
    )  # fmt: skip
    with torch.no_grad():
        start, end = net(x)[:, 2], net[1].bias[2].expand(2)
        unit = (start - end).abs()[:, None, None]
        gain = 5 / 8 * (weights * x).sum(1) / unit  # the mean of s = 1/4, ..., 1 is 5/8
        cost = 0.2 / x.shape[-1] ** 2
        best = (gain - cost).clamp(min=0)
    clear = (gain - cost).abs() > 0.2 * (gain - cost).abs().amax((1, 2), keepdim=True)
    assert clear.sum() > 20
    close(e.raw[clear], (gain > cost).double()[clear])
    for i in range(2):
        losses = e.trace["loss"][i]
        close((losses[0] - losses[-1]) / best[i].sum(), torch.tensor(1.0), 0.03)


@pytest.mark.parametrize("points", [1, 4, 7, 40])
def test_the_integral_is_a_mean_whatever_the_number_of_points(points: int) -> None:
    x = images(1).double()
    net = nn.Sequential(nn.Flatten(), seeded(nn.Linear, x[0].numel(), 3)).double()
    engine = Engine(Model(net))
    with engine.session(0):
        problem = MaskProblem.of(Probe(engine, x, 1), "zero")
        ones = torch.ones(1, 1, *x.shape[-2:]).double()
        values, slope = problem.along(ones, torch.tensor([0]), points)
    weights = net[1].weight[1].detach().view(x.shape[1:])
    torch.testing.assert_close(slope[0, 0], (points + 1) / (2 * points) * (weights * x[0]).sum(0))
    torch.testing.assert_close(values[0, -1], net(x)[0, 1].detach())


def test_total_variation_is_that_of_a_step_and_a_ramp() -> None:
    step = torch.zeros(1, 1, 4, 6)
    step[..., 3:] = 0.5
    ramp = torch.linspace(0, 1, 5).repeat(3, 1)[None, None]
    both = total_variation(step), total_variation(step, 3.0, mean=False)
    torch.testing.assert_close(torch.cat(both), torch.tensor([0.25 / 5, 4 * 0.125]))
    torch.testing.assert_close(total_variation(ramp), torch.tensor([1 / 16]))
    torch.testing.assert_close(total_variation(ramp.mT), torch.tensor([1 / 16]))
    assert total_variation(torch.rand(2, 1, 1, 1)).tolist() == [0, 0]


def test_bilateral_total_variation_treats_both_axes_alike_and_spares_the_images_edges() -> None:
    mask, x = torch.rand(2, 1, 7, 7), torch.randn(2, 3, 7, 7)
    torch.testing.assert_close(
        bilateral_total_variation(mask, x), bilateral_total_variation(mask.mT.contiguous(), x.mT.contiguous())
    )
    torch.testing.assert_close(bilateral_total_variation(mask, x * 0), total_variation(mask))  # no edges
    torch.testing.assert_close(bilateral_total_variation(mask, x * 1e6), total_variation(mask) / 2)
    opposed = torch.tensor([1.0, -1.0, 0.0])[None, :, None, None] * torch.randn(
        2, 1, 7, 7
    )  # mean 0, but edges
    assert (bilateral_total_variation(mask, 100 * opposed) < 0.6 * total_variation(mask)).all()


# --- what is told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["i-gos", "i-gos++"])
def test_the_trace_tells_what_the_model_says_of_each_mask(net: nn.Module, x: Tensor, method: str) -> None:
    e = explained(net, x, method, l1=0.1, noise=0.1)
    for i, target in enumerate(CLASSES):
        masks, some, hidden = e.trace["mask"][i], x[i : i + 1], blurred(x[i : i + 1])
        M = up(masks[:, None].double())
        with torch.no_grad():
            for name, kept in (("deletion", M), ("insertion", 1 - M)):
                said = net(some * kept + hidden * (1 - kept)).softmax(1)[:, target]
                close(e.trace[name][i], said, 1e-6)
        assert (masks[0] == 1).all()
        close(e.raw[i], 1 - masks[-1], 1e-7)
        assert masks.min() >= 0
        assert masks.max() <= 1


def test_the_shares_are_the_least_that_keep_and_that_take_half_of_the_score() -> None:
    x, masks = torch.rand(2, 1, 12, 12).double(), torch.rand(2, 1, 12, 12).double()
    net = nn.Sequential(nn.Flatten(), seeded(nn.Linear, 144, 1)).double()
    with torch.no_grad():
        net[1].weight.abs_()
    engine = Engine(Model(net))
    with engine.session(0):
        kept, deleted = MaskProblem.of(Probe(engine, x, 1), "zero").shares(masks)
    parts = (net[1].weight.detach().view(12, 12) * x[:, 0]).flatten(1)
    gained = parts.gather(1, masks.flatten(1).argsort(1)).cumsum(1) / parts.sum(1, keepdim=True)
    expected = ((gained < 0.5).sum(1) + 1) / 144  # shown or hidden, a linear score has then moved by half
    close(kept, expected, 1 / 128 + 1 / 144)
    close(deleted, expected, 1 / 128 + 1 / 144)


# --- batches, chunks, passes --------------------------------------------------------------------------------

SEARCHES = [("i-gos", s) for s in ("spectral", "nesterov", "official")] + [
    ("i-gos++", s) for s in ("spectral", "nesterov")
]


@pytest.mark.full
@pytest.mark.parametrize(("method", "search"), SEARCHES)
def test_neither_batch_nor_chunks_make_a_difference(
    net: nn.Module, x: Tensor, method: str, search: str
) -> None:
    options = {"search": search, "noise": 0.05, "l1": 0.1, "steps": 3, "points": 3}
    together = explained(net, x, method, **options)
    for batch_size in (1, 3):
        close(explained(net, x, method, batch_size=batch_size, **options).raw, together.raw, 1e-9)
    for i, target in enumerate(CLASSES):
        alone = explained(net, x[i : i + 1], method, **{**options, "target": target})
        close(alone.raw[0], together.raw[i], 1e-9)
        close(alone.trace["loss"][0], together.trace["loss"][i], 1e-9)


def test_an_image_whose_search_has_ended_costs_nothing_more(net: nn.Module, x: Tensor) -> None:
    hidden = blurred(x)
    hidden[0] = x[0]  # nothing to find
    e = explained(net, x, baseline=hidden, steps=3, l1=0.1)
    lone = explained(net, x[1:], baseline=hidden[1:], steps=3, l1=0.1, target=CLASSES[1])
    quick = explained(net, x[:1], baseline=hidden[:1], steps=3, l1=0.1, target=CLASSES[0])
    assert e.cost.forward == lone.cost.forward + quick.cost.forward
    assert e.cost.backward == lone.cost.backward + quick.cost.backward
    assert quick.cost.backward == 4  # one look at the points of its path
    assert lone.cost.backward > 4


@pytest.mark.parametrize("method", ["i-gos", "i-gos++"])
def test_a_search_whose_steps_are_accepted_at_once_costs_what_is_announced(method: str) -> None:
    x = images(2, (9, 9)).double()
    net = nn.Sequential(nn.Flatten(), seeded(nn.Linear, x[0].numel(), 5)).double()
    entry = next(m for m in pellucid.methods() if m.name == method)
    forward, backward, *_ = entry.cost(entry.resolve_options({"points": 4, "steps": 2}))
    e = explained(net, x, method, steps=2, tv=0.0, l1=0.1, output="logit", baseline="zero")
    assert (e.cost.forward, e.cost.backward) == (2 * forward, 2 * backward)


# --- bad luck -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "search"), SEARCHES)
def test_a_baseline_equal_to_the_image_gives_zero_and_a_warning(
    net: nn.Module, x: Tensor, method: str, search: str
) -> None:
    hidden = blurred(x)
    hidden[0] = x[0]
    e = explained(net, x, method, baseline=hidden, search=search, steps=2, l1=0.1)
    assert (e.raw[0] == 0).all()
    assert (e.raw[1] > 0).any() or search == "official"
    assert "baseline is the image itself" in e.notes[0][0]
    assert not any("baseline" in note for note in e.notes[1])


class Fragile(nn.Module):
    """A light's brightness beside another's; says nan as soon as they differ in brightness."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x[:, 0, :5].mean((1, 2)), x[:, 0, 5:].mean((1, 2))
        broken = ((a - b).abs() > 1e-6) & (x[:, 0, 0, 0] < 0.95)
        return torch.stack([a.where(~broken, torch.nan), -a], 1)


@pytest.mark.parametrize("search", ["spectral", "nesterov"])
def test_a_search_that_meets_nan_keeps_the_best_mask_and_warns(search: str) -> None:
    x = torch.ones(1, 1, 10, 10).double()
    options = {"target": 0, "output": "logit", "baseline": "zero", "search": search, "points": 1, "tv": 0}
    e = pellucid.explain(Fragile(), x, "i-gos", resolution=10, l1=0.1, progress=False, **options)
    assert e.raw.isfinite().all()
    assert all(e.trace[name][0].isfinite().all() for name in ("mask", "deletion", "loss"))
    assert "not finite" in e.notes[0][0]


def test_nan_of_one_image_does_not_touch_another(net: nn.Module, x: Tensor) -> None:
    class Breaking(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            like = (z[:, :, 0, 0] - x[:1, :, 0, 0]).abs().amax(1) < 1e-9  # the first image
            masked = (z - x[:1]).abs().amax((1, 2, 3)) > 0.02
            return net(z).masked_fill((like & masked)[:, None], torch.nan)

    options = {"points": 1, "l1": 0.1, "tv": 0.2, "search": "nesterov"}
    both, alone = explained(Breaking(), x, **options), explained(net, x[1:], **{**options, "target": 1})
    close(both.raw[1], alone.raw[0], 1e-9)
    assert both.raw.isfinite().all()


def test_where_the_first_look_is_not_finite_the_image_is_named() -> None:
    class Gap(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            light = x.mean((1, 2, 3))
            return torch.stack([light.where((light - 0.7).abs() > 0.1, torch.nan), light], 1)

    x = torch.ones(2, 3, 8, 8).double()
    x[0] = 0.9
    baseline = torch.tensor([0.85, 0.5]).double().view(2, 1, 1, 1).expand_as(x)
    with pytest.raises(InvalidValue, match="image 1 of its batch has others where it fades"):
        pellucid.explain(Gap(), x, "i-gos", target=0, output="logit", baseline=baseline, progress=False)


@pytest.mark.parametrize("method", ["i-gos", "i-gos++"])
def test_a_model_without_gradients_is_refused(net: nn.Module, x: Tensor, method: str) -> None:
    class Detached(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return net(z.detach())

    with pytest.raises(ModelError, match="gradients cannot explain it"):
        explained(Detached(), x, method)


def test_of_a_search_that_diverges_the_best_mask_counts(net: nn.Module, x: Tensor) -> None:
    e = explained(net, x, search="nesterov", tv=50.0, l1=0.01, steps=3)
    for i in range(2):
        losses, masks = e.trace["loss"][i], e.trace["mask"][i]
        assert losses[-1] > losses[0]  # it did diverge
        close(e.raw[i], 1 - masks[losses.argmin()], 1e-9)
        assert "worse one than it began with" in e.notes[i][0]


@pytest.mark.parametrize("method", ["i-gos", "i-gos++"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"points": 0}, "points must be at least 1; got 0"),
        ({"resolution": 0}, "resolution must be at least 1; got 0"),
        ({"l1": -1.0}, "l1 must be at least 0; got -1"),
        ({"tv": -1.0}, "tv must be at least 0; got -1"),
        ({"noise": -1.0}, "noise must be at least 0; got -1"),
        ({"search": "lbfgs"}, "search must be one of spectral"),
        ({"baseline": "mixd"}, "Did you mean 'mixed'"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    net: nn.Module, x: Tensor, method: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidValue, match=words):
        explained(net, x, method, **options)


def test_a_search_changes_nothing_that_was_passed_in(net: nn.Module, x: Tensor) -> None:
    hidden = blurred(x)
    before = copy.deepcopy((net.state_dict(), x, hidden))
    explained(net, x, "i-gos++", baseline=hidden, steps=1)
    after = (net.state_dict(), x, hidden)
    assert all(torch.equal(a, b) for a, b in zip(before[1:], after[1:], strict=True))
    assert all(before[0][name].equal(value) for name, value in after[0].items())
