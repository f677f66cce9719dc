"""CAM, the first class activation map."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pellucid.errors import ModelError
from pellucid.methods.cam.form import cam
from pellucid.probe import At


@cam("cam", paper="Zhou et al. 2016, arXiv:1512.04150", gradient=False, signed=True)
def class_activation_map(at: At) -> Float[Tensor, "N K"]:
    """sum_k w_k A_k, w_k the weights of the class in the one Linear behind a global average pool; signed.

    Its mean over positions is the score without its bias. A contrast or a probability weighs the rows of
    the Linear by the score's derivative with respect to the logits.

    Raises:
        ModelError: the head is not a global average pool and one Linear (or 1x1 convolution).

    Cost:
        1 forward.

    Source:
        eq. 2.
    """
    outputs = at.probe.outputs.detach().requires_grad_()
    W = head(at)  # (classes, K)
    with torch.enable_grad():
        slope = torch.autograd.grad(at.probe.score.of_outputs(outputs).sum(), outputs)[0]  # (N, classes)
    return slope @ W


def head(at: At) -> Float[Tensor, "classes K"]:
    """The weights W of the model's head, checked on this very batch: outputs = W mean_ij(A) + b."""
    outputs = at.probe.outputs
    pooled = at.A.mean((2, 3)).to(outputs)
    shape = (outputs.shape[1], pooled.shape[1])
    for module in at.probe.engine.network.modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or module.weight.flatten(1).shape != shape:
            continue
        W = module.weight.detach().flatten(1).to(outputs)  # half, where that is what ran
        bias = torch.zeros_like(outputs[0]) if module.bias is None else module.bias.detach().to(outputs)
        tolerance = 50 * torch.finfo(outputs.dtype).eps ** 0.75 * outputs.abs().max()
        if ((pooled @ W.T + bias) - outputs).abs().max() <= tolerance:
            return W
    raise ModelError(
        f"CAM needs a global average pool and one Linear behind its layer; behind {at.name} this model has "
        "something else. grad-cam generalises it to any head."
    )
