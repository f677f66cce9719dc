"""Relevance, gradients and attentions on models that surprise: right, or refused with a sentence."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import pellucid
from pellucid.errors import InvalidValue, ModelError
from pellucid.methods.relevance.propagation import warn_if_lost
from pellucid.probe import Probe
from zoo import seeded

PICTURE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
METHODS = ["lrp", "attn-lrp", "deep-lift", "guided-backprop", "full-grad", "excitation-backprop:layer=input"]


class Net(nn.Module):
    """Convolution, batch norm, ReLU, twice; `run` runs each of the two blocks."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor] = lambda block, x: block(x)) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 4)
        self.run = run
        for block in (self.one, self.two):
            block[1].running_mean.normal_()
            block[1].running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.run(self.two, self.run(self.one, x)).mean((2, 3)))


def test_graphs_of_torch_export_have_the_maps_of_the_network_they_came_of() -> None:
    net = seeded(Net)
    program = torch.export.export(net, (PICTURE,))
    for graph in (program.module(), program.run_decompositions().module()):
        for method in METHODS:
            known = pellucid.explain(net, PICTURE, method, target=1)
            e = pellucid.explain(graph, PICTURE, method, target=1)
            assert torch.allclose(e.raw, known.raw, rtol=1e-3, atol=1e-5 * float(known.raw.abs().max())), (
                method
            )
            assert not [w for w in e.warnings if "conserved" in w or "complete" in w]


@pytest.mark.parametrize("method", METHODS[:5])
def test_a_transform_of_torch_func_is_refused_by_name(method: str) -> None:
    class Mapped(Net):
        def forward(self, x: Tensor) -> Tensor:
            return torch.vmap(lambda one: self.one[0](one[None]).sigmoid().mean((2, 3))[0, :4])(x)

    with pytest.raises(ModelError, match=r"within a transform of torch.func"):
        pellucid.explain(seeded(Mapped), PICTURE, method, target=1)
    assert pellucid.explain(seeded(Mapped), PICTURE, "saliency", target=1).raw.any()


