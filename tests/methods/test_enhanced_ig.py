"""Enhanced IG: closed forms, literal twins, linear autoencoders, and which features are significant."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import pellucid
from nets import watched
from pellucid.errors import FileMissing, InvalidType, InvalidValue, ModelError
from pellucid.methods.path.baseline_sets import central, centres, drawn, nearest
from pellucid.methods.path.enhanced_ig import significant
from pellucid.methods.path.neighbours import Neighbourhood, along
from zoo import LinearNet, images, seeded

SIZE = (5, 6)
"""Of the pictures, small: many paths of many points."""
SETS = ("zero", "k-means", "median", "close", "random")


class Smooth(nn.Module):
    """Quick, and curved, so that gradients change along a path."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 3 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv(x)).flatten(1))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return seeded(Smooth).double()


def pictures(n: int, seed: int = 1) -> Tensor:
    return images(n, SIZE, seed=seed)


def explained(net: nn.Module, x: Tensor, **options: object) -> pellucid.Explanation:
    return pellucid.explain(net, x, "enhanced-ig", progress=False, **{"target": 1, "steps": 5, **options})


def literal(net: nn.Module, path: list[Tensor]) -> Tensor:
    """The trapezoid rule over the points (C, H, W) of one path, interval by interval."""
    slopes = []
    for point in path:
        leaf = point[None].clone().requires_grad_()
        (slope,) = torch.autograd.grad(net(leaf)[0, 1], leaf)
        slopes.append(slope[0])
    total = torch.zeros_like(path[0])
    for i in range(len(path) - 1):
        total += (slopes[i] + slopes[i + 1]) / 2 * (path[i + 1] - path[i])
    return total


def line(start: Tensor, end: Tensor, steps: int) -> list[Tensor]:
    return [start + i / (steps - 1) * (end - start) for i in range(steps)]


@torch.no_grad()
def score(net: nn.Module, *points: Tensor) -> Tensor:
    return net(torch.stack(points))[:, 1]


def by_l1(references: Tensor, to: Tensor) -> list[int]:
    return sorted(range(len(references)), key=lambda r: float((references[r] - to).abs().sum()))


# --- baselines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 9])
def test_from_zero_on_a_line_it_is_integrated_gradients_by_trapezoids(net, steps):
    x = pictures(3)
    e = explained(net, x, steps=steps)
    ig = pellucid.explain(net, x, "integrated-gradients", target=1, steps=steps, quadrature="trapezoid")
    torch.testing.assert_close(e.raw, ig.raw, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(e.delta, ig.delta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3])
def test_close_baselines_are_the_nearest_to_each_image(net, count):
    x, references = pictures(2), pictures(7, seed=3)
    e = explained(net, x, baselines="close", references=references, count=count)
    for i in range(2):
        starts = [references[r] for r in by_l1(references, x[i])[:count]]
        maps = [literal(net, line(start, x[i], 5)) for start in starts]
        torch.testing.assert_close(e.raw[i], sum(maps) / count)
        change = score(net, x[i]) - score(net, *starts).mean()
        torch.testing.assert_close(e.delta[i : i + 1], e.raw[i].sum() - change)


def test_an_image_among_the_references_is_not_close_to_itself(net):
    references = pictures(4, seed=3)
    x = references[1:2].clone()
    e = explained(net, x, baselines="close", references=references, count=1)
    start = references[by_l1(references, x[0])[1]]
    torch.testing.assert_close(e.raw[0], literal(net, line(start, x[0], 5)))


def test_median_baselines_are_the_references_nearest_to_the_median(net):
    x, references = pictures(1), pictures(6, seed=3)
    median = torch.from_numpy(np.median(references.numpy(), axis=0))
    starts = [references[r] for r in by_l1(references, median)[:2]]
    e = explained(net, x, baselines="median", references=references, count=2)
    torch.testing.assert_close(e.raw[0], sum(literal(net, line(start, x[0], 5)) for start in starts) / 2)


def test_k_means_baselines_are_the_centres_of_what_lies_together(net):
    x, centre = pictures(1), 5 * pictures(3, seed=3)
    spread = 0.01 * pictures(12, seed=4)
    references = centre.repeat(4, 1, 1, 1) + spread
    starts = [references[k::3].mean(0) for k in range(3)]
    for seed in range(3):
        e = explained(net, x, baselines="k-means", references=references, seed=seed)
        expected = sum(literal(net, line(start, x[0], 5)) for start in starts) / 3
        torch.testing.assert_close(e.raw[0], expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 9))
