"""Let the learning rate fall by the same factor in every step."""

from callbacks.schedules.schedule import ProgressSchedule, after_warmup
from zoo.errors import ZooError


def exponential(progress: float, final: float = 0.01, warmup: float = 0.0) -> float:
    """``final^progress`` after the warm-up: the factor per step is ``final^(1 / steps)``."""
    return after_warmup(progress, warmup, lambda p: float(final**p))


class Exponential(ProgressSchedule):
    """Exponential decay to a final fraction of the learning rate.

    Args:
        final: the last learning rate as a share of the first, in (0, 1]; 0.1 to 0.001.
        warmup: share of the run over which the rate rises from 0, in [0, 1).
        network: which network, for families that have several.
    """

    def __init__(self, final: float = 0.01, warmup: float = 0.0, network: str = "network") -> None:
        super().__init__(network)
        self.require_fraction(final=final, warmup=warmup)
        if final == 0:
            raise ZooError("Exponential: final must be above 0; for a rate that reaches 0 use LinearSchedule or Cosine")
        self.final, self.warmup = final, warmup

    def multiplier(self, progress: float) -> float:
        return exponential(progress, self.final, self.warmup)
