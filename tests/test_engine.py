"""How a model is run: in chunks, billed, in its own mode, and put back as it was."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pellucid
from nets import TinyCNN, pictures, state_of
from pellucid.engine.chunks import in_chunks, out_of_memory
from pellucid.engine.cost import Cost
from pellucid.engine.progress import Bar, Silent, showing
from pellucid.engine.run import Engine
from pellucid.model import Model
from zoo import seeded

# --- chunks -------------------------------------------------------------------------------------------------


@given(total=st.integers(0, 50), size=st.integers(1, 60), room=st.integers(1, 60))
def test_chunks_cover_everything_once_in_order_and_shrink_to_the_memory(total, size, room):
    done, tried = [], []

    def step(start, stop):
        tried.append(stop - start)
        if stop - start > room:
            raise torch.OutOfMemoryError("out of memory")
        done.extend(range(start, stop))

    in_chunks(total, size, step)
    assert done == list(range(total))
    assert all(n <= size for n in tried)
    assert sum(n > room for n in tried) <= 6  # halved, not crept down to, and kept small


def test_another_error_or_a_single_sample_too_large_comes_through():
    for error, size in (
        (ValueError("no"), 4),
        (torch.OutOfMemoryError("memory"), 1),
        (KeyboardInterrupt(), 4),
    ):
        calls = []

        def step(start, stop, error=error, calls=calls):
            calls.append(start)
            raise error

        with pytest.raises(type(error)):
            in_chunks(4, size, step)
        assert calls == [0]


def test_running_out_of_memory_is_recognised_on_any_device():
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory")
    )
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)


# --- bills --------------------------------------------------------------------------------------------------


def test_shared_evidence_is_spent_once_and_billed_to_each():
    engine = Engine(Model(nn.Flatten()))
    with engine.making(forward=3, backward=1) as charge:
        pass
    with engine.bill() as first:
        engine.use(charge)
        engine.use(charge)
    with engine.bill() as second:
        engine.use(charge)
        with engine.making(forward=2):
            pass
    assert (engine.spent.forward, engine.spent.backward) == (5, 1)
    assert (first.total().forward, first.total().backward) == (3, 1)
    assert (second.total().forward, second.total().backward) == (5, 1)


def test_a_bill_is_closed_after_an_error():
    engine = Engine(Model(nn.Flatten()))
    with pytest.raises(ZeroDivisionError), engine.bill() as bill:
        raise ZeroDivisionError
    with engine.making(forward=2):
        pass
    assert bill.total().forward == 0


@given(*[st.integers(0, 9)] * 4)
def test_costs_add_up(a, b, c, d):
    total = Cost(a, b, 0.5) + Cost(c, d, 0.25)
    assert total == Cost(a + c, b + d, 0.75)


# --- state --------------------------------------------------------------------------------------------------


def test_only_the_modules_that_trained_train_again():
    module = seeded(TinyCNN)
    module.bn1.train()  # as people freeze some batch norms and not others
    seen = {}
    module.register_forward_pre_hook(
        lambda m, args: seen.update({n: c.training for n, c in m.named_modules()})
    )
    pellucid.explain(module, pictures("in-place").float())
    assert not any(seen.values())
    assert [name for name, child in module.named_modules() if child.training] == ["bn1"]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_fast_path_of_attention_is_put_back(enabled):
    before = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(enabled)
        pellucid.explain(seeded(TinyCNN), pictures("in-place").float())
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_layers_behind_the_fast_path_of_attention_are_seen():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 3)
            self.block = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)

        def forward(self, x):
            return self.head(self.block(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    x = pictures("vit").float()
    e = pellucid.explain(seeded(Tokens), x, "hirescam", layer="block.norm1")
    assert e.raw.shape == (3, 8, 8)
    assert e.raw.any()


def test_two_threads_explain_two_models_without_mixing_them():
    modules = [seeded(TinyCNN, seed=i).double() for i in range(2)]
    x = pictures("in-place")
    expected = [pellucid.explain(m, x, "hirescam").raw for m in modules]
    before = [state_of(m) for m in modules]
    found = {}

    def work(i):
        for _ in range(5):
            found[i] = pellucid.explain(modules[i], x, "hirescam").raw

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        torch.testing.assert_close(found[i], expected[i])
        assert state_of(modules[i]) == before[i]


# --- progress -----------------------------------------------------------------------------------------------


def test_no_bar_is_drawn_where_none_is_wanted_or_no_one_looks(capsys):
    with showing("x", 10, False) as progress:
        assert isinstance(progress, Silent)
    with showing("x", 10, None) as progress:  # standard error is no terminal here
        assert isinstance(progress, Silent)
        progress.advance(3)
    assert capsys.readouterr().err == ""


def test_a_bar_appears_once_and_changes_no_result(monkeypatch):
    appeared, appear = [], Bar._appear
    monkeypatch.setattr("pellucid.engine.progress.PATIENCE", 0.0)
    monkeypatch.setattr(Bar, "_appear", lambda bar: (appeared.append(bar), appear(bar)))
    x = pictures("in-place")
    module = seeded(TinyCNN).double()
    shown = pellucid.explain(module, x, "smooth-grad:samples=12", progress=True)
    assert len(appeared) == 1
    assert torch.equal(shown.raw, pellucid.explain(module, x, "smooth-grad:samples=12", progress=False).raw)