def test_centres_are_the_means_of_those_nearest_to_them(seed, count, size):
    codes = torch.randn(size, 3, generator=torch.Generator().manual_seed(seed)).double().round()
    found = centres(codes, count, torch.Generator().manual_seed(seed))
    assert 1 <= len(found) <= min(count, len(codes.unique(dim=0)))
    apart = torch.stack([(codes - centre).norm(dim=1) for centre in found])
    if (
        len(found) == 1 or (apart.sort(0).values.diff(dim=0)[0] > 1e-9).all()
    ):  # no reference is as near to two
        for k in range(len(found)):
            torch.testing.assert_close(found[k], codes[apart.argmin(0) == k].mean(0))


def test_random_baselines_are_references_without_repetition_and_the_same_for_all_images(net):
    x, references = pictures(2), pictures(5, seed=3)
    e = explained(net, x, baselines="random", references=references, seed=7)
    maps = torch.stack([torch.stack([literal(net, line(r, one, 5)) for r in references]) for one in x])
    fitting = [
        three
        for three in itertools.combinations(range(5), 3)
        if torch.allclose(e.raw, maps[:, list(three)].mean(1), rtol=1e-9)
    ]
    assert len(fitting) == 1
    stderr = maps[:, list(fitting[0])].std(1) / 3**0.5
    torch.testing.assert_close(e.stderr, stderr.float())
    again, other = (explained(net, x, baselines="random", references=references, seed=s) for s in (7, 8))
    assert torch.equal(again.raw, e.raw)
    assert not torch.equal(other.raw, e.raw)


def test_all_references_drawn_are_all_references():
    codes = torch.arange(6.0)[:, None]
    assert sorted(drawn(codes, 9, torch.Generator()).flatten().tolist()) == list(range(6))


def test_near_is_meant_in_l1_and_the_middle_is_the_median():
    few, many = torch.tensor([3.0, 0.0]), torch.tensor([2.0, 2.0])
    assert torch.equal(nearest(torch.stack([many, few]), torch.zeros(2), 1), few[None])
    codes = torch.tensor([0.0, 1, 2, 3, 100])[:, None]
    assert central(codes, 2, torch.Generator()).flatten().tolist() == [2, 1]


@pytest.mark.parametrize("baselines", SETS)
def test_fewer_references_than_baselines_are_all_there_is(net, baselines):
    x, references = pictures(1), pictures(2, seed=3)
    module, counter = watched(net)
    e = explained(module, x, baselines=baselines, references=references, count=3)
    starts = references if baselines != "zero" else torch.zeros_like(x)
    assert sum(counter.forward) == e.cost.forward == 1 + 5 * len(starts)
    assert sum(counter.backward) == e.cost.backward == 5 * len(starts)
    torch.testing.assert_close(
        e.raw[0], sum(literal(net, line(start, x[0], 5)) for start in starts) / len(starts)
    )


@pytest.mark.parametrize("baselines", SETS)
@pytest.mark.parametrize("path", ["linear", "neighbours"])
def test_a_linear_score_is_shared_out_exactly_whatever_the_path(baselines, path):
    x, references = pictures(2), pictures(6, seed=3)
    linear = seeded(LinearNet, x[0].numel()).double()
    weights = linear.fc.weight[1].view(x[0].shape)
    e = explained(linear, x, baselines=baselines, path=path, references=references, neighbours=2)
    start = x - e.raw / weights  # the mean of the baselines
    ends = torch.zeros_like(x[:1]) if baselines == "zero" else references
    assert (start <= ends.amax(0) + 1e-9).all()
    assert (start >= ends.amin(0) - 1e-9).all()
    assert e.delta.abs().max() < 1e-10


# --- paths of neighbours ------------------------------------------------------------------------------------


