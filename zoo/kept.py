"""What a fit leaves behind: the weights that were kept, and a way to look at the validation split with them."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader

from zoo.batch import Batch, as_batch
from zoo.module import SupervisedModule


class Kept(NamedTuple):
    """The weights that a fit has kept; ``epoch`` says when they were the best, None when nothing was judged."""

    state: dict[str, Any] | None = None
    epoch: int | None = None
    about: str = "weights at the end"
    file: Path | None = None


def kept_weights(trainer: Trainer) -> Kept:
    """The best weights from their checkpoint: of the callback that judges before one that keeps the last."""
    keepers = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    keeper = min(keepers, key=lambda keeper: keeper.monitor is None, default=None)
    if keeper is None or not Path(keeper.best_model_path).is_file():
        return Kept()
    read = trainer.strategy.checkpoint_io.load_checkpoint
    checkpoint = read(keeper.best_model_path, map_location=torch.device("cpu"), weights_only=True)
    epoch, judged = checkpoint["epoch"] + 1, keeper.monitor is not None
    about = f"weights of epoch {epoch} ({'the best' if judged else 'the last kept'})"
    return Kept(checkpoint["state_dict"], epoch if judged else None, about, Path(keeper.best_model_path))


@contextmanager
def borrowed(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Evaluate as validation does; then weights, flags, random generators and the trainer's stage are put back."""
    weights = copy.deepcopy(module.state_dict())
    flags = [(part, part.training) for part in module.modules()]
    device = trainer.strategy.root_device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            # Data augment while the trainer trains.
            trainer.validating = True
            module.eval()
            yield
        finally:
            trainer.training = True
            module.load_state_dict(weights)
            for part, flag in flags:
                part.training = flag


def validation_batches(trainer: Trainer) -> Iterator[Batch]:
    """The validation split, on the device and as a validation sees it; with several processes this one's share.

    To be read within ``borrowed``, while the trainer trains.
    """
    limit = trainer.num_val_batches[0]
    loader = CombinedLoader(trainer.val_dataloaders).flattened[0]
    for raw in islice(loader, int(limit) if math.isfinite(limit) else None):
        yield as_batch(trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(raw)))


@torch.no_grad()
def validation_metrics(trainer: Trainer, module: SupervisedModule) -> dict[str, float]:
    """The task's metrics on ``validation_batches``; within ``borrowed``."""
    metrics = module.task.metrics().to(trainer.strategy.root_device)
    with trainer.precision_plugin.val_step_context():
        for batch in validation_batches(trainer):
            module.task.update(metrics, module.forward_batch(batch), batch)
    return {name: float(value) for name, value in metrics.compute().items()}
