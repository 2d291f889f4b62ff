"""Perceptrons against each other: for points in the plane, tables and small images."""

import math
from typing import Literal

from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.generators.base import Discriminator, Generator, Judgement, classes_used
from zoo.generators.conditioning import DiscriminatorConditioning, DiscriminatorHead, constrained, join_labels
from zoo.layers.activation import Activation, make_activation
from zoo.layers.norm import Norm, make_linear, make_norm


class MLPGenerator(Generator):
    """linear -> norm -> activation for each hidden width, then linear; tanh where samples are images.

    Args:
        sample_shape: shape of one sample; linked from the data.
        num_classes: linked from the data.
        latent_dim: numbers in one latent vector.
        hidden: widths of the hidden layers.
        activation, norm: of the hidden layers.
        conditioning: "concatenation" joins the label to the noise.
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        latent_dim: int = 32,
        hidden: list[int] = [256, 256],  # noqa: B006  never changed; a list reads best in --help
        activation: Activation = "relu",
        norm: Norm = "none",
        conditioning: Literal["none", "concatenation"] = "none",
    ) -> None:
        super().__init__(sample_shape, latent_dim, classes_used("MLPGenerator", conditioning, num_classes))
        _check_widths("MLPGenerator", hidden)
        widths = [latent_dim + self.num_classes, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths, hidden):
            layers += [make_linear(before, after, norm), make_norm(norm, after, spatial=False)]
            layers += [make_activation(activation)]
        layers.append(nn.Linear(widths[-1], math.prod(sample_shape)))
        if len(sample_shape) == 3:
            layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.layers(join_labels(z, y, self.num_classes))
        return out.view(-1, *self.sample_shape)  # (B, F) -> (B, *sample_shape)


class MLPDiscriminator(Discriminator):
    """linear -> activation for each hidden width on flattened samples, then the judgement; no norm of any kind.

    Args:
        sample_shape: shape of one sample; linked from the data.
        num_classes: linked from the data.
        hidden: widths of the hidden layers.
        activation: of the hidden layers; smooth ones where a penalty has to differentiate twice.
        spectral_norm: divide each weight by its largest singular value.
        conditioning: how labels enter, see ``DiscriminatorHead``.
    """

    def __init__(
        self,
        sample_shape: list[int],
        num_classes: int = 0,
        hidden: list[int] = [256, 256],  # noqa: B006  never changed; a list reads best in --help
        activation: Activation = "leaky_relu",
        spectral_norm: bool = False,
        conditioning: DiscriminatorConditioning = "none",
    ) -> None:
        super().__init__(sample_shape, classes_used("MLPDiscriminator", conditioning, num_classes))
        _check_widths("MLPDiscriminator", hidden)
        self.joined = self.num_classes if conditioning == "concatenation" else 0
        widths = [math.prod(sample_shape) + self.joined, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths, hidden):
            layers += [constrained(nn.Linear(before, after), spectral_norm), make_activation(activation)]
        self.layers = nn.Sequential(*layers)
        self.head = DiscriminatorHead(widths[-1], conditioning, self.num_classes, spectral_norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Judgement:
        judgement: Judgement = self.head(self.layers(join_labels(x.flatten(1), y, self.joined)), y)
        return judgement


def _check_widths(name: str, hidden: list[int]) -> None:
    if not hidden or any(width < 1 for width in hidden):
        raise ZooError(f"{name}: give at least one hidden width, all positive, got hidden={hidden}")
