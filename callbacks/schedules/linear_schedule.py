"""Let the learning rate fall along a straight line."""

from callbacks.schedules.schedule import ProgressSchedule, after_warmup


def linear(progress: float, final: float = 0.0, warmup: float = 0.0) -> float:
    """``1 - (1 - final) progress`` after the warm-up."""
    return after_warmup(progress, warmup, lambda p: 1 - (1 - final) * p)


class LinearSchedule(ProgressSchedule):
    """Warm-up, then linear decay, as for BERT (Devlin et al. 2019, appendix A.2).

    Args:
        final: the last learning rate as a share of the first, in [0, 1].
        warmup: share of the run over which the rate rises from 0, in [0, 1).
        network: which network, for families that have several.
    """

    def __init__(self, final: float = 0.0, warmup: float = 0.0, network: str = "network") -> None:
        super().__init__(network)
        self.require_fraction(final=final, warmup=warmup)
        self.final, self.warmup = final, warmup

    def multiplier(self, progress: float) -> float:
        return linear(progress, self.final, self.warmup)
