"""Recompute the running statistics of batch norm from training data, for weights that never saw it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.batch import Batch, as_batch
from zoo.module import SupervisedModule


@runtime_checkable
class ResumableOrder(Protocol):
    """A sampler that starts behind the batches of this epoch that are done."""

    batches_done: Callable[[], int]


def running_norms(module: nn.Module) -> list[_BatchNorm]:
    """Batch norms that keep running statistics and are trained; frozen ones keep those they came with."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    return [m for m in norms if m.weight is None or m.weight.requires_grad]


@torch.no_grad()
def recalibrate(module: nn.Module, forward: Callable[[Batch], object], batches: Iterator[Batch]) -> int:
    """Replace running mean and variance by their plain means over batches; Izmailov et al. 2018, section 3.2.

    Only the norms are in training mode meanwhile: dropout is off, as it is when the statistics are used. Flags and
    momenta are put back.

    Args:
        module: holds the norms.
        forward: runs the network on a batch.
        batches: training batches, on the module's device.

    Returns:
        how many batches were seen; with none, nothing was changed.
    """
    norms, seen = running_norms(module), 0
    flags = {layer: layer.training for layer in module.modules()}
    momenta = [norm.momentum for norm in norms]
    module.eval()
    try:
        for batch in batches:
            if batch.size < 2:
                continue  # has no variance
            if seen == 0:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # a cumulative mean: every batch counts alike
                    norm.train()
            forward(batch)
            seen += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for layer, flag in flags.items():
            layer.training = flag
    return seen


def training_batches(trainer: Trainer, module: LightningModule) -> Iterator[Batch]:
    """The training batches of a whole epoch, on the device and as the datamodule prepares them, in a loader of its own.

    While evaluating, a datamodule leaves augmentation out.
    """
    datamodule: LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
    loader: Any = trainer.train_dataloader if datamodule is None else datamodule.train_dataloader()
    order = getattr(loader, "sampler", None)
    if isinstance(order, ResumableOrder):
        order.batches_done = int  # the epoch under way is done in part, or as a whole; this one starts at 0
    for batch in loader:
        yield as_batch(trainer.strategy.batch_to_device(batch, module.device))


def recalibrate_from_training_data(trainer: Trainer, module: SupervisedModule, limit: int | None = None) -> int:
    """Recompute the running statistics of ``module`` in the middle of a run, without touching its random state.

    With several processes each sees its share of the data, and the statistics are averaged over all of them.

    Args:
        trainer, module: the run.
        limit: training batches of each process; None for a whole epoch.

    Returns:
        how many batches this process saw.
    """
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seen = recalibrate(module, module.forward_batch, islice(training_batches(trainer, module), limit))
    for norm in running_norms(module):
        for buffer in (norm.running_mean, norm.running_var):
            assert buffer is not None
            buffer.copy_(cast(torch.Tensor, trainer.strategy.reduce(buffer.clone(), reduce_op="mean")))
    return seen
