"""Full-batch gradient descent: back-propagation as the textbooks have it, one step for the whole training set."""

from collections.abc import Sized
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection
from zoo.batch import as_batch
from zoo.errors import ZooError

REMEDY = "set --data.batch_size full (or the optimizer to SGD)"


class GradientDescent(OptimizerSelection):
    """Plain steps along the gradient of the mean loss over the whole training split: ``w <- w - lr grad L(w)``.

    One step is one epoch. A split that does not fit into memory at once may come in n batches of equal size with
    ``accumulate_grad_batches: n``, whose gradients add up to the same. Rumelhart, Hinton and Williams, "Learning
    representations by back-propagating errors", 1986, eq. 8.

    Args:
        lr: learning rate; must stay below 2 / (largest curvature), or the loss grows.
        weight_decay: L2 penalty on matrices and filters.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.

    Raises:
        ZooError: a step would see a part of the training split only.
    """

    def __init__(
        self,
        lr: float = 0.5,
        weight_decay: float = 0.0,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__("torch.optim.SGD", lr, weight_decay, None, rules, layer_decay, network)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
        if batches != accumulated:
            raise ZooError(
                f"GradientDescent makes one step an epoch, but an epoch has {batches} batches and a step takes"
                f" {accumulated}; {REMEDY}"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # The count of batches alone would accept a split cut short by limit_train_batches or drop_last.
        split = _split_size(trainer)
        size, steps = as_batch(batch).size, trainer.accumulate_grad_batches * trainer.world_size
        if size * steps < split:
            raise ZooError(
                f"GradientDescent wants the whole training split of {split} samples in a step, but batch {batch_idx}"
                f" holds {size} of the {-(-split // steps)} that are its share; {REMEDY}"
            )


def _split_size(trainer: Trainer) -> int:
    """Samples of the training split, or 0 where the data do not say."""
    loader = trainer.train_dataloader
    if isinstance(loader, DataLoader):
        return len(cast(Sized, loader.dataset))
    targets = getattr(trainer.datamodule, "train_targets", None)  # type: ignore[attr-defined]
    return len(targets) if isinstance(targets, Tensor) else 0
