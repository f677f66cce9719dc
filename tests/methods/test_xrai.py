"""XRAI: regions against slow twins of its algorithm and skimage's dilation, sums that are kept."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.morphology import dilation, disk
from torch import Tensor

import pellucid
from pellucid.errors import InvalidValue, ModelError
from pellucid.methods.path.regions import LEAST, dilate, grow, multi_scale
from pellucid.preprocess import Preprocess
from zoo import LinearNet, ResidualNet, assert_close, images, raw, seeded

SIZE = (26, 31)


def scene(seed: int, size: tuple[int, int] = SIZE, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Random attributions, and segments: rectangles that overlap, some small, some alike."""
    random = np.random.default_rng(seed)
    attribution, segments = random.normal(size=size), np.zeros((count, *size), bool)
    for segment in segments:
        (top, bottom), (left, right) = (np.sort(random.integers(0, side, 2)) for side in size)
        segment[top : bottom + 1, left : right + 1] = True
    segments[-1] = segments[0]
    return attribution, segments


def twin(attribution: np.ndarray, segments: np.ndarray, full: bool) -> tuple[np.ndarray, np.ndarray]:
    """The algorithm, counting anew the pixels of every segment for every region."""
    taken = np.zeros(attribution.shape, bool)
    waiting = list(segments)
    if not full:
        waiting.sort(key=lambda segment: -attribution[segment].mean())
    regions = []
    while waiting:
        if full:
            waiting = [segment for segment in waiting if (segment & ~taken).sum() >= LEAST]
            if not waiting:
                break
            number = int(np.argmax([attribution[segment & ~taken].mean() for segment in waiting]))
        else:
            number = 0
        new = waiting.pop(number) & ~taken
        if new.sum() >= LEAST:
            regions.append(new)
            taken |= new
    regions.sort(key=lambda region: -attribution[region].mean())
    if not taken.all():
        regions.append(~taken)
    averages, ranks = np.zeros_like(attribution), np.zeros(attribution.shape, int)
    for rank, region in enumerate(regions, 1):
        averages[region], ranks[region] = attribution[region].mean(), rank
    return averages, ranks


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), full=st.booleans())
def test_regions_are_those_of_the_literal_algorithm(seed, full):
    attribution, segments = scene(seed)
    averages, ranks = grow(attribution, segments, "full" if full else "fast")
    slow, order = twin(attribution, segments, full)
    assert np.allclose(averages, slow, rtol=0, atol=1e-12)
    assert (ranks == order).all()
    assert np.isclose(averages.sum(), attribution.sum())
    means = [averages[ranks == rank].mean() for rank in range(1, ranks.max() + 1)]
    covered = means if ranks.max() == len(means) and segments.any(0).all() else means[:-1]
    assert covered == sorted(covered, reverse=True)


def test_full_looks_at_new_pixels_where_fast_looks_at_whole_segments():
    """Once the third quarter is taken, the first two together are worth less than the second alone."""
    attribution = np.repeat([[2.0, 3.0, 9.0, 1.0]], LEAST, axis=1)
    at = np.arange(4 * LEAST)[None] // LEAST
    masks = np.stack([at <= 2, at == 2, at == 0, at == 1, at == 3])
    for algorithm, worth, ranks in (
        ("full", [2, 3, 9, 1], [3, 2, 1, 4]),
        ("fast", [2.5, 2.5, 9, 1], [2, 2, 1, 3]),
    ):
        averages, order = grow(attribution, masks, algorithm)
        assert averages[0, ::LEAST].tolist() == worth
        assert order[0, ::LEAST].tolist() == ranks


def test_what_adds_too_few_pixels_is_left_over():
    attribution = np.arange(150.0)[None]
    at = np.arange(150)[None]
    for algorithm in ("full", "fast"):
        averages, ranks = grow(attribution, np.stack([at >= 100, at >= 51]), algorithm)
        assert averages[0, [149, 99, 50]].tolist() == [124.5, 49.5, 49.5]
        assert ranks[0, [149, 99, 50]].tolist() == [1, 2, 2]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 20), radius=st.integers(0, 6))
def test_masks_are_widened_as_skimage_does(seed, count, radius):
    masks = np.random.default_rng(seed).random((count, 13, 17)) > 0.97
    assert (dilate(masks, radius) == np.stack([dilation(mask, disk(radius)) for mask in masks])).all()


def test_segments_cover_a_picture_at_each_scale():
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:, 40:], picture[30:, :40] = (200, 30, 30), (20, 220, 40)
    masks = multi_scale(picture)
    assert masks.shape[1:] == (60, 80)
    assert (masks.sum(0) >= 6).all()
    quarter = masks[:, 6:24, 6:34].all((1, 2)) & ~masks[:, :, 50:].any((1, 2)) & ~masks[:, 40:].any((1, 2))
    assert quarter.any()


def test_a_picture_of_one_colour_is_one_region():
    assert multi_scale(np.full((40, 50, 3), 77, np.uint8)).shape == (6, 40, 50)
    net = seeded(ResidualNet).double()
    e = pellucid.explain(net, torch.full((1, 3, 40, 50), 0.3).double(), "xrai", steps=2, progress=False)
    assert e.raw.isfinite().all()
    assert (e.raw == 0).all()
    assert (e.details["regions"] == 1).all()


def blocks(n: int = 2, size: tuple[int, int] = (48, 64)) -> Tensor:
    """Pictures of large blocks with a little noise."""
    coarse = images(n, (3, 4), seed=7)
    return torch.nn.functional.interpolate(coarse, size) + 0.05 * images(n, size)