def shortest(points: np.ndarray, k: int, start: int, end: int) -> tuple[float, list[int]]:
    """Bellman-Ford, over links of every point to its k nearest references; the two ends are not linked."""
    n = len(points)
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    links = np.full((n, n), np.inf)
    for i in range(n):
        others = [j for j in range(n) if j not in (i, start, end)]
        for j in sorted(others, key=lambda j: apart[i, j])[:k]:
            links[i, j] = links[j, i] = apart[i, j]
    best, came = np.full(n, np.inf), [-1] * n
    best[start] = 0
    for _ in range(n):
        for i, j in itertools.product(range(n), repeat=2):
            if best[i] + links[i, j] < best[j] - 1e-12:
                best[j], came[j] = best[i] + links[i, j], i
    way, at = [], end
    while at >= 0:
        way, at = [at, *way], came[at]
    return best[end], way


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4))
def test_paths_are_the_shortest_over_links_to_nearest_references(seed, size, k):
    points = torch.randn(size + 2, 2, generator=torch.Generator().manual_seed(seed)).double()
    start, end = points[-2], points[-1]
    found = Neighbourhood.of(points[:-2], k).path(start, end)
    if (start - end).norm() <= torch.cdist(points[-2:], points[:-2]).min():
        assert torch.equal(found, points[-2:])
        return
    length, way = shortest(points.numpy(), k, size, size + 1)
    if length == np.inf:
        assert found is None
    else:
        torch.testing.assert_close(found, points[way])


def test_points_lie_evenly_by_length():
    corners = torch.tensor([[0.0, 0], [0, 0], [3, 0], [3, 4], [3, 4], [3, 9]]).double()
    times = torch.linspace(0, 1, 13).double()
    expected = [[min(s, 3), max(s - 3, 0)] for s in range(13)]
    torch.testing.assert_close(along(corners, times), torch.tensor(expected).double())
    assert torch.equal(along(corners[3:5], times), corners[3].expand(13, 2))


def test_a_path_of_neighbours_follows_the_references(net):
    """References along a half circle: the straight line would leave them."""
    angles = torch.linspace(0, np.pi, 12).double()
    a, b = pictures(2, seed=9)
    circle = torch.cos(angles).view(-1, 1, 1, 1) * a + torch.sin(angles).view(-1, 1, 1, 1) * b
    x, references = circle[-1:], circle[:-1]
    e = explained(net, x, baselines="median", path="neighbours", references=references, neighbours=1, count=1)
    median = torch.from_numpy(np.median(references.numpy(), axis=0))
    start = by_l1(references, median)[0]
    assert e.details["passed"].tolist() == [[11 - start]]  # itself, as it is a reference, and those between
    way = [circle[i] for i in range(start, 12)]
    lengths = [float((q - p).norm()) for p, q in itertools.pairwise(way)]
    points = []
    for step in range(5):
        left, piece = step / 4 * sum(lengths), 0
        while piece < len(lengths) - 1 and left > lengths[piece]:
            left, piece = left - lengths[piece], piece + 1
        points.append(way[piece] + left / lengths[piece] * (way[piece + 1] - way[piece]))
    torch.testing.assert_close(e.raw[0], literal(net, points))


def test_where_no_links_lead_the_path_is_straight_and_a_word_says_so(net):
    near, far = pictures(1, seed=3), 100 + pictures(1, seed=4)
    references = torch.cat([near + 0.01 * pictures(3, seed=5), far + 0.01 * pictures(3, seed=6)])
    x = torch.cat([far, near])
    options = {"baselines": "median", "references": references, "path": "neighbours", "count": 1}
    e = explained(net, x, neighbours=1, **options)
    lost = [any("No links between references lead from 1 of 1" in n for n in notes) for notes in e.notes]
    assert sorted(lost) == [False, True]
    i = lost.index(True)
    assert e.details["passed"][i].tolist() == [0]
    straight = explained(net, x, **{**options, "path": "linear"})
    torch.testing.assert_close(e.raw[i], straight.raw[i])


