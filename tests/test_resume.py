"""Scores with a layer's output altered: equal to the whole model's, on every way around the layer."""

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from nets import BUILDERS, net, pictures, state_of
from pellucid.engine import resume as engine_resume
from pellucid.engine.cost import Cost
from pellucid.engine.run import Engine
from pellucid.errors import ModelError
from pellucid.layers import first_tensor, with_first_tensor
from pellucid.model import Model
from pellucid.output_scale import LOGITS
from pellucid.outputs import outputs_of
from pellucid.probe import LayerEvidence, Probe, layer_evidence
from zoo import seeded, swept, trained_statistics


def probe_of(module: nn.Module, x: Tensor, target=1, **options) -> Probe:
    return Probe(Engine(Model.wrap(module.eval()), **options), x, target)


def zeroing(channels: list[int]):
    """What alters maps so that version i lacks channel `channels[i]`."""

    def alter(maps: Tensor, start: int, stop: int) -> None:
        for row, channel in enumerate(channels[start:stop]):
            maps[row, channel] = 0

    return alter


def without(module: nn.Module, x: Tensor, at: LayerEvidence, channels: list[int], target=1) -> Tensor:
    """The slow twin: the whole model once per channel, which a hook puts to 0 in a copy."""
    model = Model(module)
    layer, layout, scores = model.network.get_submodule(at.name), at.tap.layout, []
    for channel in channels:
        calls = []

        def zeroed(_, args, output, channel=channel, calls=calls):
            calls.append(1)
            if len(calls) != at.tap.call:
                return output
            tensor = first_tensor(output).clone()
            match layout.kind:
                case "NCHW":
                    tensor[:, channel] = 0
                case "NHWC":
                    tensor[..., channel] = 0
                case "NTC":
                    tensor[:, layout.prefix :, channel] = 0
                case "TNC":
                    tensor[layout.prefix :, :, channel] = 0
            return with_first_tensor(output, tensor)

        with layer.register_forward_hook(zeroed), torch.no_grad():
            raw = model(x.clone())
            outputs = outputs_of(raw[0] if isinstance(raw, tuple) else raw)
            scores.append(LOGITS.class_values(outputs, "logit")[0, target])
    return torch.stack(scores)


def assert_equals_the_whole_model(module: nn.Module, x: Tensor, layer: str, alone: bool = True) -> Probe:
    """Some ablations of the first image, by resuming and by the twin."""
    probe = probe_of(module, x)
    with probe.engine.session(0):
        (at,) = layer_evidence(probe, layer)
        K = at.A.shape[1]
        strong = at.A[0].flatten(1).norm(dim=1).argsort(descending=True)[: K // 2 + 1]
        channels = strong[torch.linspace(0, len(strong) - 1, min(6, len(strong))).long()].tolist()
        found = at.scores(0, zeroing(channels), len(channels))
        expected = without(module, x[:1], at, channels)
        top = (expected - probe.score[0]).abs().max()
    assert top > 0, "the twin's ablations change nothing: the test says nothing"
    assert (found - expected).abs().max() <= 1e-5 * top
    assert bool(probe.notes) is not alone
    assert probe.engine.spent.resumed == len(channels) + 1
    return probe


# --- models of other libraries ----------------------------------------------------------------------------

TORCHVISION = {
    "resnet50": ["layer4", "layer4.2.conv3", "layer3"],
    "densenet121": ["features.norm5", "features.denseblock4", "features.denseblock4.denselayer16.conv2"],
    "mobilenet_v3_small": ["features.12", "features.5.block.2", "features.4.block.1"],
    "mobilenet_v3_large": ["features.15.block.2"],
    "convnext_tiny": ["features.7", "features.7.1.block.5"],
    "swin_t": ["norm", "features.7.1.norm1", "features.5.2.mlp"],
}


@pytest.mark.parametrize("name", swept(TORCHVISION, ["mobilenet_v3_small"]))
def test_torchvision_models_are_resumed_exactly(name):
    module = seeded(torchvision.models.get_model, name).double()
    x = torch.randn(2, 3, 64, 64 if name == "swin_t" else 48, dtype=torch.float64)
    trained_statistics(module, x)
    for layer in TORCHVISION[name]:
        assert_equals_the_whole_model(module, x[:1], layer)


def vgg(make: str = "E") -> nn.Module:
    """VGG-19 without its hundred million weights of fully connected layers."""
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[make])
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def test_vgg_is_resumed_exactly():
    for layer in ("0.34", "0.35"):
        assert_equals_the_whole_model(seeded(vgg).double(), torch.randn(1, 3, 32, 48).double(), layer)


