"""Whatever a user calls pictures, classes and preprocessing: folders, generators, word of a name, Compose."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

import pellucid
from pellucid import Model, Preprocess
from pellucid.errors import FileMissing, InvalidType, InvalidValue, ModelError, PictureError
from pellucid.gathering import sources_of
from pellucid.labels import read_labels

T = v2
CLASSES = ["tabby, tabby cat", "crate", "Egyptian cat", "coast, seashore", "vat, tub", "golden retriever"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in (("b.png", 30), ("deep/a.png", 200), ("c.png", 90)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 10), (value, value, value)).save(path)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def model(**options: object) -> Model:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return Model(net.eval(), preprocess=Preprocess((8, 8), scale_to=8), **options)


# --- pictures ----------------------------------------------------------------------------------------------


def test_folders_globs_lists_and_generators_of_paths_are_pictures(folder):
    whole = pellucid.explain(model(), folder, "saliency")
    names = [picture.name for picture in whole.pictures]
    assert names == ["b", "c", "a"]
    for images in (
        str(folder),
        f"{folder}/**/*.png",
        [folder / "b.png", f"{folder}/c.png", folder / "deep"],
        (path for path in [folder / "b.png", folder / "c.png", folder / "deep" / "a.png"]),
        map(Image.open, [folder / "b.png", folder / "c.png", folder / "deep" / "a.png"]),
    ):
        same = pellucid.explain(model(), images, "saliency")
        assert torch.equal(same.attribution, whole.attribution)


def test_a_broken_file_of_a_folder_is_left_out_and_named_and_a_named_one_raises(folder):
    broken = folder / "broken.png"
    broken.write_bytes(b"no picture")
    for images in (folder, f"{folder}/*.png", [folder / "b.png", folder]):
        with pytest.warns(UserWarning, match=r"Left out: 1 picture\. .*broken\.png is not a picture"):
            names = [picture.name for picture in model().read(images).pictures]
        assert "broken" not in names
        assert {"b", "c"} <= set(names)
    for images in (broken, [folder / "b.png", broken]):
        with pytest.raises(PictureError, match=r"broken\.png"):
            model().read(images)
    (folder / "deep" / "a.png").write_bytes(b"")
    with pytest.raises(PictureError, match=r"a\.png is empty"):
        model().read(folder / "deep")


def test_a_picture_named_twice_stays_twice(folder):
    one = folder / "b.png"
    e = pellucid.explain(model(), [one, one], "saliency", target=[0, 1])
    assert e.target == [0, 1]


def test_arrays_of_floats_are_the_models_own_input():
    x = torch.rand(2, 3, 8, 8)
    expected = pellucid.explain(model(), x, "saliency")
    found = pellucid.explain(model(), x.numpy(), "saliency")
    assert torch.equal(found.attribution, expected.attribution)
    alone = pellucid.explain(model(), x[0].numpy().astype(np.float64), "saliency")
    torch.testing.assert_close(alone.attribution, expected.attribution[:1])


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (iter([]), InvalidValue, "at least one image; got an empty"),
        ("no/such/*.png", FileMissing, "no picture matches"),
        (np.zeros((8, 9, 3)), InvalidType, r"looks like a picture \(H, W, C\).*uint8.*transpose\(2, 0, 1\)"),
        (np.zeros((2, 8, 9, 3), np.float32), InvalidType, "looks like a picture"),
        ([np.zeros((8, 9, 3))], InvalidType, "must hold uint8 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(images, error, words):
    with pytest.raises(error, match=words):
        pellucid.explain(model(), images, "saliency")


def test_a_folder_without_pictures_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileMissing, match=r"no picture in this folder; looked for .*\.png"):
        sources_of(tmp_path)


# --- classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "index"),
    [("tabby", 0), ("the seashore", 3), ("retriever, golden", 5), ("Golden  Retrievers", 5), ("tubs", 4)],
)
def test_all_words_of_a_name_find_its_class(asked, index):
    assert Model(nn.Flatten(), labels=CLASSES).class_index(asked) == index


@pytest.mark.parametrize(
    ("asked", "labels", "words"),
    [
        (
            "pneumonia",
            ["no pneumonia", "other"],
            r"in the name of 0 \(no pneumonia\): pass a whole name or the",
        ),
        ("retriever", CLASSES, r"in the name of 5 \(golden retriever\)"),
    ],
)
def test_a_part_of_a_name_is_refused_and_the_name_is_told(asked, labels, words):
    with pytest.raises(InvalidValue, match=words):
        Model(nn.Flatten(), labels=labels).class_index(asked)


def test_words_of_several_classes_are_listed_and_what_is_only_spelled_alike_is_not():
    with pytest.raises(InvalidValue) as error:
        Model(nn.Flatten(), labels=CLASSES).class_index("cat")
    assert "it is in the names of 0 (tabby), 2 (Egyptian cat): pass" in str(error.value)
    assert not any(word in str(error.value) for word in ("crate", "coast", "vat"))


def test_a_long_list_is_cut():
    labels = [f"cat number {i}" for i in range(20)]
    with pytest.raises(InvalidValue, match=r"11 \(cat number 11\) and 8 more"):
        Model(nn.Flatten(), labels=labels).class_index("cat")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\ndog\n\n bird \n", ("cat", "dog", "bird")),
        ('["cat", "dog"]', ("cat", "dog")),
        ('{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ('{"cat": 0, "dog": 1}', ("cat", "dog")),
        ("\ufeffcat\r\ndog", ("cat", "dog")),
    ],
)
def test_labels_are_read_from_a_file(tmp_path, text, expected):
    path = tmp_path / "labels.txt"
    path.write_bytes(text.encode())
    assert read_labels(path) == expected
    assert model(labels=path).labels == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"[1, 2", "JSON that is broken"),
        (b'{"0": "a", "2": "b"}', "each class from 0 to 1 once"),
        (b"\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_a_file_that_names_no_classes_is_refused(tmp_path, content, words):
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match=words):
        read_labels(path)


def test_a_missing_file_of_labels_is_told():
    with pytest.raises(FileMissing, match=r"no file of labels 'none\.txt'"):
        read_labels("none.txt")
    with pytest.raises(InvalidType, match="Path of a file"):
        model(labels="none.txt")


# --- preprocessing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resize", [T.Resize(16), T.Resize(16, Image.BILINEAR), transforms.Resize(16)])
def test_from_torchvision_reads_a_compose(resize):
    steps = [resize, T.CenterCrop(12), T.ToImage(), T.ToDtype(torch.float32, scale=True)]
    compose = T.Compose([*steps, T.Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])])
    expected = Preprocess((12, 12), scale_to=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    assert Preprocess.from_torchvision(compose) == expected
    assert Model(nn.Flatten(), preprocess=compose).preprocess == expected


def test_a_compose_that_does_more_is_told_and_taken_as_it_is():
    compose = T.Compose(
        [T.Resize((8, 8)), T.ColorJitter(), T.ToImage(), T.ToDtype(torch.float32, scale=True)]
    )
    with pytest.raises(ModelError, match=r"got Resize, ColorJitter, ToImage, ToDtype.*any callable"):
        Preprocess.from_torchvision(compose)
    assert Model(nn.Flatten(), preprocess=compose).preprocess is None


# --- on the command line -----------------------------------------------------------------------------------

NET = """
import torch, pellucid
from torch import nn

