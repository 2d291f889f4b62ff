"""Let the learning rate fall along half a cosine."""

from callbacks.schedules.schedule import ProgressSchedule, after_warmup, cosine_between


def cosine(progress: float, final: float = 0.0, warmup: float = 0.0) -> float:
    """``final + (1 - final) (1 + cos(pi progress)) / 2`` after the warm-up.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, eq. 5 with a single period.
    """
    return after_warmup(progress, warmup, lambda p: cosine_between(1.0, final, p))


class Cosine(ProgressSchedule):
    """Warm-up, then cosine decay: the usual schedule when the length of the run is known.

    Args:
        warmup: share of the run over which the rate rises from 0, in [0, 1); 0.02 to 0.1, more for large rates.
        final: the last learning rate as a share of the highest, in [0, 1]; 0 to 0.1.
        network: which network, for families that have several.
    """

    def __init__(self, warmup: float = 0.05, final: float = 0.0, network: str = "network") -> None:
        super().__init__(network)
        self.require_fraction(warmup=warmup, final=final)
        self.warmup, self.final = warmup, final

    def multiplier(self, progress: float) -> float:
        return cosine(progress, self.final, self.warmup)
