"""Networks are trained by steps, the same each time, and kept whole or not at all."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid.files import cache_folder
from pellucid.truth import training
from pellucid.truth.networks import NETWORKS
from pellucid.truth.tasks import TASKS
from pellucid.truth.training import Recipe, fingerprint, right, train, trained
from pellucid.truth.units import units

TINY = Recipe("tiles", "plain", steps=60, batch=16, scenes=96, tests=60)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of each test is its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pellucid" / "truth"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Such small steps are no work for two threads: beside other processes they wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_few_steps_learn_the_same_each_time_and_touch_nothing_else(own_cache: Path):
    before = torch.get_rng_state()
    first, second = train(TINY, progress=False), train(TINY, progress=False)
    assert torch.get_rng_state().equal(before)
    assert first.accuracy == second.accuracy > 0.75  # by chance 0.25
    for one, other in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert one.equal(other)
        assert one.grad is None
    assert not first.module.training
    assert not own_cache.exists()


def test_a_network_is_trained_once_and_then_read(own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    short = Recipe("glyph", "depthwise", steps=2, batch=4, scenes=8, tests=8)
    first = trained(short, progress=False)
    (path,) = own_cache.iterdir()
    assert path.name == f"glyph-depthwise-{fingerprint(short)}.safetensors"
    monkeypatch.setattr(training, "train", None)
    second = trained(short)
    assert second.accuracy == first.accuracy
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert second.module(x).equal(first.module(x))
    assert not second.module.training


def test_a_damaged_file_is_made_again(own_cache: Path):
    short = Recipe("glyph", "plain", steps=1, batch=4, scenes=4, tests=4)
    first = trained(short, progress=False)
    (path,) = own_cache.iterdir()
    path.write_bytes(path.read_bytes()[:500])
    second = trained(short, progress=False)
    assert second.module.head.weight.equal(first.module.head.weight)
    assert path.stat().st_size > 500


def test_a_file_that_could_not_be_written_whole_is_not_there(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    def half(state: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        trained(Recipe("glyph", "plain", steps=1, batch=2, scenes=2, tests=2), progress=False)
    assert list(own_cache.iterdir()) == []


def test_where_nothing_can_be_kept_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be kept"):
        trained(Recipe("glyph", "plain", steps=1, batch=2, scenes=2, tests=2), progress=False)


def test_the_cache_lies_where_the_user_says_or_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert cache_folder() == tmp_path / "pellucid"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the standard has such paths ignored
    assert cache_folder() == Path.home() / ".cache" / "pellucid"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "pellucid"


def test_a_fingerprint_changes_with_all_that_weights_follow_from(monkeypatch: pytest.MonkeyPatch):
    one = fingerprint(TINY)
    assert one == fingerprint(TINY)
    assert one != fingerprint(replace(TINY, steps=61))
    monkeypatch.setattr(training, "version", lambda name: f"{name} 0")
    assert one != fingerprint(TINY)


def test_comments_docstrings_and_layout_are_not_code():
    same = training._code('"""One."""\ndef f(x):\n    """Two."""\n    return x + 1  # three')
    assert same == training._code("def f( x ):\n    return (x + 1)")
    assert same != training._code("def f(x):\n    return x + 2")


def test_right_is_every_label_above_every_other_class():
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 0.0]])
    wanted = torch.tensor([[True, True, False], [True, False, True], [True, False, False]])
    assert right(scores, wanted).tolist() == [True, False, False]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_can_be_explained(name: str):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NETWORKS[name](4).eval()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = pellucid.explain(net, x, "layer-cam", target=1, progress=False)
    assert found.attribution.shape[-2:] == (64, 64)
    relevance = pellucid.explain(net, x, "lrp", target=1, progress=False)
    assert relevance.attribution.isfinite().all()


@pytest.mark.full
@pytest.mark.parametrize("name", ["shortcut-plain"])
def test_a_whole_task(name: str):
    subject = TASKS[name].subject(progress=False)
    assert subject.enough
    assert subject.accuracy >= 0.95
    found = units(name, 12, progress=False)
    assert len(found) == 12
    assert [unit.scene.elements[unit.carrier].role for unit in found] == ["tag"] * 12
    again = units(name, 3, progress=False)
    assert all(one.inputs.equal(other.inputs) for one, other in zip(found, again, strict=False))
