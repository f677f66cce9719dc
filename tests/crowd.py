"""Explanations beside whatever else a process does: `python tests/crowd.py threads 125` or `fork`."""

import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

import pellucid
from nets import TinyCNN, state_of, timm_model
from zoo import ResidualNet, seeded

CNN = ["grad-cam", "ablation-cam", "lrp", "rise:samples=12", "lime:samples=12,segments=grid:3"]
VIT = ["attention-rollout", "grad-cam"]


def image(seed: int = 0, size: int = 32) -> Tensor:
    """A picture of noise."""
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


def explained(net: nn.Module, x: Tensor, method: str) -> Tensor:
    """A map, made in chunks of one size."""
    return pellucid.explain(net, x, method, target=1, batch_size=4, progress=False).raw


def threads(calls: str) -> None:
    """So many explanations in each of four threads beside hosts of all kinds; anything wrong is an error."""
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
        for call in range(int(calls)):
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
    assert count["explanations"] == 4 * int(calls)
    assert count["predictions"] > 20
    assert count["steps"] > 5
    assert [state_of(net) for net in (cnn, vit)] == before


def fork() -> None:
    """A child that is forked while another thread explains does not wait for it."""
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
    assert codes == [0, 0, 0], codes


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-4)  # threads change places in the middle of a pass
    {"threads": threads, "fork": fork}[sys.argv[1]](*sys.argv[2:])
