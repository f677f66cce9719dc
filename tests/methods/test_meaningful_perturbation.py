"""meaningful-perturbation: a literal twin, masks that are known, and what it says when there is none."""

import importlib
import math

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import TinyCNN, watched
from pellucid.errors import InvalidValue
from pellucid.methods.mask.searching import LOST, NOTHING_HIDDEN
from zoo import GapNet, images, seeded

module = importlib.import_module("pellucid.methods.mask.meaningful_perturbation")
CLASSES = [3, 1]
SMALL = {"resolution": 5, "learning_rate": 0.1, "jitter": 3}


def explained(net: nn.Module, x: Tensor, **options: object) -> pellucid.Explanation:
    return pellucid.explain(net, x, "meaningful-perturbation", progress=False, **options)


def clear() -> nn.Module:
    """A network whose probabilities depend on the image clearly."""
    net = seeded(GapNet).double()
    with torch.no_grad():
        net.fc.weight *= 8
    return net


class Patch(nn.Module):
    """Two logits; that of class 1 is the light in one patch, and nothing else is read."""

    where = (slice(8, 18), slice(15, 30))

    def forward(self, x: Tensor) -> Tensor:
        light = x[:, :, *self.where].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(light), 8 * light - 4], 1)


# --- the twin -----------------------------------------------------------------------------------------------


def interpolated(m: list[list[Tensor]], height: int, width: int, sigma: float) -> Tensor:
    """M(v) = sum_u g(v / s - u) m(u) / sum_u g(v / s - u), pixel by pixel."""
    h, w = len(m), len(m[0])

    def g(pixel: int, cell: int, cells: int, pixels: int) -> float:
        return math.exp(-((((pixel + 0.5) * cells / pixels - 0.5) - cell) ** 2) / (2 * sigma**2))

    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            weights = [[g(y, i, h, height) * g(x, j, w, width) for j in range(w)] for i in range(h)]
            total = sum(map(sum, weights))
            row.append(sum(weights[i][j] * m[i][j] for i in range(h) for j in range(w)) / total)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def masked_score(net: nn.Module, x: Tensor, hidden: Tensor, m: Tensor, target: int) -> Tensor:
    """The probability of one image (C, H, W) seen through a mask (h, w)."""
    M = interpolated([list(row) for row in m], *x.shape[1:], sigma=0.625)
    return net((M * x + (1 - M) * hidden)[None]).softmax(1)[0, target]


def circle(radius: float, x: Tensor, cells: int) -> Tensor:
    """1 outside a circle around the centre, 0 inside."""
    height, width = x.shape[1:]
    m = torch.ones(cells, cells, dtype=torch.float64)
    for i in range(cells):
        for j in range(cells):
            y, z = ((i + 0.5) / cells - 0.5) * height, ((j + 0.5) / cells - 0.5) * width
            m[i, j] = float(math.hypot(y, z) >= radius)
    return m


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """Every pixel takes the value of that so much above and left of it, or of the edge."""
    moved = x.clone()
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            moved[:, i, j] = x[
                :, min(max(i - down, 0), x.shape[1] - 1), min(max(j - right, 0), x.shape[2] - 1)
            ]
    return moved


