"""A failing image or method costs the others nothing: what worked is kept, what failed is named."""

import json

import pytest
import torch
from torch import Tensor, nn

import pellucid
from nets import TinyCNN
from pellucid.errors import InvalidValue, ModelError, SomeFailed
from zoo import seeded

POISON = 7.0
RAN: list[int] = []  # the samples of each pass


class Moody(nn.Module):
    """Raises, or gives NaN, for a batch with a marked image; counts the samples it ran."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = seeded(TinyCNN).double(), how
        RAN.clear()

    def forward(self, x: Tensor) -> Tensor:
        marked = x[:, 0, 0, 0] == POISON
        if self.how == "raises" and marked.any():
            raise RuntimeError("a bad picture")
        RAN.append(len(x))
        y = self.net(x.where(~marked[:, None, None, None], 0.1))
        return torch.where(marked[:, None], torch.nan, y) if self.how == "nan" else y


def batch(*bad: int, n: int = 4) -> Tensor:
    x = torch.rand(n, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for image in bad:
        x[image, 0, 0, 0] = POISON
    return x


METHODS = [("grad-cam", {"signed": True, "layer": "net.bn2"}), ("saliency", {}), ("rise", {"samples": 8}),
           ("lime", {"samples": 16, "segments": "grid:2"}), ("occlusion", {"window": 6, "stride": 6}),
           ("smooth-grad", {"samples": 4}), ("integrated-gradients", {"steps": "auto"}),
           ("ablation-cam", {"signed": True, "layer": "net.bn2"}),
           ("grad-cam", {"principal": True, "layer": "net.bn2"}), ("lrp", {})]  # fmt: skip


@pytest.mark.parametrize("how", ["raises", "nan"])
@pytest.mark.parametrize(("method", "options"), METHODS, ids=[name for name, _ in METHODS])
def test_the_other_images_are_explained_as_if_alone(method, options, how):
    net, x = Moody(how), batch(2, n=5)
    how_many = {"batch_size": 4, "target": 1, "progress": False}
    with pytest.raises(SomeFailed) as failed:
        pellucid.explain(net, x, method, **options, **how_many)
    error = failed.value
    assert isinstance(error, InvalidValue)
    assert error.images == (0, 1, 3, 4)
    assert list(error.failures) == [2]
    assert "1 of 5 images" in str(error)
    assert "image 2" in str(error)
    assert ("a bad picture" if how == "raises" else "nan") in str(error)
    for row, image in zip(error.partial, error.images, strict=True):
        alone = pellucid.explain(net, x[image : image + 1], method, **options, **how_many)
        torch.testing.assert_close(row.raw, alone.raw)
        assert row.labels == alone.labels
        torch.testing.assert_close(row.score, alone.score)


def test_an_image_that_gives_nan_costs_no_further_pass_of_the_others():
    net, x = Moody("nan"), batch(2)
    with pytest.raises(SomeFailed) as failed:
        pellucid.explain(net, x, "saliency", target=1, progress=False)
    cost = failed.value.partial.cost
    assert (cost.forward, cost.backward) == (4 + 4, 4)  # and one to find the layer that gave the NaN


def test_a_chunk_that_fails_is_run_again_image_by_image_and_counted():
    net, x = Moody("raises"), batch(5, n=8)
    with pytest.raises(SomeFailed) as failed:
        pellucid.explain(net, x, "saliency", target=1, batch_size=4, progress=False)
    cost = failed.value.partial.cost
    assert (cost.forward, cost.backward) == (4 + 3 + 1, 4 + 3)  # `any` of a batch may mix it: looked at, once
    assert failed.value.images == (0, 1, 2, 3, 4, 6, 7)


def test_what_fails_for_all_raises_its_own_error():
    with pytest.raises(ModelError, match="a bad picture"):
        pellucid.explain(Moody("raises"), batch(0, 1, n=2), "saliency", target=1)


class HalfBlind(nn.Module):
    """Its gradient cannot be had of a marked image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(TinyCNN).double()

    def forward(self, x: Tensor) -> Tensor:
        class Breaking(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.bad = bool((x[:, 0, 0, 0] == POISON).any())
                return x.clone()

            @staticmethod
            def backward(ctx, g):
                if ctx.bad:
                    raise RuntimeError("no way back")
                return g

        return self.net(Breaking.apply(x))


def test_in_a_comparison_a_failure_is_named_and_nothing_is_lost():
    x = batch(2)
    methods = ["saliency", ("occlusion", {"window": 6, "stride": 6})]
    found = pellucid.compare(HalfBlind(), x, methods, target=1, progress=False, verdict=False)
    assert [entry.title for entry in found.entries] == ["saliency", "occlusion:window=6,stride=6"]
    assert found.images == (0, 1, 3)
    assert all(len(entry.explanation) == 3 for entry in found.entries)
    assert [(r.title, r.reason.split(":")[0]) for r in found.refusals] == [("saliency", "image 2")]
    (rest,) = found.left_out
    assert (rest.title, len(rest.explanation)) == ("occlusion:window=6,stride=6", 1)
    alone = pellucid.explain(HalfBlind(), x[2:3], "occlusion", window=6, stride=6, target=1)
    torch.testing.assert_close(rest.explanation.raw, alone.raw)
    torch.testing.assert_close(
        found.entries[0].explanation.raw,
        pellucid.explain(HalfBlind(), x[[0, 1, 3]], "saliency", target=1).raw,
    )
    assert found.agreement(2).shape == (2, 2)


def test_a_method_that_no_model_like_this_can_have_costs_the_others_nothing():
    net, x = Moody("none"), batch()
    found = pellucid.compare(
        net, x, ["saliency", "attention-rollout"], target=1, progress=False, verdict=False
    )
    assert [entry.title for entry in found.entries] == ["saliency"]
    assert [refusal.title for refusal in found.refusals] == ["attention-rollout"]
    assert sum(RAN) == found.cost.forward


def test_the_command_line_runs_no_picture_twice(tmp_path, monkeypatch):
    from PIL import Image
    from typer.testing import CliRunner

    from pellucid.cli import app, loading
    from pellucid.preprocess import Preprocess

    net = Moody("nan").float()
    for i in range(4):
        Image.new("RGB", (12, 12), (10 + 40 * i, 99, 30)).save(tmp_path / f"{i}.png")

    class Marked(Preprocess):
        def __call__(self, picture):
            x = super().__call__(picture)
            if picture.name.startswith("2"):
                x[0, 0, 0] = POISON
            return x

    own = Marked((12, 12), scale_to=12)
    model = pellucid.Model(net, preprocess=own)
    monkeypatch.setattr(loading, "load", lambda *args, **kwargs: model)
    where = ["--out", str(tmp_path / "out"), "--json", "--batch-size", "4", "-t", "1"]
    result = CliRunner().invoke(
        app, ["explain", *map(str, sorted(tmp_path.glob("*.png"))), "-m", "saliency", *where]
    )
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert [row["name"] for row in told["results"]] == ["0", "1", "3"]
    (error,) = told["errors"]
    assert error["picture"].endswith("2.png")
    assert "nan" in error["message"]
    assert sum(RAN) == told["cost"]["forward"] == 4 + 4
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