@pytest.mark.parametrize("layer", ["blocks.11.norm1", "blocks.10", "blocks.10.mlp"])
def test_timm_vit_is_resumed_exactly(layer):
    module = seeded(timm.create_model, "vit_tiny_patch16_224", img_size=64, num_classes=10).double()
    assert_equals_the_whole_model(module, torch.randn(1, 3, 64, 64, dtype=torch.float64), layer)


KINDS = ("residual", "reused", "nhwc", "dense", "tuple", "no_grad inside", "data parallel", "vit",
         "vit registers", "swin timm", "swin hf", "vit hf")  # fmt: skip


@pytest.mark.parametrize("name", swept(BUILDERS, KINDS))
def test_every_layer_with_maps_is_resumed_exactly_in_every_kind_of_model(name):
    module, x = net(name), pictures(name, 2)
    module.eval()
    reached, wholly = [], []
    names = [layer for layer, _ in Model(module).network.named_modules() if layer]
    for layer in names[:: 1 + len(names) // 12]:
        probe = probe_of(module, x, target=0)
        with probe.engine.session(0):
            try:
                (at,) = layer_evidence(probe, layer)
            except ModelError:
                continue
            channels = list(range(0, at.A.shape[1], max(1, at.A.shape[1] // 3)))
            found = at.scores(1, zeroing(channels), len(channels))
            expected = without(module, x[1:], at, channels, target=0)
        top = max((expected - probe.score[1]).abs().max(), 1e-3 * probe.score[1].abs())
        assert (found - expected).abs().max() <= 1e-5 * top, layer
        reached.append(layer)
        wholly += [layer] if probe.notes else []
    assert len(reached) > 1
    # Where transformers pool inside the module, its maps say nothing about the score.
    assert {layer for layer in wholly if "." in layer} == set()


# --- ways around a layer ----------------------------------------------------------------------------------


class Around(nn.Module):
    """stem -> layer, joined with what went around it as `join` says, and a head."""

    def __init__(self, join, width: int = 6) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, padding=1)
        self.gate, self.fc, self.join = nn.Conv2d(6, 6, 1), nn.Linear(width, 5), join

    def forward(self, x: Tensor) -> Tensor:
        skip = self.stem(x)
        return self.fc(self.join(self, skip, self.layer(skip)).relu().mean((2, 3)))


def in_place(f):
    """A join written as an operation in place."""

    def join(self, skip, y):
        skip = skip.clone()
        return f(skip, y)

    return join


def iadd(skip, y):
    skip += y
    return skip


def imul(skip, y):
    skip *= y
    return skip


def batched_product(self, skip, y):
    return torch.bmm(skip.flatten(2) @ skip.flatten(2).mT, y.flatten(2)).view_as(y)


JOINS = {
    "add": (lambda self, skip, y: skip + y, 6),
    "in-place add": (in_place(iadd), 6),
    "in-place method": (in_place(lambda skip, y: skip.add_(y, alpha=2)), 6),
    "in-place product": (in_place(imul), 6),
    "in place on the layer": (lambda self, skip, y: y.add_(skip), 6),
    "cat": (lambda self, skip, y: torch.cat([skip, y], 1), 12),
    "cat by keyword": (lambda self, skip, y: torch.cat(tensors=(skip, y), dim=1), 12),
    "concat": (lambda self, skip, y: torch.concat((y, skip), dim=1), 12),
    "hstack": (lambda self, skip, y: torch.hstack((y, skip)), 12),
    "stack": (lambda self, skip, y: torch.stack([skip, y]).sum(0), 6),
    "where": (lambda self, skip, y: torch.where(y > 0, y, skip), 6),
    "bmm": (batched_product, 6),
    "baddbmm": (lambda self, skip, y: torch.baddbmm(
        skip.flatten(2), (skip.flatten(2) @ skip.flatten(2).mT).softmax(2), y.flatten(2)).view_as(y), 6),
    "einsum": (lambda self, skip, y: torch.einsum("nchw,nchw->nchw", skip, y), 6),
    "squeeze, excite": (lambda self, skip, y: y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid(), 6),
    "gate from before": (lambda self, skip, y: self.gate(skip.mean((2, 3), keepdim=True)).sigmoid() * y, 6),
    "attention": (lambda self, skip, y: nn.functional.scaled_dot_product_attention(
        skip.flatten(2), skip.flatten(2), y.flatten(2)).view_as(y), 6),
    "shape from before": (lambda self, skip, y: y.reshape(len(skip), 6, -1).view(skip.shape), 6),
    "written over": (lambda self, skip, y: y.relu_().mul_(2), 6),
}  # fmt: skip


@pytest.mark.parametrize("name", JOINS)
def test_what_goes_around_the_layer_is_joined(name):
    join, width = JOINS[name]
    module = seeded(Around, join, width).double()
    assert_equals_the_whole_model(module, torch.randn(1, 3, 12, 17, dtype=torch.float64), "layer")


class Pair(nn.Module):
    """A layer that gives a tuple, of which both parts are used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return y, y.mean((2, 3), keepdim=True)


def test_a_layer_that_gives_a_tuple_is_altered_in_its_first_tensor():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.fc = Pair(), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            y, mean = self.layer(x)
            return self.fc((y - mean).relu().mean((2, 3)))

    assert_equals_the_whole_model(seeded(Net).double(), torch.randn(1, 3, 12, 17).double(), "layer")


# --- where the part behind the layer cannot be run alone ----------------------------------------------------


def keeps_the_batch(self, skip, y):
    return y.unflatten(0, (len(skip), -1)).sum(1)


def mixes(self, skip, y):
    return y - 0.5 * y.mean(0, keepdim=True)


def takes_the_last(self, skip, y):
    return y[-1:].expand(len(y), -1, -1, -1)


def forgets(self, skip, y):
    kept = skip.clone()
    kept.add_(y)  # the result is looked for in `kept`
    return kept + y


def fails(self, skip, y):
    if len(y) > 1:
        raise ValueError("one at a time")
    return y


def shifts(self, skip, y):
    return y.roll(1, 0)


@pytest.mark.parametrize("join", [keeps_the_batch, mixes, takes_the_last, forgets, fails, shifts])
def test_the_whole_model_runs_where_its_part_cannot_and_says_so(join):
    module = seeded(Around, join).double()
    passes = []
    module.register_forward_pre_hook(lambda _, args: passes.append(len(args[0])))
    x = torch.randn(1, 3, 12, 17, dtype=torch.float64)
    probe = assert_equals_the_whole_model(module, x, "layer", alone=False)
    (note,) = probe.notes
    assert "'layer'" in note or "layer layer" in note
    assert probe.notes[note] == [0]
    spent = probe.engine.spent
    assert spent.forward == sum(passes) - 4  # the twin's own four


def test_the_verdict_holds_for_the_layer_and_is_not_sought_again():
    x = torch.randn(1, 3, 12, 17, dtype=torch.float64)
    for join, forward, resumed in ((JOINS["add"][0], 1 + 1 + 2 + 1, 7 + 7), (fails, 1 + 1 + 6 + 6, 7)):
        probe = probe_of(seeded(Around, join).double(), x)
        with probe.engine.session(0):
            (at,) = layer_evidence(probe, "layer")
            for _ in range(2):
                at.scores(0, zeroing(list(range(6))), 6)
        assert (probe.engine.spent.forward, probe.engine.spent.resumed) == (forward, resumed)


def test_every_chunk_is_checked_not_only_the_first(monkeypatch):
    """A model that goes wrong for batches of four only: the last chunk's."""

    def join(self, skip, y):
        return y.flip(0) if len(y) == 4 else y

    monkeypatch.setattr(engine_resume, "MOST", 4)
    module = seeded(Around, join).double()
    x = torch.randn(1, 3, 12, 17, dtype=torch.float64)
    probe = probe_of(module, x)
    with probe.engine.session(0):
        (at,) = layer_evidence(probe, "layer")
        channels = [0, 1, 2, 3, 4, 5, 0]  # chunks of 4 and 3, and the unaltered
        found = at.scores(0, zeroing(channels), 7)
        torch.testing.assert_close(found, without(module, x, at, channels))
    assert probe.notes


# --- chunks, cost and what is left behind -------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 5, 256])
def test_chunks_make_no_difference_and_are_counted(most, monkeypatch):
    monkeypatch.setattr(engine_resume, "MOST", most)
    module, x = net("residual"), pictures("residual", 1)
    probe = probe_of(module, x)
    passes = []
    with (
        probe.engine.session(0),
        probe.engine.network.register_forward_pre_hook(lambda _, a: passes.append(len(a[0]))),
    ):
        (at,) = layer_evidence(probe, "stage2")
        found = at.scores(0, zeroing(list(range(12))), 12)
    torch.testing.assert_close(found, without(module, x, at, list(range(12))), rtol=1e-12, atol=1e-12)
    chunks = -(-12 // most)
    assert passes == [1] * (1 + 2 + chunks)
    assert (probe.engine.spent.forward, probe.engine.spent.resumed) == (3 + chunks, 12 + chunks)


def test_no_more_samples_run_together_than_asked():
    module, x = net("residual"), pictures("residual", 1)
    probe = probe_of(module, x, batch_size=4)
    sizes = []
    with probe.engine.session(0):
        (at,) = layer_evidence(probe, "stage2")
        with probe.engine.network.head.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0]))):
            at.scores(0, zeroing(list(range(12))), 12)
    assert max(sizes) == 4


