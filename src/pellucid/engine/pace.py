"""How a model runs fastest on this machine: chunk size and memory format, found by timing its own work.

Nothing is run for the timing alone. The first chunks of a long job are run in one way after another, each
twice, of which the first warms up; from then on the fastest is taken, for the rest of the process. Timing
changes results by rounding only: whether bfloat16 is worth trying is a fact of the device.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor


@dataclass(frozen=True)
class Way:
    """How many samples are run together, and whether their channels lie last in memory."""

    chunk: int
    channels_last: bool = True


CPU_WAYS = (Way(8), Way(4), Way(16), Way(4, channels_last=False))
"""On a CPU, large activations are mapped anew for every layer, so the best chunk is small."""
ACCELERATOR_WAYS = (Way(64), Way(128), Way(32), Way(256), Way(64, channels_last=False))
_TRIALS = 2


@dataclass
class Pace:
    """The ways a model can be run on inputs of one shape and precision, and how long each took.

    Example:
        >>> pace = Pace((Way(8), Way(4)))
        >>> for seconds in (9.0, 1.0, 9.0, 0.9):  # in each way a warm-up, and a run that counts
        ...     pace.took(pace.way, seconds)
        >>> pace.way
        Way(chunk=4, channels_last=True)
    """

    ways: tuple[Way, ...]
    seconds: dict[Way, list[float]] = field(default_factory=dict)

    @property
    def way(self) -> Way:
        """The next to try, or the fastest."""
        return next((way for way in self.ways if len(self.seconds.get(way, ())) < _TRIALS), self.fastest)

    @property
    def fastest(self) -> Way:
        """The fastest so far."""
        return min(self.ways, key=self.sample_seconds)

    def sample_seconds(self, way: Way) -> float:
        """The least seconds per sample that a way took after its warm-up; infinite before that."""
        return min(self.seconds.get(way, [])[1:], default=float("inf"))

    def took(self, way: Way, sample_seconds: float) -> None:
        """Keeps the seconds per sample of a full chunk."""
        self.seconds.setdefault(way, []).append(sample_seconds)

    def ran_out(self, way: Way) -> bool:
        """Memory ran out: larger chunks are not tried again. False if there is nothing smaller."""
        smaller = tuple(w for w in self.ways if w.chunk < way.chunk)
        if not smaller and way.chunk > 1:
            smaller = (Way(way.chunk // 2, way.channels_last),)
        self.ways = smaller or self.ways
        return bool(smaller)


_KNOWN: WeakKeyDictionary[Any, dict[tuple[Any, ...], Pace]] = WeakKeyDictionary()


def pace_of(module: Any, inputs: Tensor, precision: str, batch_size: int | str) -> Pace:
    """The pace of a model for samples like `inputs`, kept for the process; one way if a chunk is given."""
    if batch_size != "auto":
        return Pace((Way(int(batch_size)),))
    ways = CPU_WAYS if inputs.device.type == "cpu" else ACCELERATOR_WAYS
    key = (*inputs.shape[1:], inputs.dtype, inputs.device, precision, torch.get_num_threads())
    try:
        known = _KNOWN.setdefault(module, {})
    except TypeError:  # a callable that can be neither hashed nor watched: measured anew each time
        return Pace(ways)
    return known.setdefault(key, Pace(ways))


BFLOAT16_SHARE = 0.6
"""The share of float32's time that a pass in bfloat16 is taken to need: 0.44 to 0.59 were measured."""


@cache
def bfloat16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware: AVX-512 BF16, AMX, or CUDA from Ampere on."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return any(getattr(torch.cpu, name, bool)() for name in _CPU_HAS)


_CPU_HAS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