def twin(
    net: nn.Module, x: Tensor, hidden: Tensor, target: int, steps: int, seed: int, noise: float,
    l1: float = 1e-4, tv: float = 1e-2, beta: float = 3.0, rate: float = 0.1, cells: int = 5, jitter: int = 3,
) -> list[tuple[float, float, Tensor]]:  # fmt: skip
    """(loss, score, mask) at each step, from the paper's equations and Adam's, one image at a time."""
    half = math.hypot(*x.shape[1:]) / 2
    row = [circle(k / 32 * half, x, cells) for k in range(33)]
    scores = [float(masked_score(net, x, hidden, m, target).detach()) for m in row]
    m = next(m for m, s in zip(row, scores, strict=True) if s - scores[-1] <= 0.01 * (scores[0] - scores[-1]))
    mean, square, course = torch.zeros_like(m), torch.zeros_like(m), []
    for step in range(steps + 1):
        draw = torch.Generator().manual_seed(seed * 1_000_003 + step)
        drawn = torch.randn(m.shape, generator=draw).double()
        down, right = (torch.randint(jitter + 1, (2,), generator=draw) - jitter // 2).tolist()
        m = m.detach().requires_grad_()
        noisy = (m + noise * drawn).clamp(0, 1)
        score = masked_score(net, shifted(x, down, right), shifted(hidden, down, right), noisy, target)
        rough = sum(
            abs(m[i + 1, j] - m[i, j]) ** beta + abs(m[j, i + 1] - m[j, i]) ** beta
            for i in range(cells - 1)
            for j in range(cells)
        )
        loss = l1 * (1 - m).abs().sum() + tv * rough + score
        course.append((float(loss.detach()), float(score.detach()), m.detach()))
        (g,) = torch.autograd.grad(loss, m)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        update = mean / (1 - 0.9 ** (step + 1)) / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        m = (m - rate * update).clamp(0, 1)
    return course


@pytest.mark.parametrize(
    "options",
    [
        {"noise": 0.0, "jitter": 3},
        {"noise": 0.3, "jitter": 0},
        {"noise": 0.0, "l1": 0.02, "tv": 0.1, "beta": 2.0},
    ],
)
def test_it_is_its_equation_step_by_step(options):
    net, x, steps, seed = clear(), images(2, (7, 9)), 4, 5
    hidden = 0.3 * images(2, (7, 9), seed=8)
    e = explained(net, x, target=CLASSES, baseline=hidden, steps=steps, seed=seed, **{**SMALL, **options})
    for i, target in enumerate(CLASSES):
        course = twin(net, x[i], hidden[i], target, steps, seed, **options)
        losses, scores, masks = zip(*course, strict=True)
        torch.testing.assert_close(e.trace["loss"][i], torch.tensor(losses).double())
        torch.testing.assert_close(e.trace["deletion"][i], torch.tensor(scores).double())
        torch.testing.assert_close(e.trace["mask"][i], torch.stack(masks))
        best = losses.index(min(losses))
        torch.testing.assert_close(e.raw[i], 1 - masks[best])
        torch.testing.assert_close(float(e.details["masked_score"][i]), scores[best])
        assert len({m.mean().item() for m in masks}) > 2


# --- what must come out -------------------------------------------------------------------------------------


def test_of_a_model_that_reads_one_patch_that_patch_is_hidden():
    x = torch.ones(1, 3, 40, 48).double()
    e = explained(Patch(), x, target=1, baseline="zero", resolution=24, steps=120, l1=2e-3, tv=1e-3, jitter=0)
    truth = torch.zeros(40, 48, dtype=torch.bool)
    truth[Patch.where] = True
    found = e.attribution[0, 0] > 0.5
    overlap = float((found & truth).sum() / (found | truth).sum())
    assert overlap > 0.75
    assert float(e.details["masked_score"]) < 0.25 < 0.9 < float(e.score)


def test_hiding_that_costs_much_leaves_the_image_as_it_is():
    e = explained(clear(), images(2), target=CLASSES, l1=1e3, steps=40, resolution=6)
    assert e.raw.max() < 1e-6


def test_the_dearer_hiding_is_the_less_is_hidden():
    x = torch.ones(1, 3, 40, 48).double()
    options = {"target": 1, "baseline": "zero", "resolution": 16, "steps": 60, "jitter": 0}
    hidden = [float(explained(Patch(), x, l1=l1, **options).raw.sum()) for l1 in (1e-4, 1e-3, 3e-3)]
    assert hidden[0] > hidden[1] > hidden[2]


def test_it_begins_with_the_smallest_circle_that_takes_nearly_all_of_the_score():
    x, down, right = torch.ones(1, 3, 40, 40).double(), *(torch.arange(40) - 19.5 for _ in range(2))
    net = nn.Sequential(nn.AvgPool2d(40), nn.Flatten(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[0.0] * 3, [1.0] * 3]))
    e = explained(net, x, target=1, baseline="zero", output="logit", steps=1, resolution=40, mask_blur=0.01)
    start = e.trace["mask"][0, 0]
    radii = torch.arange(33) / 32 * math.hypot(40, 40) / 2
    r = torch.hypot(down[:, None], right)
    shares = [float((r >= radius).double().mean()) for radius in radii]  # of the light that is left
    first = next(k for k, share in enumerate(shares) if share <= 0.01)
    assert 1 < first < 32
    torch.testing.assert_close(start, (r >= radii[first]).double())


def test_an_image_whose_score_its_baseline_exceeds_is_not_hidden_at_first():
    x = torch.zeros(1, 3, 40, 48).double()
    e = explained(Patch(), x, target=1, baseline=1.0, resolution=8, steps=3)
    assert e.trace["mask"][0, 0].min() == 1


# --- how it is had ------------------------------------------------------------------------------------------


