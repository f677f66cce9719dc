"""Ordinary models and mistakes on which other libraries are silently wrong, or stop with a riddle."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import pellucid
from nets import BUILDERS, Around, TinyCNN, net, pictures, state_of, unchecked
from pellucid.errors import InvalidType, InvalidValue, ModelError
from zoo import seeded

LAYERED = ["grad-cam", "hirescam", "eigen-cam"]
GRADIENTS = ["saliency", "input-x-gradient", "smooth-grad:samples=3"]


def explain(module, x, method="grad-cam", **options):
    return pellucid.explain(module, x, method, progress=False, **options)


# --- silently wrong elsewhere -------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["bn1", "layer1.0.bn1", "layer4.1.bn2"])
def test_an_in_place_relu_does_not_overwrite_the_activations_before_it(layer):
    from torchvision.models import resnet18

    module, x = seeded(resnet18), torch.rand(1, 3, 40, 56)
    kept = {}
    target = module.get_submodule(layer)

    def keep(module, args, output):  # by hand: the output before anything runs on it, and a copy for the rest
        kept["A"] = output
        return output.clone()

    handle = target.register_forward_hook(keep)
    score = module(x)[0, 7]
    (G,) = torch.autograd.grad(score, kept["A"])
    handle.remove()
    expected = (G.mean((2, 3), keepdim=True) * kept["A"]).sum(1).detach()
    e = explain(module, x, layer=layer, target=7, signed=True)
    torch.testing.assert_close(e.raw, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert (kept["A"] < 0).any()  # so that the rectified activations would have shown


def test_a_vit_is_pooled_over_its_tokens_and_not_over_its_channels():
    module, x = net("vit"), pictures("vit")
    e = explain(module, x, target=2, signed=True)
    assert e.raw.shape == (3, 4, 4)
    kept = {}
    handle = module.blocks[1].norm1.register_forward_hook(lambda m, args, out: kept.update(T=out))
    (G,) = torch.autograd.grad(module(x)[:, 2].sum(), kept["T"])
    handle.remove()
    T, G = kept["T"].detach()[:, 1:], G[:, 1:]  # without the class token
    expected = (T * G.mean(1, keepdim=True)).sum(2).reshape(3, 4, 4)
    torch.testing.assert_close(e.raw, expected)


def test_an_all_negative_map_comes_with_a_word_and_signed_keeps_it():
    module = seeded(TinyCNN)
    with torch.no_grad():
        module.fc.weight.copy_(-module.fc.weight.abs())
    e = explain(module, pictures("in-place").float())
    assert not e.attribution.any()
    assert any("evidence" in w and "negative" in w and "signed=True" in w for w in e.warnings)
    signed = explain(module, pictures("in-place").float(), signed=True)
    assert (signed.raw < 0).any()
    assert not signed.warnings


def test_only_the_pictures_with_an_empty_map_are_named():
    module = seeded(TinyCNN)
    with torch.no_grad():
        module.fc.weight[0] = -module.fc.weight[0].abs()
        module.fc.weight[1] = module.fc.weight[1].abs()
    e = explain(module, pictures("in-place").float(), target=[1, 0, 1], batch_size=2)
    assert next(w for w in e.warnings if "evidence" in w).startswith("image 1: All evidence")
    assert [any("evidence" in note for note in notes) for notes in e.notes] == [False, True, False]
    smooth = explain(module, pictures("in-place").float(), target=[1, 0, 1], batch_size=5, smooth=3)
    assert smooth.notes == e.notes


@pytest.mark.parametrize("wrapper", [{}, {"smooth": 2}, {"augment": True}])
def test_a_score_that_does_not_depend_on_the_layer_is_told(wrapper):
    module = seeded(TinyCNN)
    module.aside = nn.Conv2d(3, 4, 3, padding=1)
    module.forward = lambda x: (module.aside(x), TinyCNN.forward(module, x))[1]
    e = explain(module, pictures("in-place").float(), layer="aside", **wrapper)
    assert not e.attribution.any()
    assert e.warnings == ["The score does not depend on layer aside: the map is empty."]


@pytest.mark.parametrize("method", GRADIENTS)
def test_a_gradient_that_never_reaches_the_input_is_no_empty_map(method):
    with pytest.raises(ModelError, match="no_grad inside the model"):
        explain(net("no_grad inside"), pictures("in-place"), method)
    c = pellucid.compare(net("no_grad inside"), pictures("in-place"), [method, "grad-cam"], verdict=False)
    assert [e.method for e in c.explanations] == ["grad-cam"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_pixel_that_is_not_finite_is_named(value):
    x = pictures("in-place")
    x[1, 2, 5, 7] = value
    with pytest.raises(InvalidValue, match=rf"image 1 has {value} at channel 2, row 5, column 7"):
        explain(net("in-place"), x)


@pytest.mark.parametrize(("broken", "layer"), [("bn1", "bn1"), ("conv2", "conv2"), ("fc", "fc")])
@pytest.mark.parametrize("method", ["grad-cam", "saliency", "eigen-cam", "smooth-grad:samples=2"])
def test_weights_that_are_not_finite_name_the_first_layer(broken, layer, method):
    module = seeded(TinyCNN)
    with torch.no_grad():
        module.get_submodule(broken).weight.view(-1)[0] = float("nan")
    with pytest.raises(InvalidValue, match=rf"must be finite; image 0 .* nan. The first layer .* '{layer}'"):
        explain(module, pictures("in-place").float(), method)


@pytest.mark.parametrize("target", [5, -1, 1000])
def test_a_class_out_of_range_is_an_error(target):
    with pytest.raises(InvalidValue, match="class"):
        explain(net("in-place"), pictures("in-place"), target=target)


def test_the_largest_values_do_not_overflow_into_an_empty_map():
    module = Around(seeded(TinyCNN).double(), after=lambda y: y * 1e6).eval()  # exp(score) would overflow
    e = explain(module, pictures("in-place"), "grad-cam++", signed=True)
    assert e.raw.isfinite().all()
    assert e.raw.any()


def test_half_precision_that_overflows_is_told():
    module = seeded(TinyCNN).half()
    with torch.no_grad():
        module.fc.weight.fill_(60000.0)
    with pytest.raises(InvalidValue, match="finite"):
        explain(module, pictures("in-place"))


@pytest.mark.parametrize("method", LAYERED + GRADIENTS)
def test_no_gradients_are_left_behind_and_the_users_are_kept(method):
    module = seeded(TinyCNN)
    module.fc.weight.grad = torch.full_like(module.fc.weight, 3.0)
    explain(module, pictures("in-place").float(), method)
    assert all(p.grad is None for p in module.parameters() if p is not module.fc.weight)
    assert (module.fc.weight.grad == 3).all()


def test_data_parallel_gives_the_whole_batch():
    x = pictures("in-place", 5)
    e = explain(net("data parallel"), x, signed=True)
    assert len(e) == 5
    torch.testing.assert_close(e.raw, explain(net("in-place"), x, signed=True).raw)


def test_a_model_that_catches_its_own_errors_is_explained_as_it_runs():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = seeded(TinyCNN).double()

        def forward(self, x):
            try:
                return self.net(x.reshape(1, 1))
            except RuntimeError:
                return self.net(x)

    x = pictures("in-place")
    found = explain(Careful().eval(), x, signed=True)
    torch.testing.assert_close(found.raw, explain(net("in-place"), x, signed=True).raw)


# --- stops elsewhere ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in-place", "residual", "vit", "swin hf"])
@pytest.mark.parametrize("method", LAYERED + GRADIENTS)
def test_frozen_models_under_no_grad_are_explained(name, method):
    x = pictures(name)
    frozen = BUILDERS[name]().double().requires_grad_(False)
    with torch.no_grad():
        e = explain(frozen, x, method, target=0)
    torch.testing.assert_close(e.raw, explain(net(name), x, method, target=0).raw)


def test_weights_made_in_inference_mode_are_refused_in_a_sentence():
    with torch.inference_mode():
        module = seeded(TinyCNN)
    with pytest.raises(ModelError, match=r"made under torch.inference_mode\(\).*outside it"):
        explain(module, pictures("in-place").float())


class Hungry(nn.Module):
    """Runs out of memory above `most` samples."""

    def __init__(self, most, kind=torch.OutOfMemoryError, when="forward"):
        super().__init__()
        self.net, self.most, self.kind = seeded(TinyCNN).double(), most, kind
        self.when, self.seen = (
            when,
            SimpleNamespace(samples=[]),
        )  # what runs is a shadow, with lists of its own

    def forward(self, x):
        self.seen.samples.append(len(x))
        if self.when == "forward" and len(x) > self.most:
            raise self.kind("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        hungry = self

        class Backward(torch.autograd.Function):
            @staticmethod
            def forward(ctx, y):
                return y.clone()

            @staticmethod
            def backward(ctx, g):
                if hungry.when == "backward" and len(g) > hungry.most:
                    raise hungry.kind("DefaultCPUAllocator: can't allocate memory")
                return g

        return Backward.apply(self.net(x))


@pytest.mark.parametrize("when", ["forward", "backward"])
@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize(
    "method", ["grad-cam", "smooth-grad:samples=20", "grad-cam:augment=1", "saliency:smooth=9"]
)
@pytest.mark.parametrize("most", [pytest.param(1, marks=pytest.mark.full), 3])
def test_out_of_memory_halves_the_chunk_and_changes_nothing(method, kind, when, most):
    x = pictures("in-place", 7)
    module = Hungry(most, kind, when)
    before = state_of(module, x)
    e = explain(module, x, method, target=0)
    assert max(module.seen.samples) > most  # it did run out
    expected = explain(net("in-place"), x, method, target=0)
    torch.testing.assert_close(e.raw, expected.raw, rtol=1e-9, atol=1e-12)
    assert len(e.prediction) == len(e.labels) == 7
    after = state_of(module, x)
    assert {key for key in before if before[key] != after[key]} == set()


def test_out_of_memory_at_one_sample_is_told():
    with pytest.raises((torch.OutOfMemoryError, pellucid.errors.PellucidError)):
        explain(Hungry(0), pictures("in-place"))


@pytest.mark.parametrize("method", LAYERED + GRADIENTS)
def test_a_wrong_number_of_channels_is_told_with_the_shape(method):
    with pytest.raises(ModelError, match=r"failed on an input of shape \(2, 1, 9, 9\): .*channels") as caught:
        explain(seeded(TinyCNN), torch.rand(2, 1, 9, 9), method)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None  # the model's own traceback stays


def test_a_wrong_size_is_told_with_the_shape():
    with pytest.raises(ModelError, match=r"failed on an input of shape \(1, 3, 48, 48\)"):
        explain(net("vit"), torch.rand(1, 3, 48, 48, dtype=torch.float64))


@pytest.mark.parametrize("raw", [None, "cat", torch.zeros(2, dtype=torch.int64), (), {}])
def test_an_output_that_cannot_be_explained_is_described(raw):
    module = Around(seeded(TinyCNN), after=lambda y: raw).eval()
    with pytest.raises(ModelError, match="must give scores"):
        explain(module, torch.rand(2, 3, 9, 9), "saliency")


# --- other kinds of models ----------------------------------------------------------------------------------


def quantised():
    with torch.no_grad():
        return torch.ao.quantization.quantize_dynamic(seeded(TinyCNN), {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["grad-cam", "saliency"])
def test_a_quantised_model_has_no_gradients_and_says_so(method):
    try:
        module = quantised()
    except (RuntimeError, AttributeError, ImportError) as error:
        pytest.skip(f"torch has no dynamic quantisation here: {error}")
    with pytest.raises(
        ModelError, match=r"layer 'fc' is quantised and has no gradient: explain the model it"
    ):
        explain(module, torch.rand(1, 3, 9, 9), method)
    explain(module, torch.rand(1, 3, 9, 9), "eigen-cam")  # which asks for none


def test_an_integer_model_is_refused_in_a_sentence():
    class Integer(nn.Module):
        def forward(self, x):
            return (x.flatten(1)[:, :4] * 10).long().float()

    for method in ("saliency", "smooth-grad:samples=2"):
        with pytest.raises(
            ModelError, match="does not depend on the input through differentiable operations"
        ):
            explain(Integer(), torch.rand(1, 3, 9, 9), method)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["script", "trace"])
def test_torchscript_gives_gradients_and_shows_no_layers(kind):
    plain, x = seeded(TinyCNN, "functional").double(), pictures("in-place")
    module = torch.jit.trace(plain, x) if kind == "trace" else torch.jit.script(plain)
    for method in GRADIENTS:
        torch.testing.assert_close(explain(module, x, method).raw, explain(plain, x, method).raw)
    for method in LAYERED:
        with pytest.raises(ModelError, match=r"an nn.Module; got .*, a TorchScript module. Gradient methods"):
            explain(module, x, method, layer="bn2")


@pytest.mark.parametrize("method", LAYERED + GRADIENTS)
def test_a_compiled_module_is_explained_as_the_module_it_was_made_of(method):
    plain, x = seeded(TinyCNN).double(), pictures("in-place")
    module = torch.compile(plain, backend="eager")
    found = explain(module, x, method)
    expected = explain(plain, x, method)
    torch.testing.assert_close(found.raw, expected.raw)
    assert found.layer == expected.layer


def test_a_callable_is_explained_by_gradients_and_refused_by_cams():
    module, x = seeded(TinyCNN).double(), pictures("in-place")

    def classify(x):
        return module(x)

    for method in GRADIENTS:
        torch.testing.assert_close(explain(classify, x, method).raw, explain(module, x, method).raw)
    for method in LAYERED:
        with pytest.raises(
            ModelError, match=r"must be an nn.Module; got classify, a plain callable. Gradient methods"
        ):
            explain(classify, x, method)
    c = pellucid.compare(classify, x, ["grad-cam", "saliency"], verdict=False)
    assert [r.title for r in c.refusals] == ["grad-cam"]
    assert [e.method for e in c.explanations] == ["saliency"]


@pytest.mark.parametrize("method", GRADIENTS)
def test_a_callable_without_gradients_is_refused_in_a_sentence(method):
    def classify(x):
        return torch.as_tensor(x.detach().cpu().numpy().reshape(len(x), -1)[:, :4])

    with pytest.raises(ModelError, match="does not depend on the input through differentiable operations"):
        explain(classify, pictures("in-place"), method)


@pytest.mark.parametrize("model", ["resnet18", 3, None])
def test_what_is_no_model_is_refused(model):
    with unchecked(), pytest.raises((InvalidType, InvalidValue), match=r"must be a pellucid.Model"):
        explain(model, torch.rand(1, 3, 9, 9))


def test_a_module_used_several_times_says_which_time_is_explained():
    e = explain(net("reused"), pictures("reused"), layer="conv")
    assert any("runs 3 times" in warning for warning in e.warnings)


def test_a_user_warning_filter_set_to_error_changes_nothing():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in LAYERED + GRADIENTS:
            explain(net("in-place"), pictures("in-place"), method)


@pytest.mark.parametrize("method", ["lime", "kernel-shap", "occlusion"])
def test_a_probability_that_nothing_moves_is_told(method):
    """Hiding parts of what a network is sure of changes next to nothing: its colours would mislead."""
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[0].weight[0], net[0].weight[1], net[0].bias[:] = 0.1, -0.1, torch.tensor([4.0, -4.0])
    x = torch.rand(1, 3, 16, 16)
    quick = {"lime": {"samples": 20}, "kernel-shap": {"samples": 14}, "occlusion": {"window": 8, "stride": 8}}
    options = quick[method] | ({} if method == "occlusion" else {"segments": "grid:2"})
    sure = pellucid.explain(net, x, method, output="probability", **options)
    assert any("hardly changes, whatever is hidden" in text for text in sure.warnings)
    told = pellucid.explain(net, x, method, output="logit", **options)
    assert not any("hardly changes" in text for text in told.warnings)
