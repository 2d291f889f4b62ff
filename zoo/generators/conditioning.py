"""How labels enter: joined to the input, in the gain of a batch norm, or in the last layer of a discriminator."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from zoo.generators.base import Judgement

GeneratorConditioning: TypeAlias = Literal["none", "concatenation", "batch_norm"]
DiscriminatorConditioning: TypeAlias = Literal["none", "concatenation", "auxiliary", "projection"]


def join_labels(x: Tensor, y: Tensor | None, num_classes: int) -> Tensor:
    """Append one-hot labels: as numbers to vectors (B, F), as planes to images (B, C, H, W).

    Mirza and Osindero, "Conditional generative adversarial nets", 2014, section 3.2. Without classes ``x`` as it is.
    """
    if not num_classes:
        return x
    assert y is not None
    one_hot = F.one_hot(y, num_classes).to(x.dtype)  # (B, K)
    if x.ndim == 4:
        one_hot = one_hot[:, :, None, None].expand(-1, -1, *x.shape[2:])  # (B, K, H, W)
    return torch.cat([x, one_hot], 1)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a gain and a shift for each class, 1 and 0 at first.

    Dumoulin et al., "A learned representation for artistic style", 2017, eq. 5; Miyato and Koyama 2018 use it in GANs.

    Args:
        channels: C of images (B, C, H, W).
        num_classes: classes; 0 for a plain batch norm.
    """

    def __init__(self, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=num_classes == 0)
        if num_classes:
            self.gain, self.shift = nn.Embedding(num_classes, channels), nn.Embedding(num_classes, channels)
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.shift.weight)
        self.num_classes = num_classes

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.norm(x)
        if not self.num_classes:
            return x
        return self.gain(y)[:, :, None, None] * x + self.shift(y)[:, :, None, None]


class DiscriminatorHead(nn.Module):
    """From features (B, F) to a judgement::

        logit = w . f + b                       none, concatenation
        logit = w . f + b + v_y . f             projection
        classes = W f + c beside the logit      auxiliary

    Miyato and Koyama, "cGANs with projection discriminator", 2018, eq. 3; Odena et al., "Conditional image synthesis
    with auxiliary classifier GANs", 2017, section 3.

    Args:
        features: F.
        conditioning: which of these.
        num_classes: classes.
        spectral: divide each weight by its largest singular value.
    """

    def __init__(
        self, features: int, conditioning: DiscriminatorConditioning, num_classes: int, spectral: bool = False
    ) -> None:
        super().__init__()
        self.logit = constrained(nn.Linear(features, 1), spectral)
        self.projection = self.classes = None
        if conditioning == "projection":
            self.projection = constrained(nn.Embedding(num_classes, features), spectral)
        if conditioning == "auxiliary":
            self.classes = constrained(nn.Linear(features, num_classes), spectral)

    def forward(self, features: Tensor, y: Tensor | None = None) -> Judgement:
        logits = self.logit(features)[:, 0]  # (B, 1) -> (B,)
        if self.projection is not None:
            logits = logits + (self.projection(y) * features).sum(1)
        return Judgement(logits, None if self.classes is None else self.classes(features))


def constrained(layer: nn.Module, spectral: bool) -> nn.Module:
    """The layer, with spectral norm where it is asked for: W / sigma(W), one power iteration a step.

    Miyato et al., "Spectral normalization for generative adversarial networks", 2018, algorithm 1.
    """
    return spectral_norm(layer) if spectral else layer
