"""The precisions that a model may run in."""

import torch

from pellucid.choices import Precision as Precision


def bf16_autocast(device: torch.device) -> torch.autocast:
    """The model in bfloat16; weights that are cast for it are not shared with autocast of other threads."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


HALF = (torch.float16, torch.bfloat16)
"""Precisions in which nothing is replaced: relevance of a network in half precision is had in float32."""
