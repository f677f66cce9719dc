"""What a model takes besides the picture: further inputs, whose rows follow the pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import InvalidType, InvalidValue
from pellucid.structures import plain

AS_IT_IS, BY_ROW, ONE_ROW = "as it is", "one row per image", "one row for all images"


@dataclass(frozen=True)
class Extras:
    """What a model is given besides its picture.

    Attributes:
        before, after: the arguments before the picture and behind it.
        keywords: by name.
        name: the picture's own name, where it is given by name.
        images: how many images there are: what has as many rows has one for each.
    """

    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] | None = None
    name: str | None = None
    images: int = 1

    def call(self, module: Callable[..., Any], inputs: Tensor, numbers: Sequence[int] | None) -> Any:
        """What the module gives for inputs made of the images so numbered."""
        rows = range(len(inputs)) if numbers is None else numbers
        which = torch.tensor(list(rows), dtype=torch.long, device="cpu")

        def some(value: Any) -> Any:
            if isinstance(value, Tensor):
                value = value.to(inputs.device)
            return value[_like(which, value)] if self.by_row(value) else value

        keywords = {name: some(value) for name, value in (self.keywords or {}).items()}
        before, after = map(some, self.before), map(some, self.after)
        if self.name is not None:
            return module(*before, *after, **{self.name: inputs}, **keywords)
        return module(*before, inputs, *after, **keywords)

    def by_row(self, value: Any) -> bool:
        """Whether a value has one row for each image."""
        return isinstance(value, Tensor | np.ndarray) and value.ndim > 0 and len(value) == self.images

    def first(self) -> "Extras":
        """Those of the first image alone."""
        return self.of(0)

    def of(self, image: int) -> "Extras":
        """Those of one image alone."""

        def one(value: Any) -> Any:
            return value[image : image + 1] if self.by_row(value) else value

        keywords = {name: one(value) for name, value in (self.keywords or {}).items()}
        return Extras(tuple(map(one, self.before)), tuple(map(one, self.after)), keywords, self.name)

    def of_type(self, dtype: torch.dtype) -> "Extras":
        """The same with floating tensors of another type."""

        def cast(value: Any) -> Any:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        keywords = {name: cast(value) for name, value in (self.keywords or {}).items()}
        before, after = tuple(map(cast, self.before)), tuple(map(cast, self.after))
        return replace(self, before=before, after=after, keywords=keywords)

    def report(self) -> dict[str, str]:
        """How each is passed on."""
        named = {**self._by_place(self.before), **self._by_place(self.after), **(self.keywords or {})}
        return {name: self._passed(value) for name, value in named.items()}

    def _by_place(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The arguments before the picture, or those behind it, by name: "input 1" is the second."""
        first = 0 if values is self.before else len(self.before) + 1
        return {f"input {first + i}": value for i, value in enumerate(values)}

    def _passed(self, value: Any) -> str:
        if self.by_row(value):
            return BY_ROW
        return ONE_ROW if isinstance(value, Tensor) and value.ndim > 1 and len(value) == 1 else AS_IT_IS

    def of_images(self, images: int, dtype: torch.dtype) -> "Extras":
        """Those of so many images: numbers with a row for each, or one for all, become tensors.

        Raises:
            InvalidValue: an input with several rows, but not one for each image.
        """

        def rows(named: Mapping[str, Any]) -> dict[str, Any]:
            return {name: _rows(name, value, images, dtype) for name, value in named.items()}

        before, after = (tuple(rows(self._by_place(some)).values()) for some in (self.before, self.after))
        return replace(self, before=before, after=after, keywords=rows(self.keywords or {}), images=images)


def _rows(name: str, value: Any, images: int, dtype: torch.dtype) -> Any:
    """An input's value: a tensor of the model's type where it has rows; numbers of an array stay whole."""
    if isinstance(value, Tensor):
        found = value
    elif isinstance(value, np.ndarray | list | tuple):
        try:
            array = np.asarray(value)
        except ValueError:  # rows of different lengths
            return value
        if array.dtype.kind not in "fiub" or not array.ndim:
            return value
        found = torch.from_numpy(np.array(array))
        if array.dtype.kind == "f" or not isinstance(value, np.ndarray):
            found = found.to(dtype)
    else:
        return value
    if found.ndim > 1 and len(found) not in (1, images):
        keyword = name if name.isidentifier() else "argument"
        raise InvalidValue(
            f"{name} must have one row for each image, or one for all; it has {len(found)} rows for "
            f"{images} image{'' if images == 1 else 's'} (a fixed table is bound to the model: "
            f"functools.partial(model, {keyword}=…))."
        )
    return found if found.ndim and (len(found) == images or found.ndim > 1) else value


def _like(which: Tensor, value: Any) -> Any:
    return which.to(value.device) if isinstance(value, Tensor) else which.numpy()


def several(images: Any) -> tuple[Any, Extras | None]:
    """The picture of several inputs, and the others: of (x, meta) or {"x": x, "meta": meta}.

    The picture is the first floating tensor (N, C, H, W), else the first input. A tuple of pictures is
    none of these.

    Raises:
        InvalidValue: an empty mapping.
        InvalidType: a list of tensors.
    """
    if isinstance(images, Mapping):
        if not images or not all(isinstance(key, str) for key in images):
            raise InvalidValue(
                "A mapping must hold the model's inputs by name, such as {'x': x, 'meta': meta}; "
                f"got {list(images)}."
            )
        names = list(images)
        name = next((key for key in names if _is_batch(images[key])), names[0])
        rest = {key: _kept(images[key]) for key in names if key != name}
        return images[name], Extras(keywords=rest, name=name)
    if isinstance(images, tuple) and len(images) > 1 and _is_call(images):
        at = next((i for i, value in enumerate(images) if _is_batch(value)), 0)
        kept = tuple(map(_kept, images))
        return images[at], Extras(kept[:at], kept[at + 1 :])
    if isinstance(images, tuple | list) and any(isinstance(one, Tensor) for one in images):
        raise InvalidType(
            "Tensors must come as one (N, C, H, W); got a "
            f"{type(images).__name__}: pass torch.stack(images), or a tuple (images, further inputs) if the "
            "model takes several inputs."
        )
    return images, None


def _is_batch(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point()


def _is_call(images: tuple[Any, ...]) -> bool:
    """Whether a tuple is the inputs of one call, not several pictures."""
    first, *rest = images
    if any(map(_is_batch, images)):
        return True
    pictures = isinstance(first, list | tuple)
    return pictures and all(isinstance(one, Tensor) for one in rest)


def _kept(value: Any) -> Any:
    return plain(value).detach() if isinstance(value, Tensor) else value


def with_keywords(extras: Extras | None, forward_kwargs: Mapping[str, Any] | None) -> Extras | None:
    """Further inputs with keyword arguments added.

    Raises:
        InvalidType: no mapping of names.
        InvalidValue: a name that is there already.
    """
    if forward_kwargs is None:
        return extras
    if not isinstance(forward_kwargs, Mapping) or not all(isinstance(key, str) for key in forward_kwargs):
        raise InvalidType(
            f"forward_kwargs must be a mapping of names to values; got {type(forward_kwargs).__name__}."
        )
    extras = extras or Extras()
    known = dict(extras.keywords or {})
    twice = [name for name in forward_kwargs if name in known or name == extras.name]
    if twice:
        raise InvalidValue(f"forward_kwargs must not name an input again; {twice[0]!r} is given twice.")
    keywords = {**known, **{name: _kept(value) for name, value in forward_kwargs.items()}}
    return Extras(extras.before, extras.after, keywords, extras.name)
