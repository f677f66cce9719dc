"""Networks for pictures of 28 by 28 grey pixels; each trains in a minute or two on two cores."""

from jaxtyping import Float
from torch import Tensor, nn

from pellucid.networks.blocks import ResidualBlock, ResidualNetwork, VisionTransformer, convolution

SIDE = 28
"""Pixels of a side of an input."""


class ClassicCNN(nn.Module):
    """The CNN of countless tutorials: two convolutions with pooling, 1024 units, dropout."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 32, 5, padding=2), nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2, self.relu2 = nn.Conv2d(32, 64, 5, padding=2), nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1, self.relu3 = nn.Linear(64 * (SIDE // 4) ** 2, 1024), nn.ReLU()
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x: Float[Tensor, "N 1 28 28"]) -> Float[Tensor, "N K"]:
        """The scores of each class."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.dropout(self.relu3(self.fc1(x.flatten(1))))
        scores: Tensor = self.fc2(x)
        return scores


def residual(classes: int) -> ResidualNetwork:
    """A small ResNet whose last feature maps are 7 by 7; its head reads their mean, as CAM needs it."""
    stem = nn.Sequential(convolution(1, 16, 3), nn.ReLU())
    blocks = nn.Sequential(ResidualBlock(16, 32, 2), ResidualBlock(32, 48, 2), ResidualBlock(48, 48, 1))
    return ResidualNetwork(stem, blocks, 48, classes)


def vision_transformer(classes: int) -> VisionTransformer:
    """A small ViT: 49 tokens, made by two convolutions, and a class token through four blocks."""
    stem = nn.Sequential(convolution(1, 32, 3, 2), nn.ReLU(), convolution(32, 64, 3, 2))
    return VisionTransformer(stem, grid=7, width=64, heads=4, depth=4, classes=classes)
