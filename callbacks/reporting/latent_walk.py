"""What lies between samples: a picture of straight ways through the latent noise after each epoch."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.reporting.figures import keep_picture, warns
from callbacks.reporting.samples import sample_grid
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.generators.sampling import latent_walk, samples_at
from zoo.randomness import key


def walk(module: GAN, size: int, seed: int = 0) -> Tensor:
    """``size`` walks of ``size`` steps each, (size * size, *sample_shape), by the generator that is kept.

    With conditioning each walk keeps to a class.
    """
    source = torch.Generator().manual_seed(key(seed, "walk"))
    ends = torch.randn(2, size, module.generator.latent_dim, generator=source)
    z = latent_walk(ends[0], ends[1], size).flatten(0, 1)
    labels = torch.arange(size).repeat_interleave(size) % module.generator.num_classes if module.conditional else None
    return samples_at(module.sampling_generator(), z, labels)


class LatentWalk(Callback):
    """Draws ``figures/latent_walk.png`` after each epoch: a row leads from one image to another, in even steps.

    Images that change all along a row are learnt; ones that stay and then jump are known by heart. The ends are the
    same each time. Only the first process draws, and a picture that cannot be drawn is a warning.

    Args:
        folder: the run's folder.
        size: rows, and steps in a row.
        every_n_epochs: draw after each n-th epoch, and after the last.
    """

    def __init__(self, folder: str | Path, size: int = 8, every_n_epochs: int = 1) -> None:
        if size < 2 or every_n_epochs < 1:
            raise ZooError(
                f"LatentWalk: size is at least 2 and every_n_epochs at least 1, got {size} and {every_n_epochs}"
            )
        self.folder, self.size, self.every_n_epochs = Path(folder), size, every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, GAN) or len(pl_module.generator.sample_shape) != 3:
            raise ZooError(f"LatentWalk draws images that a GAN makes, and this {type(pl_module).__name__} makes none")
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        if due and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            with warns("latent_walk.png"):
                keep_picture(trainer, self.folder, "latent_walk", sample_grid(walk(pl_module, self.size)))
