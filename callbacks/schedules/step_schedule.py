"""Drop the learning rate at regular intervals."""

from math import floor

from callbacks.schedules.schedule import BOUNDARY, ProgressSchedule, ramp
from zoo.errors import ZooError


def step_decay(progress: float, every: float = 0.3, gamma: float = 0.1, warmup: float = 0.0) -> float:
    """``gamma^floor(progress / every)``, times the warm-up."""
    drops = floor(progress / every + BOUNDARY)
    return float(gamma**drops) * ramp(progress, warmup)


class StepSchedule(ProgressSchedule):
    """Multiply the learning rate by ``gamma`` after every ``every`` of the run.

    Args:
        every: share of the run between two drops, in (0, 1]; 0.3 gives three drops.
        gamma: factor of each drop, in (0, 1]; 0.1 with few drops, 0.5 with many.
        warmup: share of the run over which the rate rises from 0; the drops stay where they are.
        network: which network, for families that have several.
    """

    def __init__(self, every: float = 0.3, gamma: float = 0.1, warmup: float = 0.0, network: str = "network") -> None:
        super().__init__(network)
        self.require_fraction(every=every, gamma=gamma, warmup=warmup)
        if every == 0 or gamma == 0:
            raise ZooError(f"StepSchedule: every and gamma must be above 0, got every={every}, gamma={gamma}")
        self.every, self.gamma, self.warmup = every, gamma, warmup

    def multiplier(self, progress: float) -> float:
        return step_decay(progress, self.every, self.gamma, self.warmup)
