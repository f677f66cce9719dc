"""A model file is taken wherever a model is, and refused in a sentence where it is none."""

import json
from pathlib import Path

import pytest
import torch
from digit_sets import few, learned
from safetensors.torch import load_file, save_file

import pellucid
from pellucid.errors import FileMissing, InvalidValue, ModelError
from pellucid.model_file import KEY, read_record


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned().save(tmp_path_factory.mktemp("models") / "digits.safetensors")


def rewritten(file: Path, to: Path, **changes: object) -> Path:
    about = {**json.loads(read_record(file).to_json()), **changes}
    save_file(load_file(file), to, {KEY: json.dumps(about)})
    return to


def test_a_loaded_network_gives_the_very_scores_it_gave(file: Path):
    trained, model = learned(), pellucid.load(str(file))
    inputs = few().test.inputs[:5]
    assert model.module(inputs).equal(trained.module(inputs))
    assert model.labels == tuple("0123456789")
    assert model.name == "digits.safetensors"
    assert model.prepare(few().test.picture(3)).equal(few().test.inputs[3:4])


def test_its_record_tells_how_it_was_trained(file: Path):
    record = read_record(file)
    assert record == learned().record
    assert record.training["data"] == "few digits"
    assert record.training["accuracy"] == learned().accuracy.mean
    assert record.training["seed"] == 0


def test_a_picture_is_explained_by_it(file: Path):
    index = int((few().test.labels == 3).nonzero()[0][0])
    e = pellucid.explain(pellucid.load(str(file)), few().test.picture(index), "grad-cam", target="3")
    assert e.attribution.shape == (1, 1, 28, 28)
    assert e.labels == ["3"]


def test_its_architecture_can_be_had_untrained_and_filled_with_other_weights(file: Path):
    fresh = pellucid.load(str(file), random_weights=True)
    same = pellucid.load(str(file), random_weights=True)
    filled = pellucid.load(str(file), weights=str(file))
    x = few().test.inputs[:2]
    assert fresh.module(x).equal(same.module(x))
    assert not fresh.module(x).equal(learned().module(x))
    assert filled.module(x).equal(learned().module(x))


def test_weights_alone_are_not_enough(file: Path, tmp_path: Path):
    save_file(load_file(file), tmp_path / "plain.safetensors")
    with pytest.raises(
        ModelError, match=r"does not say which network its weights are of: name that one, and"
    ):
        pellucid.load(str(tmp_path / "plain.safetensors"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "resnet18"}, r"its architecture is 'resnet18'; known are cnn, residual, vit\."),
        ({"architecture": "vit"}, r"does not fit VisionTransformer: the file lacks \d+ of \d+ tensors"),
        ({"labels": ["a", "b"]}, "have another shape"),
        ({"version": 2}, r"it is of version 2, and this Pellucid reads 1\."),
        ({"preprocess": {"size": [28]}}, "its metadata is damaged"),
        ({"labels": None}, "its metadata is damaged"),
    ],
)
def test_a_file_of_another_network_is_one_clear_sentence(
    file: Path, tmp_path: Path, changes: dict[str, object], said: str
):
    with pytest.raises(ModelError, match=said):
        pellucid.load(str(rewritten(file, tmp_path / "other.safetensors", **changes)))


def test_damaged_and_missing_files_are_told(file: Path, tmp_path: Path):
    damaged = tmp_path / "half.safetensors"
    damaged.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(
        ModelError, match="must be a model file, which `pellucid train` writes; it is damaged"
    ):
        pellucid.load(str(damaged))
    with pytest.raises(FileMissing, match="There is no model file"):
        pellucid.load(str(tmp_path / "none.safetensors"))
    with pytest.raises(InvalidValue, match=r"path must end in \.safetensors; got 'digits\.pt'"):
        learned().save(tmp_path / "digits.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["half.safetensors"]


def test_the_callers_random_numbers_stay_as_they_are(file: Path):
    before = torch.get_rng_state()
    pellucid.load(str(file), random_weights=True)
    assert torch.get_rng_state().equal(before)
