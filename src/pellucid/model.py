"""A classifier as Pellucid sees it: a module, what happens to a picture before it, and class names.

`Model` keeps no state of its own and never switches the module's mode; running it is the engine's job.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from pellucid.errors import InvalidType, ModelError
from pellucid.gathering import as_input, sources_of
from pellucid.grey import check_range
from pellucid.images import Batch, Box, Picture, open_pictures, seen_as
from pellucid.input_tensors import as_picture, checked_tensor, refuse_nonfinite
from pellucid.inputs import Extras, several, with_keywords
from pellucid.labels import class_label, class_names, config_labels, find_class
from pellucid.output_scale import Origin, ScaleName, check_scale
from pellucid.outputs import OutputKey, Reading, read_outputs
from pellucid.preprocess import Preprocess
from pellucid.structures import tensor_of
from pellucid.transforms import (
    as_preprocess,
    is_deep,
    reads_itself,
    stacked,
    timm_preprocess,
    transformed,
)

EIGHT_BITS = (
    "The preprocess does not take pictures of mode {}, as Pillow opens this one: its resize, crop and "
    "normalisation were applied to the values scaled to 0 to 1."
)
UNKNOWN_CROP = (
    "The preprocess does not tell which part of the picture it keeps: the map lies on the model's input, not "
    "on the picture (pass a pellucid.Preprocess for that)."
)


class Model:
    """A module or callable (N, C, H, W) -> scores, with its preprocessing and class names.

    Args:
        module: an `nn.Module` (a DataParallel wrapper is taken off), or any callable on tensors.
        preprocess: makes inputs of pictures: a `Preprocess`, or any callable `PIL image -> tensor (C, H, W)`,
            such as a torchvision `Compose`, of which resize, crop and normalisation are read off where that
            can be proven; else maps are drawn on the input itself. A callable is given each picture as Pillow
            opens it, upright and in its own mode: I;16, F, L, RGBA, P, …; what was read off is for 8 bits,
            taken as RGB. Without it only float tensors can be read.
        labels: one name per class, as a list or array, {index: name} or {name: index}, or the `Path` of a
            file (one a line, or JSON); synonyms may be separated by commas ("tabby, tabby cat").
        name: what captions call the model; the module's class name unless given. The attribute `note` is
            told of every picture that is read: what was assumed of the preprocessing.
        output_key: which of several outputs holds the classes' scores: an index, a name, or a callable
            `raw output -> (N, K)`; found out unless given, or refused where that cannot be.
        output_scale: what the scores are: "logit", "probability" or "log-probability"; found out if None.
        multi_label: whether each class is a question of its own (a sigmoid each), not one of several that
            exclude one another (a softmax); found out unless given, for logits False.
        range: the values that are black and white in pictures of more than 8 bits, as in (0, 4095); else what
            each file declares, or the smallest usual white that holds all pictures read together.

    Raises:
        InvalidType: `module` cannot be called, `preprocess` neither, or `labels` are none.
        InvalidValue: labels that do not name each class once, another `output_scale`.

    Example:
        >>> model = Model(nn.Flatten(), labels=["tabby, tabby cat", "tiger cat"])
        >>> model.class_index("tabby"), model.label(1), model.label(7)
        (0, 'tiger cat', 'class 7')
    """

    def __init__(
        self,
        module: Any,
        *,
        preprocess: Preprocess | Callable[[Image.Image], Any] | None = None,
        labels: Any = None,
        name: str | None = None,
        output_key: OutputKey | None = None,
        output_scale: str | None = None,
        multi_label: bool | None = None,
        range: Any = None,
    ) -> None:
        if not callable(module):
            raise InvalidType(
                f"A model must be a pellucid.Model, an nn.Module or a callable; got {type(module).__name__}."
            )
        check_scale(output_scale)
        if multi_label is not None and not isinstance(multi_label, bool):
            raise InvalidType(f"multi_label must be True, False or None; got {multi_label!r}.")
        if not (output_key is None or callable(output_key) or isinstance(output_key, int | str)):
            raise InvalidType(
                f"output_key must be an index, a name or a callable; got {type(output_key).__name__}."
            )
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper skips the hooks of its parts
        self.module: nn.Module | Callable[[Tensor], Any] = module
        self.preprocess, self.transform = as_preprocess(preprocess)
        # What resize, crop and normalisation were read off still reads pictures of more than 8 bits itself.
        self._read_off = (self.preprocess, self.transform) if self.preprocess is not None else None
        if self.preprocess is not None:
            self.transform = None
        self.labels = None if labels is None else class_names(labels)
        self.note, self.range = "", check_range(range)
        self.output_key, self.output_scale, self.multi_label = output_key, output_scale, multi_label
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
        wrapped.preprocess = timm_preprocess(wrapped.module)
        wrapped.labels = config_labels(getattr(wrapped.module, "config", None))
        return wrapped

    def __call__(
        self,
        inputs: Float[Tensor, "N C H W"],
        extras: Extras | None = None,
        numbers: Sequence[int] | None = None,
    ) -> Any:
        """The module's raw output; `extras` go along, their rows those of the images so numbered."""
        return self.module(inputs) if extras is None else extras.call(self.module, inputs, numbers)

    def reading(
        self, raw: Any, rows: int | None, origin_of: Callable[[Any], Origin] | None = None
    ) -> Reading:
        """How the raw output of so many images is read; `origin_of` tells how an output came about.

        Raises:
            ModelError, InvalidValue: see `pellucid.outputs.read_outputs`.
        """
        config = getattr(self.module, "config", None)
        problem = getattr(config, "problem_type", None) == "multi_label_classification"
        counts = {
            "labels": len(self.labels) if self.labels else None,
            "the model's config": getattr(config, "num_labels", None),
            "the model's num_classes": getattr(self.module, "num_classes", None),
        }
        return read_outputs(
            raw,
            rows,
            key=self.output_key,
            name=cast(ScaleName | None, self.output_scale),
            multi_label=True if problem and self.multi_label is None else self.multi_label,
            classes={who: n for who, n in counts.items() if isinstance(n, int) and n > 1},
            **({} if origin_of is None else {"origin_of": origin_of}),
        )

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
        return self.preprocess.undo(inputs) if self.preprocess else [as_picture(one) for one in inputs]

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

    def read(self, images: Any, forward_kwargs: Mapping[str, Any] | None = None) -> Batch:
        """Inputs of the model, the pictures they show, and which part of each picture they cover.

        Args:
            images: a path, a folder (with all below it), a glob, a PIL image, a uint8 array (H, W[, C]), or
                any iterable of these, which go through `preprocess` (files of a folder or glob that cannot be
                read are left out, with a warning); or a float tensor or array (C, H, W) or
                (N, C, H, W), the model's own input: copied to the model's device and type, its values
                unchanged. A model of several inputs takes a tuple (images, further inputs) or a mapping of
                its arguments' names.
            forward_kwargs: further arguments of the model by name; tensors, arrays and lists of numbers
                with one row per image follow the images, one row serves all of them.

        Raises:
            InvalidValue: no images, no pixels, a pixel that is not finite, a wrong number of channels.
            InvalidType: something else than the above.
            ModelError: pictures for a model without preprocessing, or one that fails on them.
            PictureError, FileMissing: a picture that cannot be read.
        """
        images, extras = several(images)
        extras = with_keywords(extras, forward_kwargs)
        if isinstance(images, np.ndarray) and images.dtype.kind == "f":
            images = tensor_of(as_input(images))
        batch = self._read_tensor(images) if isinstance(images, Tensor) else self._read_pictures(images)
        if extras is None:
            return batch
        extras = extras.of_images(len(batch.inputs), self.dtype)
        return replace(batch, extras=extras, chosen={**batch.chosen, "further inputs": extras.report()})

    def _read_pictures(self, images: Any) -> Batch:
        sources = sources_of(images)
        preprocess, transform = self.preprocess, self.transform
        if preprocess is None and transform is None:
            raise ModelError(
                f"{self.name} does not say how a picture becomes its input: pass a float tensor "
                "(N, C, H, W), or Model(module, preprocess=pellucid.Preprocess(...)); on the "
                "command line, --size."
            )
        opened = open_pictures(
            [one.given for one in sources], range=self.range, optional=[one.found for one in sources]
        )
        pictures = [one.remarked(self.note) for one in opened]
        if preprocess is not None:
            made = [self._input(preprocess, picture) for picture in pictures]
            inputs = stacked([one for one, _ in made]).to(self.device, self.dtype)
            refuse_nonfinite(inputs)
            boxes = [preprocess.box(picture) for picture in pictures]
            return Batch(inputs, [picture for _, picture in made], boxes)
        inputs = transformed(cast(Callable[[Image.Image], Any], transform), pictures).to(
            self.device, self.dtype
        )
        refuse_nonfinite(inputs)
        batch = self._as_they_are(inputs)
        seen = [
            replace(own, name=p.name, path=p.path, note=p.note, remarks=p.remarks).remarked(UNKNOWN_CROP)
            for own, p in zip(batch.pictures, pictures, strict=True)
        ]
        reported = {"choice": "the input itself", "because": "preprocess does not tell what it crops"}
        return replace(batch, pictures=seen, chosen={**batch.chosen, "picture": reported})

    def _input(self, preprocess: Preprocess, picture: Picture) -> tuple[Float[Tensor, "C H W"], Picture]:
        """What becomes of a picture, and the picture, with a note where that is not as it may seem."""
        seen = seen_as(picture, preprocess.box(picture), preprocess.size, len(preprocess.mean))
        # Explanations keep pictures, and need no second copy.
        shown = replace(picture, source=None, grey=None).remarked(*seen)
        read, transform = self._read_off or (None, None)
        if transform is None or read is not preprocess or not is_deep(picture):
            return preprocess(picture), shown
        made = reads_itself(transform, picture, preprocess)
        if made is not None:
            return made, shown
        return preprocess(picture), shown.remarked(EIGHT_BITS.format(picture.opened.mode))

    def _read_tensor(self, images: Tensor) -> Batch:
        images = checked_tensor(images)
        home = next(self._floating(), images)  # a callable's device and type are unknown: left as they are
        inputs = images.to(home.device, home.dtype, copy=True)
        inputs = inputs[None] if inputs.ndim == 3 else inputs
        refuse_nonfinite(inputs)
        return self._as_they_are(inputs)

    def _as_they_are(self, inputs: Float[Tensor, "N C H W"]) -> Batch:
        """Ready inputs, and what they show of themselves."""
        channels, height, width = inputs.shape[1:]
        chosen = {}
        if self.preprocess is None and channels not in (1, 3):
            chosen["picture"] = {"choice": f"the mean of {channels} channels, in grey"}
        whole = [Box(0.0, 0.0, float(width), float(height))] * len(inputs)
        return Batch(inputs, self.pictures(inputs), whole, chosen=chosen)

    def label(self, index: int) -> str:
        """The name of class `index`, its synonyms left out where that stays unambiguous; "class 282" if none.

        Example:
            >>> Model(nn.Flatten(), labels=["tabby, tabby cat"]).label(0)
            'tabby'
        """
        return class_label(self.labels, index)

    def class_index(self, target: SupportsIndex | str) -> int:
        """The class meant by an index, a whole label, or one of its synonyms.

        Articles, plurals and the order of words do not count; a part of a name is refused, with the names
        that have it. Upper and lower case are one. A string of digits is an index unless a class has that
        very name.

        Raises:
            InvalidValue: an index out of range, an unknown name (the closest ones are named), a name of
                several classes, or only a part of names (they are named).
            InvalidType: neither a whole number nor a string.
        """
        return find_class(self.labels, target, self.name)
