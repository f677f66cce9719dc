"""Small networks of the usual families, for scenes of 64 by 64 pixels and four classes."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def _convolution(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution with batch normalisation."""
    padding = kernel // 2
    conv = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


class Plain(nn.Module):
    """Four convolutions, a mean over the grid, a linear head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(_convolution(3, 16, 5, 2), nn.ReLU(), _convolution(16, 32, 3, 2), nn.ReLU()),
            *(_convolution(32, 48, 3), nn.ReLU(), _convolution(48, 64, 3, 2), nn.ReLU()),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        scores: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return scores


class _ResidualBlock(nn.Module):
    """Two convolutions around which the input goes, itself or by a convolution of one pixel."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, 3, stride)
        self.first_relu = nn.ReLU()
        self.second = _convolution(after, after, 3)
        same = before == after and stride == 1
        self.around = nn.Identity() if same else _convolution(before, after, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.second(self.first_relu(self.first(x))) + self.around(x))
        return out


class Residual(nn.Module):
    """A small ResNet: a stem and four blocks."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 16, 5, 2), nn.ReLU())
        self.blocks = nn.Sequential(
            *(_ResidualBlock(16, 24, 2), _ResidualBlock(24, 32, 2)),
            *(_ResidualBlock(32, 48, 1), _ResidualBlock(48, 48, 1)),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(48, classes)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        scores: Tensor = self.head(self.pool(self.blocks(self.stem(x))).flatten(1))
        return scores


class _InvertedBlock(nn.Module):
    """Wide, by channel, narrow: the block of MobileNet v2."""

    def __init__(self, before: int, after: int, stride: int, wider: int = 4) -> None:
        super().__init__()
        wide = before * wider
        self.body = nn.Sequential(
            *(_convolution(before, wide, 1), nn.ReLU6()),
            *(_convolution(wide, wide, 3, stride, groups=wide), nn.ReLU6()),
            _convolution(wide, after, 1),
        )
        self.residual = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.residual else out


class Depthwise(nn.Module):
    """A small MobileNet: a stem, inverted residual blocks, a last convolution of one pixel."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 16, 5, 2), nn.ReLU6())
        self.blocks = nn.Sequential(
            *(_InvertedBlock(16, 24, 2, wider=2), _InvertedBlock(24, 40, 2)),
            *(_InvertedBlock(40, 40, 1), _InvertedBlock(40, 40, 1)),
        )
        self.last = nn.Sequential(_convolution(40, 96, 1), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(96, classes)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        scores: Tensor = self.head(self.pool(self.last(self.blocks(self.stem(x)))).flatten(1))
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


class Attention(nn.Module):
    """A vision transformer on an 8 by 8 grid that three convolutions make; the head reads a class token."""

    def __init__(self, classes: int, width: int = 64, heads: int = 4, depth: int = 2, grid: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(_convolution(3, 24, 5, 2), nn.ReLU(), _convolution(24, 48, 3, 2), nn.ReLU()),
            _convolution(48, width, 3, 2),
        )
        self.token = nn.Parameter(torch.zeros(1, 1, width, dtype=torch.float32, device="cpu"))
        self.position = nn.Parameter(
            torch.randn(1, 1 + grid**2, width, dtype=torch.float32, device="cpu") * 0.02
        )
        self.blocks = nn.Sequential(*(_TransformerBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        grid = self.stem(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), grid], 1) + self.position
        scores: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return scores


NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "plain": Plain,
    "residual": Residual,
    "depthwise": Depthwise,
    "attention": Attention,
}
"""By name, each made with its number of classes."""
