"""Notes and costs belong to the evidence: whoever uses it is told and billed the same, first or second."""

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import TinyCNN
from pellucid.certainty import flat
from zoo import seeded


class Bypassed(nn.Module):
    """Its head wants both what a layer gives and a batch it noted before: it cannot be run alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(TinyCNN, "module").double()

    def forward(self, x: Tensor) -> Tensor:
        A = self.net.bn2(self.net.conv2(self.net.relu(self.net.bn1(self.net.conv1(x)))))
        if len(A) != len(x):
            raise RuntimeError("another batch")
        return self.net.fc(A.relu().mean((2, 3)))


def pictures(n: int = 1, size: int = 12) -> Tensor:
    return torch.rand(n, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_second_method_on_the_same_evidence_is_told_the_same():
    requests = [
        ("ablation-cam", {"layer": "net.bn2"}),
        ("ablation-cam", {"layer": "net.bn2", "signed": True}),
    ]
    both = pellucid.compare(
        Bypassed(), pictures(2), requests, target=1, progress=False, verdict=False
    ).explanations
    alone = [pellucid.explain(Bypassed(), pictures(2), m, target=1, **o) for m, o in requests]
    assert any("could not be run alone" in text for text in alone[1].warnings)
    for shared, single in zip(both, alone, strict=True):
        assert [text for text in shared.warnings if "alone" in text] == [
            text for text in single.warnings if "alone" in text
        ]
        assert (shared.cost.forward, shared.cost.resumed) == (single.cost.forward, single.cost.resumed)


def test_evidence_is_told_again_of_the_images_it_was_told_of_and_of_nested_evidence_too():
    from pellucid.engine.run import Engine
    from pellucid.model import Model
    from pellucid.probe import Probe

    engine = Engine(Model.wrap(seeded(TinyCNN).double()))
    with engine.session(0):
        probe = Probe(engine, pictures(3), 1)

        def inner() -> int:
            probe.note("inner", torch.tensor([False, True, False]))
            probe.choose("what", "this")
            probe.one(2).mark_bf16()
            return int(probe.outputs.shape[1])

        def outer() -> int:
            probe.note("outer")
            return probe.once("inner", inner)

        assert probe.once("outer", outer) == 5
        first = probe.notes, probe.chosen, probe.lowered
        probe.start()
        assert not probe.notes
        with engine.bill() as bill:
            probe.once("outer", outer)
        assert (probe.notes, probe.chosen, probe.lowered) == first
        assert first == ({"outer": [0, 1, 2], "inner": [1]}, {"what": "this"}, {2})
        assert bill.total().forward == 3


@pytest.mark.parametrize("method", ["grad-cam", "score-cam", "ablation-cam", "ss-cam:samples=2"])
def test_details_of_several_layers_are_kept_by_layer(method, tmp_path):
    net, x = seeded(TinyCNN).double(), pictures(2)
    e = pellucid.explain(net, x, method, layer=["bn1", "bn2"], target=1)
    assert list(e.details["weights"]) == ["bn1", "bn2"]
    for layer in ("bn1", "bn2"):
        single = pellucid.explain(net, x, method, layer=layer, target=1)
        torch.testing.assert_close(e.details["weights"][layer], single.details["weights"])
    assert e[1].details["weights"]["bn1"].shape == (1, 6)
    torch.testing.assert_close(e[1].details["weights"]["bn1"], e.details["weights"]["bn1"][1:])
    for suffix in ("npz", "safetensors"):
        kept = pellucid.Explanation.load(e.save(tmp_path / f"e.{suffix}"))
        assert torch.equal(kept.details["weights"]["bn2"], e.details["weights"]["bn2"])
    e._repr_html_()
    e.save(tmp_path / "e.html")
    pellucid.compare(net, x, [(method.split(":")[0], {"layer": ["bn1", "bn2"]})], verdict=False).save(
        tmp_path / "c.html"
    )


# --- what a map that says little says -----------------------------------------------------------------------


def test_a_map_with_a_large_error_says_so_whatever_the_method():
    net, x = seeded(TinyCNN).double(), pictures(1)
    requests = [("smooth-grad", {"samples": 4}), ("rise", {"samples": 8}), ("saliency", {"smooth": 3}),
                ("lime", {"samples": 12, "segments": "grid:3"})]  # fmt: skip
    for method, options in requests:
        e = pellucid.explain(net, x, method, target=1, **options)
        error = e.relative_error()
        assert error is not None
        said = [text for text in e.warnings if "hardly known" in text]
        assert bool(said) == (error > 0.25), method
        if said:
            assert f"{error:.0%}" in said[0]
            assert ("smooth=" if "smooth" in options else "samples=") in said[0]
    assert said or error <= 0.25
    sure = pellucid.explain(net, x, "smooth-grad", samples=40, noise=1e-4, target=1)
    assert sure.relative_error() < 0.25
    assert not sure.warnings


class Constant(nn.Module):
    """Every pixel counts the same, but for a share of it."""

    def __init__(self, more: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 8, 8, dtype=torch.float64))
        self.weight.data[:, 2, 2] += more

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weight).sum((1, 2, 3))
        return torch.stack([score, -score], 1)


@pytest.mark.parametrize(("more", "word"), [(0.0, "is constant"), (0.05, "nearly constant"), (0.5, None)])
def test_a_map_that_prefers_no_place_says_so(more, word):
    e = pellucid.explain(Constant(more), pictures(1, 8), "saliency", target=0, output="logit")
    about = [text for text in e.warnings if "constant" in text]
    assert len(about) == bool(word)
    assert all(word in text for text in about)
    assert bool(word) == bool(e.warnings)


def test_why_a_map_is_flat_is_said_where_it_is_known():
    image = torch.rand(3, 4, 4)
    assert flat(torch.full((2, 2), 3.0), torch.ones(3, 4, 4)).endswith("the image is the same everywhere.")
    assert "one cell" in flat(torch.full((1, 1), 3.0), image)
    assert flat(torch.zeros(2, 2), image) == ""  # which has a word of its own
    assert "7.0%" in flat(torch.tensor([-1.0, -0.93]), image)
    assert flat(torch.tensor([-1.0, 1.0]), image) == ""
