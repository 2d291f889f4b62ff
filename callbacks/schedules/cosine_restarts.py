"""Several cosine decays in a row, each starting at the full learning rate again."""

from callbacks.schedules.schedule import BOUNDARY, ProgressSchedule, cosine_between, ramp
from zoo.errors import ZooError


def cosine_restarts(
    progress: float, cycles: int = 3, period_multiplier: float = 2.0, final: float = 0.0, warmup: float = 0.0
) -> float:
    """``final + (1 - final) (1 + cos(pi t / T_i)) / 2``, t being the time since the last restart; times the warm-up.

    The periods ``T_i = T_0 period_multiplier^i`` of all cycles add up to the run. Loshchilov and Hutter, "SGDR:
    stochastic gradient descent with warm restarts", 2017, eq. 5.
    """
    lengths = [period_multiplier**i for i in range(cycles)]
    start, whole = 0.0, sum(lengths)
    for length in lengths[:-1]:
        if progress < (start + length) / whole - BOUNDARY:
            break
        start += length
    else:
        length = lengths[-1]
    passed = max(progress * whole - start, 0.0) / length
    return cosine_between(1.0, final, passed) * ramp(progress, warmup)


class CosineRestarts(ProgressSchedule):
    """Cosine decay with warm restarts (SGDR); the end of each cycle is a candidate for an ensemble.

    Args:
        cycles: at least 1; the last one ends with the run.
        period_multiplier: length of a cycle as a multiple of the one before, at least 1.
        final: the lowest learning rate as a share of the highest, in [0, 1].
        warmup: share of the run over which the rate rises from 0; the restarts stay where they are.
        network: which network, for families that have several.
    """

    def __init__(
        self,
        cycles: int = 3,
        period_multiplier: float = 2.0,
        final: float = 0.0,
        warmup: float = 0.0,
        network: str = "network",
    ) -> None:
        super().__init__(network)
        self.require_fraction(final=final, warmup=warmup)
        if cycles < 1 or period_multiplier < 1:
            raise ZooError(
                f"CosineRestarts: cycles and period_multiplier must be at least 1, got {cycles} and {period_multiplier}"
            )
        self.cycles, self.period_multiplier, self.final, self.warmup = cycles, period_multiplier, final, warmup

    def multiplier(self, progress: float) -> float:
        return cosine_restarts(progress, self.cycles, self.period_multiplier, self.final, self.warmup)
