"""What `import pellucid` costs and does: in fresh interpreters, without the tests' import hook."""

import json
import subprocess
import sys

import pytest

HEAVY = ("matplotlib", "timm", "torchvision", "skimage", "transformers", "rich", "typer", "jinja2", "scipy",
         "torch._dynamo")  # fmt: skip


CODE = """
import json, logging, random, signal, sys, warnings
import numpy as np
import torch

def state():
    return (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate(),
            torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.backends.mha.get_fastpath_enabled(), warnings.filters[:],
            logging.root.handlers[:], signal.getsignal(signal.SIGINT))

def heavy():
    return sorted(set(HEAVY) & set(sys.modules))

before = state()
import pellucid
for name in pellucid.__all__:
    getattr(pellucid, name)  # imports what is behind it
found = {"changed": state() != before, "imported": heavy()}
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                          torch.nn.Flatten(), torch.nn.Linear(4, 2))
x = torch.rand(3, 3, 9, 12, generator=torch.Generator().manual_seed(0))
pellucid.explain(net, x[:1]).heatmap()
found["explained"] = heavy()
random.seed(1); np.random.seed(1)
before = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
pellucid.compare(net, x, [(m.name, m.quick) for m in pellucid.methods()] + ["saliency:smooth=3,augment=true"])
found["drawn"] = (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) != before
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def fresh() -> tuple[str, str]:
    """What a new interpreter writes that imports the package and asks it for maps, and its errors."""
    code = CODE.replace("HEAVY", repr(HEAVY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("what", "expected"),
    [("changed", False), ("imported", []), ("explained", []), ("drawn", False)],
    ids=[
        "import changes no setting",
        "import brings in torch and little else",
        "explaining a tensor needs neither drawing libraries nor the compiler",
        "explaining leaves the random state of Python, NumPy and PyTorch alone",
    ],
)
def test_what_import_and_explaining_leave_behind(fresh, what, expected):
    assert json.loads(fresh[0])[what] == expected


def test_import_and_explaining_print_nothing(fresh):
    out, err = fresh
    assert out.count("\n") == 1  # the test's own line
    assert err == ""
