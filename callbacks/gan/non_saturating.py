"""The non-saturating logistic loss, what games are played with unless they say otherwise."""

from collections.abc import Callable

from torch import Tensor

from callbacks.gan.adversarial_step import AdversarialStep, check_real_label
from zoo.play import logistic_discriminator, logistic_generator


class NonSaturating(AdversarialStep):
    """Logistic loss; the generator maximises log D(G(z)), whose gradient is largest where the fakes are found out.

    Args:
        real_label: target of real samples in (0.5, 1]; below 1 is one-sided label smoothing, which keeps the
            discriminator from being sure of itself. Fakes keep the target 0.
    """

    def __init__(self, real_label: float = 1.0) -> None:
        self.real_label = check_real_label("NonSaturating", real_label)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return logistic_discriminator(real, fake, self.real_label)

    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        return logistic_generator(fake, real)
