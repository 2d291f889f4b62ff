"""Least squares: samples far on the right side of the boundary still have a gradient."""

from collections.abc import Callable

from torch import Tensor

from callbacks.gan.adversarial_step import AdversarialStep, check_real_label


def least_squares(logits: Tensor, target: float) -> Tensor:
    """mean (D - target)^2 / 2. Mao et al., "Least squares generative adversarial networks", 2017, eq. 2 and 9."""
    return (logits - target).square().mean() / 2


class LeastSquares(AdversarialStep):
    """Real samples are drawn to 1, fakes to 0; the generator draws its own to 1.

    Args:
        real_label: target of real samples in (0.5, 1]; below 1 is one-sided label smoothing.
    """

    def __init__(self, real_label: float = 1.0) -> None:
        self.real_label = check_real_label("LeastSquares", real_label)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return least_squares(real, self.real_label) + least_squares(fake, 0.0)

    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        return least_squares(fake, 1.0)