@pytest.mark.parametrize("algorithm", ["full", "fast"])
def test_regions_average_both_integrated_gradients_whose_sum_they_keep(algorithm):
    net, x = seeded(ResidualNet).double(), blocks(1)
    options = {"target": 4, "steps": 6, "progress": False}
    e = pellucid.explain(net, x, "xrai", algorithm=algorithm, channels="sum", segments="grid:3", **options)
    extremes = (extreme((1, 2, 3), keepdim=True).expand_as(x) for extreme in (x.amin, x.amax))
    lines = [
        pellucid.explain(net, x, "integrated-gradients", baseline=start, **options) for start in extremes
    ]
    mean = sum(line.raw for line in lines) / 2
    assert torch.allclose(e.raw.sum((1, 2)), mean.sum((1, 2, 3)))
    assert torch.allclose(e.delta, sum(line.delta for line in lines) / 2)
    most = pellucid.explain(net, x, "xrai", algorithm=algorithm, **options)
    assert torch.allclose(most.raw.sum((1, 2)), mean.amax(1).sum((1, 2)))
    assert most.delta is None
    for i, image in enumerate(pellucid.Model(net).pictures(x)):
        averages, ranks = grow(mean[i].amax(0).numpy(), multi_scale(np.asarray(image.rgb)), algorithm)
        assert_close(most.raw[i], torch.from_numpy(averages), 1e-10)
        assert torch.equal(most.details["regions"][i], torch.from_numpy(ranks))


def test_black_and_white_are_the_pixels_colours():
    x = blocks(1)
    net = seeded(LinearNet, x.numel()).double()
    look = Preprocess((48, 64), None, mean=(0.2, 0.5, 0.4), std=(0.1, 0.2, 0.3))
    model = pellucid.Model(net, preprocess=look)
    options = {"target": 0, "steps": 1, "channels": "sum", "progress": False}
    e = pellucid.explain(model, x, "xrai", baselines="black-and-white", **options)
    tensors = [torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (look.mean, look.std)]
    grey = (0.5 - tensors[0]) / tensors[1]  # both lines of a linear score together begin in the middle
    expected = (net(x) - net(grey.expand_as(x)))[0, 0].detach()
    assert torch.allclose(e.raw.sum(), expected)
    assert abs(float(e.delta)) < 1e-9
    with pytest.raises(ModelError, match="baseline='black' needs a model"):
        raw(net, x, "xrai", steps=1, baselines="black-and-white")


def test_steps_auto_is_as_complete_as_it_says():
    net, x = seeded(ResidualNet).double(), blocks(1)
    e = pellucid.explain(net, x, "xrai", target=0, steps="auto", channels="sum", progress=False)
    starts = [x.amin().expand_as(x), x.amax().expand_as(x)]
    with torch.no_grad():
        changes = [float(net(x)[0, 0] - net(start)[0, 0]) for start in starts]
    assert abs(float(e.delta)) <= 0.01 * sum(map(abs, changes)) / 2


def test_a_batch_is_its_images():
    net, x = seeded(ResidualNet).double(), blocks(3)
    options = {"steps": 5, "segments": "grid:4", "progress": False}
    together = pellucid.explain(net, x, "xrai", target=[0, 1, 2], batch_size=3, **options)
    for i in range(3):
        alone = pellucid.explain(net, x[i : i + 1], "xrai", target=i, batch_size=2, **options)
        assert_close(together.raw[i : i + 1], alone.raw, 1e-10)
        assert torch.equal(together.details["regions"][i : i + 1], alone.details["regions"])


def test_the_picture_is_segmented_not_what_preprocessing_makes_of_it(cat: Image.Image):
    small, seen = cat.resize((64, 48)), []

    def halves(rgb: np.ndarray) -> np.ndarray:
        seen.append(rgb)
        return np.arange(rgb[..., 0].size).reshape(rgb.shape[:2]) % 2

    net = seeded(LinearNet, 3 * 48 * 64)
    model = pellucid.Model(
        net, preprocess=Preprocess((48, 64), None, mean=(0.1, 0.5, 0.9), std=(0.3, 0.2, 0.5))
    )
    raw(model, small, "xrai", steps=1, segments=halves)
    assert (seen[0] == np.asarray(small)).all()


def test_segments_of_ones_own_are_used_as_they_are():
    net, x = seeded(ResidualNet).double(), blocks(1)
    labels = torch.arange(48 * 64).view(48, 64) // (24 * 64)
    options = {"target": 1, "steps": 4, "channels": "sum"}
    map = raw(net, x, "xrai", segments=labels, **options)
    assert_close(map, raw(net, x, "xrai", segments=lambda rgb: labels.numpy(), **options), 1e-12)
    assert len(map.unique()) == 2
    assert map[0, :24].std() < 1e-12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be"),
        ({"segments": "slice"}, "segments must be one of"),
        ({"segments": np.zeros((3, 3), int)}, "segments must hold one label for each pixel"),
        ({"algorithm": "slow"}, r"algorithm must be one of full \| fast; got 'slow'"),
        ({"baselines": "grey"}, r"baselines must be one of extremes \| black-and-white"),
        ({"channels": "mean"}, r"channels must be one of max \| sum"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(InvalidValue, match=words):
        raw(seeded(ResidualNet), images(1).float(), "xrai", **options)