# --- among codes --------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """A linear map of flattened tensors, in training mode with something that then would be random."""

    def __init__(self, matrix: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.matrix, self.shape, self.drop = nn.Parameter(matrix), shape, nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (self.drop(x.flatten(1)) @ self.matrix.T).unflatten(1, self.shape)


def autoencoder(rank: int = 4, seed: int = 2) -> tuple[Linear, Linear, Tensor]:
    """An orthogonal projection on a few directions: encoder, decoder, and the projection itself."""
    size = (3, *SIZE)
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(np.prod(size), rank, dtype=torch.float64, generator=generator))
    return Linear(basis.T.clone(), (2, rank // 2)).train(), Linear(basis, size).train(), basis @ basis.T


def projected(P: Tensor, x: Tensor) -> Tensor:
    return (x.flatten(1) @ P.T).view(x.shape)


@pytest.mark.parametrize("baselines", ["zero", "encoded-zero", "close"])
def test_codes_of_a_linear_autoencoder_are_its_projection(net, baselines):
    """A straight line of codes decodes to a straight line: integrated gradients of the projected image."""
    x, references = pictures(2), pictures(5, seed=3)
    encoder, decoder, P = autoencoder()
    options = {"encoder": encoder, "decoder": decoder, "references": references, "count": 1}
    e = explained(net, x, baselines=baselines, **options)
    copies = projected(P, x)
    codes, some = encoder.eval()(x).detach(), encoder(references).detach()
    for i in range(2):
        start = torch.zeros_like(x[0])
        if baselines == "close":
            start = projected(P, references)[by_l1(some, codes[i])[0]]
        torch.testing.assert_close(e.raw[i], literal(net, line(start, copies[i], 5)))
        change = score(net, copies[i]) - score(net, start)
        torch.testing.assert_close(e.delta[i : i + 1], e.raw[i].sum() - change)
    torch.testing.assert_close(e.details["score_gap"], (score(net, *x) - score(net, *copies)).abs())
    torch.testing.assert_close(e.details["reconstruction_error"], (x - copies).flatten(1).norm(dim=1))


def test_neighbours_are_looked_for_among_codes(net):
    x, references = pictures(2), pictures(6, seed=3)
    encoder, decoder, _ = autoencoder()
    options = {"references": references, "path": "neighbours", "neighbours": 1}
    e = explained(net, x, encoder=encoder, decoder=decoder, **options)
    encoder.eval()
    codes, some = encoder(x).detach(), encoder(references).detach()
    links = Neighbourhood.of(some, 1)
    for i in range(2):
        way = links.path(torch.zeros_like(codes[0]), codes[i])
        assert e.details["passed"][i].tolist() == [0 if way is None else len(way) - 2]
        way = torch.stack([torch.zeros_like(codes[0]), codes[i]]) if way is None else way
        points = decoder.eval()(along(way, torch.linspace(0, 1, 5).double())).detach()
        torch.testing.assert_close(e.raw[i], literal(net, list(points)))


def test_a_lossless_autoencoder_changes_nothing(net):
    x, references = pictures(2), pictures(6, seed=3)
    options = {"baselines": "k-means", "references": references, "path": "neighbours", "neighbours": 2}
    plain = explained(net, x, **options)
    coded = explained(
        net, x, encoder=lambda v: v.flatten(1), decoder=lambda c: c.view(-1, 3, *SIZE), **options
    )
    torch.testing.assert_close(coded.raw, plain.raw)
    assert coded.details["score_gap"].max() < 1e-15
    assert not coded.details["reconstruction_error"].any()
    assert not any("copy" in warning for warning in coded.warnings)


def test_a_copy_with_another_score_is_told(net):
    encoder, decoder, _ = autoencoder()
    e = explained(net, pictures(1), encoder=encoder, decoder=decoder)
    assert any("The decoder's copy of the image has the score" in warning for warning in e.warnings)


def test_coders_are_left_as_they_were(net):
    encoder, decoder, _ = autoencoder()
    encoder = nn.Sequential(nn.ReLU(inplace=True), encoder).train()
    x = pictures(2)
    before = [x.clone(), encoder[1].matrix.clone(), decoder.matrix.clone()]
    first = explained(net, x, encoder=encoder, decoder=decoder)
    assert all(m.training for part in (encoder, decoder) for m in part.modules())
    assert encoder[1].matrix.grad is None
    assert decoder.matrix.grad is None
    assert all(map(torch.equal, before, [x, encoder[1].matrix, decoder.matrix]))
    alike = nn.Sequential(nn.ReLU(), encoder[1])
    again = explained(net, x, encoder=alike, decoder=decoder)
    assert torch.equal(again.raw, first.raw)
    for name, told in again.details.items():
        if name == "chosen":
            continue
        assert torch.equal(told, first.details[name]), name


# --- what all methods must be -------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("path", ["linear", "neighbours"])
@pytest.mark.parametrize("baselines", SETS)
def test_neither_batch_nor_chunks_matter(net, baselines, path):
    x, references = pictures(2), pictures(6, seed=3)
    options = {"baselines": baselines, "path": path, "references": references, "neighbours": 2, "count": 2}
    whole = explained(net, x, **options)
    for size in (1, 3):
        torch.testing.assert_close(explained(net, x, batch_size=size, **options).raw, whole.raw)
    for i in range(2):
        single = explained(net, x[i : i + 1], **options)
        torch.testing.assert_close(single.raw, whole.raw[i : i + 1])
        torch.testing.assert_close(single.delta, whole.delta[i : i + 1])


def test_references_may_depend_on_the_image(net):
    x = pictures(2)
    e = explained(net, x, baselines="close", references=["mean", "0.5"], count=1)
    for i in range(2):
        start = min(
            (x[i].mean((1, 2), keepdim=True).expand_as(x[i]), torch.full_like(x[i], 0.5)),
            key=lambda start: float((x[i] - start).abs().sum()),
        )
        torch.testing.assert_close(e.raw[i], literal(net, line(start, x[i], 5)))


def test_passes_are_those_of_the_points(net):
    module, counter = watched(net)
    e = explained(module, pictures(2), baselines="close", references=pictures(5, seed=3), count=2, steps=6)
    assert sum(counter.forward) == e.cost.forward == 2 * (2 * 6 + 1)
    assert sum(counter.backward) == e.cost.backward == 2 * 2 * 6


def test_a_baseline_that_is_the_image_gives_zero_and_a_word(net):
    x = pictures(2)
    for baselines in ("close", "median", "random", "k-means"):
        e = explained(net, x, baselines=baselines, references=x[:1])
        assert not e.raw[0].any()
        assert e.raw[1].any()
        assert any("there is no path between them" in note for note in e.notes[0])
        assert not any("there is no path" in note for note in e.notes[1])


# --- references ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coloured(tmp_path_factory) -> tuple[pellucid.Model, str]:
    """A model that takes pictures, and a folder of three of them."""
    folder = tmp_path_factory.mktemp("references")
    for i, colour in enumerate([(0, 0, 0), (80, 20, 30), (255, 255, 255)]):
        Image.new("RGB", (9, 8), colour).save(folder / f"{i}.png")
    preprocess = pellucid.Preprocess(size=SIZE, scale_to=SIZE, fit="squash")
    return pellucid.Model(seeded(Smooth), preprocess=preprocess), str(folder)


def test_pictures_folders_arrays_and_tensors_are_the_same_references(coloured):
    model, folder = coloured
    paths = [f"{folder}/{i}.png" for i in range(3)]
    arrays = [np.array(Image.open(path)) for path in paths]
    tensor = model.prepare(paths)
    same = [
        folder,
        f"{folder}/*.png",
        ",".join(paths),
        paths,
        arrays,
        np.stack(arrays),
        tensor,
        tensor.numpy(),
    ]
    same.append([Image.open(path) for path in paths])
    x = model.prepare(arrays[1:2])
    maps = [explained(model, x, baselines="random", references=some, steps=2).raw for some in same]
    for map in maps:
        assert map.any()
        assert torch.equal(map, maps[0])


BAD_REFERENCES = [
    (None, InvalidValue, "There are no references: pass references="),
    ([], InvalidValue, "references must hold at least one picture; got none"),
    (torch.zeros(0, 3, *SIZE), InvalidValue, "with R at least 1; got"),
    (torch.zeros(3, *SIZE), InvalidValue, "floating and .R, C, H, W.*got"),
    (torch.zeros(2, 3, 4, 4), InvalidValue, "references must be as large as the inputs, .3, 5, 6. each"),
    (torch.full((1, 3, *SIZE), torch.nan), InvalidValue, "references must be finite"),
    (3, InvalidType, "references must be pictures, a folder of them"),
    ("blak", InvalidValue, "Did you mean 'black'"),
    ("missing.png", FileMissing, "no such file"),
]


@pytest.mark.parametrize(("references", "error", "words"), BAD_REFERENCES)
@pytest.mark.parametrize("options", [{"baselines": "close"}, {"path": "neighbours"}])
def test_references_that_are_none_are_refused(coloured, references, error, words, options):
    model, folder = coloured
    with pytest.raises(error, match=words):
        explained(model, f"{folder}/0.png", references=references, **options)


def test_an_empty_folder_is_refused(coloured, tmp_path):
    with pytest.raises(FileMissing, match="no picture in this folder"):
        explained(coloured[0], pictures(1).float(), baselines="close", references=str(tmp_path))


def broken(_: Tensor) -> Tensor:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nand more")


def same(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 1}, InvalidValue, "steps must be at least 2; got 1"),
        ({"count": 0}, InvalidValue, "count must be at least 1; got 0"),
        ({"neighbours": 0}, InvalidValue, "neighbours must be at least 1; got 0"),
        ({"baselines": "mean"}, InvalidValue, "baselines must be one of zero"),
        ({"path": "curved"}, InvalidValue, "path must be one of linear"),
        ({"encoder": same}, InvalidValue, "got an encoder only: pass decoder= too"),
        ({"decoder": same}, InvalidValue, "got an decoder only|got a decoder only: pass encoder= too"),
        ({"baselines": "encoded-zero"}, InvalidValue, "needs an encoder"),
        ({"encoder": "ae.pt", "decoder": same}, InvalidType, "encoder must be a module or callable"),
        (
            {"encoder": same, "decoder": lambda c: c[:, :1]},
            InvalidValue,
            "shape of the inputs, .3, 5, 6. each",
        ),
        ({"encoder": broken, "decoder": same}, ModelError, "The encoder failed .*cannot be multiplied$"),
        ({"encoder": same, "decoder": broken}, ModelError, "The decoder failed on an input of shape"),
        ({"encoder": lambda x: (x, x), "decoder": same}, ModelError, "must give one tensor .*got tuple"),
        ({"encoder": lambda x: x.sum(0), "decoder": same}, ModelError, "must give one tensor"),
    ],
)
def test_what_does_not_hold_is_said_in_a_sentence(net, options, error, words):
    with pytest.raises(error, match=words):
        explained(net, pictures(2), **options)


