"""What tests of metrics share: networks whose scores are known, and maps judged on them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pellucid.measure import Measured, measure
from zoo import seeded


class Linear(nn.Module):
    """S_k(x) = sum_i w_ki x_i + b_k, of inputs (N, C, H, W)."""

    def __init__(self, channels: int = 3, size: tuple[int, int] = (6, 7), classes: int = 4) -> None:
        super().__init__()
        self.size = (channels, *size)
        self.fc = nn.Linear(channels * size[0] * size[1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))

    def weight(self, target: int) -> Tensor:
        """w of one class, (1, C, H, W)."""
        return self.fc.weight[target].detach().view(1, *self.size)


def linear(**kwargs: object) -> Linear:
    net = seeded(Linear, **kwargs).double()
    assert isinstance(net, Linear)
    return net


def score_of(net: nn.Module, target: int) -> Callable[[Tensor], float]:
    """f(x) of one picture (C, H, W), by one plain pass."""

    def score(x: Tensor) -> float:
        with torch.no_grad():
            return float(net(x[None])[0, target])

    return score


def truth_of(*boxes: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """(N, H, W), each true in one box (top, bottom, left, right)."""
    truth = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for image, (top, bottom, left, right) in enumerate(boxes):
        truth[image, top:bottom, left:right] = True
    return truth


def judged(metric: str, map: Tensor, *, truth: Tensor | None = None, **options: object) -> Measured:
    """What a metric that asks no model says of maps."""
    size = (map.shape[-2], map.shape[-1])
    net = linear(size=size)
    return measure(
        net, torch.zeros(len(map), 3, *size).double(), map, metric, truth=truth, target=0, **options
    )


class Recording(nn.Module):
    """A network that keeps what it is run on, so that a twin knows what was drawn."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.extend(x.detach().clone())
        return self.net(x)


def perturbed_inputs(
    net: nn.Module, x: Tensor, map: Tensor, metric: str, **options: object
) -> tuple[Measured, list[Tensor]]:
    """What a metric says of one picture (1, C, H, W), and on which other inputs it was scored."""
    recording = Recording(net)

    def box(inputs: Tensor) -> Tensor:
        return recording(inputs)

    for _ in range(2):  # the first time it may be found out whether samples mix, by running one once more
        recording.seen.clear()
        found = measure(box, x, map, metric, **options)
    return found, [seen for seen in recording.seen if not torch.equal(seen, x[0])]
