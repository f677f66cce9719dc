"""Memory kept for the next pass: seen by the page faults of a process of its own."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch, pellucid
kept = "keep" in sys.argv and pellucid.keep_memory()
def fill():
    torch.ones(16, 1024, 1024)  # 64 MiB, more than glibc ever keeps of its own accord
for _ in range(3):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*arguments: str) -> tuple[str, int]:
    run = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, check=True
    )
    kept, count = run.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_kept_memory_is_not_mapped_again():
    _, without = faults()
    kept, with_it = faults("keep")
    assert kept == "True"
    assert with_it < 100 < without
