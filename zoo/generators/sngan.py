"""SNGAN: residual blocks up and down, the discriminator with spectral norm. Miyato et al. 2018, appendix B.

"Spectral normalization for generative adversarial networks"; with labels Miyato and Koyama 2018, "cGANs with projection
discriminator".
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.generators.base import Discriminator, Generator, Judgement, classes_used, image_shape
from zoo.generators.conditioning import (
    ConditionalBatchNorm,
    DiscriminatorConditioning,
    DiscriminatorHead,
    GeneratorConditioning,
    constrained,
    join_labels,
)


class UpBlock(nn.Module):
    """norm -> ReLU -> double -> conv -> norm -> ReLU -> conv, beside double -> conv 1 x 1."""

    def __init__(self, in_channels: int, out_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(in_channels, num_classes)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = ConditionalBatchNorm(out_channels, num_classes)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        _init(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        branch = self.conv1(_double(F.relu(self.norm1(x, y))))
        branch = self.conv2(F.relu(self.norm2(branch, y)))
        # A 1 x 1 convolution and doubling commute; this way round it costs a quarter.
        out: Tensor = branch + _double(self.shortcut(x))
        return out


class DownBlock(nn.Module):
    """ReLU -> conv -> ReLU -> conv -> halve, beside conv 1 x 1 -> halve; the first block of all begins with the conv.

    Args:
        in_channels, out_channels: C before and after.
        halve: whether the size is halved.
        first: whether this block sees the image, which no ReLU may cut off.
        spectral: spectral norm.
    """

    def __init__(self, in_channels: int, out_channels: int, halve: bool, first: bool, spectral: bool) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if halve or in_channels != out_channels else None
        _init(self)
        for name, layer in list(self.named_children()):
            setattr(self, name, constrained(layer, spectral))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.halve:
            branch, x = F.avg_pool2d(branch, 2), F.avg_pool2d(x, 2)
        return branch + (x if self.shortcut is None else self.shortcut(x))


class SNGANGenerator(Generator):
    """linear, an ``UpBlock`` for each doubling, then norm -> ReLU -> conv -> tanh.

    Args:
        sample_shape, num_classes: linked from the data.
        latent_dim: numbers in one latent vector; 128 as published.
        width: channels of all blocks; 256 as published for 32 x 32.
        conditioning: "batch_norm" as published with labels, or "concatenation".
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        latent_dim: int = 128,
        width: int = 256,
        conditioning: GeneratorConditioning = "none",
    ) -> None:
        name = "SNGANGenerator"
        super().__init__(sample_shape, latent_dim, classes_used(name, conditioning, num_classes))
        channels, stages, self.base = image_shape(name, sample_shape)
        self.joined = self.num_classes if conditioning == "concatenation" else 0
        per_class = self.num_classes if conditioning == "batch_norm" else 0
        self.project = nn.Linear(latent_dim + self.joined, width * self.base**2)
        self.blocks = nn.ModuleList(UpBlock(width, width, per_class) for _ in range(stages))
        self.norm = nn.BatchNorm2d(width)
        self.to_image = nn.Conv2d(width, channels, 3, padding=1)
        for layer in (self.project, self.to_image):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x: Tensor = self.project(join_labels(z, y, self.joined))
        x = x.view(len(z), -1, self.base, self.base)  # (B, C * base^2) -> (B, C, base, base)
        for block in self.blocks:
            x = block(x, y)
        return torch.tanh(self.to_image(F.relu(self.norm(x))))


class SNGANDiscriminator(Discriminator):
    """A ``DownBlock`` for each halving but the last, two that keep the size, ReLU, and the sum over all pixels.

    Args:
        sample_shape, num_classes: linked from the data.
        width: channels of all blocks; 128 as published for 32 x 32.
        spectral_norm: divide each weight by its largest singular value.
        conditioning: "projection" as published with labels; see ``DiscriminatorHead``.
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        width: int = 128,
        spectral_norm: bool = True,
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        name = "SNGANDiscriminator"
        super().__init__(sample_shape, classes_used(name, conditioning, num_classes))
        channels, stages, _ = image_shape(name, sample_shape)
        self.joined = self.num_classes if conditioning == "concatenation" else 0
        block = partial(DownBlock, spectral=spectral_norm)
        halvings = max(1, stages - 1)
        self.blocks = nn.Sequential(
            block(channels + self.joined, width, halve=True, first=True),
            *[block(width, width, halve=True, first=False) for _ in range(halvings - 1)],
            *[block(width, width, halve=False, first=False) for _ in range(2)],
        )
        self.head = DiscriminatorHead(width, conditioning, self.num_classes, spectral_norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Judgement:
        features = F.relu(self.blocks(join_labels(x, y, self.joined))).sum((2, 3))  # (B, C, H, W) -> (B, C)
        judgement: Judgement = self.head(features, y)
        return judgement


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _init(block: nn.Module) -> None:
    """Glorot's uniform with gain sqrt(2) in the branch and 1 in the shortcut, as in the authors' networks."""
    for name, layer in block.named_children():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight, 1.0 if name == "shortcut" else 2**0.5)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
