"""The report: one page that holds everything, loads nothing, and takes no text for markup."""

import json
import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pellucid
from pellucid import report
from pellucid.comparison import Comparison
from pellucid.entries import Entry
from pellucid.errors import PellucidError
from pellucid.measure import measure
from pellucid.render import heat, layer
from pellucid.report.facts import spent

LABELS = ["<script>alert(1)</script>", "</script><b>tabby", "e&f", '" onload="x']
EVIL = "<img src=x onerror=alert(1)>"
METHODS = ["grad-cam", "hirescam", "random-cam", "saliency", "smooth-grad:samples=3", "cam"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def net(flat=False):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(
        *([] if flat else body), nn.Flatten(), nn.Linear(3 * 24 * 24 if flat else 4, 4)
    ).eval()


def render(comparison):
    return report.render(
        comparison.entries,
        comparison.refusals,
        comparison.cost,
        comparison.verdicts,
        comparison.unjudged,
        comparison.curves,
    )


def model(name, **kind):
    preprocess = pellucid.Preprocess(size=(24, 24), scale_to=24)
    return pellucid.Model(net(**kind), preprocess=preprocess, labels=LABELS, name=name)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    grain = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    paths = [folder / f"{EVIL}.png", folder / "large.png"]
    for path, size in zip(paths, [(90, 60), (1500, 1200)], strict=True):
        Image.fromarray(grain).resize(size).save(path)
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def comparison(pictures):
    models = [model("<b>net</b>"), model("flat", flat=True)]
    return pellucid.compare(models, pictures, METHODS, targets=[0, 1], seed=5)


@pytest.fixture(scope="module")
def html(comparison):
    return render(comparison)


class Page(HTMLParser):
    """The elements of a page with their attributes, its text, and whether every element is closed."""

    VOID = frozenset({"meta", "input", "image", "br"})

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.texts, self.raw = [], [], [], {}
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append(SimpleNamespace(tag=tag, attributes=dict(attributes), inside=tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append(SimpleNamespace(tag=tag, attributes=dict(attributes), inside=tuple(self.open)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.raw.setdefault(self.open[-1], []).append(data)
        else:
            self.texts.append(data)

    def all(self, tag, **attributes):
        return [e for e in self.elements if e.tag == tag and attributes.items() <= e.attributes.items()]


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def decoded(uri):
    head, _, body = uri.partition(",")
    image = Image.open(BytesIO(b64decode(body, validate=True)))
    assert head == f"data:image/{image.format.lower()};base64"
    return image


def numbers(page):
    return json.loads(page.raw["script"][0])


# --- what is there ---------------------------------------------------------------------------------------


def test_every_method_score_cost_formula_paper_and_prediction_is_in_the_text(page, comparison):
    for entry in comparison.entries:
        e = entry.explanation
        assert entry.title in page.text
        formula = next(m.summary for m in pellucid.methods() if m.name == e.method)
        assert " ".join(formula.split()) in page.text
        assert e.paper in page.text
        assert f"{spent(e.cost)}, 2 pictures together" in page.text
        for index in range(len(e)):
            assert f"{e.labels[index]}, logit {e.score[index]:.3g}".replace("-", "−") in page.text
            for p in e.prediction[index]:
                assert p.label in page.text
    assert f"All of it together ran {spent(comparison.cost)}." in page.text
    assert len(page.all("article")) == 2 * len(comparison)


def test_refusals_are_named_with_their_reason(page, comparison):
    assert {r.title for r in comparison.refusals} >= {"grad-cam", "cam"}
    for refusal in comparison.refusals:
        assert " ".join(refusal.reason.split()) in page.text


def test_warnings_belong_to_their_picture():
    e = pellucid.explain(net(), torch.rand(2, 3, 24, 24), "grad-cam", target=0)
    e.notes = [[], ["The <second> map is doubtful."]]
    page = Page(render(Comparison((Entry("grad-cam", e),), (), e.cost)))
    assert page.text.count("The <second> map is doubtful.") == 1


def test_an_empty_map_says_so():
    e = pellucid.explain(net(), torch.rand(1, 3, 24, 24), "grad-cam", target=0)
    zero = replace(e, attribution=torch.zeros_like(e.attribution), raw=torch.zeros_like(e.raw))
    assert (
        "Empty map: zero everywhere." in Page(render(Comparison((Entry("grad-cam", zero),), (), e.cost))).text
    )


def test_the_numbers_are_there_for_programs(page, comparison):
    data = numbers(page)
    e = comparison.explanations[0]
    assert data["cost"] == vars(comparison.cost)
    assert len(data["explanations"]) == len(comparison)
    first = data["explanations"][0]
    assert (first["title"], first["seed"], first["labels"]) == ("grad-cam", 5, [LABELS[0]] * 2)
    assert first == {"title": "grad-cam", **json.loads(json.dumps(e.to_dict()))}
    assert first["score"] == e.score.tolist()
    assert first["raw"] == e.raw.tolist()
    assert first["pictures"][0]["name"] == EVIL
    assert len(data["refusals"]) == len(comparison.refusals)


def test_how_sure_a_map_is_is_told_in_words_and_numbers(page, comparison):
    e = comparison.explanations[4]
    assert e.method == "smooth-grad"
    told = numbers(page)["explanations"][4]["certainty"][1]
    assert told["relative_error"] == e.relative_error(1)
    assert told["stderr"]["max"] == pytest.approx(float(e.stderr[1].sum(0).max()))
    assert (told["samples"], told["r2"]) == (3, None)
    first = numbers(page)["explanations"][0]["certainty"][0]
    assert (first["relative_error"], first["samples"]) == (None, None)
    assert "where the map is strongest" in page.text


def segmented(errors=True):
    """Four segments of one image, the last of no weight."""
    e = pellucid.explain(model("net"), Image.new("RGB", (48, 48)), "saliency", target=0)
    labels = torch.arange(24)[:, None] // 12 * 2 + torch.arange(24) // 12
    weights, error = torch.tensor([2.0, -1.5, 0.25, 0.0]), torch.full((4,), 0.5)
    details = {"segments": labels[None], "coefficients": [weights], "samples": torch.tensor([64])}
    if errors:
        details |= {"coefficient_stderr": [error], "r2": torch.tensor([0.831])}
    raw = weights[labels][None]
    return replace(
        e,
        attribution=raw[:, None],
        raw=raw,
        details=details,
        stderr=error[labels][None, None] if errors else None,
    )


def test_segments_have_outlines_and_weights_with_errors():
    e = segmented()
    page = Page(render(Comparison((Entry("lime", e),), (), e.cost)))
    edges = page.all("path", d="M12 0v24M0 12h24")
    assert [edge.attributes["class"] for edge in edges] == ["edge under", "edge"]
    corners = {(float(w.attributes["x"]) // 24, float(w.attributes["y"]) // 24) for w in page.all("text")}
    assert corners == {(0, 0), (1, 0), (0, 1)}  # where the first three of four lie
    for told in ("+2.0 ±0.5", "−1.5 ±0.5", "+0.2 ±0.5", "64 per picture", "0.83"):
        assert told in page.text
    (told,) = numbers(page)["explanations"][0]["certainty"]
    assert (told["samples"], told["stderr"]) == (64, {"mean": 0.5, "max": 0.5})
    assert told["r2"] == pytest.approx(0.831)


def test_an_optimisation_has_its_curves_their_ends_and_all_numbers():
    e = pellucid.explain(model("net"), Image.new("RGB", (48, 48)), "saliency", target=0, output="probability")
    plain = Page(render(Comparison((Entry("saliency", e),), (), e.cost)))
    assert not plain.all("polyline")
    assert "deletion" not in plain.text
    falling = torch.tensor([[0.75, 0.5, 0.25]])
    e.trace = {"mask": torch.rand(1, 3, 4, 4), "deletion": falling, "insertion": [1 - falling[0]]}
    page = Page(render(Comparison((Entry("masking", e),), (), e.cost)))
    lines = {line.attributes["class"]: line.attributes["points"] for line in page.all("polyline")}
    assert lines == {
        "insertion": "0.0,63.0 120.0,42.0 240.0,21.0",
        "deletion": "0.0,21.0 120.0,42.0 240.0,63.0",
    }
    assert "Half the score" not in page.text
    e.details = {"kept_share": torch.tensor([0.25]), "deleted_share": torch.tensor([0.03125])}
    told = Page(render(Comparison((Entry("masking", e),), (), e.cost))).text
    assert "Half the score with the top 25 % shown, or the top 3.1 % hidden" in told
    assert "Optimised in 2 steps: insertion 0.25 → 0.75, deletion 0.75 → 0.25." in page.text
    assert "which should fall" in page.text
    (chart,) = (svg for svg in page.all("svg", role="img") if "Scores" in svg.attributes["aria-label"])
    assert "masking" in chart.attributes["aria-label"]
    trace = numbers(page)["explanations"][0]["trace"]
    assert (trace["deletion"], trace["insertion"]) == ([[0.75, 0.5, 0.25]], [[0.25, 0.5, 0.75]])


def test_a_completeness_error_is_told_with_what_the_sum_should_be():
    e = pellucid.explain(net(), torch.rand(1, 3, 24, 24), "saliency", target=0)
    e.raw = torch.full((1, 1, 2, 2), 0.5)
    e.delta = torch.tensor([-0.5])
    page = Page(render(Comparison((Entry("saliency", e),), (), e.cost)))
    assert "Map’s sum 2, should be 2.5: completeness error −0.5, 20 %" in page.text
    (told,) = numbers(page)["explanations"][0]["certainty"]
    assert (told["delta"], told["relative_delta"]) == (-0.5, 0.2)
    e.delta = torch.tensor([2.0])
    nothing = Page(render(Comparison((Entry("saliency", e),), (), e.cost)))
    assert "Map’s sum 2, should be 0: completeness error 2 Paper" in nothing.text


def test_only_sampled_maps_have_an_error_view(page, comparison):
    views = [e.attributes.get("aria-label", "") for e in page.all("svg", role="img")]
    errors = [text for text in views if text.startswith("Standard error of ")]
    assert len(errors) == 2 * sum(e.stderr is not None for e in comparison.explanations)
    assert all("smooth-grad" in text for text in errors)
    without = [text for text in views if text.startswith("No standard error of ")]
    cards = page.all("article")
    assert len(errors) + len(without) == len(cards)  # "All maps: Error" changes every card
    assert len(page.all("input", value="error")) == len(cards) + 1
    assert page.text.count("draws no samples.") == len(without)
    e = segmented(errors=False)
    plain = Page(render(Comparison((Entry("lime", e),), (), e.cost)))
    assert not plain.all("input", value="error")
    assert "±" not in plain.text


def test_an_error_layer_ends_at_half_of_what_stands_out():
    e = segmented()
    made = layer.error_layer(e.panel())
    stands = (e.attribution - e.attribution.median()).abs().flatten().topk(57).values.mean()
    assert made.limit == pytest.approx(float(stands) / 2)
    share = np.asarray(made.image)[0, 0] / 254
    assert share == pytest.approx(min(1, 0.5 / made.limit), abs=1 / 254)


def test_agreement_is_that_of_the_comparison(page, comparison):
    question = Comparison(comparison.entries[:6], (), comparison.cost)
    table = page.text.split("Agreement between the methods")[1]
    found = re.findall(r"(?<![\d.(])−?[01]\.\d\d(?![\d)])", table)[:36]
    rows = [[float(cell.replace("−", "-")) for cell in found[6 * i : 6 * i + 6]] for i in range(6)]
    np.testing.assert_allclose(rows, question.agreement(0), atol=0.0051)
    signed, unsigned = question.agreement(0).flatten(), question.agreement(0, magnitudes=True).flatten()
    beside = [float(cell) for cell in re.findall(r"\((-?[01]\.\d\d)\)", table.replace("−", "-"))]
    expected = [
        u for s, u in zip(signed.tolist(), unsigned.tolist(), strict=True) if f"{s:.2f}" != f"{u:.2f}"
    ]
    np.testing.assert_allclose(beside[: len(expected)], expected, atol=0.0051)


def test_a_method_that_agrees_with_nothing_is_flagged():
    e = pellucid.explain(net(), torch.rand(1, 3, 24, 24), "grad-cam", target=0)
    e, odd = (replace(e, attribution=torch.rand(e.attribution.shape)) for _ in range(2))
    like = replace(e, attribution=e.attribution + 1)
    entries = tuple(Entry(t, x) for t, x in (("one", e), ("two", like), ("odd", odd)))
    text = Page(render(Comparison(entries, (), e.cost))).text
    assert re.search(r"opposite orders\. .* odd \(at most −?0\.\d\d\) agrees with no other method", text)
    assert "two (at most" not in text


def test_one_answer_to_two_equal_questions_is_shown_once():
    x = torch.rand(1, 3, 24, 24)
    best = pellucid.explain(net(), x).target[0]
    c = pellucid.compare(net(), x, ["grad-cam", "saliency"], targets=[None, best])
    assert len(Page(render(c)).all("article")) == 2


# --- the verdict ---------------------------------------------------------------------------------------


def rows(table):
    """The texts of a table's cells, row by row."""
    return [
        [
            " ".join(re.sub(r"<[^>]*>", " ", cell).split())
            for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)
        ]
        for row in re.findall(r"<tr.*?</tr>", table, re.S)
    ]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Two pictures, cut to a square: the class is the brightness at the left of what the model sees.

    The other class has no evidence anywhere.
    """
    torch.manual_seed(0)
    body = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(body.weight, 1 / 3)
    head = nn.Linear(24 * 24, 4, bias=False)
    nn.init.zeros_(head.weight)
    head.weight.data.view(4, 24, 24)[0, 6:14, 2:8] = 1.0
    left = pellucid.Model(
        nn.Sequential(body, nn.ReLU(), nn.Flatten(), head).eval(),
        preprocess=pellucid.Preprocess(size=(24, 24), scale_to=24, mean=(0.0,) * 3, std=(1.0,) * 3),
        labels=LABELS,
        name="<b>left</b>",
    )
    grain = np.random.default_rng(1).integers(0, 60, (24, 40, 3), dtype=np.uint8)
    grain[6:14, 10:16] += 190  # the first 8 columns are cut off
    folder = tmp_path_factory.mktemp("judged")
    names = [EVIL, "plain"]
    for name in names:
        Image.fromarray(grain).resize((400, 240), Image.Resampling.NEAREST).save(folder / f"{name}.png")
    return pellucid.compare(
        left,
        [str(folder / f"{name}.png") for name in names],
        ["input-x-gradient", "random-cam:layer=1", "occlusion:window=3,stride=3"],
        targets=[0, 1],
        output="logit",
    )


@pytest.fixture(scope="module")
def judged_html(judged):
    return render(judged)


def test_each_question_has_its_verdict_in_words_and_on_its_cards(judged, judged_html):
    sections = re.findall(
        r'<section class="question">.*?</section>\s*<div class="cards">.*?</div>\s*<section class="trials"',
        judged_html,
        re.S,
    )
    assert len(sections) == len(judged.verdicts) == 4
    order = [(v.picture, v.label) for v in judged.verdicts]
    pictures = [judged[0].names[0], judged[0].names[1]]
    assert sorted(order) == sorted((name, label) for name in pictures for label in LABELS[:2])
    asked = [(name, label) for name in pictures for label in LABELS[:2]]
    for section, about in zip(sections, asked, strict=True):
        verdict = judged.verdicts[order.index(about)]
        text = " ".join(unescape(re.sub(r"<[^>]*>", " ", section)).split())
        at = [text.index(" ".join(sentence.split())) for sentence in verdict.sentences]
        assert at == sorted(at)
        assert at[-1] < text.index("Enlarge")  # above the first card
        badges = re.findall(r'<p class="badge" data-state="(.*?)">(.*?)</p>', section)
        assert [state for state, _ in badges] == [one.state for one in verdict.maps]
        for (state, badge), one in zip(badges, verdict.maps, strict=True):
            told = " ".join(re.sub(r"<[^>]*>", "", badge).replace("−", "-").split())
            numbers = "" if state == "not judged" else f" q {one.q:.2f} {one.low:.2f} to {one.high:.2f}"
            assert told == state + numbers
    assert "supported" in {one.state for one in judged.verdicts[0].maps}
    assert {one.state for one in judged.verdicts[2].maps} == {"not judged"}
    # The badge says it: no card repeats it as a warning, though each explanation keeps it.
    assert any("not localised" in text for e in judged for text in e.warnings)
    shown = judged_html.partition('id="data">')[0]
    assert "no map of places can be right about it." not in shown


def test_the_scoreboard_has_maps_and_floors_by_q(judged, judged_html):
    verdict = judged.verdicts[0]
    table = re.search(r'<table class="scoreboard">.*?</table>', judged_html, re.S)[0]
    head, *body = rows(table)
    assert head == ["Method", "Verdict", "q 95 %", "Strongest parts", "r", "Passes", "Seconds"]
    q = [float(row[2].split()[0].replace("−", "-")) for row in body]
    assert q == sorted(q, reverse=True)
    assert len(body) == 3 + len(verdict.floors)
    by_title = {unescape(row[0]): row for row in body}
    for one, entry in zip(verdict.maps, judged.entries[:3], strict=True):
        _, state, interval, strongest, r, passes, seconds = (
            cell.replace("−", "-") for cell in by_title[one.title]
        )
        assert interval == f"{one.q:.2f} {one.low:.2f} to {one.high:.2f}"
        assert (state, r, passes) == (one.state, f"{one.r + 0:.2f}", str(one.passes))
        assert strongest == f"{one.strongest + 0:.2f}"
        assert seconds == f"{entry.explanation.cost.seconds / 2:.2f}"  # of two pictures together
    edges = by_title["an edge detector"]
    assert edges[1:] == ["floor", f"{verdict.floors['edges']:.2f}".replace("-", "−"), "–", "–", "–", "–"]


def test_verdicts_are_there_for_programs(judged, judged_html):
    told = numbers(Page(judged_html))
    assert told["verdicts"] == json.loads(json.dumps([verdict.to_dict() for verdict in judged.verdicts]))
    assert judged.to_dict()["verdicts"] == [verdict.to_dict() for verdict in judged.verdicts]
    page = Page(judged_html)
    assert [int(e.attributes["data-verdict"]) for e in page.all("section", **{"class": "trials"})] == [
        0,
        2,
        1,
        3,
    ]


def test_a_verdict_is_text_and_leads_nowhere(judged_html):
    page = Page(judged_html)
    is_text(page, (EVIL, "<b>left</b>", *LABELS[:2]))
    test_nothing_is_loaded_from_anywhere(page)
    test_only_the_pages_own_script_may_run(page)
    test_every_reference_inside_the_page_has_its_target(page)
    test_it_is_accessible(page, judged_html)


def test_a_page_without_verdicts_has_nothing_of_them(judged, judged_html):
    bare = report.render(judged.entries, judged.refusals, judged.cost)
    page = Page(bare)
    assert not [e for e in page.elements if e.attributes.get("class", "") in ("verdict", "trials", "badge")]
    assert "Floors are" not in page.text
    assert numbers(page)["verdicts"] == []
    assert "Floors are" in Page(judged_html).text


def test_why_a_picture_has_no_verdict_is_said(judged):
    page = Page(report.render(judged.entries, (), judged.cost, (), [f"{EVIL} has no verdict: <why>"]))
    assert page.text.count(f"{EVIL} has no verdict: <why>") == 1


@pytest.fixture(scope="module")
def altered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("altered")
    bright = np.zeros((24, 40, 3), dtype=np.uint8)
    bright[6:14, 10:16] = 240
    Image.fromarray(bright).resize((400, 240), Image.Resampling.NEAREST).save(folder / "bright.png")
    return pellucid.compare(
        model("net"), str(folder / "bright.png"), ["grad-cam", "saliency"], targets=[0, 1],
        verdict=False, curves=True,
    )  # fmt: skip


def test_curves_are_those_of_the_metrics(altered):
    assert [(one.title, one.label) for one in altered.curves] == [
        (title, label) for label in LABELS[:2] for title in ("grad-cam", "saliency")
    ]
    one, e = altered.curves[1], altered["saliency", LABELS[0]]
    inputs = model("net").read(e.pictures[0].rgb).inputs
    for name, curve in (("deletion", one.deletion), ("insertion", one.insertion)):
        found = measure(model("net"), inputs, e.attribution, name, target=0)
        np.testing.assert_allclose(curve, found.details["curve"][0], atol=1e-6)
        assert torch.equal(one.parts, found.details["parts"][0])
    assert one.parts.unique(return_counts=True)[1].tolist() == [
        (k + 1) * 576 // 28 - k * 576 // 28 for k in range(28)
    ]
    strength = e.attribution[0].sum(0)
    assert strength[one.parts == 0].min() >= strength[one.parts > 0].max()
    assert one.output == "probability"
    assert one.deletion[0] == pytest.approx(float(one.insertion[-1]))
    assert one.colour == (124, 116, 104)  # what is 0 when normalised


def test_curves_are_kept(altered, tmp_path):
    for suffix in ("npz", "safetensors"):
        again = Comparison.load(altered.save(tmp_path / f"kept.{suffix}"))
        assert [one.to_dict() for one in again.curves] == [one.to_dict() for one in altered.curves]
    assert torch.equal(again.curves[1].parts, altered.curves[1].parts)
    assert altered.to_dict()["curves"] == json.loads(json.dumps([one.to_dict() for one in altered.curves]))


class Fussy(nn.Module):
    """Knows nothing of pictures with a hole."""

    def forward(self, x):
        hole = (x == 0).all(1).flatten(1).any(1)
        return x.flatten(1)[:, :2] / torch.where(hole, 0.0, 1.0)[:, None]


def test_a_map_without_curves_says_why():
    x = 0.1 + torch.rand(1, 3, 4, 4)
    c = pellucid.compare(Fussy(), x, "saliency", target=0, verdict=False, curves=True)
    assert not c.curves
    (why,) = c.unjudged
    assert why.startswith("image has no curves by saliency: ")
    assert why in Page(render(c)).text


def test_maps_are_kept_where_curves_cannot_be_made(monkeypatch):
    def fails(*_, **__):
        raise PellucidError("no such number")

    monkeypatch.setattr("pellucid.altering.measure_all", fails)
    c = pellucid.compare(net(), torch.rand(1, 3, 24, 24), "saliency", verdict=False, curves=True)
    assert (len(c), c.curves, c.unjudged) == (1, (), ("image has no curves: no such number",))


def test_a_notebook_shows_the_sentences_first(judged):
    shown = judged._repr_html_()
    text = unescape(re.sub(r"<[^>]*>", " ", shown.partition("<figure>")[0]))
    for verdict in judged.verdicts:
        assert f"{verdict.picture}: {verdict.label}, by {verdict.model}" in text
        for sentence in verdict.sentences:
            assert sentence in text
    assert EVIL not in shown


# --- pictures and maps -----------------------------------------------------------------------------------


def test_photographs_are_in_the_page_once_and_bounded(page):
    photographs = [e for e in page.all("image") if e.attributes.get("id", "").startswith("photo-")]
    images = [decoded(e.attributes["href"]) for e in photographs]
    assert [(i.format, i.size) for i in images] == [("JPEG", (90, 60)), ("JPEG", (1000, 800))]
    assert photographs[1].attributes["width"] == "1500"  # drawn in the picture's own pixels


def test_maps_lie_where_the_model_looked(page, comparison):
    maps = [decoded(e.attributes["href"]) for e in page.all("image", **{"class": "heat over"})]
    assert maps
    assert {m.size for m in maps} == {(24, 24)}
    first = page.all("image", **{"class": "heat over"})[0].attributes
    box = comparison.explanations[0].boxes[0]
    assert [float(first[k]) for k in ("x", "y", "width")] == [box.left, box.top, box.right - box.left]
    grids = [
        decoded(e.attributes["href"])
        for e in page.all("image", **{"class": "map cells"})
        if "x" in e.attributes
    ]
    assert {g.size for g in grids} == {(6, 6), (24, 24)}


def test_every_reference_inside_the_page_has_its_target(page):
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for e in page.elements:
        for name in ("href", "aria-labelledby"):
            target = e.attributes.get(name, "")
            if name == "aria-labelledby" or target.startswith("#"):
                assert target == "" or target.removeprefix("#") in ids


def test_a_raw_layer_has_the_colour_of_each_cell():
    e = pellucid.explain(net(), torch.rand(1, 3, 24, 24), "hirescam", target=0)
    e.raw = torch.tensor([[[-2.0, 0.0, 1.0]]])
    found = layer.raw_layer(e.panel())
    table = heat.colormap(heat.SIGNED)([0.0, 0.5, 0.75], bytes=True)[:, :3]
    pixels = np.asarray(found.image.convert("RGB"))[0].astype(int)
    assert np.abs(pixels - table).max() <= 3
    assert tuple(pixels[1]) == (255, 255, 255)
    assert (found.limit, found.signed, found.blend) == (2.0, True, None)


def test_an_overlay_layer_on_the_picture_is_the_overlay():
    e = pellucid.explain(net(), torch.rand(1, 3, 24, 24), "grad-cam", target=0)
    e.attribution = torch.rand(1, 1, 24, 24)
    photograph = e.pictures[0].rgb
    over = layer.overlay_layer(e.panel()).image.convert("RGBA")
    over.putalpha(over.getchannel("A").point(lambda a: a * 0.7))
    ours = Image.alpha_composite(photograph.convert("RGBA"), over).convert("RGB")
    by = 400 // 24
    enlarged = np.asarray(e.overlay(alpha=0.7))[by // 2 :: by, by // 2 :: by]
    difference = np.asarray(ours).astype(int) - enlarged
    assert np.abs(difference).max() <= 4


def test_a_constant_map_lays_nothing_over_the_picture():
    e = pellucid.explain(net(), torch.rand(1, 3, 24, 24), "grad-cam", target=0)
    e.attribution = torch.ones(1, 1, 24, 24)
    assert layer.overlay_layer(e.panel()).image.convert("RGBA").getchannel("A").getextrema() == (0, 0)


# --- nothing but itself ----------------------------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(page):
    for e in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = e.attributes.get(name) or "#"
            assert value.startswith(("data:image/", "#")) or (
                e.tag == "a" and value.startswith("https://")
            ), value
    style = "".join(page.raw["style"])
    assert "@import" not in style
    assert "url(" not in style
    assert not page.all("link")


def test_only_the_pages_own_script_may_run(page):
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    digest = b64encode(sha256(page.raw["script"][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]
    assert "default-src 'none'" in policy.attributes["content"]


def test_no_text_becomes_markup(page):
    is_text(page, (EVIL, "<b>net</b>", *LABELS))


def is_text(page, names):
    """Names stand in the page as they are, and made no elements of it."""
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert not [e for e in page.elements if any(name.startswith("on") for name in e.attributes)]
    for text in names:
        assert text in page.text
    assert not set("<>&") & set(page.raw["script"][0])


def test_it_is_accessible(page, html):
    assert html.startswith("<!doctype html>")
    assert page.all("html")[0].attributes["lang"] == "en"
    for svg in page.all("svg"):
        assert "aria-label" in svg.attributes or svg.attributes.get("aria-hidden") == "true"
    for slider in page.all("input", type="range"):
        assert slider.attributes["aria-label"]
    assert len(page.all("legend")) == len(page.all("fieldset")) == len(page.all("article")) + 1


def test_the_file_is_whole_or_absent(tmp_path, comparison, monkeypatch, html):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr(report, "page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        comparison.save(path)
    assert path.read_text() == "old"
    monkeypatch.undo()
    assert comparison.save(path) == path
    assert path.read_text(encoding="utf-8") == html
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


# --- in a browser ----------------------------------------------------------------------------------------


def dom(path, tmp_path, *options):
    """The page's document after its scripts ran, as headless Chromium writes it."""
    quiet = ["--disable-gpu", "--disable-background-networking", "--no-first-run"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, "--headless", "--no-sandbox", *quiet, *options, profile, "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


USE = """
const [all, ...sliders] = document.querySelectorAll("input[type=range]");
const heat = document.querySelectorAll(".heat");
const views = () => [...document.querySelectorAll(".card")].slice(0, 2).map((card) =>
  [...card.querySelectorAll(".view")].map((view) => getComputedStyle(view).display).join());
const error = () => [...document.querySelectorAll(".card:has(.view.error)")].map((card) =>
  [...card.querySelectorAll(".view")].map((view) => getComputedStyle(view).display).join())[0];
const said = [];
const slide = (slider, value) => {
  slider.value = value;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
};
slide(all, 40); said.push(getComputedStyle(heat[0]).opacity, sliders[1].value);
slide(sliders[1], 10); said.push(getComputedStyle(heat[0]).opacity, getComputedStyle(heat[1]).opacity);
said.push(views());
document.querySelector(".card input[value=raw]").click(); said.push(views());
document.querySelector(".controls input[value=raw]").click(); said.push(views());
document.querySelector(".controls input[value=error]").click(); said.push(views(), error());
said.push(document.documentElement.scrollWidth <= innerWidth);
document.title = JSON.stringify(said);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_sliders_fade_and_switches_turn_the_maps(tmp_path, html):
    path = tmp_path / "report.html"
    # The page's own policy would, rightly, not run the test's script.
    free = re.sub(r"<meta http-equiv[^>]*>", "", html)
    path.write_text(free.replace("</body>", f"<script>{USE}</script></body>"), encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", dom(path, tmp_path))[1]
    overlay, raw, error = "block,none,none", "none,block,none", "none,none,block"
    assert json.loads(title) == [
        "0.4", "40", "0.4", "0.1", [overlay, overlay], [raw, overlay], [raw, raw], [error, error],
        error, True,
    ]  # fmt: skip


ENLARGE = """
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const said = [];
const key = (name) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles:
true})); const dialog = document.querySelector("dialog"); const title = () =>
document.querySelector("#large-title").textContent; const value = () =>
document.querySelector("#large-value").textContent; HTMLAnchorElement.prototype.click = function () {
said.push(this.download, this.href); }; (async () => {
  const card = document.querySelector(".card");
  card.querySelector(".stage").dispatchEvent(new MouseEvent("click", {bubbles: true}));
  await wait(300);
  said.push(dialog.open, title());
  const map = document.querySelector(".field image.heat"), at = map.getBoundingClientRect();
  const move = (x, y) => map.dispatchEvent(new PointerEvent("pointermove",
    {clientX: at.left + x * at.width, clientY: at.top + y * at.height, bubbles: true}));
  move(.5 / 24, 23.5 / 24); said.push(value());
  key("r"); await wait(300); said.push(title());
  key("w"); said.push(value().split(":")[0]);
  key("ArrowRight"); await wait(300); said.push(title());
  key("e"); await wait(300); said.push(title(), document.querySelector(".field p")?.textContent ?? "");
  key("o"); await wait(300);
  said.push(document.documentElement.scrollWidth <= innerWidth, dialog.scrollWidth <= dialog.clientWidth);
  document.querySelector(".download").click(); await wait(700);
  document.querySelector(".large .close").click(); said.push(document.activeElement.className);
  document.title = JSON.stringify(said);
})();
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1400, 390])
def test_a_map_is_enlarged_read_and_saved(tmp_path, html, comparison, width):
    path = tmp_path / "report.html"
    free = re.sub(r"<meta http-equiv[^>]*>", "", html)
    path.write_text(free.replace("</body>", f"<script>{ENLARGE}</script></body>"), encoding="utf-8")
    after = dom(path, tmp_path, f"--window-size={width},900", "--virtual-time-budget=8000")
    (
        opened, first, told, raw, moved, second, error, without, fits, inside, name, picture, focus,
    ) = json.loads(unescape(re.search(r"<title>(.*?)</title>", after, re.DOTALL)[1]))  # fmt: skip
    titles = [entry.title for entry in comparison.entries]
    assert (opened, first, raw) == (True, f"{titles[0]}, overlay", f"{titles[0]}, raw")
    drawn = layer.overlay_layer(comparison[0].panel())
    index = np.asarray(drawn.image)[23, 0] / 254
    expected = drawn.limit * (2 * index - 1 if drawn.signed else index)
    place, _, value = told.partition(": ")
    assert place == "row 23, column 0"
    assert float(value.removesuffix(" or beyond").replace("−", "-")) == pytest.approx(expected, rel=1e-2)
    assert moved == "row 4, column 0"  # of 6 x 6 cells, one up from the last row
    assert (second, error) == (f"{titles[1]}, overlay", f"{titles[1]}, error")
    assert without == f"No standard error: {titles[1]} draws no samples."
    assert fits
    assert inside
    assert name.endswith(f".{titles[1]}.overlay.png")
    saved = decoded(picture).convert("RGB")
    wide, high = comparison[0].pictures[0].rgb.size
    assert saved.width >= 1000
    assert saved.width / saved.height == pytest.approx(wide / high)
    assert len(saved.getcolors(1 << 24)) > 100  # the picture and its map, not an empty canvas
    assert focus == "enlarge"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_policy_lets_the_pages_own_script_run(tmp_path, html):
    path = tmp_path / "report.html"
    path.write_text(
        html.replace("</body>", "<script>document.title = 'foreign'</script></body>"), encoding="utf-8"
    )
    after = dom(path, tmp_path)
    assert '<html lang="en" class="script">' in after
    assert "<title>foreign" not in after


TRUST = """
const said = [];
const table = document.querySelector(".scoreboard"), heads = [...table.tHead.rows[0].cells];
const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
const sorts = () => heads.map((head) => head.getAttribute("aria-sort"));
said.push(order(), sorts());
for (const column of [0, 0, 5, 1]) {
  const button = heads[column].querySelector("button");
  button.focus();
  button.click();
  said.push(order(), sorts(), document.activeElement === button);
}
const trials = document.querySelector(".trials"), marks = () => [...trials.querySelectorAll(".mark")];
const output = () => trials.querySelector("output").textContent;
const cover = () => trials.querySelector(".cover path").getAttribute("d");
const select = trials.querySelector("select");
said.push(marks().length, select.selectedOptions[0].textContent);
marks()[7].focus();
said.push(output(), cover());
const key = (name) => document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", {key: name, bubbles: true}));
const across = (mark) => Number(/[(]([^ ]+) /.exec(mark.getAttribute("transform"))[1]);
const from = marks()[7]; key("ArrowRight"); const to = document.activeElement;
const between = marks().filter((mark) => across(mark) > across(from) && across(mark) < across(to));
said.push(to !== from, across(to) >= across(from), between.length);
said.push(marks().filter((mark) => mark.tabIndex === 0).length);
const chosen = marks().indexOf(to);
select.value = "2"; select.dispatchEvent(new Event("change"));
said.push(marks()[chosen].getAttribute("aria-selected"));
said.push(trials.querySelector("[role=listbox]").getAttribute("aria-label"));
select.value = "0"; select.dispatchEvent(new Event("change"));
const last = marks()[11].getBoundingClientRect();
trials.querySelector(".plot svg").dispatchEvent(new MouseEvent("click",
  {clientX: last.left + last.width / 2, clientY: last.top + last.height / 2, bubbles: true}));
const place = (mark) => mark.getAttribute("transform").match(/[0-9.]+/g).map(Number);
const [x, y] = place(trials.querySelector("[aria-selected=true]")), [u, v] = place(marks()[11]);
said.push(Math.hypot(x - u, y - v) < 1);
const stage = trials.querySelector(".stage").getBoundingClientRect();
const seen = trials.querySelector(".crop").getBoundingClientRect();
const grid = trials.querySelector(".cover").getAttribute("viewBox");
const shown = trials.querySelector(".cover").getScreenCTM();
said.push(grid, Math.round(shown.e - seen.left), Math.round(16 * shown.a - seen.width));
said.push(document.documentElement.scrollWidth <= innerWidth);
document.title = JSON.stringify(said);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1400, 390])
def test_the_scoreboard_sorts_and_a_mark_shows_what_was_hidden(tmp_path, judged, judged_html, width):
    path = tmp_path / "report.html"
    free = re.sub(r"<meta http-equiv[^>]*>", "", judged_html)
    path.write_text(free.replace("</body>", f"<script>{TRUST}</script></body>"), encoding="utf-8")
    after = dom(path, tmp_path, f"--window-size={width},900")
    said = json.loads(unescape(re.search(r"<title>(.*?)</title>", after, re.DOTALL)[1]))
    verdict = judged.verdicts[0]
    maps = [one.title for one in verdict.maps]
    first, sorts = said[:2]
    assert sorts == [None, None, "descending", None, None, None, None]
    (by_title, title, focus), (back, backward, _), (by_passes, passes, _), (by_state, _, _) = (
        said[at : at + 3] for at in (2, 5, 8, 11)
    )
    assert by_title == sorted(first)
    assert title == ["ascending", None, None, None, None, None, None]
    assert focus
    assert (back, backward[0]) == (by_title[::-1], "descending")
    assert by_passes[:3] == [one.title for one in sorted(verdict.maps, key=lambda one: one.passes)]
    assert passes == [None, None, None, None, None, "ascending", None]
    assert set(by_state[:3]) == set(maps)  # floors, which have neither, come last
    states = {one.title: one.state for one in verdict.maps}
    assert [states[name] for name in by_state[:3]] == sorted(
        states.values(), key=["supported", "undecided", "not supported"].index
    )
    (
        count,
        picked,
        told,
        cover,
        moved,
        right,
        between,
        stops,
        kept,
        listbox,
        nearest,
        grid,
        aside,
        wider,
        fits,
    ) = said[14:]
    done = verdict.interventions
    best = next(one for one in verdict.maps if one.title == verdict.recommended)
    assert (count, picked) == (len(done), f"{best.title}: supported, q {best.q:.2f}")
    share = max(1, round(100 * float(done.area[7])))
    fall, foretold = float(done.drop[7]), float(best.predicted[7])
    places = [1 + int((values > values[7]).sum()) for values in (best.predicted, done.drop)]
    assert told.startswith(f"{share} % hidden behind the picture blurred. Predicted fall ")
    shown = [float(x.replace("−", "-")) for x in re.findall(r"fall ([−\d.e-]+), the", told)]
    assert shown == pytest.approx([foretold, fall], rel=5e-3)
    assert [int(x) for x in re.findall(r"the (\d+)(?:st|nd|rd|th)", told)] == places
    assert f"{round(100 * fall / done.span)} % of what hiding everything costs".replace("-", "−") in told
    cells = {
        (int(y), int(x) + i)
        for x, y, wide in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", cover)
        for i in range(int(wide))
    }
    assert cells == {tuple(cell) for cell in done.hidden[7].nonzero().tolist()}
    assert (moved, right, between, stops, kept) == (True, True, 0, 1, "true")
    assert listbox == f"Predicted and actual falls, {maps[2]}"
    assert nearest
    assert (grid, aside, wider) == ("0 0 16 16", 0, 0)
    assert fits


CURVES = """
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  await wait(800);
  const said = [], section = document.querySelector(".alterations"), slider = section.querySelector("input");
  const captions = () => [...section.querySelectorAll("figcaption")].map((one) => one.textContent);
  const pixels = () => [...section.querySelectorAll("canvas")].map((one) =>
    [...one.getContext("2d").getImageData(0, 0, one.width, one.height).data].filter((_, i) => i % 4 < 3));
  const select = section.querySelector("select");
  select.value = "1"; select.dispatchEvent(new Event("change")); await wait(500);
  const chart = section.querySelector(".plot svg"), line = section.querySelectorAll("polyline");
  said.push(line.length, slider.max);
  const at = chart.getBoundingClientRect(), by = at.width / 340;
  chart.dispatchEvent(new PointerEvent("pointermove", {clientX: at.left + (40 + 280 * 5 / 28) * by,
    clientY: at.top + 50, bubbles: true}));
  said.push(slider.value, captions(), pixels());
  slider.value = 28; slider.dispatchEvent(new Event("input", {bubbles: true}));
  said.push(captions(), slider.getAttribute("aria-valuetext"), pixels());
  said.push(document.documentElement.scrollWidth <= innerWidth);
  document.title = JSON.stringify(said);
})();
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1400, 390])
def test_the_altered_picture_follows_the_pointer(tmp_path, altered, width):
    path = altered.save(tmp_path / "report.html")
    free = re.sub(r"<meta http-equiv[^>]*>", "", path.read_text(encoding="utf-8"))
    path.write_text(free.replace("</body>", f"<script>{CURVES}</script></body>"), encoding="utf-8")
    after = dom(path, tmp_path, f"--window-size={width},900", "--virtual-time-budget=8000")
    said = json.loads(unescape(re.search(r"<title>(.*?)</title>", after, re.DOTALL)[1]))
    lines, steps, step, told, pictures, ends, words, last, fits = said
    one = altered.curves[1]
    assert (lines, steps, step) == (2, "28", "5")
    assert told == [f"18 % removed: {one.deletion[5]:.3g}", f"18 % shown: {one.insertion[5]:.3g}"]
    removed, shown = (np.array(some).reshape(24, 24, 3) for some in pictures)
    changed = (one.parts < 5).numpy()
    assert (removed[changed] == one.colour).all()
    bright = np.zeros((24, 24), dtype=bool)
    bright[7:13, 3:7] = True  # without its edge, which is blurred a little by resizing
    assert removed[bright & ~changed].min() > 200
    assert shown[bright & changed].min() > 200
    assert shown[bright & ~changed].max() < 100
    assert ends == [f"100 % removed: {one.deletion[-1]:.3g}", f"100 % shown: {one.insertion[-1]:.3g}"]
    assert words == "100 percent of the pixels"
    assert (np.array(last[0]).reshape(-1, 3) == one.colour).all()
    assert np.array(last[1]).reshape(24, 24, 3)[bright].min() > 200
    assert fits


FOLDED = """
const count = () => [...document.querySelectorAll(".trials")].map((one) =>
  one.querySelectorAll(".mark").length);
const said = [count()];
document.querySelectorAll(".fold")[2].open = true;
setTimeout(() => { said.push(count()); document.title = JSON.stringify(said); }, 300);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_marks_of_a_folded_picture_are_drawn_when_it_opens(tmp_path):
    c = pellucid.compare(net(), torch.rand(4, 3, 24, 24), "saliency", target=0, budget=70)
    assert [len(verdict.interventions) for verdict in c.verdicts] == [60] * 4
    path = tmp_path / "report.html"
    free = re.sub(r"<meta http-equiv[^>]*>", "", render(c))
    path.write_text(free.replace("</body>", f"<script>{FOLDED}</script></body>"), encoding="utf-8")
    after = dom(path, tmp_path, "--virtual-time-budget=3000")
    said = json.loads(re.search(r"<title>(.*?)</title>", after, re.DOTALL)[1])
    assert said == [[60, 0, 0, 0], [60, 0, 60, 0]]
