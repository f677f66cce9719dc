"""Right whoever else runs: hosts that predict and train, servers, worker processes, forks."""

import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import TinyCNN, state_of, timm_model
from zoo import ResidualNet, seeded

CNN = ["grad-cam", "ablation-cam", "lrp", "rise:samples=12", "lime:samples=12,segments=grid:3"]
VIT = ["attention-rollout", "grad-cam"]


@pytest.fixture(autouse=True)
def _one_thread_each():
    """As a server sets it: a thread of the pool for each of many threads would only wait for the others."""
    threads, interval = torch.get_num_threads(), sys.getswitchinterval()
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-4)  # threads change places in the middle of a pass
    yield
    torch.set_num_threads(threads)
    sys.setswitchinterval(interval)


def image(seed: int = 0, size: int = 32) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def explained(net: nn.Module, x: Tensor, method: str) -> Tensor:
    return pellucid.explain(net, x, method, target=1, batch_size=4, progress=False).raw


def test_explaining_predicting_and_training_threads_do_not_see_one_another():
    cnn = seeded(ResidualNet)
    vit = timm_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=24, num_heads=2)
    kinds = [(cnn, method) for method in CNN] + [(vit, method) for method in VIT]
    jobs = [(net, i, method) for net, method in kinds for i in range(2)]
    alone = {(id(net), i, method): explained(net, image(i), method) for net, i, method in jobs}
    with torch.no_grad():
        answers = {id(net): net(image(7)) for net in (cnn, vit)}
    before = [state_of(net) for net in (cnn, vit)]
    stop, count, wrong = threading.Event(), Counter(), []

    def host(net):
        while not stop.wait(0.002):
            with torch.no_grad():
                out = net(image(7))
            count["predictions"] += 1
            if not torch.equal(out, answers[id(net)]):
                wrong.append("a prediction")
            flags = [m for m in net.modules() if m.training or m._forward_hooks or m._forward_pre_hooks]
            wrong.extend("a flag or a hook" for _ in flags)

    def train():
        torch.manual_seed(0)
        net = seeded(TinyCNN).train()
        optimiser = torch.optim.SGD(net.parameters(), 0.01)
        while not stop.wait(0.002):
            loss = net(image(count["steps"], 16)).logsumexp(1).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            count["steps"] += 1
            if not net.training or not torch.is_grad_enabled():
                wrong.append("the training")

    def explain(number):
        for call in range(125):
            net, i, method = jobs[(call * 4 + number) % len(jobs)]
            found, expected = explained(net, image(i), method), alone[id(net), i, method]
            count["explanations"] += 1
            if not torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())):
                wrong.append(f"a map of {method}")

    others = [threading.Thread(target=host, args=(net,)) for net in (cnn, vit)]
    others.append(threading.Thread(target=train))
    for thread in others:
        thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(explain, range(4)))
    finally:
        stop.set()
        for thread in others:
            thread.join()
    assert not wrong, Counter(wrong)
    assert count["explanations"] == 500
    assert count["predictions"] > 20
    assert count["steps"] > 5
    assert [state_of(net) for net in (cnn, vit)] == before


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
        asked = [paths[i % len(paths)] for i in range(96)]
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


@pytest.mark.parametrize("context", ["fork", "spawn"])
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
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_that_is_forked_while_another_thread_explains_does_not_wait_for_it():
    net, stop = seeded(ResidualNet), threading.Event()
    expected = explained(net, image(), "grad-cam")

    def busy():
        while not stop.is_set():
            explained(net, image(1), "rise:samples=40")

    thread = threading.Thread(target=busy)
    thread.start()
    codes = []
    try:
        for _ in range(3):
            time.sleep(0.05)
            child = os.fork()
            if not child:
                try:
                    same = torch.allclose(explained(net, image(), "grad-cam"), expected)
                    os._exit(0 if same else 1)
                finally:
                    os._exit(2)
            end = time.monotonic() + 60
            while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
                time.sleep(0.05)
            if ended == (0, 0):
                os.kill(child, 9)
                os.waitpid(child, 0)
                codes.append("waits")
            else:
                codes.append(os.waitstatus_to_exitcode(ended[1]))
    finally:
        stop.set()
        thread.join()
    assert codes == [0, 0, 0]


def test_the_switch_of_compiled_functions_is_put_back_by_the_last_to_leave():
    import torch._dynamo

    from pellucid.engine.operations import _EAGER

    stances = [torch._dynamo.eval_frame._stance.stance]
    for step in (_EAGER.__enter__, _EAGER.__enter__, _EAGER.__exit__, _EAGER.__exit__):
        step()
        stances.append(torch._dynamo.eval_frame._stance.stance)
    assert stances == ["default", *["force_eager"] * 3, "default"]
