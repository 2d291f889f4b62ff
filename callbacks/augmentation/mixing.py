"""What the techniques that mix samples share: shares from a Beta distribution, partners, and exact mixed targets."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Beta

from callbacks.technique import Technique, UnsupportedModule
from zoo.batch import Batch, Inputs
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Regression, Task


def draw_share(alpha: float, *shape: int) -> Tensor:
    """Shares lambda ~ Beta(alpha, alpha), float32 of the given shape, from torch's generator of the CPU."""
    return Beta(alpha, alpha, validate_args=False).sample(torch.Size(shape))


def blend(values: Tensor, permutation: Tensor, share: Tensor) -> Tensor:
    """share * values + (1 - share) * values[permutation], in the precision of ``values``.

    Args:
        values: floats, (B, ...).
        permutation: int64 (B,), the partner of each sample.
        share: the sample's own part, in [0, 1]; one number () or one a sample (B,).
    """
    share = share.to(values.device, values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * values[permutation]


def soft_target(task: Task, y: Tensor, dtype: torch.dtype) -> Tensor:
    """Targets that can be mixed: classes become one-hot rows (B, num_classes); soft and real ones stay."""
    if isinstance(task, Classification) and not y.is_floating_point():
        return torch.nn.functional.one_hot(y, task.num_classes).to(dtype)
    return y


def mix_targets(batch: Batch, task: Task, permutation: Tensor, share: Tensor) -> Batch:
    """The batch with mixed targets, and with mixed weights where samples are weighted.

    With weights w the pair's loss is share w_i l(y_i) + (1 - share) w_j l(y_j). For a loss that is linear in the
    target, as cross-entropy is, that equals one weight share w_i + (1 - share) w_j and a target mixed in proportion.
    """
    y = soft_target(task, batch.y, batch.x.dtype)
    if batch.weight is None:
        return batch._replace(y=blend(y, permutation, share))
    own = share.to(batch.weight) * batch.weight
    weight = own + (1 - share.to(batch.weight)) * batch.weight[permutation]
    share = torch.where(weight > 0, own / weight, 1.0)
    return batch._replace(y=blend(y, permutation, share), weight=weight)


class BatchMixing(Technique, ABC):
    """Base of the techniques that mix each sample of a training batch with a partner from the same batch.

    Args:
        alpha: of Beta(alpha, alpha), from which the share of a sample is drawn; 0 mixes nothing.
        p: probability in [0, 1] that a batch is mixed at all.
    """

    supports = SupervisedModule
    inputs: ClassVar[tuple[Inputs, ...]] = ("vectors", "images", "sequences")
    tasks: ClassVar[tuple[type[Task], ...]] = (Classification, Regression)

    def __init__(self, alpha: float, p: float) -> None:
        if not alpha >= 0:
            raise ZooError(f"{self.name}: alpha must not be negative, got {alpha}; 0.1 to 2 are usual")
        if not 0 <= p <= 1:
            raise ZooError(f"{self.name}: p is a probability in [0, 1], got {p}")
        self.alpha, self.p = alpha, p

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, SupervisedModule)
        self.require_soft_targets(module)
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """Mix the batch, or let it pass with probability 1 - p."""
        assert isinstance(module, SupervisedModule)
        if self.alpha == 0 or self.p == 0 or batch.size < 2:
            return batch
        self.require_inputs(batch)
        self.acted()  # also when this batch is let pass: that is what p asks for
        # Every draw is from the CPU's generator, which each step seeds anew: no wait for the device, exact resume.
        if torch.rand(()).item() >= self.p:
            return batch
        return self.mix(module, batch, torch.randperm(batch.size).to(batch.x.device))

    @abstractmethod
    def mix(self, module: SupervisedModule, batch: Batch, permutation: Tensor) -> Batch:
        """The batch in which each sample i is mixed with ``permutation[i]``."""

    def require_inputs(self, batch: Batch) -> None:
        """Raise UnsupportedModule unless inputs are real numbers that may be added up."""
        if not isinstance(batch.x, Tensor) or not batch.x.is_floating_point():
            kind = batch.x.dtype if isinstance(batch.x, Tensor) else type(batch.x).__name__
            raise UnsupportedModule(f"{self.name} mixes inputs that are one tensor of floats, got {kind}; drop it")
        if batch.lengths is not None:
            raise UnsupportedModule(f"{self.name} cannot mix padded sequences of different lengths; drop it")

    def require_soft_targets(self, module: SupervisedModule) -> None:
        """Raise UnsupportedModule unless the loss takes mixed targets."""
        task = module.task
        if isinstance(task, Classification):
            soft = torch.full((2, task.num_classes), 1 / task.num_classes, device=module.device)
            try:
                task.loss(torch.zeros_like(soft), Batch(soft, soft))
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise UnsupportedModule(
                    f"{self.name} needs a loss that takes soft targets (B, num_classes), which"
                    f" {type(task.criterion).__name__} does not; use cross-entropy, or drop {self.name}"
                ) from error

    def no_effect_hint(self) -> str:
        return f"alpha is {self.alpha} and p is {self.p}; both have to be positive, and a batch needs two samples"
