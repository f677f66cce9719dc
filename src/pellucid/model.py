"""A classifier as Pellucid sees it: a module, what happens to a picture before it, and class names.

`Model` keeps no state of its own and never switches the module's mode; running it is the engine's job.
`outputs_of` turns whatever a model returns into (N, K).
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import InvalidType, InvalidValue, ModelError
from pellucid.images import Batch, Box, Picture, open_picture
from pellucid.preprocess import Preprocess

OUTPUT_NAMES = ("logits", "out", "output", "scores", "pred")


class Model:
    """A module or callable (N, C, H, W) -> scores, with its preprocessing and class names.

    Args:
        module: an `nn.Module` (a DataParallel wrapper is taken off), or any callable on tensors.
        preprocess: makes inputs of pictures; without it only float tensors can be read.
        labels: one name per class; synonyms may be separated by commas ("tabby, tabby cat").
        name: what captions call the model; the module's class name unless given.

    Raises:
        InvalidType: `module` cannot be called, or `labels` is a single string.

    Example:
        >>> model = Model(nn.Flatten(), labels=["tabby, tabby cat", "tiger cat"])
        >>> model.class_index("tabby"), model.label(1), model.label(7)
        (0, 'tiger cat', 'class 7')
    """

    def __init__(
        self,
        module: Any,
        *,
        preprocess: Preprocess | None = None,
        labels: Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(module):
            raise InvalidType(
                f"A model must be a pellucid.Model, an nn.Module or a callable; got {type(module).__name__}."
            )
        if isinstance(labels, str):
            raise InvalidType(f"labels must be a sequence with one name per class; got {labels!r}.")
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper skips the hooks of its parts
        self.module: nn.Module | Callable[[Tensor], Any] = module
        self.preprocess = preprocess
        self.labels = None if labels is None else tuple(labels)
        self.name = name or str(getattr(module, "__name__", type(module).__name__))

    @classmethod
    def wrap(cls, model: Any) -> "Model":
        """The model itself, or a new one around a module or callable.

        What a bare module carries is used: a timm module's data config, a transformers module's class names.
        The class names of a timm module are not: they would be guessed from its number of classes.

        Raises:
            InvalidType: not a Model, an `nn.Module` or a callable.
        """
        if isinstance(model, Model):
            return model
        wrapped = cls(model)
        wrapped.preprocess = _timm_preprocess(wrapped.module)
        wrapped.labels = config_labels(getattr(wrapped.module, "config", None))
        return wrapped

    def __call__(self, inputs: Float[Tensor, "N C H W"]) -> Any:
        """The module's raw output."""
        return self.module(inputs)

    def __repr__(self) -> str:
        return f"Model({self.name})"

    @property
    def is_module(self) -> bool:
        """Whether there is an `nn.Module` whose layers can be looked into."""
        return isinstance(self.module, nn.Module) and not isinstance(self.module, torch.jit.ScriptModule)

    @property
    def network(self) -> nn.Module:
        """The `nn.Module` to look into.

        Raises:
            ModelError: the model is a plain callable, or a TorchScript module, which lets no one look in.
        """
        if isinstance(self.module, nn.Module) and self.is_module:
            return self.module
        kind = "a TorchScript module" if isinstance(self.module, nn.Module) else "a plain callable"
        raise ModelError(
            "This method reads the model's layers, so the model must be an nn.Module; "
            f"got {self.name}, {kind}. Gradient methods need only a differentiable one."
        )

    def pictures(self, inputs: Float[Tensor, "N C H W"]) -> list[Picture]:
        """What inputs show, at their own resolution; without preprocessing their range is stretched."""
        return self.preprocess.undo(inputs) if self.preprocess else [_shown(one) for one in inputs]

    @property
    def device(self) -> torch.device:
        """Where the first floating parameter or buffer lies; the CPU if there is none."""
        return next((t.device for t in self._floating()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The type of the first floating parameter or buffer; float32 if there is none."""
        return next((t.dtype for t in self._floating()), torch.float32)

    def _floating(self) -> Iterator[Tensor]:
        if isinstance(self.module, nn.Module):
            yield from (p for p in self.module.parameters() if p.is_floating_point())
            yield from (b for b in self.module.buffers() if b.is_floating_point())

    def prepare(self, images: Any) -> Float[Tensor, "N C H W"]:
        """The model's inputs for `images`: what `read` calls `inputs`."""
        return self.read(images).inputs

    def read(self, images: Any) -> Batch:
        """Inputs of the model, the pictures they show, and which part of each picture they cover.

        Args:
            images: a path, a PIL image, a uint8 array (H, W[, C]) or a list of these, which go through
                `preprocess`; or a float tensor (C, H, W) or (N, C, H, W), the model's own input: copied to
                the model's device and type, its values unchanged.

        Raises:
            InvalidValue: no images, no pixels, a pixel that is not finite, a wrong number of channels.
            InvalidType: something else than the above.
            ModelError: pictures for a model without preprocessing.
            PictureError, FileMissing: a picture that cannot be read.
        """
        if isinstance(images, Tensor):
            return self._read_tensor(images)
        sources = list(images) if isinstance(images, list | tuple) else [images]
        if not sources:
            raise InvalidValue("There must be at least one image; got an empty list.")
        if any(isinstance(source, Tensor) for source in sources):
            raise InvalidType("Tensors must come as one (N, C, H, W); got a list: pass torch.stack(images).")
        if self.preprocess is None:
            raise ModelError(
                f"{self.name} does not say how a picture becomes its input: pass a float tensor "
                "(N, C, H, W), or Model(module, preprocess=pellucid.Preprocess(...))."
            )
        pictures = [open_picture(source) for source in sources]
        inputs = torch.stack([self.preprocess(picture) for picture in pictures])
        boxes = [self.preprocess.box(picture) for picture in pictures]
        return Batch(inputs.to(self.device, self.dtype), pictures, boxes)

    def _read_tensor(self, images: Tensor) -> Batch:
        if not images.is_floating_point():
            raise InvalidType(
                f"A tensor must be floating, the model's own input; got {images.dtype}: "
                "pass pictures of 8-bit pixels as arrays (H, W, C)."
            )
        if images.ndim not in (3, 4) or images.numel() == 0:
            raise InvalidValue(
                "A tensor must be (C, H, W) or (N, C, H, W) with at least one pixel; "
                f"got {tuple(images.shape)}."
            )
        home = next(self._floating(), images)  # a callable's device and type are unknown: left as they are
        inputs = images.detach().to(home.device, home.dtype, copy=True)
        inputs = inputs[None] if inputs.ndim == 3 else inputs
        _refuse_non_finite(inputs)
        height, width = inputs.shape[2:]
        return Batch(
            inputs, self.pictures(inputs), [Box(0.0, 0.0, float(width), float(height))] * len(inputs)
        )

    def label(self, index: int) -> str:
        """The name of class `index`, its synonyms left out where that stays unambiguous; "class 282" if none.

        Example:
            >>> Model(nn.Flatten(), labels=["tabby, tabby cat"]).label(0)
            'tabby'
        """
        if self.labels is None or not 0 <= index < len(self.labels):
            return f"class {index}"
        whole = self.labels[index]
        short = _synonyms(whole)[0]
        return short if short and _first_names(self.labels)[short] == 1 else whole

    def class_index(self, target: SupportsIndex | str) -> int:
        """The class meant by an index, a whole label, or one of its synonyms; upper and lower case are one.

        A string of digits is an index unless a class has that very name.

        Raises:
            InvalidValue: an index out of range, an unknown name (the closest ones are told), or a name of
                several classes (all are told).
            InvalidType: neither a whole number nor a string.
        """
        if isinstance(target, bool) or not isinstance(target, SupportsIndex | str):
            raise InvalidType(f"A class must be an index or a name; got {type(target).__name__}.")
        if not isinstance(target, str):
            return self._in_range(index(target))
        found = self._named(target)
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            which = ", ".join(f"{i} ({(self.labels or ())[i]})" for i in found)
            raise InvalidValue(f"{target!r} must name one class; it names {which}: pass the index.")
        if target.strip().isdecimal():
            return self._in_range(int(target))
        if self.labels is None:
            raise InvalidValue(f"{self.name} has no class names: pass a class index; got {target!r}.")
        names = [name for label in self.labels for name in (label, *_synonyms(label))]
        close = difflib.get_close_matches(_folded(target), dict.fromkeys(map(_folded, names)), n=3)
        hint = f"the closest are {', '.join(close)}" if close else "see model.labels"
        raise InvalidValue(f"{self.name} has no class {target!r}: {hint}.")

    def _in_range(self, index: int) -> int:
        if index < 0 or (self.labels is not None and index >= len(self.labels)):
            last = f"from 0 to {len(self.labels) - 1}" if self.labels else "0 or more"
            raise InvalidValue(f"A class index must be {last}; got {index}.")
        return index

    def _named(self, name: str) -> list[int]:
        """The classes `name` fits best: spelled exactly so, else in another case, else as a synonym."""
        labels = self.labels or ()
        return (
            [i for i, label in enumerate(labels) if label == name]
            or [i for i, label in enumerate(labels) if _folded(label) == _folded(name)]
            or [i for i, label in enumerate(labels) if _folded(name) in map(_folded, _synonyms(label))]
        )


def outputs_of(raw: Any) -> Float[Tensor, "N K"]:
    """A model's scores, (N, K), out of whatever it returned.

    Understood are a tensor or array, a mapping or object with `logits` (or out, output, scores, pred), and a
    tuple or list, of which the first floating (N, K) tensor counts. A single-logit head's (N,) becomes
    (N, 1).

    Raises:
        ModelError: no floating tensor (N, K) or (N,) is there.

    Example:
        >>> outputs_of({"logits": torch.zeros(2, 10), "loss": None}).shape
        torch.Size([2, 10])
    """
    scores = _scores(raw)
    if scores is None or not scores.is_floating_point() or scores.ndim not in (1, 2):
        raise ModelError(
            f"A model must give scores (N, K) of K classes; it gives {_described(raw)}: "
            "pass target=callable, which makes one score per image (N,) of this."
        )
    return scores[:, None] if scores.ndim == 1 else scores


def _scores(raw: Any) -> Tensor | None:
    if isinstance(raw, np.ndarray):  # of a callable that runs elsewhere, such as an ONNX Runtime session
        return torch.from_numpy(np.ascontiguousarray(raw))
    if isinstance(raw, Tensor):
        return raw
    fields = raw if isinstance(raw, Mapping) else {n: getattr(raw, n, None) for n in OUTPUT_NAMES}
    for name in OUTPUT_NAMES:
        if isinstance(value := fields.get(name), Tensor):
            return value
    if isinstance(raw, tuple | list):
        tensors = (_scores(item) for item in raw if isinstance(item, Tensor | np.ndarray))
        return next((t for t in tensors if t is not None and t.is_floating_point() and t.ndim == 2), None)
    return None


def _described(raw: Any) -> str:
    if isinstance(raw, Tensor):
        return f"{tuple(raw.shape)}" + ("" if raw.is_floating_point() else f" of {raw.dtype}")
    if isinstance(raw, Mapping):
        entries = ", ".join(f"{key}: {_described(value)}" for key, value in raw.items())
        return f"{type(raw).__name__} with " + (entries or "no keys")
    if isinstance(raw, tuple | list):
        return f"{type(raw).__name__} of " + (", ".join(map(_described, raw)) or "nothing")
    return type(raw).__name__


def config_labels(config: Any) -> tuple[str, ...] | None:
    """The class names of a transformers config; none where they are placeholders ("LABEL_0")."""
    names: Mapping[int, str] = getattr(config, "id2label", None) or {}
    if sorted(names) != list(range(len(names))) or all(names[i] == f"LABEL_{i}" for i in names):
        return None
    return tuple(names[i] for i in range(len(names)))


def _timm_preprocess(module: Any) -> Preprocess | None:
    """The preprocessing a timm module was trained with; none where its channels are no picture's."""
    if not isinstance(getattr(module, "pretrained_cfg", None), Mapping):
        return None
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(module)
    stem = next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), 3)
    if stem % 3 == 0:  # 3, or 3 channels folded out of blocks of pixels
        return Preprocess.from_timm(config)
    return Preprocess.from_timm(config, channels=stem) if stem in (1, 4) else None


def _refuse_non_finite(inputs: Float[Tensor, "N C H W"]) -> None:
    finite = inputs.isfinite()
    if not finite.all():
        n, c, y, x = (int(i) for i in (~finite).nonzero()[0])
        raise InvalidValue(
            f"Every pixel must be finite; image {n} has {inputs[n, c, y, x].item()} at channel {c}, row {y}, "
            f"column {x} (in {inputs.dtype})."
        )


def _shown(image: Float[Tensor, "C H W"]) -> Picture:
    """An input for display only: its range stretched to 8 bits, its first three channels or its first."""
    image = (image[:3] if image.shape[0] >= 3 else image[:1]).cpu().double()
    low, high = image.min(), image.max()
    stretched = (image - low) / (high - low if high > low else 1) * 255
    return open_picture(stretched.round().to(torch.uint8).permute(1, 2, 0).numpy())


def _synonyms(label: str) -> list[str]:
    return [part.strip() for part in label.split(",")]


@lru_cache(maxsize=8)
def _first_names(labels: tuple[str, ...]) -> Counter[str]:
    """How many classes have each first synonym."""
    return Counter(_synonyms(label)[0] for label in labels)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
