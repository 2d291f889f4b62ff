"""Drop the learning rate at chosen points of the run."""

from collections.abc import Sequence

from callbacks.schedules.schedule import BOUNDARY, ProgressSchedule, ramp
from zoo.errors import ZooError


def multistep(
    progress: float, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1, warmup: float = 0.0
) -> float:
    """``gamma^(number of milestones reached)``, times the warm-up."""
    drops = sum(progress >= milestone - BOUNDARY for milestone in milestones)
    return float(gamma**drops) * ramp(progress, warmup)


class MultiStep(ProgressSchedule):
    """Multiply the learning rate by ``gamma`` at each milestone. He et al. 2016 drop by 10 at 0.5 and 0.75 of CIFAR-10.

    Args:
        milestones: shares of the run, rising, each in (0, 1).
        gamma: factor of each drop, in (0, 1].
        warmup: share of the run over which the rate rises from 0; the milestones stay where they are.
        network: which network, for families that have several.
    """

    def __init__(
        self,
        milestones: list[float] = [0.5, 0.75],  # noqa: B006  never changed; a list reads best in --help
        gamma: float = 0.1,
        warmup: float = 0.0,
        network: str = "network",
    ) -> None:
        super().__init__(network)
        self.require_fraction(gamma=gamma, warmup=warmup)
        if not milestones or list(milestones) != sorted(set(milestones)) or milestones[0] <= 0 or milestones[-1] >= 1:
            raise ZooError(
                f"MultiStep: milestones are shares of the run that rise between 0 and 1, such as [0.5, 0.75], got"
                f" {milestones}"
            )
        if gamma == 0:
            raise ZooError("MultiStep: gamma must be above 0")
        self.milestones, self.gamma, self.warmup = milestones, gamma, warmup

    def multiplier(self, progress: float) -> float:
        return multistep(progress, self.milestones, self.gamma, self.warmup)
