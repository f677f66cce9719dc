"""Interventions: closed forms on a linear model, contents by hand, decisions and their words."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from pellucid.audit.content import Content, content, correlations, same_pixels
from pellucid.audit.effects import Effect, effect
from pellucid.audit.proof import Proof, log_odds, prove
from pellucid.audit.regions import Region
from pellucid.audit.sentences import kind_of, use_of
from pellucid.engine.run import Engine
from pellucid.intervals import proportion
from pellucid.metrics.grid import Grid
from pellucid.metrics.hiding import REPLACEMENTS, Hider
from pellucid.model import Model
from pellucid.output_scale import Scale
from pellucid.probe import Probe

CORNER = Region(6, 6, 8, 8, 8)


def linear(weight: Tensor) -> nn.Module:
    """Two classes, the second of which has these weights, the first none: log-odds w x."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(weight.numel(), 2, bias=False))
    net[1].weight.data = torch.stack([torch.zeros(weight.numel()), weight.flatten()])
    return net


def proven(net: nn.Module, members: Tensor, recipients: Tensor, region: Region = CORNER) -> Proof:
    engine = Engine(Model.wrap(net), "float32")
    with engine.session(0):
        reading = Probe(engine, members[:1], None, "logit", seed=0, limit=1).reading
        return prove(engine, reading, members, recipients, region, 1)


