"""What small networks are made of: convolutions, residual blocks, attention."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def convolution(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution with batch normalisation."""
    padding = kernel // 2
    conv = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


class ResidualBlock(nn.Module):
    """Two convolutions around which the input goes, itself or by a convolution of one pixel."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(before, after, 3, stride)
        self.first_relu = nn.ReLU()
        self.second = convolution(after, after, 3)
        same = before == after and stride == 1
        self.around = nn.Identity() if same else convolution(before, after, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways, rectified."""
        out: Tensor = self.relu(self.second(self.first_relu(self.first(x))) + self.around(x))
        return out


class ResidualNetwork(nn.Module):
    """A stem, residual blocks, a mean over the grid, a linear head."""

    def __init__(self, stem: nn.Sequential, blocks: nn.Sequential, width: int, classes: int) -> None:
        super().__init__()
        self.stem, self.blocks = stem, blocks
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        scores: Tensor = self.head(self.pool(self.blocks(self.stem(x))).flatten(1))
        return scores


class _Attention(nn.Module):
    """Attention of several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "N T D"]) -> Float[Tensor, "N T D"]:
        images, tokens, width = x.shape
        parts = self.qkv(x).reshape(images, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(images, tokens, width))
        return out


class _TransformerBlock(nn.Module):
    """Attention, then a layer for each token, each with normalisation before it and a way around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """A transformer on the grid that a stem makes; the head reads a class token."""

    def __init__(
        self, stem: nn.Sequential, grid: int, width: int, heads: int, depth: int, classes: int
    ) -> None:
        super().__init__()
        self.stem = stem
        self.token = nn.Parameter(torch.zeros(1, 1, width, dtype=torch.float32, device="cpu"))
        self.position = nn.Parameter(
            torch.randn(1, 1 + grid**2, width, dtype=torch.float32, device="cpu") * 0.02
        )
        self.blocks = nn.Sequential(*(_TransformerBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        grid = self.stem(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), grid], 1) + self.position
        scores: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return scores
