"""Operations that move numbers or choose among them: relevance goes where the numbers came from."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten

from pellucid.engine.calls import Call, Tag
from pellucid.engine.relevance.backward import custom_backward, gradients
from pellucid.engine.relevance.run import Run
from pellucid.engine.tables import Table

SHAPES = Table[Run]()


@SHAPES.on(
    "clone", "contiguous", "detach_copy", "to", "type", "type_as", "float", "double", "half", "bfloat16",
    "cpu", "cuda", "alias", "positive", "requires_grad",
)  # fmt: skip
def same(run: Run, call: Call) -> Any:
    """What gives the numbers that it got: its gradient, and what was known of them."""
    made, (x, *_) = call.run(), run.carriers(call)
    if made is not x and isinstance(made, Tensor) and made.requires_grad:
        run.tags[made] = Tag(dict(run.tags[x].notes))
    return made


@SHAPES.on(
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "permute", "transpose",
    "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "squeeze", "unsqueeze", "getitem",
    "narrow", "select", "index_select", "gather", "take_along_dim", "take", "diagonal", "chunk", "split",
    "split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "unsafe_chunk",
    "unsafe_split", "roll", "flip", "fliplr", "flipud", "rot90", "expand", "expand_as", "broadcast_to",
    "repeat", "repeat_interleave", "tile", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "native_channel_shuffle", "sort", "topk", "as_strided", "amax", "amin", "aminmax", "get T", "get mT",
    "get H", "get mH", "get real", "__iter__",
)  # fmt: skip
def moved(run: Run, call: Call) -> Any:
    """What only moves numbers, or chooses among them: its own gradient."""
    return inherit(run, call.run(), run.carriers(call))


@SHAPES.on(
    "cat", "stack", "hstack", "vstack", "dstack", "maximum", "minimum", "max", "min", "fmax", "fmin",
)  # fmt: skip
def joined(run: Run, call: Call) -> Any:
    """What puts tensors side by side or chooses among them: some may be constants."""
    given = [v for v in tree_flatten((call.args, call.kwargs))[0] if isinstance(v, Tensor)]
    constants = len(given) > len(run.carriers(call))
    return filled(run, call) if constants else moved(run, call)


@SHAPES.on(
    "pad", "constant_pad_nd", "where", "masked_fill", "tril", "triu", "masked_select", "index_fill",
    "scatter", "slice_scatter", "select_scatter", "index_put", "index_copy", "setitem", "copy", "fill",
    "zero", "unfold",
)  # fmt: skip
def filled(run: Run, call: Call) -> Any:
    """What moves numbers and puts constants beside them: its own gradient; what falls to these is counted."""
    carriers = run.carriers(call)

    def backward(relevance: Tensor) -> Sequence[Tensor]:
        went = gradients(call, carriers, relevance)
        run.account.count_constants(relevance, went)
        return went

    return inherit(run, custom_backward(call.value, backward, *carriers), carriers)


def inherit(run: Run, made: Any, carriers: Sequence[Tensor]) -> Any:
    """What was made is the picture itself, or a gate, if all that it was made of is."""
    kept = {name: all(run.note(x, name) for x in carriers) for name in ("raw", "gate")}
    for value in tree_flatten(made)[0]:
        if isinstance(value, Tensor) and value.requires_grad:
            run.noted(value, **kept)
    return made
