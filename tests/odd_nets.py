"""Networks that surprise whoever guesses layouts from numbers, layers from names or calls from order."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolutions(width: int = 8, stride: int = 2, channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride, 1), nn.ReLU(), nn.Conv2d(width, width, 3, stride, 1), nn.ReLU()
    )


def head(width: int = 8, classes: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Resizing(nn.Module):
    """Resizes to its own square inside."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = convolutions(), head()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(functional.interpolate(x, (32, 32))))


class Recurrent(nn.Module):
    """Columns of feature maps as the steps of an LSTM."""

    def __init__(self, height: int) -> None:
        super().__init__()
        self.features = convolutions()
        self.rnn = nn.LSTM(8 * -(-height // 4), 16, batch_first=True, bidirectional=True)
        self.out, self.fc = nn.Linear(32, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.features(x).permute(0, 3, 1, 2).flatten(2)
        return self.fc(self.out(self.rnn(steps)[0]).relu().mean(1))


class Crnn(nn.Module):
    """Rows are pooled away before the recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.pool = convolutions(), nn.AdaptiveAvgPool2d((1, None))
        self.rnn, self.fc = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.pool(self.features(x)).squeeze(2).transpose(1, 2)
        return self.fc(self.rnn(steps)[0][:, -1])


class Latents(nn.Module):
    """Learned queries read the picture, as a Perceiver's: as many as a grid might have cells."""

    def __init__(self, queries: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.queries = nn.Parameter(torch.randn(1, queries, 16))
        self.read = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm, self.mlp, self.fc = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        z = self.read(self.queries.expand(len(x), -1, -1), tokens, tokens)[0]
        return self.fc(self.mlp(self.norm(z)).relu().mean(1))


class TokenPool(nn.Module):
    """Tokens are mixed by learned weights into fewer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 16, 4, 4), nn.Linear(64, 16)
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.mix(self.patches(x).flatten(2)).transpose(1, 2)
        return self.fc(self.norm(tokens).mean(1))


class TokenLearner(nn.Module):
    """Maps of where to look sum the picture up into as many tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.where = convolutions(), nn.Conv2d(8, 9, 1)
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        f = self.features(x)
        weights = self.where(f).flatten(2).softmax(-1)
        return self.fc(self.norm(weights @ f.flatten(2).transpose(1, 2)).mean(1))


class Augmented(nn.Module):
    """Test-time augmentation: the mean over views of the picture."""

    def __init__(self, *views: str) -> None:
        super().__init__()
        self.net, self.views = nn.Sequential(convolutions(), head()), views

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        make = {
            "plain": lambda: x,
            "mirrored": lambda: x.flip(3),
            "upside down": lambda: x.flip(2),
            "turned": lambda: torch.rot90(x, 1, (2, 3)),
            "half turn": lambda: torch.rot90(x, 2, (2, 3)),
            "half": lambda: functional.interpolate(x, (h // 2, w // 2)),
            "cropped": lambda: x[:, :, : h // 2, : w // 2],
        }
        return torch.stack([self.net(make[view]()) for view in self.views]).mean(0)


class Branches(nn.Module):
    """Two branches see the picture, and one head both."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.fc = convolutions(), convolutions(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([self.left(x).mean((2, 3)), self.right(x).mean((2, 3))], 1))


class Ensemble(nn.Module):
    """The mean of several networks."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Sequential(convolutions(), head()) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        return sum(member(x) for member in self.members) / len(self.members)


class Siamese(nn.Module):
    """One backbone for both halves' contrast: the picture, and the picture in negative."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.fc = convolutions(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = (self.backbone(view).mean((2, 3)) for view in (x, 1 - x))
        return self.fc((a - b).abs())


class Auxiliary(nn.Module):
    """A head half-way up adds to the score."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = convolutions(stride=1), convolutions(channels=8)
        self.aux, self.main = head(), head()

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(x)
        return self.main(self.high(low)) + 0.4 * self.aux(low)


class UNet(nn.Module):
    """Down, up, a connection across, and a class head."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.up, self.last = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(16, 8, 3, padding=1)
        self.head = head()

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x).relu()
        b = self.up(self.deep(a).relu())
        return self.head(self.last(torch.cat([a, b], 1)).relu())


class EEGNet(nn.Module):
    """Electrodes by time: a filter over all electrodes leaves one row."""

    def __init__(self, electrodes: int = 8) -> None:
        super().__init__()
        self.time = nn.Conv2d(1, 4, (1, 15), padding=(0, 7), bias=False)
        self.space = nn.Conv2d(4, 8, (electrodes, 1), groups=4, bias=False)
        self.norm, self.pool = nn.BatchNorm2d(8), nn.AvgPool2d((1, 4))
        self.last, self.head = nn.Conv2d(8, 8, (1, 7), padding=(0, 3)), head()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            functional.elu(self.last(self.pool(functional.elu(self.norm(self.space(self.time(x)))))))
        )


class Gated(nn.Module):
    """A gate of one number a channel, and a class whose name says pool and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.squeeze, self.fc = convolutions(), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        f = self.features(x)
        gate = self.squeeze(f.mean((2, 3))).sigmoid()
        return self.fc((f * gate[:, :, None, None]).mean((2, 3)))


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().cpu().numpy().copy())

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Hidden(nn.Module):
    """What it does to its tokens no one sees: they come back as they were, or in another order."""

    def __init__(self, order: str = "same") -> None:
        super().__init__()
        self.patches, self.order = nn.Conv2d(3, 16, 4, 4), order
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        order = torch.arange(tokens.shape[1])
        if self.order == "mixed":
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(3))
        return self.fc(self.norm(tokens[:, order]).relu().mean(1))


class Tokens(nn.Module):
    """Tokens of 8 x 8 patches, of which `make` makes what its last layer is given."""

    def __init__(self, make: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.patches, self.make = nn.Conv2d(3, 16, 4, 4), make
        self.queries, self.slots = nn.Parameter(torch.randn(1, 9, 16)), nn.Linear(16, 9)
        self.last, self.fc = nn.Identity(), nn.LazyLinear(4)
        self(torch.zeros(1, 3, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).relu().flatten(2).transpose(1, 2)
        return self.fc(self.last(self.make(self, tokens)).mean(1))


class Put(nn.Module):
    """Does something to the picture, and to the features of 8 x 8 patches."""

    def __init__(self, before: Callable[[Tensor], Tensor], behind: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.features, self.before, self.behind = nn.Conv2d(3, 16, 4, 4), before, behind
        self.last, self.fc = nn.Identity(), nn.LazyLinear(4)
        self(torch.zeros(1, 3, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.behind(self.features(self.before(x)).relu())).flatten(1))


class ClassToken(nn.Module):
    """A small transformer whose head reads a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, 1, 16))
        self.block, self.last = (nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True) for _ in "12")
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.patches(x).flatten(2).mT], 1)
        return self.fc(self.last(self.block(tokens))[:, 0])


class Steps(nn.Module):
    """A spectrogram's rows as channels of convolutions along its columns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(16, width, 3, padding=1), nn.Conv1d(width, width, 3, 2, 1)
        self.fc = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.two(self.one(x[:, 0]).relu()).relu().mean(2))


class Unfolded(nn.Module):
    """A transformer on unfolded patches, with others before them: no rule follows these."""

    def __init__(self, others: int) -> None:
        super().__init__()
        self.project, self.qkv, self.fc = nn.Linear(48, 16), nn.Linear(16, 48), nn.Linear(16, 4)
        self.others, self.last = nn.Parameter(torch.randn(1, others, 16)), nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.project(nn.functional.unfold(x, 4, stride=4).transpose(1, 2))
        tokens = torch.cat([self.others.expand(len(x), -1, -1), tokens], 1)
        q, k, v = self.qkv(tokens)[:, None].chunk(3, -1)
        tokens = tokens + nn.functional.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.fc(self.last(tokens).mean(1))


class Rotated(nn.Module):
    """Looks at the picture rotated."""

    def __init__(self, degrees: float) -> None:
        super().__init__()
        angle = torch.tensor(degrees).deg2rad()
        c, s = angle.cos(), angle.sin()
        self.turn = torch.stack([torch.stack([c, -s, c * 0]), torch.stack([s, c, c * 0])])[None]
        self.features, self.head = nn.Conv2d(3, 8, 4, 4), head()

    def forward(self, x: Tensor) -> Tensor:
        places = nn.functional.affine_grid(self.turn.expand(len(x), -1, -1), x.shape, align_corners=False)
        return self.head(self.features(nn.functional.grid_sample(x, places, align_corners=False)).relu())


class Cropping(nn.Module):
    """Looks at the middle of the picture alone."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = convolutions(), head()

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        return self.head(self.features(x[:, :, h // 4 : -(h // 4), w // 4 : -(w // 4)]))


class Turned(nn.Module):
    """Rows and columns are exchanged before the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = convolutions(), head()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x.transpose(2, 3)))


class AttentionResNet(Gated):
    pass


class PoolNet(Gated):
    pass


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
