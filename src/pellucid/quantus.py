"""Pellucid's methods as an `explain_func` of Quantus."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.explain import explain


def quantus_explain(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> np.ndarray:
    """Explains as Quantus asks: any method by name, for `explain_func=pellucid.quantus_explain`.

    Args:
        model: the network.
        inputs: (N, C, H, W), an array or a tensor: the model's own input.
        targets: (N,), class indices.
        **kwargs: `explain_func_kwargs` of Quantus: `method`, by default "grad-cam", and its options.
            `device`, where to run, is taken as Quantus passes it.

    Returns:
        (N, 1 or C, H, W) float32, on the CPU.

    Raises:
        PellucidError: what `explain` raises.

    Cost:
        The method's.

    Source:
        https://quantus.readthedocs.io, "Getting started".

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        >>> x = np.zeros((2, 3, 8, 8), "float32")
        >>> quantus_explain(net, x, np.array([0, 1]), method="saliency").shape
        (2, 1, 8, 8)
    """
    method = kwargs.pop("method", "grad-cam")
    device = kwargs.pop("device", None)
    kwargs.setdefault("progress", False)
    batch = inputs if isinstance(inputs, Tensor) else torch.from_numpy(np.ascontiguousarray(inputs))
    first = next((parameter for parameter in model.parameters()), None)
    place = device or (first.device if first is not None else "cpu")
    batch = batch.to(place, first.dtype if first is not None else torch.float32)
    classes = np.asarray(targets.detach().cpu() if isinstance(targets, Tensor) else targets).reshape(-1)
    wanted = [int(one) for one in classes]
    found = explain(model, batch, method, target=wanted if len(wanted) > 1 else wanted[0], **kwargs)
    maps: np.ndarray = found.attribution.numpy()
    return maps
