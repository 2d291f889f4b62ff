"""The minimax loss: the game as it was first written down."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from callbacks.gan.adversarial_step import AdversarialStep, check_real_label
from zoo.play import logistic_discriminator


def minimax_generator(fake: Tensor) -> Tensor:
    """mean log(1 - sigmoid(D(G(z)))) = -mean softplus(D(G(z))). Goodfellow et al. 2014, eq. 1."""
    return -F.softplus(fake).mean()


class Minimax(AdversarialStep):
    """Logistic loss of which the generator maximises what the discriminator minimises.

    For the teaching of it: where the discriminator is right the generator's gradient vanishes.

    Args:
        real_label: target of real samples in (0.5, 1]; below 1 is one-sided label smoothing.
    """

    def __init__(self, real_label: float = 1.0) -> None:
        self.real_label = check_real_label("Minimax", real_label)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return logistic_discriminator(real, fake, self.real_label)

    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        return minimax_generator(fake)
