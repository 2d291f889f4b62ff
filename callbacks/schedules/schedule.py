"""Bases of the learning-rate schedules: a factor on the learning rate as a function of the run's progress."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from callbacks.technique import Conflict, Technique
from zoo.errors import ZooError
from zoo.module import ZooModule

# Fractions such as 0.3 and steps such as 3 / 10 differ in the last bit; a boundary counts as reached within this.
BOUNDARY = 1e-9


class Schedule(Technique, ABC):
    """Base of all schedules: changes the learning rate of one network's optimizer while it trains.

    Args:
        network: which network, for families that have several.
    """

    def __init__(self, network: str = "network") -> None:
        self.network = network

    @property
    def name(self) -> str:
        # Common to all schedules of a network, so that a run that was broken off leaves no owner behind for the next.
        return f"Schedule[{self.network}]"

    @property
    def state_key(self) -> str:
        return self.name

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(other, Schedule) and other is not self and other.network == self.network:
                raise Conflict(
                    f"{type(self).__name__} and {type(other).__name__} both want to be the schedule of the network"
                    f" {self.network!r}; drop one of them"
                )
        if stage == "fit" and trainer.max_epochs == -1 and trainer.max_steps == -1:
            raise self.endless()
        super().setup(trainer, pl_module, stage)

    def attach(self, module: ZooModule) -> None:
        self.claim(
            module,
            "schedule_factories",
            lambda optimizer, total_steps: self.build(optimizer, total_steps, module.trainer),
            self.network,
        )

    @abstractmethod
    def build(self, optimizer: Optimizer, total_steps: int, trainer: Trainer) -> LRScheduler | LRSchedulerConfigType:
        """The scheduler for a run of ``total_steps`` optimizer steps."""

    def endless(self) -> ZooError:
        """What to say when nobody knows how long the run will be."""
        return ZooError(
            f"{type(self).__name__} works in fractions of the run, and this run has no end; set --trainer.max_epochs or"
            " --trainer.max_steps"
        )

    def require_fraction(self, **fractions: float) -> None:
        """Raise ZooError unless each of these arguments lies in [0, 1]."""
        for argument, value in fractions.items():
            if not 0 <= value <= 1:
                raise ZooError(f"{type(self).__name__}: {argument} is a fraction in [0, 1], got {value}")


class ProgressSchedule(Schedule):
    """Base of the schedules that know the whole course beforehand: ``lr = optimizer's lr * multiplier(progress)``.

    The k-th of T steps, counted from 0, is made with ``multiplier(k / T)``.
    """

    @abstractmethod
    def multiplier(self, progress: float) -> float:
        """Factor on the learning rate after this share of the run, in [0, 1]."""

    def build(self, optimizer: Optimizer, total_steps: int, trainer: Trainer) -> LRScheduler | LRSchedulerConfigType:
        if total_steps < 1:
            raise self.endless()
        return LambdaLR(optimizer, lambda step: self.multiplier(min(step / total_steps, 1.0)))


def ramp(progress: float, warmup: float) -> float:
    """Linear warm-up: rises from 0 to 1 over the first ``warmup`` of the run, then stays 1.

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017, section 2.2.
    """
    return progress / warmup if progress < warmup else 1.0


def after_warmup(progress: float, warmup: float, course: Callable[[float], float]) -> float:
    """Linear warm-up, then ``course`` over the rest of the run, from its 0 to its 1."""
    if progress < warmup:
        return progress / warmup
    return course((progress - warmup) / (1 - warmup)) if warmup < 1 else 1.0


def cosine_between(start: float, end: float, progress: float) -> float:
    """From ``start`` at 0 to ``end`` at 1 along half a cosine, level at both ends."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