def test_a_transform_that_the_input_has_no_part_in_is_none_of_our_business() -> None:
    class Masked(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.vmap(lambda i: 1.0 + 0 * i)(torch.arange(4))

    known, e = (pellucid.explain(seeded(kind), PICTURE, "lrp", target=1) for kind in (Net, Masked))
    assert torch.allclose(e.raw, known.raw, rtol=1e-4)


def test_an_operation_of_a_librarys_own_is_not_taken_for_pytorchs() -> None:
    @torch.library.custom_op("pellucid_tests::relu", mutates_args=())
    def relu(x: Tensor) -> Tensor:
        return x.square()

    relu.register_autograd(
        lambda ctx, g: g * 2 * ctx.saved_tensors[0],
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
    )

    class Own(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.ops.pellucid_tests.relu(x))

    with pytest.raises(ModelError, match="pellucid_tests::relu"):
        pellucid.explain(seeded(Own), PICTURE, "lrp", target=1)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("method", ["saliency", "grad-cam", "integrated-gradients:steps=4", *METHODS])
def test_checkpointed_blocks_have_the_maps_of_plain_ones(method: str, reentrant: bool) -> None:
    def again(block: nn.Module, x: Tensor) -> Tensor:
        return checkpoint(block, x, use_reentrant=reentrant)

    known = pellucid.explain(seeded(Net), PICTURE, method, target=1)
    e = pellucid.explain(seeded(Net, again), PICTURE, method, target=1)
    assert torch.equal(e.raw, known.raw)
    assert "apply" not in vars(torch.utils.checkpoint.CheckpointFunction)  # as it was


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_relevance_of_half_precision_is_that_of_the_same_weights_in_single(
    method: str, kind: torch.dtype
) -> None:
    half = seeded(Net).to(kind)
    single, x = copy.deepcopy(half).float(), PICTURE.to(kind)
    known = pellucid.explain(single, x.float(), method, target=1)
    e = pellucid.explain(half, x, method, target=1)
    assert torch.allclose(e.raw, known.raw, rtol=1e-3, atol=1e-4 * float(known.raw.abs().max()))
    assert not [w for w in e.warnings if "conserved" in w or "complete" in w]


def test_casts_to_half_precision_within_a_half_model_are_followed() -> None:
    class Casting(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x.to(self.fc.weight.dtype)).half()
            return self.fc(self.two(x).mean((2, 3), dtype=torch.float16))

    half = seeded(Casting).half()
    plain = seeded(Net)
    plain.load_state_dict({name: value.float() for name, value in half.state_dict().items()})
    known = pellucid.explain(plain, PICTURE.half().float(), "lrp", target=1)
    e = pellucid.explain(half, PICTURE.half(), "lrp", target=1)
    assert torch.allclose(e.raw, known.raw, rtol=1e-3, atol=1e-4 * float(known.raw.abs().max()))


class _Noting(Probe):
    """What a probe is to a warning: it takes notes, and refuses what is not finite."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, list[bool]]] = []

    def note(self, text: str, where: Tensor) -> None:
        self.noted.append((text, where.tolist()))

    def refuse_nonfinite(self, what: str, values: Tensor) -> None:
        if not values.isfinite().all():
            raise InvalidValue(what)


def test_a_conservation_error_above_a_thousandth_is_told_and_one_that_is_no_number_refused() -> None:
    probe = _Noting()
    warn_if_lost(probe, torch.tensor([0.0019, -0.0021]), torch.tensor([[2.0], [2.0]]))
    ((text, where),) = probe.noted
    assert "0.0021 was lost" in text
    assert where == [False, True]
    with pytest.raises(InvalidValue):
        warn_if_lost(probe, torch.tensor([torch.nan]), torch.ones(1, 1))


def test_biases_that_are_ignored_leave_it_to_the_pixels_and_both_conserve() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double().eval()
    with torch.no_grad():
        for layer in (net[1], net[3]):
            layer.weight.abs_()
            layer.bias.fill_(5.0)
    x = torch.rand(1, 1, 2, 2, dtype=torch.float64)
    score = float(net(x)[0, 1])
    share, ignore = (
        pellucid.explain(net, x, "lrp", composite="epsilon", target=1, biases=biases)
        for biases in ("share", "ignore")
    )
    hidden = net[1](x.flatten(1))[0]
    of_hidden = hidden * net[3].weight[1]
    assert float(ignore.raw.sum()) == pytest.approx(score, rel=1e-5)
    assert not ignore.details["biases"].any()
    # by hand: hidden units share in proportion, then pixels, biases out of the denominators
    R = of_hidden / of_hidden.sum() * score
    parts = x.flatten() * net[1].weight
    by_hand = (parts / parts.sum(1, keepdim=True) * R[:, None]).sum(0)
    assert torch.allclose(ignore.raw.double().flatten(), by_hand.detach(), rtol=1e-5)
    for e in (share, ignore):
        total = e.raw.double().sum() + e.details["biases"].sum() + e.details["absorbed"].sum()
        assert float(total) == pytest.approx(score, rel=1e-5)
        assert float(e.details["pixel_share"]) == pytest.approx(float(e.raw.sum()) / score, rel=1e-4)
        assert e.relative_delta() == pytest.approx(0, abs=1e-6)
    assert float(share.raw.sum()) < 0.5 * score
    with pytest.raises(InvalidValue, match="biases must be"):
        pellucid.explain(net, x, "lrp", target=1, biases="keep")


def test_pixels_that_hold_little_are_told() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2)).eval()
    with torch.no_grad():
        net[1].bias.fill_(1e3)
    e = pellucid.explain(net, PICTURE, "lrp", composite="epsilon", target=1)
    assert any("The pixels hold" in w for w in e.warnings)
    again = pellucid.compare(
        net, PICTURE, methods=["lrp:composite=epsilon", "lrp:composite=epsilon"], targets=[1], verdict=False
    )
    assert len({tuple(one.warnings) for one in again.explanations}) == 1


def test_an_attention_that_the_classifier_does_not_read_takes_no_part() -> None:
    """transformers' SigLIP runs a pooling head whose output its classifier leaves aside."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
             "image_size": 32, "patch_size": 8}  # fmt: skip
    config = transformers.SiglipConfig(vision_config=sizes, num_labels=5)
    net = seeded(transformers.SiglipForImageClassification, config)
    without = copy.deepcopy(net)
    tower = getattr(without.vision_model, "vision_model", without.vision_model)
    tower.use_head = False
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    for method in ("attention-rollout", "legrad", "transformer-attribution",
                   "transformer-attribution:weights=attention"):  # fmt: skip
        known, e = (pellucid.explain(model, x, method, target=1) for model in (without, net))
        assert e.raw.any(), method
        assert torch.allclose(e.raw, known.raw, rtol=1e-4), method


