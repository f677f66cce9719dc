"""A run in a process of its own, which its tests stop, kill and starve."""

import json
import os
import sys

import torch
from torch import nn

import pellucid
import pellucid.runner.shards


class Stillborn(nn.Module):
    """Ends any process that loads it but the one that made it, as one without memory for it would."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Nothing."""
        return x

    def __setstate__(self, state: object) -> None:
        """What unpickling calls."""
        os._exit(9)


class Deadly(nn.Module):
    """Ends its process at a picture whose first pixel is pure red, as a broken decoder or driver would."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        if bool((x[:, :, 0, 0] == torch.tensor([1.0, 0.0, 0.0])).all(1).any()):
            os._exit(9)
        return self.net(x)


def make(kind: str = "plain") -> pellucid.Model:
    """A network of the kinds that tests need."""
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    if kind == "deadly":
        net = Deadly(net)
    if kind == "stillborn":
        net.append(Stillborn())
    preprocess = pellucid.Preprocess((32, 32), scale_to=32, mean=(0.0,) * 3, std=(1.0,) * 3)
    return pellucid.Model(net.eval(), preprocess=preprocess, labels=["c0", "c1", "c2"], name="victim")


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = json.loads(sys.argv[1])
    if limit := asked.pop("file_limit", None):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    pellucid.runner.shards.KEEP = asked.pop("keep", 60.0)
    pellucid.run(make(asked.pop("kind", "plain")), asked.pop("source"), **asked, progress=False)
