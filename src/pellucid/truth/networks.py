"""Small networks of the usual families, for scenes of 64 by 64 pixels and four classes."""

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.networks.blocks import ResidualBlock, ResidualNetwork, VisionTransformer, convolution


class Plain(nn.Module):
    """Four convolutions, a mean over the grid, a linear head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(convolution(3, 16, 5, 2), nn.ReLU(), convolution(16, 32, 3, 2), nn.ReLU()),
            *(convolution(32, 48, 3), nn.ReLU(), convolution(48, 64, 3, 2), nn.ReLU()),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        scores: Tensor = self.head(self.pool(self.features(x)).flatten(1))
        return scores


def residual(classes: int) -> ResidualNetwork:
    """A small ResNet: a stem and four blocks."""
    stem = nn.Sequential(convolution(3, 16, 5, 2), nn.ReLU())
    blocks = nn.Sequential(
        *(ResidualBlock(16, 24, 2), ResidualBlock(24, 32, 2)),
        *(ResidualBlock(32, 48, 1), ResidualBlock(48, 48, 1)),
    )
    return ResidualNetwork(stem, blocks, 48, classes)


class _InvertedBlock(nn.Module):
    """Wide, by channel, narrow: the block of MobileNet v2."""

    def __init__(self, before: int, after: int, stride: int, wider: int = 4) -> None:
        super().__init__()
        wide = before * wider
        self.body = nn.Sequential(
            *(convolution(before, wide, 1), nn.ReLU6()),
            *(convolution(wide, wide, 3, stride, groups=wide), nn.ReLU6()),
            convolution(wide, after, 1),
        )
        self.residual = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.residual else out


class Depthwise(nn.Module):
    """A small MobileNet: a stem, inverted residual blocks, a last convolution of one pixel."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16, 5, 2), nn.ReLU6())
        self.blocks = nn.Sequential(
            *(_InvertedBlock(16, 24, 2, wider=2), _InvertedBlock(24, 40, 2)),
            *(_InvertedBlock(40, 40, 1), _InvertedBlock(40, 40, 1)),
        )
        self.last = nn.Sequential(convolution(40, 96, 1), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(96, classes)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        scores: Tensor = self.head(self.pool(self.last(self.blocks(self.stem(x)))).flatten(1))
        return scores


def attention(classes: int) -> VisionTransformer:
    """A vision transformer on an 8 by 8 grid that three convolutions make; the head reads a class token."""
    stem = nn.Sequential(
        *(convolution(3, 24, 5, 2), nn.ReLU(), convolution(24, 48, 3, 2), nn.ReLU()),
        convolution(48, 64, 3, 2),
    )
    return VisionTransformer(stem, grid=8, width=64, heads=4, depth=2, classes=classes)


NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "plain": Plain,
    "residual": residual,
    "depthwise": Depthwise,
    "attention": attention,
}
"""By name, each made with its number of classes."""
