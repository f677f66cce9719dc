"""What each operation makes of the axes that hold a picture's rows and columns: a rule for each name.

A rule gives the axes of what an operation made, or None where it cannot tell.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pellucid.engine.axes.broadcasting import ELEMENTWISE, elementwise
from pellucid.engine.axes.joining import cat, repeat, stack
from pellucid.engine.axes.kinds import Axes
from pellucid.engine.axes.moving import flip, permute, transpose
from pellucid.engine.axes.operands import Operands
from pellucid.engine.axes.products import attention, einsum, glu, linear, matmul, recurrent
from pellucid.engine.axes.reshaping import reshape
from pellucid.engine.axes.slicing import getitem, narrow, reduce, select, split
from pellucid.engine.axes.windows import POOLS, pad, pixel_shuffle, windows

Rule = Callable[[Operands, Any, Any, Tensor, int], Axes | None]
MAKERS = {
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like",
    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "new", "size", "dim",
}  # fmt: skip
"""Operations that only take a tensor's shape or type."""
LIKE = {"to", "type_as", "expand_as", "view_as", "reshape_as"}
"""Operations that only take the shape or type of what they are given second."""
KNOWN_RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(
        (*POOLS, "conv2d", "conv_transpose2d", "interpolate", "upsample", "upsample_nearest",
         "upsample_bilinear"), windows),
    "pad": pad,
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"), pixel_shuffle),
    "permute": permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "get T", "get mT"), transpose),
    **dict.fromkeys(("flip", "fliplr", "flipud"), flip),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as",
                     "reshape_as"), reshape),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "prod", "std", "var", "norm", "logsumexp",
                     "linalg_vector_norm", "argmax", "argmin", "median", "any", "all", "nanmean", "std_mean",
                     "var_mean"), reduce),
    "getitem": getitem,
    "narrow": narrow,
    "select": select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind", "tensor_split", "unsafe_chunk",
                     "unsafe_split"), split),
    "cat": cat,
    "stack": stack,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to", "repeat", "tile"), repeat),
    "linear": linear,
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), attention),
    "matmul": matmul,
    "einsum": einsum,
    "glu": glu,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell",
                     "rnn_relu_cell"), recurrent),
}  # fmt: skip
