"""One cycle: the learning rate rises and falls once, the momentum moves against it."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from callbacks.schedules.schedule import ProgressSchedule, cosine_between
from zoo.errors import ZooError


def one_cycle(progress: float, warmup: float, start: float, peak: float, end: float) -> float:
    """From ``start`` to ``peak`` over the first ``warmup`` of the run and on to ``end``, along half cosines.

    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018; with
    cosines in place of their straight lines, as usual since.
    """
    if progress < warmup:
        return cosine_between(start, peak, progress / warmup)
    return cosine_between(peak, end, (progress - warmup) / (1 - warmup)) if warmup < 1 else peak


class OneCycle(ProgressSchedule):
    """The one-cycle policy; the optimizer's learning rate is the highest one.

    Args:
        warmup: share of the run in which the rate rises, in (0, 1); 0.2 to 0.45.
        div_factor: the first rate is the highest one divided by this.
        final_div_factor: the last rate is the first one divided by this.
        base_momentum: lowest momentum, where the rate is highest.
        max_momentum: highest momentum, at both ends.
        cycle_momentum: move the momentum (the first beta of Adam's kin) of optimizers that have one.
        network: which network, for families that have several.
    """

    def __init__(
        self,
        warmup: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        cycle_momentum: bool = True,
        network: str = "network",
    ) -> None:
        super().__init__(network)
        self.require_fraction(warmup=warmup, base_momentum=base_momentum, max_momentum=max_momentum)
        if div_factor < 1 or final_div_factor < 1:
            raise ZooError(
                f"OneCycle: div_factor and final_div_factor must be at least 1, got {div_factor} and {final_div_factor}"
            )
        if not base_momentum <= max_momentum < 1:
            raise ZooError(
                f"OneCycle: base_momentum <= max_momentum < 1 must hold, got {base_momentum} and {max_momentum}"
            )
        self.warmup, self.div_factor, self.final_div_factor = warmup, div_factor, final_div_factor
        self.base_momentum, self.max_momentum, self.cycle_momentum = base_momentum, max_momentum, cycle_momentum

    def multiplier(self, progress: float) -> float:
        start = 1 / self.div_factor
        return one_cycle(progress, self.warmup, start, 1.0, start / self.final_div_factor)

    def momentum(self, progress: float) -> float:
        """The momentum after this share of the run."""
        return one_cycle(progress, self.warmup, self.max_momentum, self.base_momentum, self.max_momentum)

    def build(self, optimizer: Optimizer, total_steps: int, trainer: Trainer) -> LRScheduler | LRSchedulerConfigType:
        if not self.cycle_momentum:
            return super().build(optimizer, total_steps, trainer)
        if total_steps < 1:
            raise self.endless()
        return _LambdaLRWithMomentum(
            optimizer,
            lambda step: self.multiplier(min(step / total_steps, 1.0)),
            lambda step: self.momentum(min(step / total_steps, 1.0)),
        )


class _LambdaLRWithMomentum(LambdaLR):
    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float], momentum_lambda: Callable[[int], float]
    ) -> None:
        self.momentum_lambda = momentum_lambda
        super().__init__(optimizer, lr_lambda)

    def state_dict(self) -> dict[str, Any]:
        # A function has no place in a checkpoint; the next run builds it from the arguments again.
        return {key: value for key, value in super().state_dict().items() if key != "momentum_lambda"}

    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        momentum = self.momentum_lambda(self.last_epoch)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif group.get("momentum"):
                group["momentum"] = momentum