def test_a_chunk_too_large_for_memory_is_halved():
    module, x = net("residual"), pictures("residual", 1)
    probe = probe_of(module, x)

    def scarce(_, args):
        if len(args[0]) > 4:
            raise torch.OutOfMemoryError("scarce")

    with probe.engine.session(0), probe.engine.network.head.register_forward_pre_hook(scarce):
        (at,) = layer_evidence(probe, "stage2")
        found = at.scores(0, zeroing(list(range(12))), 12)
        torch.testing.assert_close(found, without(module, x, at, list(range(12))))
    assert not probe.notes


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
def test_nothing_is_left_behind_when_the_model_fails(error):
    module, x = BUILDERS["residual"]().double(), pictures("residual", 1)
    before = state_of(module, x)
    probe = probe_of(module, x)
    with probe.engine.session(0):
        (at,) = layer_evidence(probe, "stage2")

        def alter(maps: Tensor, start: int, stop: int) -> None:
            def breaks(*_: object) -> None:
                raise error

            hooks.append(probe.engine.network.head.register_forward_pre_hook(breaks))

        hooks = []
        with pytest.raises(ModelError if isinstance(error, RuntimeError) else type(error)):
            at.scores(0, alter, 3)
    for hook in hooks:
        hook.remove()
    assert not torch.overrides._get_current_function_mode_stack()
    after = state_of(module, x)
    assert {key for key in before if before[key] != after[key]} == set()


