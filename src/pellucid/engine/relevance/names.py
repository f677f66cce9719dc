"""The names of operations, by what relevance does at them."""

SAME = (
    "clone", "contiguous", "detach_copy", "to", "type", "type_as", "float",
    "double", "half", "bfloat16", "cpu", "cuda", "alias", "positive", "requires_grad",
)  # fmt: skip
"""Operations that give what they got."""

MOVING = (
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "permute", "transpose",
    "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "squeeze", "unsqueeze", "getitem",
    "narrow", "select", "index_select", "gather", "take_along_dim", "take", "diagonal", "chunk", "split",
    "split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "unsafe_chunk",
    "unsafe_split", "stack", "cat", "hstack", "vstack", "dstack", "roll", "flip", "fliplr", "flipud",
    "rot90", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "sort", "topk",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d_with_indices", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "as_strided",
    "max", "min", "amax", "amin", "aminmax", "maximum", "minimum", "fmax", "fmin", "get T", "get mT",
    "get H", "get mH", "get real", "__iter__", "upsample_nearest",
)  # fmt: skip
"""Operations that only move numbers, or choose among them."""

BESIDE = (
    "cat", "stack", "hstack", "vstack", "dstack", "maximum", "minimum", "max", "min", "fmax", "fmin",
)  # fmt: skip
"""Those among them that take constants as well."""

PARTLY = (
    "pad", "constant_pad_nd", "where", "masked_fill", "tril", "triu", "masked_select", "index_fill",
    "scatter", "slice_scatter", "select_scatter", "index_put", "index_copy", "setitem", "copy", "fill",
    "zero", "unfold",
)  # fmt: skip
"""Operations that move numbers, and put constants beside them or in their place."""

PASSING = (
    "relu", "relu6", "hardtanh", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu",
    "mish", "softplus", "hardswish", "log_softmax", "logsigmoid", "log_sigmoid", "softsign",
    "tanhshrink", "hardshrink", "softshrink", "threshold", "clamp", "clamp_min", "clamp_max", "abs",
    "exp", "expm1", "log", "log1p", "sqrt", "square", "pow", "sin", "cos", "neg", "normalize",
    "local_response_norm", "nan_to_num",
)  # fmt: skip
"""Operations on one number each: it answers for its own relevance."""

GATES = (
    "sigmoid", "tanh", "hardsigmoid", "softmax", "softmin", "erf", "rsqrt", "reciprocal",
)  # fmt: skip
"""Operations whose results scale something else; where they do not, they pass relevance on as activations."""

SIZES = {"norm": 1, "vector_norm": 1, "linalg_norm": 1, "linalg_vector_norm": 1, "std": 1, "var": 2}
"""Operations that tell how large numbers are, gates as well, and their degree: f(t x) = t^degree f(x)."""

AVERAGING = (
    "mean", "sum", "nansum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "cumsum", "lp_pool2d", "grid_sampler", "grid_sample",
    "fold", "upsample_bilinear", "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d",
    "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "interpolate", "upsample",
)  # fmt: skip
"""Linear operations without weights of their own: inputs answer in proportion."""

DROPPING = (
    "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout",
)  # fmt: skip
"""Operations that do nothing, unless a model has them drop numbers while it is evaluated."""

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
