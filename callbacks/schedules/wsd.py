"""Warm-up, stable, decay: a plateau that can be prolonged, and a short fall at the end."""

from math import sqrt
from typing import Literal, TypeAlias

from callbacks.schedules.schedule import ProgressSchedule, cosine_between
from zoo.errors import ZooError

Shape: TypeAlias = Literal["linear", "cosine", "one_minus_sqrt"]


def wsd(
    progress: float, warmup: float = 0.05, decay: float = 0.2, final: float = 0.0, shape: Shape = "one_minus_sqrt"
) -> float:
    """Rises to 1 over ``warmup``, stays there, and falls to ``final`` over the last ``decay`` of the run.

    With q the share of the decay that has passed, the fall is ``1 - sqrt(q)`` (Hägele et al., "Scaling laws and
    compute-optimal training beyond fixed training durations", 2024), ``1 - q`` or half a cosine, scaled to end at
    ``final``.
    """
    if progress < warmup:
        return progress / warmup
    if progress <= 1 - decay or decay == 0:
        return 1.0
    passed = (progress - (1 - decay)) / decay
    match shape:
        case "linear":
            return 1 - (1 - final) * passed
        case "cosine":
            return cosine_between(1.0, final, passed)
        case "one_minus_sqrt":
            return 1 - (1 - final) * sqrt(passed)


class WSD(ProgressSchedule):
    """Warm-up, stable, decay. Hu et al., "MiniCPM", 2024, section 4.

    Args:
        warmup: share of the run over which the rate rises from 0, in [0, 1).
        decay: share of the run over which it falls at the end; 0.1 to 0.3.
        final: the last learning rate as a share of the highest, in [0, 1].
        shape: of the fall.
        network: which network, for families that have several.
    """

    def __init__(
        self,
        warmup: float = 0.05,
        decay: float = 0.2,
        final: float = 0.0,
        shape: Shape = "one_minus_sqrt",
        network: str = "network",
    ) -> None:
        super().__init__(network)
        self.require_fraction(warmup=warmup, decay=decay, final=final)
        if warmup + decay > 1:
            raise ZooError(f"WSD: warmup={warmup} and decay={decay} are together longer than the run; shorten one")
        self.warmup, self.decay, self.final, self.shape = warmup, decay, final, shape

    def multiplier(self, progress: float) -> float:
        return wsd(progress, self.warmup, self.decay, self.final, self.shape)
