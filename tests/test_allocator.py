"""Memory kept for the next pass: seen by the page faults of a process of its own."""

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from pellucid.allocator import Region
from pellucid.engine.run import Engine
from pellucid.model import Model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")

FAULTS = """
import json, resource
import psutil, torch, pellucid
from pellucid.allocator import Region

pellucid.explain, pellucid.compare  # imported now: what else lies on the heap decides where blocks go

def fill():
    torch.ones(16, 1024, 1024)  # 64 MiB, more than glibc ever keeps of its own accord

def faults():
    for _ in range(3):
        fill()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        fill()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return psutil.Process().memory_info().rss / 2**20

"""


def told(code: str) -> Any:
    run = subprocess.run([sys.executable, "-c", FAULTS + code], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_kept_memory_is_not_mapped_again():
    before, kept, after = told("print(json.dumps([faults(), pellucid.keep_memory(), faults()]))")
    assert kept
    assert after < 100 < before


def test_a_region_keeps_memory_while_it_is_held():
    before, inside, held, released = told("""
region, before, at_first = Region(), faults(), resident()
region.hold()
region.hold()
inside, held = faults(), resident()
for _ in range(20):
    region.release()
    region.hold()
    fill()
region.release()
print(json.dumps([before, inside, held - at_first, resident() - at_first]))
""")
    assert inside < 100 < before
    assert 60 < held < 200  # what was filled, not all of the region
    assert (
        released < held + 10
    )  # glibc returns it, or keeps it for the host where a block of its own lies behind


def test_a_session_holds_a_region_from_the_second_pass_on(monkeypatch):
    regions: list[Watched] = []

    class Watched(Region):
        def __init__(self) -> None:
            super().__init__()
            self.held = self.released = 0
            regions.append(self)

        def hold(self) -> None:
            self.held += 1
            super().hold()

        def release(self) -> None:
            self.released += 1
            super().release()

    monkeypatch.setattr("pellucid.engine.run.Region", Watched)
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.rand(1, 3, 2, 2)
    pellucid.explain(net, x, "saliency")
    pellucid.explain(net, x, "integrated-gradients", steps=5, batch_size=2)
    assert [region.held > 0 for region in regions] == [False, True]
    assert all(region.released == 1 and region._end is None for region in regions)

    engine = Engine(Model(net))

    def stopped() -> None:
        with engine.session(0):
            engine.forward(x)
            engine.forward(x)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert regions[-1].held == regions[-1].released == 1
    engine.forward(x)
    engine.forward(x)
    assert regions[-1].held == 1  # there is no session


def test_a_region_is_for_the_main_thread():
    region = Region()
    other = threading.Thread(target=region.hold)
    other.start()
    other.join()
    assert region._end is None
    region.hold()
    assert region._end is not None
    region.release()


def test_where_there_is_no_room_nothing_happens(monkeypatch):
    monkeypatch.setattr("pellucid.allocator.BLOCK", 2**62)
    monkeypatch.setattr("pellucid.allocator.REGION", 2**63)
    region = Region()
    region.hold()
    assert region._end is None
    region.release()
