"""Networks trained on scenes: counted in steps, seeded, and kept in the user's cache."""

import ast
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from warnings import warn

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from pellucid.engine.progress import Progress, showing
from pellucid.errors import NotWritten
from pellucid.files import atomic_write, cache_folder, make_folder
from pellucid.model import Model
from pellucid.preprocess import Preprocess
from pellucid.seeding import seeded
from pellucid.truth.drawing import CLASS_GLYPHS, SIZE
from pellucid.truth.kinds import CLASSES, KINDS, Kind
from pellucid.truth.networks import NETWORKS
from pellucid.truth.scenes import render

ENOUGH = 0.95
"""The accuracy on scenes it was not trained on that a network should have."""

LESSONS, TESTS, UNITS = range(3)
"""Splits of scenes: a network is trained on the first, tested on the second, and explained on the third."""

_MEAN, _STD = 0.5, 0.25
_SOURCES = (  # what weights depend on
    *("truth/drawing.py", "truth/scenes.py", "truth/kinds.py", "truth/networks.py", "truth/training.py"),
    *("networks/blocks.py", "seeding.py"),
)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        kind, network: names in KINDS and NETWORKS.
        steps: of AdamW, on batches of `batch` scenes.
        rate: the learning rate at first; it falls to 0 along a half cosine, after a short rise.
        scenes: how many there are to learn from; `tests` more are kept to test with.
        seed: of weights, scenes and order.
    """

    kind: str
    network: str
    steps: int = 300
    batch: int = 64
    rate: float = 3e-3
    decay: float = 1e-3
    scenes: int = 4000
    tests: int = 500
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, and the share of new scenes that it gets right."""

    module: nn.Module
    accuracy: float

    @property
    def enough(self) -> bool:
        """Whether it was learned well enough to ask what it goes by."""
        return self.accuracy >= ENOUGH

    def model(self, name: str = "") -> Model:
        """As a model that reads pictures of scenes."""
        preprocess = Preprocess(size=(SIZE, SIZE), scale_to=SIZE, mean=(_MEAN,) * 3, std=(_STD,) * 3)
        return Model(self.module, preprocess=preprocess, labels=list(CLASS_GLYPHS), name=name or None)


def trained(recipe: Recipe, *, progress: bool | None = None) -> Trained:
    """The network of a recipe: out of the cache, or trained now and put there.

    The same weights come for the same recipe, versions and number of threads; torch's global state of random
    numbers stays as it is.
    """
    path = cache_folder() / "truth" / f"{recipe.kind}-{recipe.network}-{fingerprint(recipe)}.safetensors"
    found = _read(path, recipe)
    if found is None:
        found = train(recipe, progress=progress)
        try:
            make_folder(path.parent)
            _write(path, found)
        except NotWritten as error:
            warn(f"The trained network cannot be kept, and will be trained again: {error}", stacklevel=2)
    return found


def train(recipe: Recipe, *, progress: bool | None = None) -> Trained:
    """Trains the network of a recipe, and tests it."""
    kind = KINDS[recipe.kind]
    work = recipe.scenes + recipe.tests + recipe.steps * recipe.batch
    with seeded(recipe.seed), showing(f"training {recipe.network} on {recipe.kind}", work, progress) as bar:
        x, y = _scenes(kind, LESSONS, recipe.seed, recipe.scenes, bar)
        module = NETWORKS[recipe.network](CLASSES)
        _fit(module, x, y, kind, recipe, bar)
        x, y = _scenes(kind, TESTS, recipe.seed, recipe.tests, bar)
    return Trained(module, _accuracy(module, x, y))


@torch.no_grad()
def scores(
    module: Callable[[Tensor], Tensor], inputs: Float[Tensor, "N C H W"], batch: int = 128
) -> Float[Tensor, "N K"]:
    """What a network gives for many inputs."""
    return torch.cat([module(part) for part in inputs.split(batch)])


