"""DeepSHAP: the mean of DeepLIFT over references, captum's live, and what is said of it."""

import pytest
import torch
from captum.attr import DeepLiftShap

import pellucid
from nets import net, pictures, watched
from pellucid.errors import InvalidValue
from zoo import GapNet, ResidualNet, assert_close, images, seeded


def shap(net, x, **options) -> pellucid.Explanation:
    return pellucid.explain(net, x, "deep-shap", progress=False, **{"target": 1, **options})


@pytest.fixture
def maps():
    """A network, images, references, and DeepLIFT's maps against each, (R, N, C, H, W)."""
    module, x, references = seeded(ResidualNet).double(), images(), images(5, seed=7)
    each = [
        pellucid.explain(module, x, "deep-lift", target=1, baseline=r, progress=False).raw for r in references
    ]
    return module, x, references, torch.stack(each)


def test_it_is_the_mean_of_deep_lift_with_its_standard_error(maps):
    module, x, references, each = maps
    e = shap(module, x, references=references)
    assert_close(e.raw, each.mean(0), 1e-12)
    torch.testing.assert_close(e.stderr.double(), each.std(0) / 5**0.5, rtol=1e-5, atol=1e-9)


@pytest.mark.full
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_chunks_change_nothing(maps, batch_size):
    module, x, references, _ = maps
    one, other = (shap(module, x, references=references, batch_size=size) for size in ("auto", batch_size))
    assert_close(other.raw, one.raw, 1e-12)
    torch.testing.assert_close(other.stderr, one.stderr)


def test_it_sums_to_the_score_minus_the_references_mean_score(maps):
    module, x, references, _ = maps
    e = shap(module, x, references=references)
    with torch.no_grad():
        change = module(x)[:, 1] - module(references)[:, 1].mean()
    torch.testing.assert_close(e.raw.sum((1, 2, 3)), change)
    torch.testing.assert_close(e.delta, torch.zeros_like(e.delta), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks", "ignore:Input Tensor 0 did not already")
def test_it_is_captums_on_a_network_that_captum_can_follow():
    module, x, references = seeded(GapNet, inplace=False).double(), images(2), images(4, seed=7)
    theirs = DeepLiftShap(module).attribute(x.clone(), references, target=1)
    assert_close(shap(module, x, references=references).raw, theirs.detach(), 1e-10)


def test_baselines_by_name_may_depend_on_the_image():
    x = pictures("vit")
    e = shap(net("vit"), x, references="mean,blur")
    each = [pellucid.explain(net("vit"), x, "deep-lift", target=1, baseline=name, progress=False).raw
            for name in ("mean", "blur")]  # fmt: skip
    assert_close(e.raw, sum(each) / 2, 1e-9)
    assert_close(shap(net("vit"), x[1:2], references="mean,blur").raw, e.raw[1:2], 1e-9)


def test_one_reference_is_deep_lift_without_a_standard_error(maps):
    module, x, references, each = maps
    e = shap(module, x, references=references[:1])
    assert_close(e.raw, each[0], 1e-12)
    assert e.stderr is None


def test_the_cost_is_two_forward_and_one_backward_passes_per_reference_and_the_images_own():
    module, counter = watched(seeded(ResidualNet).double())
    e = shap(module, images(2), references=images(3, seed=7))
    assert sum(counter.forward) == e.cost.forward == 2 * (2 * 3 + 1)
    assert sum(counter.backward) == e.cost.backward == 2 * 3


def test_references_that_are_missing_or_of_another_size_are_refused(maps):
    module, x, *_ = maps
    with pytest.raises(InvalidValue, match="There are no references: pass references="):
        shap(module, x)
    with pytest.raises(InvalidValue, match="references must be as large as the inputs"):
        shap(module, x, references=images(2, (5, 5)))


def test_a_reference_that_is_the_image_gives_zero_and_a_word(maps):
    module, x, *_ = maps
    e = shap(module, x[:1], references=x[:1])
    assert not e.raw.any()
    assert "there is no path between them" in e.notes[0][0]
