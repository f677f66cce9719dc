"""No dependence on what a process sets for all: default device and dtype, NumPy's errors, warnings."""

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from nets import CHEAP, TinyCNN, net, pictures
from pellucid.methods import METHODS
from zoo import seeded, swept

SOURCE = Path(pellucid.__file__).parent
FACTORIES = (
    "arange", "as_tensor", "empty", "eye", "full", "linspace", "logspace", "normal", "ones", "rand",
    "randint", "randn", "randperm", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
)  # fmt: skip


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if named and isinstance(node.func.value, ast.Name) and node.func.value.id == "torch":
            yield node.lineno, node.func.attr, {k.arg for k in node.keywords}, bool(node.args)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_tensor_that_is_made_names_its_type_and_device(path):
    for line, name, given, placed in calls(path):
        if name in FACTORIES:
            wanted = {"device"} if (name, path.name) == ("empty", "models.py") else {"dtype", "device"}
            assert wanted <= given, f"{path}:{line}: torch.{name} leaves its type or device to the process"
        if name == "Generator":
            assert placed or "device" in given, f"{path}:{line}"


def built(method):
    if METHODS[method].family == "attention":
        return net("vit"), pictures("vit")[:2]
    return seeded(TinyCNN), torch.rand(2, 3, 20, 26, generator=torch.Generator().manual_seed(0))


def explained(method, module, x):
    options = CHEAP[method]
    e = pellucid.explain(module, x, method, target=1, batch_size=2, progress=False, **options)
    return e, e.heatmap()


@pytest.fixture
def defaults():
    """Sets a default dtype and device; both are put back."""

    def set_to(dtype=torch.float32, device=None):
        torch.set_default_dtype(dtype)
        torch.set_default_device(device)

    yield set_to
    set_to()


QUICK = ("grad-cam", "score-cam", "ablation-cam", "saliency", "smooth-grad", "integrated-gradients", "xrai",
         "rise", "lime", "occlusion", "i-gos", "meaningful-perturbation", "lrp", "deep-lift", "attn-lrp",
         "full-grad", "attention-rollout")  # fmt: skip


@pytest.mark.parametrize("method", swept(CHEAP, QUICK))
def test_a_map_is_the_same_bit_for_bit_under_other_defaults(method, defaults):
    module, x = built(method)
    try:
        expected, heat = explained(method, module, x)
    except pellucid.errors.PellucidError as error:
        pytest.skip(str(error))
    for dtype, device in ((torch.float64, None), (torch.bfloat16, None), (torch.float32, "meta")):
        defaults(dtype, device)
        found, seen = explained(method, module, x)
        defaults()
        assert found.raw.dtype == expected.raw.dtype
        assert torch.equal(found.raw, expected.raw), (dtype, device)
        assert torch.equal(torch.as_tensor(seen), torch.as_tensor(heat))


@pytest.mark.parametrize("method", ["grad-cam", "lime", "rise", "xrai", "lrp"])
def test_numpys_errors_warnings_and_anomaly_detection_change_nothing(method):
    module, x = built(method)
    expected, _ = explained(method, module, x)
    with np.errstate(all="raise"), warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True, False):
        warnings.simplefilter("error")
        found, _ = explained(method, module, x)
    assert torch.equal(found.raw, expected.raw)
