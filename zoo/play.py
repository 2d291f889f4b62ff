"""One step of an adversarial game: what the discriminator was shown and said, and the functions that judge it."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import Batch

if TYPE_CHECKING:
    from zoo.gan import GAN


class Play(NamedTuple):
    """What a discriminator was shown in one step, and what it said.

    Attributes:
        real, fake: samples as the discriminator saw them, (B, *sample_shape); they require a gradient where there are
            penalties.
        y: labels of both, (B,); None without conditioning.
        real_logits, fake_logits: (B,), float32.
        step: which step of the discriminator this is, counted from 0 over the whole run.
    """

    real: Tensor
    fake: Tensor
    y: Tensor | None
    real_logits: Tensor
    fake_logits: Tensor
    step: int


DiscriminatorLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
GeneratorLoss: TypeAlias = Callable[[Tensor, Callable[[], Tensor]], Tensor]
DiscriminatorPenalty: TypeAlias = Callable[["GAN", Play], Tensor]
DiscriminatorTransform: TypeAlias = Callable[["GAN", Tensor], Tensor]
Observer: TypeAlias = Callable[["GAN", Play], None]


def logistic_discriminator(real: Tensor, fake: Tensor, real_label: float = 1.0) -> Tensor:
    """Cross-entropy of real against fake, with s = ``real_label`` as the target of real samples::

        mean s softplus(-D(x)) + (1 - s) softplus(D(x)) + mean softplus(D(G(z)))

    Goodfellow et al., "Generative adversarial nets", 2014, eq. 1; the target s is one-sided label smoothing, Salimans
    et al., "Improved techniques for training GANs", 2016, section 3.4.
    """
    # softplus(d) = softplus(-d) + d
    return (F.softplus(-real) + (1 - real_label) * real).mean() + F.softplus(fake).mean()


def logistic_generator(fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
    """mean softplus(-D(G(z))), whose gradient does not vanish where the fakes are found out. Goodfellow et al. 2014."""
    return F.softplus(-fake).mean()


def parts(batch: Batch, count: int) -> Iterator[Batch]:
    """Deal a batch out in parts of nearly equal size."""
    if count == 1:
        yield batch
        return
    for x, y in zip(batch.x.tensor_split(count), batch.y.tensor_split(count)):
        yield Batch(x, y)


@torch.no_grad()
def average_over_processes(strategy: Strategy, tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in place, with one message for all of them."""
    if not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    mean = cast(Tensor, strategy.reduce(flat, reduce_op="mean"))
    for tensor, part in zip(tensors, mean.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(part.view_as(tensor))


def parameters(optimizer: LightningOptimizer) -> list[Tensor]:
    """All parameters that the optimizer steps."""
    return [parameter for group in optimizer.optimizer.param_groups for parameter in group["params"]]


def no_closure() -> None:
    """The closure of a step whose gradients are there already."""
