"""A checkpoint is passed by, in this thread alone; a user's hooks of saved tensors are not."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import CheckpointFunction, _checkpoint_hook, checkpoint

import pellucid
from pellucid.engine import checkpoints
from pellucid.engine.checkpoints import as_written, checkpointed, saved_elsewhere
from zoo import seeded

PICTURE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """A block and a head; `run` runs the block."""

    def __init__(self, run=lambda block, x: block(x)) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 6, 3)
        )
        self.fc = nn.Linear(6, 4)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.run(self.block, x).tanh().mean((2, 3)))


def runs_until_backward(reentrant: bool) -> int:
    """How often a checkpoint runs its function: twice, but once where it is passed by."""
    runs = []

    def function(x: Tensor) -> Tensor:
        runs.append(1)
        return x.sin()

    x = torch.ones(3, requires_grad=True)
    checkpoint(function, x, use_reentrant=reentrant).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(3).cos())
    return len(runs)


@pytest.mark.parametrize("old", [False, True])
def test_hooks_are_seen_and_left_as_they_are(old, monkeypatch):
    if old:
        monkeypatch.setattr(checkpoints, "_top_hooks", None)
    kept = []
    assert not saved_elsewhere()
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        assert saved_elsewhere()
        assert kept == []
        torch.ones(1, requires_grad=True).sin()
        assert len(kept) == 1
        with ThreadPoolExecutor(1) as thread:
            assert not thread.submit(saved_elsewhere).result()
    with disable_saved_tensors_hooks("not here"):
        assert not saved_elsewhere()
        with pytest.raises(RuntimeError, match="not here"), save_on_cpu():
            pass
    with save_on_cpu():  # allowed again
        assert saved_elsewhere()
    assert not saved_elsewhere()


@pytest.mark.parametrize("reentrant", [False, True])
def test_other_threads_keep_their_checkpoints(reentrant):
    before = dict(vars(CheckpointFunction)), dict(vars(_checkpoint_hook))
    with ThreadPoolExecutor(1) as thread, as_written():
        assert thread.submit(runs_until_backward, reentrant).result() == 2
        if reentrant or not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"):
            assert runs_until_backward(reentrant) == 1
    assert (dict(vars(CheckpointFunction)), dict(vars(_checkpoint_hook))) == before
    assert runs_until_backward(reentrant) == 2


def test_a_users_hooks_within_a_checkpoint_are_the_users():
    def halved(block: nn.Module, x: Tensor) -> Tensor:
        with saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor / 2):
            assert not checkpointed()
            return block(x).sin() * 3

    def again(block: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(halved, block, x, use_reentrant=False)

    runs = halved, again, lambda block, x: block(x).sin() * 3
    expected, found, plain = (
        pellucid.explain(seeded(Net, run), PICTURE, "saliency", target=1).raw for run in runs
    )
    assert torch.equal(found, expected)
    assert not torch.allclose(plain, expected, rtol=1e-2)


@pytest.mark.parametrize("method", ["saliency", "lrp"])
def test_an_explanation_within_a_checkpoint_is_the_same(method):
    net, maps = seeded(Net), []
    expected = pellucid.explain(net, PICTURE, method, target=1).raw

    def function(x: Tensor) -> Tensor:
        maps.append(pellucid.explain(net, PICTURE, method, target=1).raw)
        return x.sin()

    x = torch.ones(3, requires_grad=True)
    checkpoint(function, x, use_reentrant=False).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(3).cos())
    assert len(maps) == 2
    assert all(torch.equal(one, expected) for one in maps)
