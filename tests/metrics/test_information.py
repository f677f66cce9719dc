"""Softmax and accuracy information curves: slow literal twins, and closed forms."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.interpolate import griddata
from torch import Tensor, nn

from pellucid.errors import InvalidValue
from pellucid.measure import measure

H, W, TARGET = 8, 9, 1
SHARES = [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75]


class Curved(nn.Module):
    """A small network in float64 whose score is no sum over pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).tanh().mean((2, 3)) * 9)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return Curved().double().eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(4, 3, H, W, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(4, 1, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def size(picture: np.ndarray, low: float, high: float) -> int:
    pixels = np.clip(np.round((picture - low) / (high - low) * 255), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, format="webp", lossless=True, quality=100)
    return file.tell()


def blurred(x: np.ndarray, known: list[tuple[int, int]]) -> np.ndarray:
    """Channel by channel, between the pixels that are known; of 72 pixels 1 % is none, so no seeds."""
    known = sorted({*known, (0, 0), (0, W - 1), (H - 1, 0), (H - 1, W - 1)})
    unknown = [(i, j) for i in range(H) for j in range(W) if (i, j) not in known]
    result = x.copy()
    for c in range(3):
        values = griddata(known, [x[c][at] for at in known], unknown, method="linear")
        for at, value in zip(unknown, values, strict=True):
            result[c][at] = value
    return result


def twin(net: nn.Module, x: np.ndarray, map: np.ndarray, accuracy: bool, rescaled: bool = False) -> float:
    values = map.sum(0)
    pictures = [blurred(x, [])]
    for share in SHARES:
        least = np.quantile(values, 1 - share)
        shown = [(i, j) for i in range(H) for j in range(W) if values[i, j] >= least]
        pictures.append(blurred(x, shown))
    pictures.append(x)
    with torch.no_grad():
        raw = net(torch.from_numpy(np.stack(pictures)))
    if accuracy:
        scores = [float(row.argmax() == raw[-1].argmax()) for row in raw]
    else:
        scores = raw.softmax(1)[:, TARGET].tolist()
        start = scores[0] if rescaled else 0.0
        scores = [min(1.0, max(0.0, (s - start) / (scores[-1] - start))) for s in scores]
    sizes = [size(picture, x.min(), x.max()) for picture in pictures]
    points, best = [], 0.0
    for bytes, score in zip(sizes, scores, strict=True):
        best = max(best, score)
        points.append((min(1.0, max(0.0, (bytes - sizes[0]) / (sizes[-1] - sizes[0]))), best))
    points.sort(key=lambda point: point[0])
    grid = np.linspace(0, 1, 1001)
    curve = np.interp(grid, [p[0] for p in points], [p[1] for p in points])
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(grid)).sum())


def test_sic_equals_its_twin(net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "sic", target=TARGET).value.tolist()
    twins = [twin(net, one.numpy(), map.numpy(), False) for one, map in zip(x, maps, strict=True)]
    assert found == pytest.approx(twins, abs=1e-9)
    assert 0.1 < min(twins) < max(twins)


def test_sic_from_the_blurred_picture_on_equals_its_twin_where_it_has_a_value(
    net: nn.Module, x: Tensor, maps: Tensor
):
    found = measure(net, x, maps, "sic:rescaled=true", target=TARGET)
    for image in range(4):
        one, map = x[image].numpy(), maps[image].numpy()
        with torch.no_grad():
            both = net(torch.stack([torch.from_numpy(blurred(one, [])), x[image]])).softmax(1)[:, TARGET]
        if both[1] > both[0]:
            expected = twin(net, one, map, False, rescaled=True)
            assert found.value[image].item() == pytest.approx(expected, abs=1e-9)
        else:
            assert "sic has no value for this map: the blurred picture scores as" in str(
                found.failures[image]
            )
    assert 0 < len(found.failures) < 4


def test_aic_equals_its_twin(net: nn.Module, x: Tensor, maps: Tensor):
    found = measure(net, x, maps, "aic", target=TARGET).value.tolist()
    twins = [twin(net, one.numpy(), map.numpy(), True) for one, map in zip(x, maps, strict=True)]
    assert found == pytest.approx(twins, abs=1e-9)
    assert min(twins) < 0.999


def test_aic_asks_for_the_class_of_each_picture_in_whatever_batch(net: nn.Module, x: Tensor, maps: Tensor):
    whole = measure(net, x, maps, "aic").value
    for batch_size in (1, 3):
        assert torch.equal(measure(net, x, maps, "aic", batch_size=batch_size).value, whole)
    assert torch.equal(measure(net, x, maps, "aic", target=[0, 1, 2, 0]).value, whole)


def test_a_flat_picture_holds_no_information(net: nn.Module, maps: Tensor):
    flat = torch.full((1, 3, H, W), 0.5, dtype=torch.float64)
    for name in ("sic", "aic"):
        with pytest.raises(
            InvalidValue, match=f"{name} has no value for this map: its picture takes no more"
        ):
            measure(net, flat, maps[:1], name)


def test_a_model_of_values_predicts_no_class(x: Tensor, maps: Tensor):
    import pellucid

    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * H * W, 2)).double()
    model = pellucid.Model(net, output_scale="value")
    with pytest.raises(InvalidValue, match="aic needs a model that predicts a class"):
        measure(model, x, maps, "aic", target=0)
