"""What operations in place make of tensors that nothing may overwrite: new ones, for all who hold the old."""

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TypeVar
from weakref import ref

from torch import Tensor

from pellucid.errors import ModelError

T = TypeVar("T")


class ByTensor(MutableMapping[Tensor, T]):
    """A mapping from tensors by identity that keeps none of them alive.

    Example:
        >>> import torch
        >>> names, x = ByTensor(), torch.ones(2)
        >>> names[x] = "ones"
        >>> x in names, torch.ones(2) in names
        (True, False)
        >>> del x
        >>> len(names)
        0
    """

    def __init__(self) -> None:
        self.kept: dict[int, tuple[ref[Tensor], T]] = {}

    def __contains__(self, tensor: object) -> bool:
        return id(tensor) in self.kept

    def __getitem__(self, tensor: Tensor) -> T:
        return self.kept[id(tensor)][1]

    def __setitem__(self, tensor: Tensor, value: T) -> None:
        kept, key = self.kept, id(tensor)
        if key in kept:
            kept[key] = kept[key][0], value
        else:
            kept[key] = ref(tensor, lambda _: kept.pop(key, None)), value

    def __delitem__(self, tensor: Tensor) -> None:
        del self.kept[id(tensor)]

    def __iter__(self) -> Iterator[Tensor]:
        return _alive(kept for kept, _ in list(self.kept.values()))

    def __len__(self) -> int:
        return len(self.kept)

    def clear(self) -> None:
        """Forgets all."""
        self.kept.clear()


class Memory:
    """The tensors of one run: what is written to one is seen in all that share its memory.

    `now` tells what has become of tensors that were written to. A write makes new tensors: of the one it was
    meant for, of the whole that it is a view of, and of the other views of that whole.
    """

    def __init__(self) -> None:
        self.now: ByTensor[Tensor] = ByTensor()
        self._before: ByTensor[list[ref[Tensor]]] = ByTensor()  # what each of the new ones stands for
        self._views: dict[int, dict[int, ref[Tensor]]] = {}  # by storage

    def latest(self, tensor: Tensor) -> Tensor:
        """What has become of a tensor."""
        now = self.now.kept.get(id(tensor))
        return tensor if now is None else now[1]

    def watch(self, tensor: Tensor) -> None:
        """Keeps in mind that a tensor is a view, if it is one."""
        if tensor._is_view():
            self._views.setdefault(tensor.untyped_storage()._cdata, {})[id(tensor)] = ref(tensor)

    def write(self, tensor: Tensor, made: Tensor, where: str = "") -> list[Tensor]:
        """Lets a tensor have become what was made of it; gives all new tensors. Errors say `where`.

        Raises:
            ModelError: the new numbers cannot be laid as the old ones, which a view of them needs.
        """
        old = self.latest(tensor)
        if made is old:
            return []
        views = list(_alive(self._views.get(old.untyped_storage()._cdata, {}).values()))
        if not views and not old._is_view():
            return [self._become(old, made)]
        whole = old._base if old._is_view() and old._base is not None else old
        if made.dtype != whole.dtype or made.shape != old.shape or not _dense(whole):
            raise ModelError(
                f"The model{where} changes a view of its activations in place, which cannot be followed: the "
                "view has another type or shape than they, or they share memory among themselves. Write it "
                "without the change in place, or use a gradient method."
            )
        fresh = whole.clone()
        start = fresh.storage_offset() - whole.storage_offset()
        fresh.as_strided(old.size(), old.stride(), old.storage_offset() + start).copy_(made)
        seen = [(v, fresh.as_strided(v.size(), v.stride(), v.storage_offset() + start)) for v in views]
        return [self._become(whole, fresh), *(self._become(view, new) for view, new in seen)]

    def clear(self) -> None:
        """Forgets all."""
        self.now.clear()
        self._before.clear()
        self._views.clear()

    def _become(self, old: Tensor, new: Tensor) -> Tensor:
        before = [*self._before.pop(old, []), ref(old)]
        for tensor in _alive(before):
            self.now[tensor] = new
        self._before[new] = before
        return new


def _alive(kept: Iterable[ref[Tensor]]) -> Iterator[Tensor]:
    return (tensor for one in kept if (tensor := one()) is not None)


def _dense(tensor: Tensor) -> bool:
    """Whether its elements fill a piece of memory, each a place of its own: then a clone is laid as it is."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.size(), strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True