# --- significant features -----------------------------------------------------------------------------------


def welch(a: np.ndarray, b: np.ndarray) -> float:
    """The one-sided p-value of mean(a) > mean(b), by the incomplete beta function."""
    from scipy.special import betainc

    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    t = (a.mean() - b.mean()) / np.sqrt(va + vb)
    dof = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    tail = betainc(dof / 2, 0.5, dof / (dof + t**2)) / 2
    return tail if t > 0 else 1 - tail


def test_significance_is_welchs_test_with_bonferronis_correction():
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(8, 2, 5, generator=generator) + torch.linspace(-1, 3, 10).view(2, 5)
    others = 2 * torch.randn(11, 2, 5, generator=generator)
    p = [welch(ours[:, i, j].numpy(), others[:, i, j].numpy()) for i in range(2) for j in range(5)]
    for alpha in (0.01, 0.05, 0.3):
        expected = torch.tensor([10 * one <= alpha for one in p]).view(2, 5)
        assert torch.equal(significant(ours, others, alpha=alpha), expected)
    assert 0 < significant(ours, others).sum() < 10


def test_features_that_do_not_vary_are_not_tested():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(5, 1, generator=generator) + 4, torch.randn(5, 1, generator=generator)
    alone = significant(one, other, alpha=0.002)
    dull = torch.zeros(5, 1000)
    assert alone.tolist() == [True]
    assert significant(
        torch.cat([one, dull], 1), torch.cat([other, dull], 1), alpha=0.002
    ).nonzero().tolist() == [[0]]