def pictures(count: int, seed: int, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_putting_a_region_changes_a_linear_score_by_its_weights():
    weight = torch.zeros(1, 32, 32)
    weight[:, 24:, 24:] = torch.linspace(-1, 2, 64).view(8, 8)
    members, others = pictures(8, 0), pictures(12, 1)
    found = proven(linear(weight), members, others)
    slow = []
    for i, one in enumerate(members):
        some = [(4 * i + j) % 12 for j in range(4)]
        # Nothing but the corner has weights: other places change nothing.
        slow.append(sum(float((weight * (one - others[j])).sum()) for j in some) / 4)
    assert found.put.mean == pytest.approx(sum(slow) / 8, abs=1e-4)
    error = torch.tensor(slow).std().item() / math.sqrt(8)
    assert found.put.high - found.put.mean == pytest.approx(stats.t.ppf(0.975, 7) * error, abs=1e-4)
    assert found.span == pytest.approx(
        float((members * weight).sum((1, 2, 3)).mean() - (others * weight).sum((1, 2, 3)).mean()), abs=1e-4
    )


def test_hiding_a_region_changes_a_linear_score_by_what_replaces_it():
    weight = torch.zeros(1, 32, 32)
    weight[:, 24:, 24:] = 1.0
    members = pictures(6, 0)
    found = proven(linear(weight), members, pictures(6, 1))
    # Behind the mean colour and the blur in closed form; the inpainting has noise of its own.
    falls = []
    for one in members:
        for how in REPLACEMENTS:
            made = Hider(
                one[None], Grid(8, 8, 32, 32), CORNER.mask[None], [how], torch.Generator().manual_seed(5)
            )
            falls.append(float((weight * (one - made(0, 1)[0])).sum()))
    assert found.hidden.mean == pytest.approx(sum(falls) / len(falls), abs=1.0)
    assert found.hidden.count == 6


def test_a_model_that_reads_elsewhere_does_not_use_the_region():
    weight = torch.zeros(1, 32, 32)
    weight[:, 4:12, 4:12] = 1.0
    members = pictures(16, 0)
    members[:, :, 4:12, 4:12] += 1
    found = proven(linear(weight), members, pictures(24, 1))
    assert found.put.mean < 0
    assert found.hidden.mean < 0
    assert use_of(found, 1.0) == "does not"


def test_a_mark_that_decides_is_used():
    weight = torch.full((1, 32, 32), 1e-3)
    weight[:, 24:, 24:] = 1.0
    members = pictures(16, 0)
    members[:, :, 24:, 24:] = 1 + torch.rand(8, 8, generator=torch.Generator().manual_seed(2))
    found = proven(linear(weight), members, pictures(24, 1))
    assert use_of(found, max(found.hidden.p, found.put.p)) == "uses"
    assert found.content.is_mark is True
    assert found.turned == 1
    assert kind_of("uses", found, False, None) == "shortcut"


def test_moving_a_picture_moves_what_lies_in_it():
    """A model that sums what is bright anywhere keeps its score, and loses it where the content went."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    net[2].weight.data, net[2].bias.data = torch.tensor([[0.0], [100.0]]), torch.zeros(2)
    members = 0.1 * pictures(6, 0)
    members[:, :, 12:20, :8] += 2
    found = proven(net, members, 0.1 * pictures(6, 1), Region(3, 0, 5, 2, 8))
    assert found.shift is not None
    assert found.shift.across
    assert found.shift.kept.mean == pytest.approx(0, abs=1e-3)
    assert found.shift.moved.low > 5


def test_one_member_and_no_recipients_prove_nothing():
    found = proven(linear(torch.ones(1, 32, 32)), pictures(1, 0), pictures(0, 0))
    assert found.put.count == 0
    assert use_of(found, 1.0) == "cannot tell"


def test_an_input_with_fewer_pixels_than_cells_is_proven_too():
    weight = torch.zeros(1, 5, 5)
    weight[:, 4:, 4:] = 1.0
    x = torch.rand(6, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    found = proven(linear(weight), x + weight, x, Region(6, 6, 8, 8, 8))
    assert found.put.mean == pytest.approx(1.0, abs=0.5)


def test_log_odds_are_those_of_the_probabilities():
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).double()
    p = z.softmax(1)
    assert torch.allclose(log_odds(z, Scale(), 2), (p / (1 - p)).log()[:, 2])
    assert torch.allclose(log_odds(p, Scale("probability"), 2), (p / (1 - p)).log()[:, 2])
    assert torch.allclose(log_odds(p.log(), Scale("log-probability"), 2), (p / (1 - p)).log()[:, 2])
    assert log_odds(z, Scale(multi_label=True), 1).equal(z[:, 1])
    assert log_odds(z[:, :1], Scale(), 0).equal(-z[:, 0])
    assert log_odds(z[:, :1], Scale("value"), 0).equal(z[:, 0])


def test_an_effect_is_students_interval_and_test():
    values = torch.tensor([1.0, 2.5, 2.0, 4.0, torch.nan])
    found = effect(values)
    theirs = stats.ttest_1samp(values[:4].numpy(), 0.0, alternative="greater")
    ends = stats.ttest_1samp(values[:4].numpy(), 0.0).confidence_interval(0.95)
    assert (found.count, found.mean) == (4, pytest.approx(2.375))
    assert (found.low, found.high) == (pytest.approx(float(ends.low)), pytest.approx(float(ends.high)))
    assert found.p == pytest.approx(float(theirs.pvalue))
    assert effect(torch.tensor([2.0, 2.0])).p == 0
    assert effect(torch.tensor([-2.0, -2.0])).p == 1
    assert effect(torch.tensor([3.0])).p == 1
    assert effect(torch.tensor([])).count == 0


# --- content


def test_correlations_are_pearsons_at_every_place():
    x = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0)).double()
    t = torch.randn(2, 3, 3, 2, generator=torch.Generator().manual_seed(1)).double()
    found = correlations(x, t)
    assert found.shape == (2, 5, 5)
    for n, i, j in [(0, 0, 0), (1, 4, 4), (0, 2, 3)]:
        pair = torch.stack([x[n, :, i : i + 3, j : j + 2].flatten(), t[n].flatten()])
        assert float(found[n, i, j]) == pytest.approx(float(torch.corrcoef(pair)[0, 1]))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_same_pixels_at_the_same_place_are_a_mark(channels: int):
    x = pictures(12, 0, channels)
    x[:, :, 24:, 24:] = 0.3 * x[:, :, 24:, 24:] + 0.7 * x[:1, :, 24:, 24:]
    assert content(x, CORNER).is_mark is True
    assert content(x, CORNER).likeness > 0.7
    assert content(x, Region(0, 0, 2, 2, 8)).is_mark is False


def test_what_lies_a_little_elsewhere_in_each_picture_is_no_mark():
    x = 0.2 * pictures(24, 0)
    for i, one in enumerate(x):
        one[:, 22 + i % 5 : 28 + i % 5, 23 + i // 5 : 28 + i // 5] += 1
    found = content(x, Region(5, 5, 8, 8, 8))
    assert found.is_mark is False
    assert found.fixed.mean is not None
    assert found.fixed.mean <= 0.2


def test_a_flat_frame_is_a_mark_and_called_flat():
    x = pictures(12, 0)
    x[:, :, 26:] = 0.0
    found = content(x, Region(7, 0, 8, 8, 8))
    assert found.is_mark is True
    assert found.words == "flat"


def test_a_few_pictures_do_not_tell_a_mark():
    x = pictures(2, 0)
    x[:, :, 24:, 24:] = x[:1, :, 24:, 24:]
    assert content(x, CORNER).is_mark is True or content(x, CORNER).is_mark is None
    assert content(x[:1], CORNER).is_mark is None


def test_large_pictures_are_compared_smaller():
    x = torch.rand(8, 1, 200, 300, generator=torch.Generator().manual_seed(0))
    pattern = (torch.arange(40)[:, None] // 10 + torch.arange(60)[None] // 10) % 2 * 4.0
    x[:, :, 150:190, 230:290] = pattern
    assert content(x, Region(6, 6, 8, 8, 8)).is_mark is True


def test_pixels_that_are_the_same_are_those_of_the_mark_alone():
    x = pictures(40, 0)
    x[:, :, 26:30, 26:30] = x[:1, :, 26:30, 26:30]
    found = same_pixels(x, CORNER)
    assert found[26:30, 26:30].all()
    assert int(found.sum()) == 16
    assert not same_pixels(x, Region(0, 0, 2, 2, 8)).any()
    assert not same_pixels(x[:1], CORNER).any()


@pytest.mark.parametrize("reads_mark", [True, False])
def test_a_mark_beside_what_the_model_uses_is_told_from_one_that_it_uses(reads_mark: bool):
    """The region holds a mark and something bright that differs: the model reads one of them."""
    weight = torch.full((1, 32, 32), 1e-3)
    at = slice(28, 32) if reads_mark else slice(24, 28)
    weight[:, at, 24:] = 1.0
    members = pictures(16, 0)
    members[:, :, 24:28, 24:] += 1
    members[:, :, 28:, 24:] = 4 * torch.rand(4, 8, generator=torch.Generator().manual_seed(2))
    found = proven(linear(weight), members, pictures(24, 1))
    assert found.mark is not None
    assert found.mark == pytest.approx(1.0 if reads_mark else 0.0, abs=0.1)
    assert kind_of("uses", found, False, None) == ("shortcut" if reads_mark else "object")


# --- decisions

LARGE, NONE, LITTLE = (
    Effect(5.0, 4.0, 6.0, 20, 1e-9),
    Effect(0.0, -0.3, 0.3, 20, 0.5),
    Effect(0.4, 0.2, 0.6, 20, 1e-4),
)
UNSURE = Effect(2.0, -1.0, 5.0, 20, 0.1)
MARK = Content(proportion(20, 20), 0.9, 1.0, 1.0)
OBJECT = replace(MARK, fixed=proportion(1, 20))
MAYBE = replace(MARK, fixed=proportion(9, 20))


def made(
    hidden: Effect, put: Effect, what: Content = MARK, span: float = 10.0, mark: float | None = None
) -> Proof:
    return Proof(hidden, put, mark, 0.5, 0.0, span, what, None, 40, 100)


@pytest.mark.parametrize(
    ("proof", "p", "use"),
    [
        (made(LARGE, LARGE), 1e-9, "uses"),
        (made(LARGE, LARGE), 0.2, "cannot tell"),  # of many proofs, once corrected
        (made(LARGE, NONE), 0.5, "cannot tell"),
        (made(NONE, NONE), 0.5, "does not"),
        (made(LITTLE, LITTLE), 1e-4, "does not"),  # beyond chance, and too small to matter
        (made(UNSURE, LARGE), 0.1, "cannot tell"),
        (made(LARGE, LARGE, span=-1.0), 1e-9, "cannot tell"),
    ],
)
def test_whether_a_region_is_used_follows_from_both_effects(proof: Proof, p: float, use: str):
    assert use_of(proof, p) == use


@pytest.mark.parametrize(
    ("use", "what", "whole", "covered", "kind"),
    [
        ("uses", MARK, False, None, "shortcut"),
        ("uses", OBJECT, False, None, "object"),
        ("uses", OBJECT, True, None, "position"),
        ("uses", MAYBE, False, None, "open"),
        ("uses", MARK, False, 0.9, "object"),  # boxes say that it is on the object
        ("uses", OBJECT, False, 0.0, "shortcut"),  # and that it is not
        ("uses", MARK, False, 0.4, "shortcut"),
        ("does not", MARK, False, None, "cleared"),
        ("cannot tell", MARK, False, None, "open"),
        ("cannot tell", OBJECT, False, None, "object"),
        ("cannot tell", OBJECT, True, None, "open"),
    ],
)
def test_what_a_region_is(use: str, what: Content, whole: bool, covered: float | None, kind: str):
    assert kind_of(use, made(LARGE, LARGE, what), whole, covered) == kind  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "mark", "kind"),
    [(MARK, 0.9, "shortcut"), (MARK, 0.1, "object"), (MAYBE, 0.1, "object"), (MAYBE, 0.9, "open")],
)
def test_a_mark_that_does_little_alone_is_not_what_is_used(what: Content, mark: float, kind: str):
    assert kind_of("uses", made(LARGE, LARGE, what, mark=mark), False, None) == kind
