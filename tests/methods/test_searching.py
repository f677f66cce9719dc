"""What all mask methods share: which models they refuse, how inputs are scored, and what passes cost."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import CHEAP, NoGradStem, TinyCNN, watched
from pellucid.baselines import baseline
from pellucid.engine.progress import Bar
from pellucid.engine.run import Engine
from pellucid.errors import ModelError
from pellucid.methods.mask.extremal_perturbation import blurs
from pellucid.methods.mask.searching import equals_baseline, scores_and_gradients
from pellucid.model import Model
from pellucid.probe import Probe
from zoo import images, seeded

ALL = [m.name for m in pellucid.methods() if m.family == "mask"]
every = pytest.mark.parametrize("method", ALL)


class Brittle(nn.Module):
    """Two logits, the square of an image's light and its triple; NaN where it is below 0."""

    def forward(self, x: Tensor) -> Tensor:
        light = x.sum((1, 2, 3))
        return torch.stack([(light**2).where(light > 0, torch.nan), 3 * light], 1)


@pytest.mark.parametrize("slopes", [True, False])
def test_copies_whose_score_is_not_finite_have_nan_and_the_others_what_they_have_alone(slopes: bool) -> None:
    engine = Engine(Model(Brittle()))
    copies = torch.tensor([1.0, -1.0, -2.0, 3.0, -5.0]).view(5, 1, 1, 1)
    with engine.session(0):
        probe = Probe(engine, torch.ones(2, 1, 1, 1), [0, 1])
        score, slope = scores_and_gradients(probe.perturbed(copies, torch.tensor([0, 0, 1, 0, 0])), slopes)
    nan = torch.nan
    torch.testing.assert_close(score, torch.tensor([1, nan, -6, 9, nan]), equal_nan=True)
    slope = slope.flatten()
    assert slope.isnan().tolist() == score.isnan().tolist()
    assert slope[score.isfinite()].tolist() == ([2, 3, 6] if slopes else [0, 0, 0])


def test_an_image_equals_its_baseline_but_for_rounding() -> None:
    x = images(3)
    assert equals_baseline(x, x * torch.tensor([1, 1 + 1e-15, 1 + 1e-6])[:, None, None, None]).tolist() == [
        1,
        1,
        0,
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("spec", ["blur", "mean", "mixed"])
def test_in_half_precision_too_only_what_is_its_own_baseline_equals_it(dtype: torch.dtype, spec: str) -> None:
    x = images(4).float().to(dtype)
    x[0], x[1] = 0.3, x[1] * 2**-6 + 0.3  # constant, and faint on a constant
    hidden = baseline(spec, x, Model(Brittle()), torch.Generator())
    assert equals_baseline(x, hidden).tolist() == [1, 0, 0, 0]
    levels = blurs(x, levels=3, max_blur=20.0)[:, 0]
    assert equals_baseline(x, levels).tolist() == [1, 0, 0, 0]


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_models_in_half_precision_have_masks(method: str, dtype: torch.dtype) -> None:
    net, x = seeded(TinyCNN), images(1)
    found, exact = (
        pellucid.explain(net.to(kind), x.to(kind), method, target=0, progress=False, **CHEAP[method])
        for kind in (dtype, torch.float32)
    )
    assert bool(found.raw.any()) == bool(exact.raw.any())
    assert not any("is the image itself" in w or "leaves the image" in w for w in found.warnings)


@every
def test_a_model_that_cuts_its_gradients_off_is_refused(method: str) -> None:
    with pytest.raises(ModelError, match="gradients cannot explain it"):
        pellucid.explain(seeded(NoGradStem).double(), images(2), method, progress=False, **CHEAP[method])


@every
def test_only_passes_that_have_a_way_back_build_a_graph(method: str) -> None:
    net, counter = watched(seeded(TinyCNN).double())
    built: list[int] = []
    net.register_forward_hook(lambda _, args, out: built.append(len(out) * out.requires_grad))
    pellucid.explain(net, images(2), method, progress=False, **CHEAP[method])
    assert sum(built) == sum(counter.backward) < sum(counter.forward)


@pytest.mark.parametrize("search", ["spectral", "nesterov", "official"])
def test_the_bar_of_a_search_of_unknown_length_ends_where_it_says(
    search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Bar] = []

    class Kept(Bar):
        def __init__(self, title: str, total: int, note: Callable[[], str]) -> None:
            super().__init__(title, total, note)
            bars.append(self)

    monkeypatch.setattr("pellucid.engine.progress.Bar", Kept)
    net, counter = watched(seeded(TinyCNN).double())
    requests = ["saliency", ("i-gos", {"steps": 6, "points": 2, "resolution": 4, "search": search})]
    if search != "official":
        requests.append(("i-gos++", {"steps": 6, "points": 2, "resolution": 4, "search": search}))
    pellucid.compare(net, images(3), requests, target=[1, 0, 3], batch_size=2, progress=True, verdict=False)
    (bar,) = bars
    assert bar.done == bar.total == sum(counter.forward)
