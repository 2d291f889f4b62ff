"""DCGAN: strided convolutions up from noise and down to a judgement. Radford, Metz and Chintala 2016.

"Unsupervised representation learning with deep convolutional generative adversarial networks", sections 3 and 4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.generators.base import Discriminator, Generator, Judgement, classes_used, image_shape
from zoo.generators.conditioning import (
    ConditionalBatchNorm,
    DiscriminatorConditioning,
    DiscriminatorHead,
    GeneratorConditioning,
    constrained,
    join_labels,
)
from zoo.layers.norm import Norm, make_norm


class DCGANGenerator(Generator):
    """linear, then for each doubling of the size a transposed convolution 4 x 4, with batch norm and ReLU before it.

    Args:
        sample_shape, num_classes: linked from the data.
        latent_dim: numbers in one latent vector.
        width: channels at the last hidden size; each smaller size has twice as many, up to 8 times.
        conditioning: "concatenation" joins the label to the noise, "batch_norm" gives each class gains and shifts.
        depth: convolutions 3 x 3 at the smallest size, which see the whole of a small image; 0 as published.
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        latent_dim: int = 64,
        width: int = 64,
        conditioning: GeneratorConditioning = "none",
        depth: int = 0,
    ) -> None:
        name = "DCGANGenerator"
        super().__init__(sample_shape, latent_dim, classes_used(name, conditioning, num_classes))
        channels, stages, self.base = image_shape(name, sample_shape)
        widths = [width * min(8, 2**k) for k in reversed(range(stages))]
        self.joined = self.num_classes if conditioning == "concatenation" else 0
        per_class = self.num_classes if conditioning == "batch_norm" else 0
        self.project = nn.Linear(latent_dim + self.joined, widths[0] * self.base**2, bias=False)
        deep = [widths[0]] * check_depth(name, depth)
        self.norms = nn.ModuleList(ConditionalBatchNorm(w, per_class) for w in [*deep, *widths])
        self.convs = nn.ModuleList(
            [
                *[nn.Conv2d(w, w, 3, padding=1, bias=False) for w in deep],
                *[
                    nn.ConvTranspose2d(before, after, 4, 2, padding=1, bias=after == channels and k == stages - 1)
                    for k, (before, after) in enumerate(zip(widths, [*widths[1:], channels]))
                ],
            ]
        )
        _init(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x: Tensor = self.project(join_labels(z, y, self.joined))
        x = x.view(len(z), -1, self.base, self.base)  # (B, C * base^2) -> (B, C, base, base)
        for norm, conv in zip(self.norms, self.convs):
            x = conv(F.relu(norm(x, y)))
        return torch.tanh(x)


class DCGANDiscriminator(Discriminator):
    """For each halving of the size a convolution 4 x 4 of stride 2, norm but for the first, and leaky ReLU of 0.2.

    Args:
        sample_shape, num_classes: linked from the data.
        width: channels at the first hidden size; each smaller size has twice as many, up to 8 times.
        norm: "batch" as published; "none", "group" or "layer" where a penalty needs the slope at each sample.
        spectral_norm: divide each weight by its largest singular value; with norm none.
        conditioning: how labels enter, see ``DiscriminatorHead``.
        depth: convolutions 3 x 3 at the smallest size, with norm and leaky ReLU; 0 as published.
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        width: int = 64,
        norm: Norm = "batch",
        spectral_norm: bool = False,
        conditioning: DiscriminatorConditioning = "none",
        depth: int = 0,
    ) -> None:
        name = "DCGANDiscriminator"
        super().__init__(sample_shape, classes_used(name, conditioning, num_classes))
        if norm == "weight_standardized":
            raise ZooError(
                f"{name}: norm weight_standardized is for networks that standardise their filters; use group"
            )
        channels, stages, base = image_shape(name, sample_shape)
        self.joined = self.num_classes if conditioning == "concatenation" else 0
        widths = [width * min(8, 2**k) for k in range(stages)]
        layers: list[nn.Module] = []
        for k, (before, after) in enumerate(zip([channels + self.joined, *widths], widths)):
            own = "none" if k == 0 else norm
            conv = nn.Conv2d(before, after, 4, 2, padding=1, bias=own == "none")
            layers += [constrained(conv, spectral_norm), make_norm(own, after, spatial=True), nn.LeakyReLU(0.2)]
        for _ in range(check_depth(name, depth)):
            conv = nn.Conv2d(widths[-1], widths[-1], 3, padding=1, bias=norm == "none")
            layers += [constrained(conv, spectral_norm), make_norm(norm, widths[-1], spatial=True), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.head = DiscriminatorHead(widths[-1] * base**2, conditioning, self.num_classes, spectral_norm)
        if not spectral_norm:  # which makes the size of a weight irrelevant
            _init(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Judgement:
        judgement: Judgement = self.head(self.layers(join_labels(x, y, self.joined)).flatten(1), y)
        return judgement


def check_depth(name: str, depth: int) -> int:
    """The depth; ZooError below 0."""
    if depth < 0:
        raise ZooError(f"{name}: depth must not be negative, got {depth}")
    return depth


@torch.no_grad()
def _init(network: nn.Module) -> None:
    """Weights from N(0, 0.02^2), as published; gains and shifts stay 1 and 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