def bare(channels=3, classes=3):
    torch.manual_seed(0)
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), *pool, nn.Linear(4, classes))

def grey():
    return bare(1)

def known():
    return pellucid.Model(bare(), preprocess=pellucid.Preprocess((12, 16), scale_to=(24, 32)))

def squashed():
    return pellucid.Model(bare(), preprocess=pellucid.Preprocess((12, 12), None, fit="squash"))
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    from pellucid.cli.loading import load_model
    from pellucid.cli.own_model import ModelOptions

    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NET)
    Path("labels.json").write_text(json.dumps({"0": "cat", "1": "dog", "2": "bird"}))
    return lambda name, **options: load_model(f"nets.py:{name}", ModelOptions(**options))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("bare", {"size": "16"}, Preprocess((16, 16), 18)),
        ("bare", {"size": "16x24", "crop": 1.0}, Preprocess((16, 24), (16, 24))),
        ("bare", {"size": "16", "mean": "0.5,0.4,0.3", "std": "1,2,3"},
         Preprocess((16, 16), 18, mean=(0.5, 0.4, 0.3), std=(1.0, 2.0, 3.0))),
        ("grey", {"size": "8", "crop": 0.5, "mean": "0.5", "std": "0.25"},
         Preprocess((8, 8), 16, mean=(0.5,), std=(0.25,))),
        ("grey", {"size": "8", "channels": 1},
         Preprocess((8, 8), 9, mean=((0.485 + 0.456 + 0.406) / 3,), std=((0.229 + 0.224 + 0.225) / 3,))),
        ("known", {"crop": 0.8}, Preprocess((12, 16), (15, 20))),
        ("known", {"size": "24x32"}, Preprocess((24, 32), (48, 64))),
        ("known", {"mean": "0,0,0", "std": "1,1,1"},
         Preprocess((12, 16), (24, 32), mean=(0.0,) * 3, std=(1.0,) * 3)),
        ("squashed", {"size": "20"}, Preprocess((20, 20), None, fit="squash")),
        ("bare", {"size": "16", "fit": "squash"}, Preprocess((16, 16), (16, 16), fit="squash")),
        ("known", {"fit": "pad"}, Preprocess((12, 16), (12, 16), fit="pad")),
        ("squashed", {"fit": "crop"}, Preprocess((12, 12), 13)),
        ("squashed", {"fit": "squash", "size": "8x9"}, Preprocess((8, 9), (8, 9), fit="squash")),
    ],
)  # fmt: skip
def test_the_options_of_a_models_pictures(loaded, name, options, expected):
    assert loaded(name, **options).preprocess == expected


