"""The relativistic loss: a fake is judged against a real sample, not against a fixed boundary."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from callbacks.gan.adversarial_step import AdversarialStep


def relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """mean softplus(-(better - worse)) over pairs, (B,) and (B,).

    Jolicoeur-Martineau, "The relativistic discriminator", 2019, section 4.2; Huang et al., "The GAN is dead; long live
    the GAN! A modern GAN baseline", 2024, eq. 2.
    """
    return F.softplus(worse - better).mean()


class Relativistic(AdversarialStep):
    """RpGAN: each fake is paired with the real sample beside it, and the players pull at the difference of logits.

    A boundary that parts all fakes from all real samples is no longer enough for the discriminator, so that dropping
    modes does not pay. It converges with R1 and R2 (Huang et al. 2024, section 2), and is meant to be used with both.
    """

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return relativistic(real, fake)

    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        return relativistic(fake, real())
