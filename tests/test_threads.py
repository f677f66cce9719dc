"""Right whoever else runs: hosts that predict and train, servers, worker processes, forks."""

import multiprocessing
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pellucid
from crowd import CNN, explained, image
from nets import TinyCNN
from pellucid.caching import cached_property
from zoo import ResidualNet, seeded


@pytest.fixture(autouse=True)
def _one_thread_each():
    """As a server sets it: a thread of the pool for each of many threads would only wait for the others."""
    threads, interval = torch.get_num_threads(), sys.getswitchinterval()
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-4)  # threads change places in the middle of a pass
    yield
    torch.set_num_threads(threads)
    sys.setswitchinterval(interval)


def run_alone(*scene: str) -> None:
    """In a process of its own, without the type checks of the tests: they are slow, and hold locks."""
    crowd = Path(__file__).with_name("crowd.py")
    ran = subprocess.run([sys.executable, crowd, *scene], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("calls", [30, pytest.param(125, marks=pytest.mark.full)])
def test_explaining_predicting_and_training_threads_do_not_see_one_another(calls):
    run_alone("threads", str(calls))


def test_a_host_that_trains_the_very_network_that_is_explained_keeps_its_mode():
    net, stop, seen = seeded(TinyCNN).train(), threading.Event(), set()
    norm = net.bn1.running_mean.clone()

    def host():
        while not stop.is_set():
            seen.update(module.training for module in net.modules())

    thread = threading.Thread(target=host)
    thread.start()
    for method in CNN:
        explained(net, image(), method)
    stop.set()
    thread.join()
    assert seen == {True}
    torch.testing.assert_close(net.bn1.running_mean, norm, rtol=0, atol=0)


def test_no_hook_is_registered_for_all_modules(monkeypatch):
    """A hook for all modules would be met by every module of the host."""
    from torch.nn.modules import module as shared

    net, seen = seeded(TinyCNN), set()
    forward = TinyCNN.forward

    def looking(self, x):
        seen.add(bool(shared._global_forward_hooks or shared._global_forward_pre_hooks))
        return forward(self, x)

    monkeypatch.setattr(TinyCNN, "forward", looking)
    for method in (*CNN, "deep-lift", "guided-backprop", "full-grad"):
        explained(net, image(), method)
    assert seen == {False}


def test_a_server_explains_and_predicts_in_eight_threads():
    fastapi = pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    net, app = seeded(ResidualNet), fastapi.FastAPI()

    @app.get("/explain/{seed}")
    def explain(seed: int, method: str) -> list[float]:
        return explained(net, image(seed), method).flatten().tolist()

    @app.get("/predict/{seed}")
    def predict(seed: int) -> list[float]:
        with torch.no_grad():
            return net(image(seed))[0].tolist()

    paths = [f"/explain/{i}?method={m}" for i in range(3) for m in ("grad-cam", "lrp", "rise:samples=8")]
    paths += [f"/predict/{i}" for i in range(3)]
    with TestClient(app) as client:
        alone = {path: client.get(path).json() for path in paths}
        asked = [paths[i % len(paths)] for i in range(48)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda path: client.get(path).json(), asked))
    for path, answer in zip(asked, answers, strict=True):
        assert answer == pytest.approx(alone[path], rel=1e-4, abs=1e-6), path


# --- processes ----------------------------------------------------------------------------------------------


class Explained(torch.utils.data.Dataset):
    """Maps of pictures, made by the workers that load them."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return explained(self.net, image(index), "grad-cam")[0]


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.full)])
def test_loaders_whose_workers_explain(context):
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {context}")
    data = Explained(seeded(ResidualNet))
    alone = torch.stack([data[i] for i in range(len(data))])
    loader = torch.utils.data.DataLoader(data, 2, num_workers=2, multiprocessing_context=context, timeout=120)
    torch.testing.assert_close(torch.cat(list(loader)), alone)


def explained_in_a_process(seed: int) -> list[float]:
    torch.set_num_threads(1)
    return explained(seeded(ResidualNet), image(seed), "grad-cam").flatten().tolist()


def test_a_pool_of_processes():
    alone = [explained_in_a_process(seed) for seed in range(3)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(explained_in_a_process, range(3), timeout=300))
    for answer, expected in zip(answers, alone, strict=True):
        assert answer == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_while_another_thread_explains_does_not_wait_for_it():
    run_alone("fork")


def test_the_switch_of_compiled_functions_is_put_back_by_the_last_to_leave():
    import torch._dynamo

    from pellucid.engine.eager import EAGER

    stances = [torch._dynamo.eval_frame._stance.stance]
    for step in (EAGER.__enter__, EAGER.__enter__, EAGER.__exit__, EAGER.__exit__):
        step()
        stances.append(torch._dynamo.eval_frame._stance.stance)
    assert stances == ["default", *["force_eager"] * 3, "default"]


def test_a_property_that_is_computed_once_holds_no_lock():
    """Python 3.11's holds one for all instances, while it is computed."""

    class Slow:
        started, go = threading.Event(), threading.Event()

        @cached_property
        def value(self):
            self.started.set()
            return self.go.wait(60)

    first, second = Slow(), Slow()
    thread = threading.Thread(target=lambda: first.value)
    thread.start()
    Slow.started.wait()
    other = threading.Thread(target=lambda: (Slow.go.set(), second.value))
    other.start()
    other.join(30)
    assert not other.is_alive()
    thread.join()
    assert first.value is second.value is True


def test_nothing_in_the_package_uses_the_property_that_holds_a_lock():
    source = Path(pellucid.__file__).parent
    for file in source.rglob("*.py"):
        if file.name != "caching.py":
            assert "functools.cached_property" not in file.read_text()
            assert not re.search(r"from functools import .*\bcached_property", file.read_text()), file
