"""What runs is a shadow: the same function with hooks, flags, caches and buffers of its own."""

import copy
import functools
import random
import weakref
from collections import defaultdict, deque

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import pellucid
from nets import TinyCNN, state_of
from pellucid.engine.fast_paths import Uncompiled
from pellucid.engine.shadow import SMALL, shadow_of
from pellucid.errors import ModelError
from zoo import ResidualNet, raw, seeded


def image(n: int = 1) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(3))


# --- the same function --------------------------------------------------------------------------------------


def test_a_shadow_shares_the_weights_and_nothing_that_a_pass_may_write_to():
    net = seeded(ResidualNet)
    shadow = shadow_of(net)
    assert [name for name, _ in shadow.named_modules()] == [name for name, _ in net.named_modules()]
    assert all(a is b for a, b in zip(shadow.parameters(), net.parameters(), strict=True))
    for (name, ours), theirs in zip(shadow.named_buffers(), net.buffers(), strict=True):
        assert ours is not theirs, name
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert not {id(m) for m in shadow.modules()} & {id(m) for m in net.modules()}
    assert all(type(a) is type(b) for a, b in zip(shadow.modules(), net.modules(), strict=True))
    torch.testing.assert_close(shadow(image()), net(image()), rtol=0, atol=0)


def test_a_large_buffer_is_shared_as_copying_it_would_cost_more_than_the_pass():
    net = nn.Module()
    net.register_buffer("bank", torch.zeros(SMALL + 1))
    assert shadow_of(net).bank is net.bank


def test_what_is_used_twice_is_used_twice_in_the_shadow():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    net.append(net[0])
    net[2].weight = net[0].weight
    net.register_buffer("scale", torch.ones(1))
    net[1].register_buffer("scale", net.scale)
    shadow = shadow_of(net)
    assert shadow[3] is shadow[0]
    assert shadow[2].weight is shadow[0].weight
    assert shadow[1].scale is shadow.scale is not net.scale


class Child(nn.Module):
    """A layer that asks its parent for a number, by a reference that does not keep it alive."""

    def __init__(self, parent: nn.Module):
        super().__init__()
        self.__dict__["parent"] = weakref.proxy(parent)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.parent.factor


