"""Models that draw numbers in their forward pass: same seed, same map; the host's sources untouched."""

import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from pellucid.engine.randomness import Drawing
from pellucid.errors import ModelError
from zoo import seeded

METHODS = [
    "grad-cam",
    "saliency",
    "smooth-grad:samples=3",
    "rise:samples=8",
    "lrp",
    "occlusion",
]


def noise(x: Tensor) -> Tensor:
    return 0.3 * torch.rand(x.shape)


SOURCES = {
    "rand": noise,
    "randn": lambda x: torch.randn(x.shape),
    "rand_like": torch.rand_like,
    "randn_like": torch.randn_like,
    "randint": lambda x: torch.randint(0, 5, x.shape) / 5,
    "randperm": lambda x: torch.randperm(x.shape[-1]) / 5,
    "bernoulli": lambda x: torch.bernoulli(torch.full_like(x, 0.5)),
    "normal_": lambda x: torch.empty_like(x).normal_(),
    "uniform_": lambda x: torch.empty_like(x).uniform_(),
    "multinomial": lambda x: torch.multinomial(torch.ones(9), 1) / 9,
    "dropout": lambda x: functional.dropout(torch.ones_like(x), 0.5, training=True),
    "numpy": lambda x: float(np.random.rand()),
    "python": lambda x: random.random(),
    "several": lambda x: noise(x) + random.gauss(0, 1) + np.random.randn(),
}


class Noisy(nn.Module):
    """Adds noise to its features, in evaluation mode too."""

    def __init__(self, draw):
        super().__init__()
        self.conv, self.fc, self.draw = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(6, 4), draw

    def forward(self, x):
        features = self.conv(x).relu()
        return self.fc((features * (1 + self.draw(features))).mean((2, 3)))


class Failing(Noisy):
    """Draws, and then fails."""

    def forward(self, x):
        super().forward(x)
        raise RuntimeError("no")


def image() -> Tensor:
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))


def states() -> tuple:
    name, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), (name, keys.tolist(), *rest)


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_seed_gives_the_same_map_and_the_hosts_sources_are_as_before(source):
    net = seeded(Noisy, SOURCES[source])
    before = states()
    first, again, other = (
        pellucid.explain(net, image(), "saliency", target=1, seed=seed, progress=False).raw
        for seed in (5, 5, 6)
    )
    assert states() == before
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    twin = seeded(Noisy, SOURCES[source])  # of which nothing is known yet, as of the first at first
    torch.testing.assert_close(
        pellucid.explain(twin, image(), "saliency", target=1, seed=5).raw, first, rtol=0, atol=0
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [Noisy, Failing])
def test_every_verb_leaves_the_sources_as_they_were(method, kind):
    net = seeded(kind, SOURCES["several"] if kind is Noisy else SOURCES["numpy"])
    before = states()
    for _ in range(2):
        if kind is Failing:
            with pytest.raises(ModelError, match="no"):
                pellucid.explain(net, image(), method, target=1, progress=False)
        else:
            pellucid.explain(net, image(), method, target=1, progress=False)
        assert states() == before


def test_a_model_that_begins_to_draw_later_is_found_out():
    net = seeded(Noisy, lambda x: 0)
    pellucid.explain(net, image(), "saliency", target=1)  # it draws nothing, which is remembered
    net.draw = noise
    before = states()
    first, again = (pellucid.explain(net, image(), "saliency", target=1, seed=2).raw for _ in range(2))
    assert states() == before
    assert not torch.equal(first, pellucid.explain(net, image(), "saliency", target=1, seed=3).raw)
    torch.testing.assert_close(first, again, rtol=0, atol=0)


def test_pythons_source_is_as_before():
    """In a process of its own: the type checker of the tests draws from it."""
    script = """
import random, torch, pellucid
from pellucid.errors import ModelError
from torch import nn
class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 4)
    def forward(self, x):
        out = self.fc(x.flatten(1)) * random.random()
        if fail: raise RuntimeError("no")
        return out
net, x, maps = Noisy().eval(), torch.rand(1, 3, 2, 2), []
for fail in (True, False, False, True, False):
    before = random.getstate()
    try:
        maps.append(pellucid.explain(net, x, "saliency", target=1, seed=4).raw)
    except ModelError:
        assert fail
    assert random.getstate() == before
assert len(maps) == 3 and all(torch.equal(a, maps[0]) for a in maps)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_operation_that_takes_no_generator_draws_from_ours_all_the_same():
    x, before = torch.ones(1000), states()
    found = []
    for _ in range(2):
        with Drawing(7) as drawing:
            found.append(torch.ops.aten.native_dropout(x, 0.25, True)[0])
        assert drawing.drew
    assert states() == before
    assert torch.equal(*found)
    assert 0.6 < float((found[0] != 0).double().mean()) < 0.9


@pytest.mark.parametrize("run", [
    lambda x: functional.scaled_dot_product_attention(x, x, x), lambda x: functional.dropout(x, 0.5, False),
    lambda x: functional.rrelu(x), lambda x: torch.rand(2, generator=torch.Generator()),
])  # fmt: skip
def test_what_could_draw_and_does_not_is_no_drawing(run):
    with Drawing(7) as drawing:
        run(torch.ones(1, 2, 3, 4))
    assert not drawing.drew


def test_the_numbers_of_another_thread_are_its_own():
    """A host that draws all the time gets the numbers that it would get alone."""
    net, stop, got = seeded(Noisy, noise), threading.Event(), []

    def host():
        while not stop.is_set():
            got.append(torch.rand(3))

    torch.manual_seed(11)
    thread = threading.Thread(target=host)
    thread.start()
    try:
        for seed in range(30):
            pellucid.explain(net, image(), "saliency", target=1, seed=seed)
    finally:
        stop.set()
        thread.join()
    torch.manual_seed(11)
    assert got
    assert all(torch.equal(torch.rand(3), numbers) for numbers in got)
