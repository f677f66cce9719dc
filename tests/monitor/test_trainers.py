"""Lightning's and transformers' trainers: a watch is a callback of them, and weights are those without it."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from monitor.watched import Net, data, differing, new_net, shown, states
from pellucid.errors import MonitorWarning

lightning = pytest.importorskip("lightning.pytorch")
transformers = pytest.importorskip("transformers")


class Lit(lightning.LightningModule):
    """Logs in its forward pass, as some do: a look must not be heard of."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        self.log("mean", x.mean(), on_step=False, on_epoch=True)
        return self.net(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        inputs, classes = batch
        return functional.cross_entropy(self(inputs), classes)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


def fit(lit: Lit, folder: Path, callbacks: list[Any], **options: Any) -> Any:
    loader = DataLoader(TensorDataset(*data()), batch_size=4, shuffle=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, callbacks=callbacks,
        **options,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(lit, loader)
    return trainer


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}], ids=["plain", "accumulating"])
def test_a_lightning_training_ends_at_the_very_same_weights(options: dict[str, Any], tmp_path: Path):
    lit = Lit(new_net())
    alone_metrics = fit(lit, tmp_path, [], **options).callback_metrics
    alone = states(lit)
    lit = Lit(new_net())
    watch = pellucid.monitor(lit, shown(), every=2, target=1)
    metrics = fit(lit, tmp_path, [watch.lightning()], **options).callback_metrics
    assert watch.history.failures == {}
    assert watch.history.steps.tolist() == ([0, 2, 3] if options else [0, 2, 4, 6])
    assert differing(alone, states(lit)) == []
    assert differing(dict(alone_metrics), dict(metrics)) == []
    expected = pellucid.explain(lit.net, shown(), target=1).raw
    torch.testing.assert_close(watch.history.maps[-1], expected, rtol=1e-4, atol=1e-6)


def test_a_lightning_training_that_is_resumed_goes_on_in_the_same_folder(tmp_path: Path):
    lit = Lit(new_net())
    folder = tmp_path / "looks"
    fit(lit, tmp_path, [pellucid.monitor(lit, shown(), every=2, to=folder).lightning()], max_steps=4)
    lit = Lit(new_net(1))
    watch = pellucid.monitor(lit, shown(), every=2, to=folder)
    assert watch.history.steps.tolist() == [0, 2, 4]
    watch.begin(4, lit)
    watch.after(6, lit)
    watch.close()
    assert watch.history.steps.tolist() == [0, 2, 4, 6]


class HfNet(nn.Module):
    """What transformers' Trainer trains: a module that gives a loss."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(pixel_values)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return {"logits": logits} if loss is None else {"loss": loss, "logits": logits}


class HfData(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.inputs, self.classes = data()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"pixel_values": self.inputs[i], "labels": int(self.classes[i])}


def hf_train(net: nn.Module, folder: Path, callbacks: list[Any], **options: Any) -> None:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=4, per_device_train_batch_size=6, report_to=[], use_cpu=True,
        save_strategy="no", logging_strategy="no", disable_tqdm=True, learning_rate=1e-2, **options,
    )  # fmt: skip
    trainer = transformers.Trainer(model=net, args=arguments, train_dataset=HfData(), callbacks=callbacks)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


@pytest.mark.parametrize("options", [{}, {"bf16": True}], ids=["plain", "bf16"])
def test_a_transformers_training_ends_at_the_very_same_weights(options: dict[str, Any], tmp_path: Path):
    net = HfNet(new_net())
    hf_train(net, tmp_path, [], **options)
    alone = states(net)
    net = HfNet(new_net())
    watch = pellucid.monitor(net, shown(), every=2, target=[0, 1])
    hf_train(net, tmp_path, [watch.hf()], **options)
    assert watch.history.failures == {}
    assert watch.history.steps.tolist() == [0, 2, 4]
    assert watch.history.targets.tolist() == [[0, 1]] * 3
    assert differing(alone, states(net)) == []


def test_a_trainer_of_another_model_is_told_of(tmp_path: Path):
    watch = pellucid.monitor(HfNet(new_net()), shown(), every=2)
    with pytest.warns(MonitorWarning, match="trains another one, whose weights are not those given"):
        hf_train(HfNet(new_net()), tmp_path, [watch.hf()])


def test_a_callback_is_of_the_trainers_own_class():
    watch = pellucid.monitor(new_net(), shown())
    assert isinstance(watch.lightning(), lightning.Callback)
    assert isinstance(watch.hf(), transformers.TrainerCallback)
