"""extremal-perturbation: a literal twin, masks of the area asked for, and what it says when there is none."""

import importlib
import math
from itertools import groupby

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

import pellucid
from nets import TinyCNN, watched
from pellucid.errors import InvalidType, InvalidValue
from pellucid.methods.mask.searching import LOST
from zoo import GapNet, images, seeded

module = importlib.import_module("pellucid.methods.mask.extremal_perturbation")
CLASSES = [3, 1]
SMALL = {"cell": 2, "sigma": 1.7, "levels": 4, "max_blur": 2.5, "learning_rate": 0.05}


def explained(net: nn.Module, x: Tensor, **options: object) -> pellucid.Explanation:
    return pellucid.explain(net, x, "extremal-perturbation", progress=False, **options)


def clear() -> nn.Module:
    """A network whose logits depend on the image clearly."""
    net = seeded(GapNet).double()
    with torch.no_grad():
        net.fc.weight *= 30
    return net


class Contrasts(nn.Module):
    """Two logits; that of class 1 is how much columns differ in one place, which blurring ends."""

    def __init__(self, rows: slice = slice(0, None), columns: slice = slice(0, None)) -> None:
        super().__init__()
        self.where = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        sharp = x[:, :, *self.where].diff(dim=-1).abs().mean((1, 2, 3))
        return 20 * torch.stack([-sharp, sharp], 1)


def stripes(height: int, width: int, n: int = 1) -> Tensor:
    """Images of columns that are black and white in turn."""
    return (torch.arange(width) % 2).double().expand(n, 3, height, width).clone()


# --- the twin -----------------------------------------------------------------------------------------------