def right(scores: Float[Tensor, "N K"], wanted: Bool[Tensor, "N K"]) -> Bool[Tensor, "N"]:
    """Whether the classes that a scene was drawn for have its highest scores."""
    lowest = scores.masked_fill(~wanted, torch.inf).amin(1)
    return lowest > scores.masked_fill(wanted, -torch.inf).amax(1)


def fingerprint(recipe: Recipe) -> str:
    """A digest of all that a network's weights follow from: recipe, code and versions."""
    sources = [_code(files("pellucid").joinpath(name).read_text("utf-8")) for name in _SOURCES]
    versions = [version(name) for name in ("torch", "numpy", "pillow")]
    text = json.dumps([asdict(recipe), versions, sources], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(source: str) -> str:
    """What a module does: its source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            ]
    return ast.dump(tree)


def _scenes(
    kind: Kind, split: int, seed: int, count: int, bar: Progress
) -> tuple[UInt8[Tensor, "N 3 H W"], Bool[Tensor, "N K"]]:
    """Pictures of scenes, and which classes each was drawn for."""
    x = torch.empty(count, 3, SIZE, SIZE, dtype=torch.uint8, device="cpu")
    y = torch.zeros(count, CLASSES, dtype=torch.bool, device="cpu")
    for number in range(count):
        scene = kind.scene(split, seed, number, lesson=True)
        x[number] = torch.from_numpy(render(scene)).movedim(-1, 0)
        y[number, list(scene.labels)] = True
        bar.advance(1)
    return x, y


def _fit(
    module: nn.Module,
    x: UInt8[Tensor, "N 3 H W"],
    y: Bool[Tensor, "N K"],
    kind: Kind,
    recipe: Recipe,
    bar: Progress,
) -> None:
    module.train().to(memory_format=torch.channels_last)  # the faster by a half, with depthwise convolutions
    optimiser = torch.optim.AdamW(module.parameters(), recipe.rate, weight_decay=recipe.decay)
    order = torch.empty(0, dtype=torch.long, device="cpu")
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * _pace(step / recipe.steps)
        if len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(x), dtype=torch.long, device="cpu")])
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        inputs = _varied(x[chosen], kind).contiguous(memory_format=torch.channels_last)
        out, wanted = module(inputs), y[chosen].float()
        loss_of = functional.binary_cross_entropy_with_logits if kind.several else functional.cross_entropy
        loss = loss_of(out, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bar.advance(recipe.batch)
    module.eval().to(memory_format=torch.contiguous_format)
    for parameter in module.parameters():
        parameter.grad = None


def _pace(done: float) -> float:
    """The learning rate as a share of the first: up in the first twentieth, then down along a half cosine."""
    return min(1.0, done * 20 + 0.05) * (1 + float(np.cos(np.pi * done))) / 2


def _varied(x: UInt8[Tensor, "N 3 H W"], kind: Kind) -> Float[Tensor, "N 3 H W"]:
    """Inputs with what does not change the label changed: where things lie, and noise."""
    inputs = (x.float() / 255 - _MEAN) / _STD
    if kind.anywhere:
        down, across = torch.randint(0, SIZE, (2,), dtype=torch.long, device="cpu").tolist()
        inputs = inputs.roll((down, across), (2, 3))
    return inputs + 0.12 * torch.rand((), dtype=torch.float32, device="cpu") * torch.randn_like(inputs)


def _accuracy(module: nn.Module, x: UInt8[Tensor, "N 3 H W"], y: Bool[Tensor, "N K"]) -> float:
    return float(right(scores(module, (x.float() / 255 - _MEAN) / _STD), y).float().mean())


def _write(path: Path, found: Trained) -> None:
    from safetensors.torch import save_file

    state = {name: value.contiguous() for name, value in found.module.state_dict().items()}
    with atomic_write(path) as temporary:
        save_file(state, temporary, {"accuracy": repr(found.accuracy)})


def _read(path: Path, recipe: Recipe) -> Trained | None:
    """What the cache has; nothing if it has none or the file is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            accuracy = float(file.metadata()["accuracy"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    with seeded(recipe.seed):
        module = NETWORKS[recipe.network](CLASSES)
    module.load_state_dict(state)
    return Trained(module.eval(), accuracy)