def test_a_batch_is_its_images_one_by_one_whatever_the_batch_size():
    net, x, targets = clear(), images(3), [3, 1, 3]
    options = {**SMALL, "steps": 12, "noise": 0.1}
    e = explained(net, x, target=targets, **options)
    assert e.raw.flatten(1).any(1).all()
    for i, target in enumerate(targets):
        alone = explained(net, x[i : i + 1], target=target, **options)
        torch.testing.assert_close(e.raw[i : i + 1], alone.raw, rtol=1e-9, atol=1e-12)
    for size in (1, 2, 50):
        again = explained(net, x, target=targets, batch_size=size, **options)
        torch.testing.assert_close(again.raw, e.raw, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(again.trace["loss"], e.trace["loss"])


def test_jitter_and_noise_depend_on_the_seed():
    net, x = clear(), images(1)
    for options in ({"jitter": 4}, {"jitter": 0, "noise": 0.2}):
        a, b, c = (explained(net, x, resolution=5, steps=5, seed=seed, **options).raw for seed in (1, 1, 2))
        assert torch.equal(a, b)
        assert not torch.allclose(a, c)
    a, b = (explained(net, x, resolution=5, steps=5, seed=seed, jitter=0).raw for seed in (1, 2))
    assert torch.equal(a, b)


def test_the_passes_announced_are_the_passes_run():
    net, counter = watched(seeded(TinyCNN).double())
    e = explained(net, images(2), steps=5, **SMALL)
    entry = pellucid.METHODS["meaningful-perturbation"]
    forward, backward, *_ = entry.cost(entry.resolve_options({"steps": 5}))
    assert (e.cost.forward, e.cost.backward) == (2 * forward, 2 * backward) == (2 * 39, 2 * 5)
    assert (sum(counter.forward), sum(counter.backward)) == (e.cost.forward, e.cost.backward)


def test_half_precision_has_masks_in_single():
    e = explained(seeded(GapNet).half(), images(1).half(), steps=3, **SMALL)
    assert e.raw.dtype == torch.float32
    assert e.raw.isfinite().all()


# --- when there is no mask ----------------------------------------------------------------------------------


def test_a_baseline_that_is_the_image_gives_a_zero_map_and_a_warning():
    x = images(2)
    hidden = x.clone()
    hidden[1] = 0
    e = explained(clear(), x, target=CLASSES, baseline=hidden, steps=4, **SMALL)
    assert not e.raw[0].any()
    assert e.raw[1].any()
    assert e.notes[0] == [NOTHING_HIDDEN]
    assert NOTHING_HIDDEN not in e.notes[1]
    for off in (1 - 1e-15, 1 + 1e-15):
        near = explained(clear(), x, target=CLASSES, baseline=x * off, steps=4, **{**SMALL, "l1": 0.0})
        assert not near.raw.any()
    flat = explained(clear(), 0.1 * torch.ones_like(x), baseline="blur", steps=4, **SMALL)
    assert not flat.raw.any()
    assert NOTHING_HIDDEN in flat.warnings


class Fails(nn.Module):
    """Gives what is not finite, for images of one kind, after so many passes."""

    def __init__(self, how: str, after: int = 20) -> None:
        super().__init__()
        self.net, self.how, self.after, self.calls = clear(), how, after, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out, bad = self.net(x), x.mean((1, 2, 3)) > 5
        if self.calls > self.after:
            steep = (x[bad] * 0).sum((1, 2, 3)).abs().sqrt()[:, None]  # of an infinite slope
            out = out.index_put(
                (bad.nonzero()[:, 0],), out[bad] + (torch.nan if self.how == "score" else steep)
            )
        return out


@pytest.mark.parametrize("how", ["score", "gradient"])
def test_a_search_that_meets_what_is_not_finite_keeps_its_best_mask_and_harms_no_other(how):
    x = images(2)
    x[1] += 9
    baseline = 9.0 * torch.ones(2, 1, 1, 1).double() * torch.tensor([0, 1])[:, None, None, None]
    baseline = baseline.expand_as(x) + 0.01 * images(2, seed=3)
    # In chunks of a given size it is known which pass is the first to fail.
    options = {"target": [3, 2], "baseline": baseline, "steps": 9, "batch_size": 4, **SMALL}
    sound = explained(clear(), x, **options)
    e = explained(Fails(how), x, **options)
    assert [LOST in notes for notes in e.notes] == [False, True]
    torch.testing.assert_close(e.raw[0], sound.raw[0], rtol=1e-9, atol=1e-12)
    details = [value for name, value in e.details.items() if name != "chosen"]
    assert all(values.isfinite().all() for values in (e.raw, *e.trace.values(), *details))
    still = e.trace["mask"][1, 5:]
    assert torch.equal(still, still[:1].expand_as(still))
    met = sound.trace["mask"][1]
    assert any(torch.allclose(e.raw[1], 1 - m) for m in met[:4])


def test_a_search_that_runs_away_keeps_its_best_mask_and_says_so():
    e = explained(clear(), images(1), learning_rate=5.0, steps=6, resolution=5)
    losses = e.trace["loss"][0]
    assert losses[-1] > losses[0]
    assert module.WORSE in e.warnings
    torch.testing.assert_close(e.raw[0], 1 - e.trace["mask"][0, losses.argmin()])
    assert not explained(clear(), images(1), steps=30, resolution=5, jitter=0).warnings


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("steps=0", "steps must be at least 1; got 0"),
        ("resolution=0", "resolution must be at least 1; got 0"),
        ("beta=0.5", "beta must be at least 1; got 0.5"),
        ("l1=-1", "l1 must be at least 0; got -1"),
        ("tv=-1", "tv must be at least 0; got -1"),
        ("jitter=-1", "jitter must be at least 0; got -1"),
        ("noise=-1", "noise must be at least 0; got -1"),
        ("learning_rate=0", "learning_rate must be above 0; got 0"),
        ("mask_blur=0", "mask_blur must be above 0; got 0"),
        ("baseline=bluur", "Did you mean 'blur'"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(spec, told):
    with pytest.raises(InvalidValue, match=told):
        pellucid.explain(clear(), images(1), f"meaningful-perturbation:{spec}", progress=False)