def test_torchscript_is_explained_as_far_as_it_can_be_and_named_where_it_cannot() -> None:
    class Holding(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.conv, self.fc = inner, nn.Conv2d(6, 8, 3), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(self.inner(x)).relu().mean((2, 3)))

    eager = seeded(Net).one
    traced, scripted = torch.jit.trace(eager, PICTURE), torch.jit.script(eager)
    known = pellucid.explain(seeded(Holding, eager), PICTURE, "saliency", target=1)
    cam = pellucid.explain(seeded(Holding, eager), PICTURE, "grad-cam", layer="conv", target=1)
    for inner in (traced, scripted, torch.jit.freeze(scripted)):
        net = seeded(Holding, eager)
        net.inner = inner
        assert torch.allclose(pellucid.explain(net, PICTURE, "saliency", target=1).raw, known.raw, rtol=1e-3)
        e = pellucid.explain(net, PICTURE, "grad-cam", layer="conv", target=1)
        assert torch.allclose(e.raw, cam.raw, rtol=1e-3, atol=1e-6)
        with pytest.raises(ModelError, match="'inner' is TorchScript"):
            pellucid.explain(net, PICTURE, "lrp", target=1)
    with pytest.raises(ModelError, match="'inner' is TorchScript"):
        pellucid.explain(net, PICTURE, "grad-cam", layer="inner", target=1)
    frozen = torch.jit.freeze(torch.jit.trace(seeded(Net), PICTURE))
    assert pellucid.explain(frozen, PICTURE, "rise", samples=8, target=1).raw.any()
    assert pellucid.explain(frozen, PICTURE, "saliency", target=1).raw.any()
    with pytest.raises(ModelError, match="TorchScript"):
        pellucid.explain(frozen, PICTURE, "grad-cam", target=1)