def test_a_layer_reached_only_by_a_batch_is_refused():
    class Picky(Around):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if len(x) > 1 else self.fc(self.stem(x).mean((2, 3)))

    probe = probe_of(seeded(Picky, JOINS["add"][0]), torch.randn(2, 3, 12, 17))
    with probe.engine.session(0):
        (at,) = layer_evidence(probe, "layer")
        with pytest.raises(ModelError, match="does not run its layer 'layer' again for one image"):
            at.scores(0, zeroing([0]), 1)


def test_costs_add_up_and_older_ones_are_read():
    assert Cost(1, 2, 0.5, 3) + Cost(1, 1, 0.5, 4) == Cost(2, 3, 1.0, 7)
    assert Cost(forward=1, backward=1, seconds=0.5).resumed == 0
    assert str(Cost(3, 0, 1.0)) == "3 forward and 0 backward passes"
    assert str(Cost(3, 0, 1.0, 9)) == "3 forward and 0 backward passes, 9 from a layer on"


def test_scores_read_out_of_the_altered_output_itself_are_kept():
    """A model that ends in the layer, and a target that takes one of its values."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double()
    probe = probe_of(module, torch.randn(1, 3, 12, 17, dtype=torch.float64), lambda raw: raw[:, 0, 0, 0])

    def alter(maps: Tensor, start: int, stop: int) -> None:
        maps[:, 0, 0, 0] = torch.arange(start, stop)

    with probe.engine.session(0):
        (at,) = layer_evidence(probe, "1")
        together = at.scores(0, alter, 5)
        probe.engine.resumable["1", (3, 12, 17)] = False
        one_by_one = at.scores(0, alter, 5)
    assert together.tolist() == one_by_one.tolist() == [0, 1, 2, 3, 4]
