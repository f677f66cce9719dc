"""A training does not notice that it is watched: bit for bit the same weights, states and flags."""

import gc
import os
import random
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from monitor.watched import Net, data, differing, new_net, shown, states, train
from pellucid.monitor.guard import first_process

METHODS = ["grad-cam", "smooth-grad:samples=2", "lrp"]


@pytest.mark.parametrize("method", METHODS)
def test_a_watched_training_ends_at_the_very_same_weights(method: str):
    net = new_net()
    alone = states(net, train(net, 4))
    net = new_net()
    watch = pellucid.monitor(net, shown(), method, every=1)
    watched = states(net, train(net, 4, watch.step))
    assert watch.history.steps.tolist() == list(range(5))
    assert watch.history.failures == {}
    assert differing(alone, watched) == []


SCRIPT = """
import pellucid
from monitor.watched import CHECKED, differing, new_net, shown, states, train
assert not CHECKED
alone = states(net := new_net(), train(net, 3))
net = new_net()
watch = pellucid.monitor(net, shown(), "rise:samples=6", every=1)
print(differing(alone, states(net, train(net, 3, watch.step))), len(watch.history))
"""


def test_nor_does_pythons_source_of_random_numbers():
    """In a process of its own: the checks of tests draw from that source."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.stdout.strip() == "[] 4", done.stderr


def test_a_difference_would_be_seen():
    net = new_net()
    before = states(net, train(net, 1))
    net.eval()
    assert "/modes/drop" in differing(before, states(net))
    new = states(new_net())
    net = new_net()
    net(shown())
    assert "/weights/norm1.running_mean" in differing(new, states(net))
    assert "/torch" in differing(new, states(net))


@pytest.mark.parametrize(
    "around",
    [
        nullcontext,
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
        lambda: torch.autograd.set_detect_anomaly(True),
    ],
    ids=["plain", "no_grad", "inference_mode", "autocast", "uncached", "anomaly"],
)
def test_a_look_leaves_everything_as_it_was_wherever_it_is_taken(around):
    net = new_net()
    optimiser = train(net, 2)
    net.conv1.weight.requires_grad_(False)
    net.fc.register_forward_hook(lambda *_: None)
    net.drop.eval()  # a mode that is not that of its parent
    watch = pellucid.monitor(net, shown(), target=1, every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anomaly mode tells of itself
        with around():
            before = states(net, optimiser)
            look = watch.step()
            after = states(net, optimiser)
    assert look is not None
    assert differing(before, after) == []
    reference = pellucid.explain(net, shown(), target=1).raw
    torch.testing.assert_close(look.maps, reference, rtol=1e-4, atol=1e-6)


COLLECTED: list[Tensor] = []
COUNT = 0


def test_what_hooks_collect_and_count_in_a_look_is_taken_out_again():
    class Recorder:
        def __init__(self) -> None:
            self.kept, self.count, self.by_layer = [], 0, {"conv1": []}

        def __call__(self, layer: nn.Module, inputs: object, output: Tensor) -> None:
            self.kept.append(output)
            self.by_layer["conv1"].append(output)
            self.by_layer[f"more {self.count}"] = output
            self.count += 1

        def record(self, layer: nn.Module, inputs: object) -> None:
            self(layer, inputs, torch.ones(1))

    def count_all(*_: object) -> None:
        global COUNT
        COUNT += 1
        COLLECTED.append(torch.ones(1))

    net, recorder, mine, calls = new_net(), Recorder(), {"first": []}, 0

    def nested(layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        mine["first"].append(output)
        mine[f"call {calls}"] = output
        return 2 * output  # what it gives counts

    net.conv1.register_forward_hook(recorder)
    net.conv1.register_forward_pre_hook(recorder.record)
    net.fc.register_forward_hook(count_all)
    net.fc.register_forward_hook(nested)
    net(shown())
    before = len(recorder.kept), recorder.count, sorted(recorder.by_layer), len(recorder.by_layer["conv1"])
    assert before[:2] == (2, 2)
    watch = pellucid.monitor(net, shown(), target=0, every=1)
    look = watch.step()
    assert (
        len(recorder.kept), recorder.count, sorted(recorder.by_layer), len(recorder.by_layer["conv1"])
    ) == before  # fmt: skip
    assert (COUNT, len(COLLECTED), calls, sorted(mine), len(mine["first"])) == (
        1,
        1,
        1,
        ["call 1", "first"],
        1,
    )
    doubled = pellucid.explain(net, shown(), target=0)
    assert look.pictures[0].score == pytest.approx(float(doubled.score[0]), rel=1e-4)
    assert calls > 1  # explain lets hooks collect, as any pass does


def test_what_preprocessing_target_or_model_draw_is_put_back():
    def jittered(image):
        return torch.from_numpy(np.random.rand(3, 9, 9).astype("float32")) + random.random() + torch.rand(1)

    class Noisy(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.randn_like(x) * float(np.random.rand()) * random.random())

    def target(outputs: Tensor) -> Tensor:
        return outputs[:, 0] + 0 * torch.rand(len(outputs)) * np.random.rand() * random.random()

    net = Noisy()
    before = states(net)
    picture = pellucid.open_picture("sample:cat").rgb
    watch = pellucid.monitor(net, picture, every=1, preprocess=jittered, target=target)
    assert watch.step() is not None
    assert differing(before, states(net)) == []


def test_a_compiled_network_and_one_in_a_wrapper_are_watched_as_they_are():
    net = new_net()
    compiled = torch.compile(net, backend="eager")
    watch = pellucid.monitor(compiled, shown(), every=1, target=0)
    train(compiled, 2, watch.step)
    torch.testing.assert_close(
        watch.history.maps[-1], pellucid.explain(net, shown(), target=0).raw, rtol=1e-4, atol=1e-6
    )
    parallel = nn.DataParallel(net)
    assert pellucid.monitor(parallel, shown()).history.last is not None


def test_mixed_precision_trains_to_the_same_weights():
    def run(watched: bool) -> dict:
        net = new_net()
        watch = pellucid.monitor(net, shown(), every=1) if watched else None
        inputs, classes = data(8)
        optimiser = torch.optim.SGD(net.parameters(), 0.1)
        scaler = torch.amp.GradScaler("cpu")
        for _ in range(3):
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(net(inputs), classes)
                if watch is not None:  # in the midst of a step, with weights cast and kept by autocast
                    watch.step()
                loss = loss + net(inputs).mean()
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
        return states(net, optimiser) | {"scale": scaler.state_dict()}

    assert differing(run(False), run(True)) == []


def live_tensors() -> int:
    gc.collect()
    return sum(isinstance(one, Tensor) for one in gc.get_objects())


def test_a_look_keeps_its_maps_and_nothing_else():
    net = new_net()
    watch = pellucid.monitor(net, shown(), every=1)
    train(net, 2, watch.step)
    counts = []
    for _ in range(3):
        watch.step()
        counts.append(live_tensors())
    assert counts[1] - counts[0] == counts[2] - counts[1] == 1  # one tensor of maps a look


def test_fine_maps_are_kept_small():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    watch = pellucid.monitor(net, torch.rand(1, 3, 200, 100), "saliency")
    assert tuple(watch.history.maps.shape) == (1, 1, 64, 32)
    whole = pellucid.explain(net, watch._batch.inputs, "saliency").raw
    assert float(watch.history.maps.mean()) == pytest.approx(float(whole.sum(1).mean()), rel=0.01)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_only_the_first_process_looks(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path):
    assert first_process()
    monkeypatch.setenv(name, "1")
    assert not first_process()
    net = new_net()
    watch = pellucid.monitor(net, shown(), every=1, to=tmp_path / "looks")
    assert watch.step() is None
    watch.close()
    assert watch.film(tmp_path / "film.gif") is None
    assert not list(tmp_path.iterdir())
    assert len(watch.history) == 0
    monkeypatch.setenv(name, "0")
    assert first_process()


PARALLEL = """
import sys
import torch
import pellucid
from monitor.watched import differing, new_net, seed_all, shown, states, train
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
ended = []
for watched in (False, True):
    net = torch.nn.parallel.DistributedDataParallel(new_net())
    watch = pellucid.monitor(net, shown(), every=1, to=sys.argv[1]) if watched else None
    seed_all(rank)  # each process has batches of its own
    ended.append(states(net, train(net, 3, watch and watch.step)))
