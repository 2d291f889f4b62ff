"""A small pair in the manner of R3GAN: residual blocks without any norm, for the relativistic loss with R1 and R2.

Huang et al., "The GAN is dead; long live the GAN! A modern GAN baseline", 2024, sections 3 and 4: inverted bottlenecks
with grouped convolutions, fix-up initialisation, bilinear resampling, noise and features joined to a learned basis.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.generators.base import Discriminator, Generator, Judgement, classes_used, image_shape
from zoo.generators.conditioning import DiscriminatorConditioning, DiscriminatorHead, join_labels

_SLOPE = 0.2
_EXPANSION = 2


class ResidualBlock(nn.Module):
    """x + conv 1 x 1 (leaky (grouped conv 3 x 3 (leaky (conv 1 x 1 (x))))), zero at first.

    Args:
        channels: C.
        group_size: channels in a group of the 3 x 3 convolution.
        blocks: residual blocks in the network; the first two convolutions are scaled with blocks^(-1/4), so that a step
            changes the network as much at any depth. Zhang et al., "Fixup initialization", 2019, section 3, for m = 3.
    """

    def __init__(self, channels: int, group_size: int, blocks: int) -> None:
        super().__init__()
        hidden = channels * _EXPANSION
        if hidden % group_size:
            raise ZooError(f"R3GAN: {hidden} hidden channels do not divide into groups of {group_size}")
        self.widen = nn.Conv2d(channels, hidden, 1)
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden // group_size)
        self.narrow = nn.Conv2d(hidden, channels, 1, bias=False)
        for layer in (self.widen, self.mix):
            scaled_(layer, math.sqrt(2 / (1 + _SLOPE**2)) * blocks**-0.25)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        branch = F.leaky_relu(self.widen(x), _SLOPE)
        out: Tensor = x + self.narrow(F.leaky_relu(self.mix(branch), _SLOPE))
        return out


class Stage(nn.Module):
    """Residual blocks at one size, with a change of size and channels before them ("up") or after them ("down")."""

    def __init__(self, before: int, after: int, scale: float, depth: int, group_size: int, blocks: int) -> None:
        super().__init__()
        inner = after if scale > 1 else before
        self.blocks = nn.Sequential(*[ResidualBlock(inner, group_size, blocks) for _ in range(depth)])
        self.change = scaled_(nn.Conv2d(before, after, 1, bias=False), 1.0) if before != after else nn.Identity()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        if self.scale > 1:
            x = F.interpolate(self.change(x), scale_factor=self.scale, mode="bilinear")
            out: Tensor = self.blocks(x)
            return out
        # With a factor of one half and no corners aligned, bilinear interpolation is the mean of 2 x 2 pixels.
        return F.avg_pool2d(self.change(self.blocks(x)), 2)


class R3GANGenerator(Generator):
    """A learned picture of the base size times a linear map of the noise, then stages up to the full size; no tanh.

    Args:
        sample_shape, num_classes: linked from the data.
        latent_dim: numbers in one latent vector.
        width: channels at full size; each smaller size has twice as many, up to 4 times.
        depth: residual blocks at each size.
        group_size: channels in a group of the 3 x 3 convolutions; larger is slower and better.
        conditional: join a learned embedding of the label to the noise.
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        latent_dim: int = 64,
        width: int = 64,
        depth: int = 2,
        group_size: int = 16,
        conditional: bool = False,
    ) -> None:
        name = "R3GANGenerator"
        super().__init__(sample_shape, latent_dim, classes_used(name, "labels" if conditional else "none", num_classes))
        channels, stages, base = image_shape(name, sample_shape)
        widths = [width * min(4, 2**k) for k in reversed(range(stages + 1))]
        blocks = depth * (stages + 1)
        self.basis = nn.Parameter(torch.randn(widths[0], base, base))
        self.project = scaled_(nn.Linear(latent_dim + self.num_classes, widths[0], bias=False), 1.0)
        self.first = nn.Sequential(*[ResidualBlock(widths[0], group_size, blocks) for _ in range(depth)])
        self.stages = nn.Sequential(
            *[Stage(before, after, 2.0, depth, group_size, blocks) for before, after in itertools.pairwise(widths)]
        )
        self.to_image = scaled_(nn.Conv2d(widths[-1], channels, 1, bias=False), 1.0)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        amplitude = self.project(join_labels(z, y, self.num_classes))  # (B, C)
        x = self.basis * amplitude[:, :, None, None]  # (C, base, base) -> (B, C, base, base)
        out: Tensor = self.to_image(self.stages(self.first(x)))
        return out


class R3GANDiscriminator(Discriminator):
    """conv 1 x 1, stages down to the base size, residual blocks, and a learned mean over the remaining pixels.

    Args:
        sample_shape, num_classes: linked from the data.
        width: channels at full size; each smaller size has twice as many, up to 4 times.
        depth: residual blocks at each size.
        group_size: channels in a group of the 3 x 3 convolutions.
        conditioning: "projection" as published with labels; see ``DiscriminatorHead``.
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        width: int = 64,
        depth: int = 2,
        group_size: int = 16,
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        name = "R3GANDiscriminator"
        super().__init__(sample_shape, classes_used(name, conditioning, num_classes))
        channels, stages, base = image_shape(name, sample_shape)
        self.joined = self.num_classes if conditioning == "concatenation" else 0
        widths = [width * min(4, 2**k) for k in range(stages + 1)]
        blocks = depth * (stages + 1)
        self.from_image = scaled_(nn.Conv2d(channels + self.joined, widths[0], 1), 1.0)
        self.stages = nn.Sequential(
            *[Stage(before, after, 0.5, depth, group_size, blocks) for before, after in itertools.pairwise(widths)]
        )
        self.last = nn.Sequential(*[ResidualBlock(widths[-1], group_size, blocks) for _ in range(depth)])
        self.basis = scaled_(nn.Conv2d(widths[-1], widths[-1], base, groups=widths[-1], bias=False), 1.0)
        self.head = DiscriminatorHead(widths[-1], conditioning, self.num_classes)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Judgement:
        x = self.last(self.stages(self.from_image(join_labels(x, y, self.joined))))
        judgement: Judgement = self.head(self.basis(x).flatten(1), y)  # (B, C, 1, 1) -> (B, C)
        return judgement


@torch.no_grad()
def scaled_(layer: nn.Conv2d | nn.Linear, scale: float) -> nn.Module:
    """Fill with N(0, scale^2 / fan_in) and clear the bias."""
    fan_in = layer.weight[0].numel()
    layer.weight.normal_(std=scale / math.sqrt(fan_in))
    if layer.bias is not None:
        layer.bias.zero_()
    return layer