def smooth_mask(p: Tensor, cell: int, sigma: float, frame: int) -> Tensor:
    """The smooth maximum of kernels, pixel by pixel."""
    reach, (h, w) = 1 + math.ceil(sigma / cell), p.shape
    rows = []
    for y in range(-frame * cell, (h + frame) * cell):
        row = []
        for x in range(-frame * cell, (w + frame) * cell):
            v = []
            for i in range(y // cell - reach, y // cell + reach + 1):
                for j in range(x // cell - reach, x // cell + reach + 1):
                    r = math.hypot(y - cell * i - (cell - 1) / 2, x - cell * j - (cell - 1) / 2)
                    weight = math.exp(-2 * max(0, r / sigma - 0.5) ** 2)
                    v.append(weight * p[i, j] if 0 <= i < h and 0 <= j < w else p.new_zeros(()))
            v = torch.stack(v)
            row.append((v * (20 * v).softmax(0)).sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian over all pixels that are there."""
    out = torch.zeros_like(x)
    rows, columns = (torch.arange(side).double() for side in x.shape[1:])
    for y in range(x.shape[1]):
        for z in range(x.shape[2]):
            g = torch.exp(-((rows[:, None] - y) ** 2 + (columns - z) ** 2) / (2 * sigma**2))
            out[:, y, z] = (g * x).sum((1, 2)) / g.sum()
    return out


def see(m: Tensor, x: Tensor, levels: int, max_blur: float) -> Tensor:
    """m (x) x: between the two blurs of the image that m lies between."""
    pyramid = [blurred(x, max_blur * (1 - k / (levels - 1))) for k in range(levels - 1)] + [x]
    at = m * (levels - 1)
    return sum((1 - (at - k).abs()).clamp(min=0) * y for k, y in enumerate(pyramid))


def off_area(m: Tensor, kept: int) -> Tensor:
    """mean (sort(m) - r)^2, the mean over all orders of equal values."""
    values = m.sort().values
    r = (torch.arange(len(m)) >= len(m) - kept).double()
    total, start = 0.0, 0
    for _, group in groupby(values.tolist(), key=lambda value: round(value, 10)):
        some = slice(start, start + len(list(group)))
        start, share = some.stop, r[some].mean()
        total = total + (share * (values[some] - 1) ** 2 + (1 - share) * values[some] ** 2).sum()
    return total / len(m)


def twin(net: nn.Module, x: Tensor, target: int, area: float, steps: int, mirror: bool) -> list[tuple]:
    """(loss, score, mask) at each step, of one image (C, H, W) and one area, with torch's own SGD."""
    cell, sigma, (height, width) = SMALL["cell"], SMALL["sigma"], x.shape[1:]
    frame = math.ceil(sigma / cell)
    p = torch.ones(math.ceil(height / cell), math.ceil(width / cell)).double().requires_grad_()
    sgd = torch.optim.SGD([p], lr=SMALL["learning_rate"], momentum=0.9, dampening=0.9)
    course = []
    for step in range(steps + 1):
        whole = smooth_mask(p, cell, sigma, frame)
        m = whole[frame * cell :, frame * cell :][:height, :width]
        seen = see(m, x, SMALL["levels"], SMALL["max_blur"])
        score = net((seen.flip(-1) if mirror and step % 2 == 0 else seen)[None])[0, target]
        loss = 300 * 1.0035**step * off_area(whole.flatten(), round(area * height * width)) - score
        course.append((float(loss.detach()), float(score.detach()), m.detach().clone()))
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        with torch.no_grad():
            p.clamp_(0, 1)
    return course


@pytest.mark.parametrize("mirror", [True, False])
def test_it_is_its_equation_step_by_step(mirror):
    net, x, areas, steps = clear(), images(2, (5, 6)), (0.2, 0.5), 3
    e = explained(net, x, target=CLASSES, areas=areas, steps=steps, mirror=mirror, **SMALL)
    for i, target in enumerate(CLASSES):
        courses = [twin(net, x[i], target, area, steps, mirror) for area in areas]
        losses, scores, masks = ([[now[k] for now in course] for course in courses] for k in range(3))
        torch.testing.assert_close(e.trace["loss"][i], torch.tensor(losses).double().mean(0))
        torch.testing.assert_close(e.trace["insertion"][i], torch.tensor(scores).double().mean(0))
        last = torch.stack([course[-1] for course in masks])
        torch.testing.assert_close(e.details["masks"][i], last)
        torch.testing.assert_close(e.details["masked_score"][i], torch.tensor(scores).double()[:, -1])
        torch.testing.assert_close(e.details["area"][i], last.mean((1, 2)))
        torch.testing.assert_close(e.raw[i], last.mean(0))
        for step in range(steps + 1):
            mean = sum(course[step] for course in masks) / 2
            parts = [[part.mean() for part in rows.split(2, 1)] for rows in mean.split(2)]
            torch.testing.assert_close(e.trace["mask"][i, step], torch.tensor(parts).double())
        assert not torch.allclose(masks[0][0], masks[0][-1], atol=0.01)


def test_the_smooth_maximum_has_the_gradient_of_its_formula():
    w = module.kernel(2, 1.0)
    p = torch.rand(2, 1 + w.shape[1], 2 + w.shape[1]).double().requires_grad_()
    assert torch.autograd.gradcheck(module.SmoothMaximum.apply, (p, w))


def test_one_height_alone_gives_nearly_its_kernel_and_zeros_none():
    w = module.kernel(7, 21.0)
    p = torch.zeros(1, 11, 11).double()
    assert not module.mask_of(p, w, 0).any()
    p[0, 5, 5] = 1
    m = module.mask_of(p, w, 0)[0]
    r = torch.hypot(*(torch.arange(77.0)[side] - 38 for side in ((slice(None), None), (None, slice(None)))))
    torch.testing.assert_close(m[r < 10.5], torch.ones_like(m[r < 10.5]), atol=1e-6, rtol=0)
    torch.testing.assert_close(m, m.T)
    torch.testing.assert_close(m, m.flip(0))
    assert m[r > 48].max() == 0


# --- what must come out -------------------------------------------------------------------------------------

OPEN = {"cell": 4, "sigma": 4.0, "max_blur": 3.0, "target": 1}


class Centre(Contrasts):
    """Columns that differ count the more the nearer they are to the centre of an image of 40 by 52 pixels."""

    def __init__(self) -> None:
        super().__init__()
        r = torch.hypot(torch.arange(40.0)[:, None] - 19.5, torch.arange(51.0) - 25)
        self.weights = torch.exp(-((r / 10) ** 2) / 2).double()

    def forward(self, x: Tensor) -> Tensor:
        sharp = 20 * (self.weights * x.diff(dim=-1).abs().mean(1)).sum((1, 2)) / self.weights.sum()
        return torch.stack([-sharp, sharp], 1)


@pytest.mark.full
def test_masks_are_nearly_binary_have_the_area_asked_for_and_larger_ones_keep_more_of_the_score():
    areas = (0.1, 0.2, 0.4, 0.7)
    e = explained(Centre(), stripes(40, 52), areas=areas, steps=120, **OPEN)
    m = e.details["masks"]
    torch.testing.assert_close(e.details["area"][0], torch.tensor(areas).double(), atol=0.05, rtol=0)
    assert float(((m > 0.1) & (m < 0.9)).double().mean()) < 0.2
    scores = e.details["masked_score"][0]
    assert (scores.diff() > 1).all()
    assert 0 < scores[0] < scores[-1] < e.score[0]


def test_of_a_model_that_reads_one_patch_that_patch_is_kept():
    rows, columns = slice(8, 24), slice(20, 40)
    area = 16 * 20 / (40 * 52)
    e = explained(Contrasts(rows, columns), stripes(40, 52), areas=area, steps=100, mirror=False, **OPEN)
    truth = torch.zeros(40, 52, dtype=torch.bool)
    truth[rows, columns] = True
    found = e.attribution[0, 0] > 0.5
    assert float((found & truth).sum() / (found | truth).sum()) > 0.65
    assert e.details["masked_score"].item() > 0.8 * float(e.score)


def test_mirroring_gives_a_model_and_its_mirror_image_the_same_mask_mirrored():
    rows, columns, mirrored = slice(8, 24), slice(20, 40), slice(12, 32)
    x = stripes(40, 52)
    a = explained(Contrasts(rows, columns), x, steps=5, mirror=False, **OPEN)
    b = explained(Contrasts(rows, mirrored), x.flip(-1), steps=5, mirror=False, **OPEN)
    torch.testing.assert_close(a.raw.flip(-1), b.raw)
    c = explained(Contrasts(rows, columns), x, steps=1, mirror=True, **OPEN)
    d = explained(Contrasts(rows, mirrored), x.flip(-1), steps=1, mirror=False, **OPEN)
    torch.testing.assert_close(c.raw, d.raw)


# --- how it is had ------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_batch_is_its_images_one_by_one_whatever_the_batch_size():
    net, x, targets = clear(), images(3), [3, 1, 3]
    options = {**SMALL, "steps": 5, "areas": (0.2, 0.5, 0.7)}
    e = explained(net, x, target=targets, **options)
    assert e.raw.flatten(1).any(1).all()
    for i, target in enumerate(targets):
        alone = explained(net, x[i : i + 1], target=target, **options)
        torch.testing.assert_close(e.raw[i : i + 1], alone.raw, rtol=1e-9, atol=1e-12)
    for size in (1, 2, 50):
        again = explained(net, x, target=targets, batch_size=size, **options)
        torch.testing.assert_close(again.raw, e.raw, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(again.trace["loss"], e.trace["loss"])


def test_areas_together_are_areas_one_by_one_and_their_map_is_the_mean():
    net, x, areas = clear(), images(2), (0.2, 0.5, 0.7)
    e = explained(net, x, areas=areas, steps=6, **SMALL)
    for k, area in enumerate(areas):
        alone = explained(net, x, areas=area, steps=6, **SMALL)
        torch.testing.assert_close(e.details["masks"][:, k], alone.raw)
    torch.testing.assert_close(e.raw, e.details["masks"].mean(1))


def test_the_passes_announced_are_the_passes_run():
    net, counter = watched(seeded(TinyCNN).double())
    options = {"steps": 5, "areas": (0.1, 0.3)}
    e = explained(net, images(2), **options)
    entry = pellucid.METHODS["extremal-perturbation"]
    forward, backward, *_ = entry.cost(entry.resolve_options(options))
    assert (e.cost.forward, e.cost.backward) == (2 * forward, 2 * backward) == (2 * 13, 2 * 10)
    assert (sum(counter.forward), sum(counter.backward)) == (e.cost.forward, e.cost.backward)


def test_no_chunk_is_larger_than_the_limit():
    net, counter = watched(seeded(TinyCNN).double())
    explained(net, images(2), steps=1, areas=(0.1, 0.3, 0.5), batch_size=4)
    assert counter.forward == [2, 4, 2, 4, 2]


def test_areas_are_read_as_numbers_lists_and_text():
    x = images(1)
    as_text = pellucid.explain(clear(), x, "extremal-perturbation:steps=1,areas=0.1,0.3", progress=False)
    as_list = explained(clear(), x, steps=1, areas=[0.1, 0.3])
    assert torch.equal(as_text.raw, as_list.raw)
    assert as_text.options["areas"] == as_list.options["areas"] == [0.1, 0.3]
    assert explained(clear(), x, steps=1, areas=0.3).options["areas"] == [0.3]


def test_half_precision_has_masks_in_single():
    e = explained(seeded(GapNet).half(), images(1).half(), steps=3, **SMALL)
    assert e.raw.dtype == torch.float32
    assert e.raw.isfinite().all()


# --- when there is no mask ----------------------------------------------------------------------------------


def test_an_image_that_blurring_does_not_change_gives_a_zero_map_and_a_warning():
    x = images(2)
    x[0] = torch.tensor([0.1, 0.2, 0.7])[:, None, None]
    for dtype in (torch.float64, torch.float32):
        e = explained(clear().to(dtype), x.to(dtype), steps=3, **SMALL)
        assert not e.raw[0].any()
        assert e.raw[1].any()
        assert e.notes == [[module.NOTHING_HIDDEN], []]


class Fails(nn.Module):
    """Gives what is not finite for images that have been blurred enough and are bright."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how, self.calls = clear(), how, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out, bad = self.net(x), x.mean((1, 2, 3)) > 5
        if self.calls > 3:
            steep = (x[bad] * 0).sum((1, 2, 3)).abs().sqrt()[:, None]  # of an infinite slope
            out = out.index_put(
                (bad.nonzero()[:, 0],), out[bad] + (torch.nan if self.how == "score" else steep)
            )
        return out


@pytest.mark.parametrize("how", ["score", "gradient"])
def test_a_search_that_meets_what_is_not_finite_keeps_its_last_mask_and_harms_no_other(how):
    x = images(2)
    x[1] += 9
    options = {"target": CLASSES, "steps": 6, "areas": 0.4, **SMALL}
    sound, e = explained(clear(), x, **options), explained(Fails(how), x, **options)
    assert e.notes == [[], [LOST]]
    torch.testing.assert_close(e.raw[0], sound.raw[0], rtol=1e-9, atol=1e-12)
    assert all(
        values.isfinite().all()
        for values in (e.raw, *e.trace.values(), *e.details.values())
        if isinstance(values, Tensor)
    )
    met = sound.trace["mask"][1]
    assert not torch.allclose(met[1], met[2])
    torch.testing.assert_close(e.trace["mask"][1], met[[0, 1, 1, 1, 1, 1, 1]])
    torch.testing.assert_close(avg_pool2d(e.raw, 2, ceil_mode=True)[1], met[1])


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("areas=0", "areas must be shares of the image, between 0 and 1; got '0'"),
        ("areas=0.1,1.5", "areas must be shares of the image, between 0 and 1; got '0.1,1.5'"),
        ("areas=many", "areas must be a number"),
        ("steps=0", "steps must be at least 1; got 0"),
        ("cell=0", "cell must be at least 1; got 0"),
        ("levels=1", "levels must be at least 2; got 1"),
        ("learning_rate=0", "learning_rate must be above 0; got 0"),
        ("sigma=0", "sigma must be above 0; got 0"),
        ("max_blur=-1", "max_blur must be above 0; got -1"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(spec, told):
    with pytest.raises(InvalidValue, match=told):
        pellucid.explain(clear(), images(1), f"extremal-perturbation:{spec}", progress=False)


@pytest.mark.parametrize("areas", [(), [None], True, {"a": 1}])
def test_areas_of_other_types_are_refused(areas):
    with pytest.raises((InvalidValue, InvalidType), match="areas must be"):
        explained(clear(), images(1), areas=areas)