def test_smaller_attributions_are_never_significant():
    generator = torch.Generator().manual_seed(0)
    ours, others = torch.randn(6, 500, generator=generator) - 0.1, torch.randn(6, 500, generator=generator)
    mask = significant(ours, others, alpha=0.9)
    assert not (mask & (ours.mean(0) < others.mean(0))).any()


def test_seldom_is_any_feature_significant_by_chance():
    false = 0
    for seed in range(200):
        a, b = torch.randn(2, 7, 20, generator=torch.Generator().manual_seed(seed))
        false += bool(significant(a, b, alpha=0.1).any())
    assert false <= 33  # of 200 with a chance below 0.1: 20 are expected, 33 is 3 standard deviations more


@pytest.mark.parametrize(
    ("n", "m", "alpha", "words"),
    [
        (1, 5, 0.05, "at least two pictures"),
        (5, 1, 0.05, "at least two"),
        (5, 5, 1.0, "between 0 and 1; got 1.0"),
    ],
)
def test_too_little_to_test_is_refused(n, m, alpha, words):
    with pytest.raises(InvalidValue, match=words):
        significant(torch.zeros(n, 2), torch.zeros(m, 2), alpha=alpha)


def test_it_finds_the_pixels_that_tell_a_class(net):
    """Explanations of pictures with light in one place, against those without: that place is significant."""
    light = torch.zeros(3, *SIZE, dtype=torch.float64)
    light[:, 2:4, 2:4] = 3.0
    bright = seeded(LinearNet, light.numel()).double()
    with torch.no_grad():
        bright.fc.weight[1] = light.flatten()
    dim = pictures(12, seed=5)
    a, b = (explained(bright, some, steps=2).attribution for some in (dim + light, dim))
    assert torch.equal(significant(a, b), light > 0)