differences, looks = differing(*ended), len(watch.history)
torch.distributed.destroy_process_group()
open(f"{sys.argv[1]}/rank{rank}.txt", "w").write(f"{differences} {looks}")
"""


@pytest.mark.full
def test_of_two_processes_that_train_together_the_first_looks(tmp_path: Path):
    script = tmp_path / "parallel.py"
    script.write_text(PARALLEL)
    folder = tmp_path / "looks"
    folder.mkdir()
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*two, str(script), str(folder)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )  # fmt: skip
    said = [(folder / f"rank{rank}.txt").read_text() for rank in (0, 1) if done.returncode == 0]
    assert said == ["[] 4", "[] 0"], done.stderr


def test_sharded_weights_are_refused():
    class FSDPModule:
        pass

    class Sharded(FSDPModule, nn.Conv2d):
        pass

    net = nn.Sequential(Sharded(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(pellucid.errors.ModelError, match=r"sharded \(FSDP or DTensor\)"):
        pellucid.monitor(net, shown())


def test_a_network_without_shapes_yet_is_first_looked_at_in_training():
    net = nn.Sequential(nn.LazyConv2d(2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    watch = pellucid.monitor(net, shown(), every=1)
    assert len(watch.history) == 0
    net(shown())
    assert watch.step() is not None