class Parent(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(3.0))
        self.child = Child(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.child(x)


def test_a_weak_proxy_to_a_module_leads_to_its_shadow_and_one_that_is_gone_stays():
    net = Parent()
    net.child.__dict__["gone"] = weakref.proxy(other := Child(net))
    del other
    shadow = shadow_of(net)
    assert shadow.child.parent is shadow
    assert type(net.child.parent) is weakref.CallableProxyType
    assert shadow.child.gone is net.child.gone
    assert shadow(torch.ones(1)).item() == 3


def test_a_trainer_is_no_part_of_the_model_and_hears_nothing_of_a_pass():
    lightning = pytest.importorskip("lightning.pytorch")

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.log("seen", x.mean())
            self.log_dict({"more": x.mean()})
            return self.fc(x) * (2 if self.trainer.global_step == 0 else 1)

    net = Net()
    trainer = lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", devices=1)
    trainer.strategy.connect(net)
    net.trainer = trainer
    net.other = weakref.proxy(trainer)
    shadow = shadow_of(net)
    assert shadow.trainer is trainer
    assert shadow.other is net.other
    assert trainer.lightning_module is net
    torch.testing.assert_close(shadow(torch.ones(1, 2)), 2 * net.fc(torch.ones(1, 2)))


def test_a_recurrent_network_with_flattened_weights():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = nn.LSTM(9, 4, batch_first=True), nn.Linear(4, 2)

        def train(self, mode=True):  # its weights are aliases then
            return super().train(mode)

        def forward(self, x):
            return self.fc(self.rnn(x.mean(1))[0].mean(1))

    net, x = seeded(Rows), torch.rand(2, 1, 5, 9)
    torch.testing.assert_close(shadow_of(net)(x), net(x), rtol=0, atol=0)


@pytest.mark.parametrize("parametrise", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_that_are_computed(parametrise):
    net = nn.Sequential(parametrise(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.LazyLinear(2)).eval()
    x = image()
    expected = net(x)
    torch.testing.assert_close(shadow_of(net)(x), expected, rtol=0, atol=0)


# --- references ---------------------------------------------------------------------------------------------


class Holder:
    """A plain object that leads to a module."""

    def __init__(self, module):
        self.inner = {"module": [module]}


class Slotted:
    """The same without a dictionary."""

    __slots__ = ("module",)

    def __init__(self, module):
        self.module = module


def closure(conv):
    return lambda x: conv(x)


REFERENCES = {
    "list": (lambda c: [c], lambda r, x: r[0](x)),
    "tuple": (lambda c: (1, c), lambda r, x: r[1](x)),
    "dict": (lambda c: {"conv": c}, lambda r, x: r["conv"](x)),
    "nested": (lambda c: {"a": [(c,)]}, lambda r, x: r["a"][0][0](x)),
    "defaultdict": (lambda c: defaultdict(list, conv=[c]), lambda r, x: r["conv"][0](x)),
    "deque": (lambda c: deque([c]), lambda r, x: r[0](x)),
    "bound method": (lambda c: c.forward, None),
    "call": (lambda c: c.__call__, lambda r, x: r(x)),
    "partial": (lambda c: functools.partial(functional_call, c), lambda r, x: r(x)),
    "closure": (closure, lambda r, x: r(x)),
    "closure of a method": (lambda c: closure(c.__call__), lambda r, x: r(x)),
    "weak reference": (weakref.ref, lambda r, x: r()(x)),
    "object": (Holder, lambda r, x: r.inner["module"][0](x)),
    "slots": (Slotted, lambda r, x: r.module(x)),
}


def functional_call(module, x):
    return module(x)


class Referring(nn.Module):
    """Runs its convolution by whatever leads to it."""

    def __init__(self, refer, follow):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(6, 4)
        self.conv.scale = 1.0
        self.reference = refer(self.conv)
        self.follow = follow

    def forward(self, x):
        return self.fc(self.follow(self.reference, x).relu().mean((2, 3)))


@pytest.mark.parametrize("kind", [kind for kind, (_, follow) in REFERENCES.items() if follow])
def test_a_part_that_is_reached_by_a_reference_is_the_shadows_part(kind):
    net = seeded(Referring, *REFERENCES[kind]).train()
    plain = seeded(Referring, lambda c: [c], lambda r, x: r[0](x))
    calls = []
    net.conv.register_forward_hook(lambda module, args, output: calls.append(module))
    torch.testing.assert_close(
        raw(net, image(), "hirescam", layer="conv"), raw(plain, image(), "hirescam", layer="conv")
    )
    assert len(calls) == 1
    assert calls[0] is not net.conv
    assert all(module.training for module in net.modules())


def test_a_forward_that_was_put_on_the_instance_runs_the_shadows_part():
    """As accelerate's hooks do."""
    net = seeded(TinyCNN)
    old = net.conv1.forward

    def forward(module, x):
        return old(x) * 2

    net.conv1.forward = functools.update_wrapper(functools.partial(forward, net.conv1), old)
    shadow = shadow_of(net)
    assert shadow.conv1.forward.args[0] is shadow.conv1
    torch.testing.assert_close(shadow(image()), net(image()), rtol=0, atol=0)


def test_an_object_of_many_references_is_followed_only_so_deep():
    class Trainer:
        def __init__(self):
            self.model, self.lock = None, object()

    net, trainer = seeded(TinyCNN), Trainer()
    net.trainer, trainer.model = trainer, net
    shadow = shadow_of(net)
    assert shadow.trainer is not trainer
    assert shadow.trainer.model is shadow
    assert shadow.trainer.lock is trainer.lock
    assert trainer.model is net


# --- nothing of the user's changes --------------------------------------------------------------------------


class Writing(TinyCNN):
    """Writes wherever a pass can."""

    def __init__(self):
        super().__init__()
        self.calls, self.cache, self.seen, self.last = 0, {}, [], None
        self.register_buffer("count", torch.zeros(()))
        self.source = torch.Generator().manual_seed(1)
        self.python = random.Random(1)

    def forward(self, x):
        self.calls += 1
        self.count += 1
        self.count.add_(1)
        self.cache[len(x)] = self.seen.append(len(x))
        self.last = x
        noise = torch.rand(1, generator=self.source) + self.python.random()
        return super().forward(x) + 0 * noise


@pytest.mark.parametrize(
    "method", ["grad-cam", "smooth-grad:samples=3", "rise:samples=8", "lrp", "ablation-cam"]
)
@pytest.mark.parametrize("mode", [True, False])
def test_what_a_pass_writes_is_not_written_to_the_users_model(method, mode):
    net = seeded(Writing).train(mode)
    before = state_of(net)
    kept = net.source.get_state(), net.python.getstate()
    for _ in range(2):
        pellucid.explain(net, image(2), method, target=1, progress=False)
    assert (net.calls, net.cache, net.seen, net.last, float(net.count)) == (0, {}, [], None, 0)
    assert torch.equal(net.source.get_state(), kept[0])
    assert net.python.getstate() == kept[1]
    assert state_of(net) == before


def test_hooks_of_the_users_run_with_the_shadow_and_stay():
    net, seen = seeded(TinyCNN), []
    handle = net.conv2.register_forward_hook(lambda module, args, output: seen.append(type(module)))
    pellucid.explain(net, image(), "grad-cam", progress=False)
    assert seen == [nn.Conv2d]
    assert len(net.conv2._forward_hooks) == 1
    handle.remove()
    assert not net.conv2._forward_hooks


# --- evaluation mode ----------------------------------------------------------------------------------------


class Caching(nn.Module):
    """Keeps what it computes of its weights in evaluation mode, until it trains again, as LeViT does."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.cache = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), {}

    def train(self, mode=True):
        if mode:
            self.cache = {}
        return super().train(mode)

    def forward(self, x):
        weight = self.fc.weight * 2
        if not self.training:
            weight = self.cache.setdefault("weight", weight)
        return functional.linear(self.conv(x).relu().mean((2, 3)), weight)


def test_a_cache_of_evaluation_mode_is_never_stale():
    net, x = seeded(Caching).train(), image(2)
    pellucid.explain(net, x[:1], "saliency", target=1)
    assert net.cache == {}
    with torch.no_grad():
        net.fc.weight.add_(1)  # training goes on
    second = pellucid.explain(net, x, "saliency", target=1)
    fresh = copy.deepcopy(net).eval()
    torch.testing.assert_close(second.score, fresh(x)[:, 1].detach())
    torch.testing.assert_close(second.raw, pellucid.explain(fresh, x, "saliency", target=1).raw)
    assert net.training


class Merging(nn.Linear):
    """An adapter that is merged into the weights by `eval()` and taken out by `train()`, as loralib's."""

    def __init__(self, inputs, outputs, way):
        super().__init__(inputs, outputs)
        self.delta, self.merged, self.way = nn.Parameter(torch.randn(outputs, inputs)), False, way

    def train(self, mode=True):
        super().train(mode)
        if self.merged == mode:
            sign = -1 if mode else 1
            if self.way == "in place":
                self.weight.data += sign * self.delta.data
            elif self.way == "no grad":
                with torch.no_grad():
                    self.weight.add_(self.delta, alpha=sign)
            else:
                self.weight.data = self.weight.data + sign * self.delta.data
            self.merged = not mode
        return self

    def forward(self, x):
        return (
            super().forward(x) if self.merged else functional.linear(x, self.weight + self.delta, self.bias)
        )


@pytest.mark.parametrize("way", ["in place", "no grad", "assigned"])
def test_an_eval_that_changes_weights_does_not_change_the_users(way):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                       Merging(6, 4, way))).train()  # fmt: skip
    assert not net[-1].merged
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = [pellucid.explain(net, image(), "saliency", target=1) for _ in range(3)]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net[-1].training
    assert not net[-1].merged
    expected = pellucid.explain(copy.deepcopy(net).eval(), image(), "saliency", target=1)
    for e in found:
        torch.testing.assert_close(e.raw, expected.raw)
        torch.testing.assert_close(e.score, expected.score)


def test_an_eval_that_fails_is_one_sentence():
    class Proud(TinyCNN):
        def train(self, mode=True):
            raise RuntimeError("its mode is its own")

    net = Proud()
    with pytest.raises(ModelError, match=r"eval\(\) must put it in evaluation mode; it fails: its mode"):
        pellucid.explain(net, image())


def test_a_network_in_evaluation_mode_is_not_asked_again():
    class Once(TinyCNN):
        def eval(self):
            raise AssertionError("it is in evaluation mode already")

    net = seeded(TinyCNN)
    net.__class__ = Once
    pellucid.explain(net, image())


def test_an_exported_graph_which_has_no_modes():
    net = seeded(TinyCNN, relu="functional")
    exported = torch.export.export(net, (image(),)).module()
    e = pellucid.explain(exported, image(), "saliency", target=1)
    torch.testing.assert_close(e.raw, raw(net, image(), "saliency", target=1))


# --- what runs otherwise ------------------------------------------------------------------------------------


def test_compiled_parts_run_as_they_were_written_under_their_names():
    def refuse(graph, examples):
        raise AssertionError("compiled")

    net = seeded(ResidualNet)
    expected = raw(net, image(), "grad-cam", layer="stage2", target=1)
    inside = copy.deepcopy(net)
    inside.stage2 = torch.compile(inside.stage2, backend=refuse)
    inside.last.compile(backend=refuse)
    assert isinstance(shadow_of(inside).stage2, Uncompiled)
    assert shadow_of(inside).stage2.conv1.weight is inside.stage2.conv1.weight
    found = raw(inside, image(), "grad-cam", layer="stage2._orig_mod", target=1)
    torch.testing.assert_close(found, expected)


class Attending(nn.Module):
    """PyTorch's own transformer layers, which have a fused path that skips their parts."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.attention, self.fc = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

    def forward(self, x):
        t = self.encoder(self.patches(x).flatten(2).transpose(1, 2))
        return self.fc((t + self.attention(t, t, t)[0]).mean(1))


def test_pytorchs_fused_attention_is_left_without_touching_its_switch(monkeypatch):
    def touched(value):
        raise AssertionError("a switch of the whole process")

    monkeypatch.setattr(torch.backends.mha, "set_fastpath_enabled", touched)
    net = seeded(Attending).requires_grad_(False)
    names = ["encoder.layers.0.norm1", "encoder.layers.1.linear1", "attention"]
    seen = []
    shadow = shadow_of(net)
    for name in names:
        shadow.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    monkeypatch.setattr(torch, "_native_multi_head_attention", touched)
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", touched)
    with torch.no_grad():
        found = shadow(image())
    assert seen == names
    monkeypatch.undo()
    with torch.no_grad():
        torch.testing.assert_close(found, net(image()), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_scripted_part_keeps_its_mode():
    part = torch.jit.script(nn.Sequential(nn.Conv2d(3, 6, 3), nn.Dropout(0.5)))
    net = nn.Sequential(part, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).train()
    first = pellucid.explain(net, image(), "saliency", target=1)
    assert all(module.training for module in net.modules())
    net.eval()
    torch.testing.assert_close(first.raw, pellucid.explain(net, image(), "saliency", target=1).raw)


def test_a_shadow_is_gone_with_its_session():
    net = seeded(ResidualNet)
    kept = weakref.ref(shadow_of(net))
    assert kept() is None


def test_the_layer_is_given_as_a_module_of_the_users():
    net = seeded(TinyCNN)
    torch.testing.assert_close(
        raw(net, image(), "grad-cam", layer=net.bn2), raw(net, image(), "grad-cam", layer="bn2")
    )