@pytest.mark.parametrize(
    ("name", "options", "note"),
    [
        ("bare", {"size": "64"},
         "Assumed, as the model does not say: resize 73, crop 64, and ImageNet's mean and std; "
         "--fit, --crop, --mean and --std say others."),
        ("bare", {"size": "16x24", "mean": "0,0,0", "std": "1,1,1"},
         "Assumed, as the model does not say: resize 18x27, crop 16x24; --fit and --crop say others."),
        ("bare", {"size": "64", "fit": "squash"},
         "Assumed, as the model does not say: ImageNet's mean and std; --mean and --std say others."),
        ("bare", {"size": "8", "crop": 1.0, "mean": "0,0,0", "std": "1,1,1"}, ""),
        ("known", {"size": "8"}, ""),
    ],
)  # fmt: skip
def test_what_was_assumed_of_the_preprocessing_is_told(loaded, name, options, note):
    model = loaded(name, **options)
    assert model.note == note
    (picture,) = model.read(np.zeros((9, 9, 3), np.uint8)).pictures
    assert picture.notes == ([note] if note else [])


def test_without_options_the_model_is_as_it_was_made(loaded):
    assert loaded("known").preprocess == Preprocess((12, 16), scale_to=(24, 32))
    assert loaded("bare").labels is None
    assert loaded("bare", labels=Path("labels.json")).labels == ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": "0.5,0.5,0.5", "std": "1,1,1"}, "does not say how large its inputs are: pass --size"),
        ({"size": "8", "mean": "0.5"}, "--mean and --std go together"),
        ({"size": "8", "mean": "0.5", "std": "1,1"}, "one value for each channel; got 1 and 2"),
        ({"size": "8", "mean": "0.5,x,1", "std": "1,1,1"}, "--mean must be numbers"),
        ({"size": "8", "channels": 2}, r"--channels must be 1 \(grey\)"),
        ({"size": "8", "mean": "1,1,1", "std": "1,1,1", "channels": 1}, "got 3 and 3 for 1"),
        ({"size": "8", "crop": 1.5}, "--crop must be a share"),
        ({"size": "8", "crop": 1.0, "fit": "pad"}, "--crop is for --fit crop; got --fit pad"),
        ({"size": "big"}, "--size must be a number of pixels"),
        ({"size": "0"}, "--size must be a number of pixels"),
    ],
)
def test_options_that_do_not_hold_are_refused(loaded, options, words):
    with pytest.raises(InvalidValue, match=words):
        loaded("bare", **options)


def test_explain_takes_them(loaded):
    from typer.testing import CliRunner

    from pellucid.cli import app

    Image.new("RGB", (20, 20), (90, 30, 60)).save("one.png")
    asked = ["explain", "one.png", "--model", "nets.py:grey", "--size", "16", "--channels", "1"]
    found = CliRunner().invoke(app, [*asked, "--labels", "labels.json", "-t", "dog", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["results"][0]["labels"] == ["dog"]
    refused = CliRunner().invoke(app, asked[:4])
    assert refused.exit_code == 2
    assert "nets.py:grey does not say how a picture becomes its input" in refused.stderr
    mismatched = CliRunner().invoke(app, [*asked[:4], "--size", "16"])
    assert mismatched.exit_code == 2
    assert "on the command line, --channels" in " ".join(mismatched.stderr.split())
    assert "on the command line, --size" in " ".join(refused.stderr.split())


def test_the_example_of_an_own_model_runs_as_the_readme_has_it(tmp_path, monkeypatch):
    import re
    import runpy
    import shlex
    import sys

    from typer.testing import CliRunner

    from pellucid.cli import app

    root = Path(__file__).parent.parent
    block = next(b for b in re.findall(r"```sh\n(.*?)```", (root / "README.md").read_text("utf-8"), re.S)
                 if "my_model.py shapes" in b)  # fmt: skip
    train, explain = (shlex.split(line) for line in block.replace("\\\n", " ").strip().splitlines())
    example = str(root / train[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [example, *train[2:]])
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)  # untrained, it shows as much
    drawn = runpy.run_path(example, run_name="my_model")
    monkeypatch.setitem(drawn["train"].__globals__, "drawings", lambda count: drawn["drawings"](40))
    drawn["train"](Path("shapes"))
    arguments = [word.replace("examples/my_model.py", example) for word in explain[1:]]
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.output
    (result,) = json.loads(found.stdout)["results"]
    assert result["labels"][0] in ("circle", "square", "triangle")
    assert Path(result["files"][0]).exists()
