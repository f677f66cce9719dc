"""What is linear in its operands has its own gradient; what is linear in each of two, that in the middle."""

from typing import Any

from pellucid.engine.calls import Call
from pellucid.engine.rescale.integrals import integral
from pellucid.engine.rescale.paired import PairedRun
from pellucid.engine.tables import Table

LINEAR = Table[PairedRun]()


@LINEAR.on(
    "add", "sub", "rsub", "neg", "positive", "sum", "mean", "cumsum", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "interpolate",
    "upsample", "upsample_nearest", "upsample_bilinear", "masked_fill", "view", "view_as", "reshape",
    "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "permute", "transpose", "t",
    "swapaxes", "swapdims", "movedim", "moveaxis", "contiguous", "clone", "detach", "expand",
    "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "roll", "flip", "fliplr",
    "flipud", "rot90", "narrow", "select", "index_select", "getitem", "setitem", "unfold", "fold",
    "diagonal", "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "cat", "stack", "hstack",
    "vstack", "pad", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "to", "type", "float",
    "double", "half", "bfloat16", "type_as", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "alpha_dropout", "feature_alpha_dropout", "tril", "triu",
)  # fmt: skip
def linear(run: PairedRun, call: Call) -> Any:
    """What moves, weighs and adds up numbers, whichever operands depend on the input: its own gradient."""
    return run.pair(call.run(), run.of_references(call))


@LINEAR.on(
    "mul", "matmul", "rmatmul", "linear", "bilinear", "einsum", "addmm", "baddbmm", "addbmm", "dot",
    "outer", "addcmul", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d",
)  # fmt: skip
def product(run: PairedRun, call: Call) -> Any:
    """What is linear in each of two operands: in one, or in both, that depend on the input."""
    match len(run.carriers(call)):
        case 0 | 1:
            return linear(run, call)
        case 2:
            return quadratic(run, call)
        case _:
            return run.other(call)


@LINEAR.on("square", "var", "var_mean")
def quadratic(run: PairedRun, call: Call) -> Any:
    """d(ab) = da (b + b') / 2 + (a + a') / 2 db: the gradient in the middle."""
    return integral(run, call, [0.5], [1.0])
