"""What `import pellucid` costs and does: in fresh interpreters, without the tests' import hook."""

import subprocess
import sys

HEAVY = ("matplotlib", "timm", "torchvision", "skimage", "transformers", "rich", "typer", "jinja2", "scipy")


def fresh(code: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_import_brings_in_torch_and_little_else():
    out, err = fresh(f"import sys, torch, pellucid; print(sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert out == "[]\n"
    assert err == ""


def test_import_prints_nothing_and_changes_no_setting():
    code = """
import random, warnings, logging, signal
import numpy as np
import torch
def state():
    return (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate(),
            torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.backends.mha.get_fastpath_enabled(), warnings.filters[:],
            logging.root.handlers[:], signal.getsignal(signal.SIGINT))
before = state()
import pellucid
assert state() == before
"""
    assert fresh(code) == ("", "")


def test_explaining_prints_nothing_and_leaves_pythons_and_numpys_random_state_alone():
    code = """
import random
import numpy as np
import torch
import pellucid
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                          torch.nn.Flatten(), torch.nn.Linear(4, 2))
random.seed(1); np.random.seed(1)
before = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
pellucid.compare(net, torch.rand(3, 3, 9, 12, generator=torch.Generator().manual_seed(0)),
                 [m.name for m in pellucid.methods()] + ["saliency:smooth=3,augment=true"])
assert (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) == before
"""
    assert fresh(code) == ("", "")


def test_explaining_a_tensor_needs_no_drawing_library():
    code = f"""
import sys, torch, pellucid
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                          torch.nn.Flatten(), torch.nn.Linear(4, 2))
pellucid.explain(net, torch.rand(1, 3, 9, 12)).heatmap()
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    assert fresh(code) == ("[]\n", "")
