"""One learning rate all along, after an optional warm-up."""

from callbacks.schedules.schedule import ProgressSchedule, ramp


def constant(progress: float, warmup: float = 0.0) -> float:
    """``min(1, progress / warmup)``."""
    return ramp(progress, warmup)


class ConstantSchedule(ProgressSchedule):
    """Keep the learning rate once it is warm.

    Args:
        warmup: share of the run over which the rate rises from 0, in [0, 1); 0 turns it off.
        network: which network, for families that have several.
    """

    def __init__(self, warmup: float = 0.0, network: str = "network") -> None:
        super().__init__(network)
        self.require_fraction(warmup=warmup)
        self.warmup = warmup

    def multiplier(self, progress: float) -> float:
        return constant(progress, self.warmup)
