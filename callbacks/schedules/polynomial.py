"""Let the learning rate fall as a power of the time that is left."""

from callbacks.schedules.schedule import ProgressSchedule, after_warmup
from zoo.errors import ZooError


def polynomial(progress: float, power: float = 2.0, final: float = 0.0, warmup: float = 0.0) -> float:
    """``final + (1 - final) (1 - progress)^power`` after the warm-up."""
    return after_warmup(progress, warmup, lambda p: final + (1 - final) * float((1 - p) ** power))


class Polynomial(ProgressSchedule):
    """Polynomial decay, the "poly" policy of segmentation networks (Chen et al. 2018, DeepLab, section 4.1).

    Args:
        power: above 0; 1 is linear, 0.9 usual for segmentation, 2 spends longer at small rates.
        final: the last learning rate as a share of the first, in [0, 1].
        warmup: share of the run over which the rate rises from 0, in [0, 1).
        network: which network, for families that have several.
    """

    def __init__(self, power: float = 2.0, final: float = 0.0, warmup: float = 0.0, network: str = "network") -> None:
        super().__init__(network)
        self.require_fraction(final=final, warmup=warmup)
        if power <= 0:
            raise ZooError(f"Polynomial: power must be above 0, got {power}")
        self.power, self.final, self.warmup = power, final, warmup

    def multiplier(self, progress: float) -> float:
        return polynomial(progress, self.power, self.final, self.warmup)
