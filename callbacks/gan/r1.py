"""R1: the discriminator shall be flat at the real samples."""

from torch import Tensor

from callbacks.gan.slopes import SlopePenalty, slopes
from zoo.gan import GAN
from zoo.play import Play


class R1(SlopePenalty):
    """weight / 2 * mean |dD(x)/dx|^2 at real samples, as the discriminator sees them.

    Where the data are the slope is drawn to zero, so that the game comes to rest at its equilibrium.
    Mescheder et al., "Which training methods for GANs do actually converge?", 2018, eq. 9.

    Args:
        weight: gamma; 0.01 to 1 for small images, 10 and more for large ones. 0 is refused. Too little and the game
            oscillates, too much and the discriminator tells nothing apart.
        final_weight: it changes to this on a straight line; None keeps it.
        share: part of the run over which it changes, in (0, 1].
        interval: act in every so many steps, with a factor of the same size; 1, or 16 to save time.
    """

    def __init__(
        self, weight: float = 1.0, final_weight: float | None = None, share: float = 1.0, interval: int = 1
    ) -> None:
        super().__init__(weight, final_weight, share, interval)

    def penalty(self, module: GAN, play: Play) -> Tensor:
        return slopes(module, play.real, play.y, play.real_logits).mean() / 2