class Hiding(nn.Module):
    """A network that hides two of its six classes at minus infinity, in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = Net(), how
        self.net.fc = nn.Linear(8, 6)
        self.register_buffer("hidden", torch.tensor([0, 0, 1, 0, 0, 1], dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        match self.how:
            case "filled":
                return y.masked_fill(self.hidden, -torch.inf)
            case "chosen":
                return torch.where(self.hidden, -torch.inf, y)
            case "added":
                return y + torch.zeros(6).masked_fill(self.hidden, -torch.inf)
            case "written":
                y = y.clone()
                y[:, self.hidden] = -torch.inf
        return y


@pytest.mark.parametrize("how", ["filled", "chosen", "added", "written"])
@pytest.mark.parametrize("method", [*METHODS, "simple-full-grad", "input-x-gradient"])
def test_classes_that_a_model_hides_change_no_map_of_the_others(how: str, method: str) -> None:
    hiding, plain = (
        pellucid.explain(seeded(lambda how=how: Hiding(how)), PICTURE, method, target=1)
        for how in (how, "no")
    )
    torch.testing.assert_close(hiding.raw, plain.raw, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["filled", "chosen", "added", "written"])
@pytest.mark.parametrize("method", ["lrp:start=contrast", "relevance-cam:layer=net.two"])
def test_a_contrast_is_one_with_the_classes_that_a_model_does_not_hide(how: str, method: str) -> None:
    hiding = pellucid.explain(seeded(lambda: Hiding(how)), PICTURE, method, target=1)
    few = seeded(lambda: Hiding("no"))
    few.net.fc.weight.data = few.net.fc.weight[~few.hidden]
    few.net.fc.bias.data = few.net.fc.bias[~few.hidden]
    torch.testing.assert_close(
        hiding.raw, pellucid.explain(few, PICTURE, method, target=1).raw, rtol=1e-4, atol=1e-6
    )


HOOKED = ["one", "two", "one.0", "one.2", "fc", ""]


@pytest.mark.parametrize("method", METHODS)
def test_backward_hooks_that_look_on_change_nothing_and_see_what_comes_back(method: str) -> None:
    net = seeded(Net)
    expected = pellucid.explain(net, PICTURE, method, target=1)
    seen: list[str] = []
    for name in HOOKED:
        part = net.get_submodule(name)
        part.register_full_backward_hook(lambda m, gi, go, n=name: seen.append(f"{n} {go[0].shape}"))
        part.register_full_backward_pre_hook(lambda m, go, n=name: seen.append(f"pre {n} {go[0].shape}"))
    found = pellucid.explain(net, PICTURE, method, target=1)
    assert torch.equal(found.raw, expected.raw)
    assert found.warnings == expected.warnings
    assert set(seen) >= {"fc torch.Size([1, 4])", "pre one torch.Size([1, 6, 8, 8])"}
    assert all(len(net.get_submodule(n)._backward_hooks) == 1 for n in HOOKED)
    net(PICTURE.requires_grad_()).sum().backward()  # they are in place
    PICTURE.requires_grad_(False)


@pytest.mark.parametrize("method", METHODS)
def test_backward_hooks_that_change_gradients_are_refused_by_their_modules_name(method: str) -> None:
    for name, register in (
        ("two.0", lambda part: part.register_full_backward_hook(lambda m, gi, go: (2 * gi[0],))),
        ("two.2", lambda part: part.register_full_backward_hook(lambda m, gi, go: (2 * gi[0],))),
        ("two", lambda part: part.register_full_backward_pre_hook(lambda m, go: (2 * go[0],))),
    ):
        net = seeded(Net)
        register(net.get_submodule(name))
        with pytest.raises(ModelError, match=f"Layer '{name}' has a backward hook that changes"):
            pellucid.explain(net, PICTURE, method, target=1)


def test_a_backward_hook_on_all_modules_is_named() -> None:
    handle = torch.nn.modules.module.register_module_full_backward_hook(lambda m, gi, go: None)
    try:
        with pytest.raises(ModelError, match="backward hook on all modules"):
            pellucid.explain(seeded(Net), PICTURE, "lrp", target=1)
    finally:
        handle.remove()


def _looped(block: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([block(part) for part in x.split(1)])


def _mirrored(block: nn.Module, x: Tensor) -> Tensor:
    return block(torch.cat([x, x.flip(-1)])).unflatten(0, (2, -1)).mean(0)


def _flattened(block: nn.Module, x: Tensor) -> Tensor:
    return block(torch.stack([x, x.flip(-1)], 1).flatten(0, 1)).unflatten(0, (-1, 2)).mean(1)


@pytest.mark.parametrize("run", [_looped, _mirrored, _flattened])
@pytest.mark.parametrize("method", ["lrp", "attn-lrp", "excitation-backprop:layer=input"])
def test_each_samples_account_is_its_own_whatever_batches_the_model_makes(run, method: str) -> None:
    net, x = seeded(lambda: Net(run)), torch.cat([PICTURE, 0.3 * PICTURE, PICTURE.flip(2)])
    e = pellucid.explain(net, x, method, target=1)
    for i in range(3):
        one = pellucid.explain(net, x[i : i + 1], method, target=1)
        torch.testing.assert_close(e.raw[i], one.raw[0], rtol=1e-4, atol=1e-6)
        for name in {"biases", "absorbed"} & set(e.details):
            torch.testing.assert_close(e.details[name][i], one.details[name][0], rtol=1e-4, atol=1e-6)
    assert not any("not conserved" in note for note in e.warnings)
    assert any("was run alone" in note for note in e.warnings)


def test_only_the_methods_that_must_are_run_image_by_image() -> None:
    net, x = seeded(lambda: Net(_looped)), torch.cat([PICTURE, 0.3 * PICTURE, PICTURE.flip(2)])
    both = pellucid.compare(
        net, x, methods=["saliency", "lrp", "rise:samples=8,cells=3"], targets=[1], verdict=False
    )
    by_method = {e.method: e for e in both.explanations}
    for method, alone in (("saliency", False), ("lrp", True), ("rise", False)):
        notes = by_method[method].notes
        assert all(any("was run alone" in text for text in each) == alone for each in notes), method
    by_itself = pellucid.explain(net, x, "rise:samples=8,cells=3", target=1)
    torch.testing.assert_close(by_method["rise"].raw, by_itself.raw)
