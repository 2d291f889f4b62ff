"""The hinge loss: the discriminator leaves alone what is beyond its margin."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from callbacks.gan.adversarial_step import AdversarialStep


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))). Lim and Ye, "Geometric GAN", 2017."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


class Hinge(AdversarialStep):
    """Hinge loss of the discriminator; the generator maximises its logits. The partner of spectral norm."""

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return hinge_discriminator(real, fake)

    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        return -fake.mean()
