"""What a generator makes: a picture of its samples after each epoch, from the same noise every time."""

import math
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import make_grid

from callbacks.reporting.figures import keep_picture, warns
from callbacks.reporting.plots import BLUE, render
from zoo.errors import ZooError
from zoo.gan import GAN

_LEAST_SIDE = 480  # pixels of a grid; smaller ones are enlarged by whole numbers, so that pixels stay sharp


def sample_grid(samples: Tensor) -> NDArray[np.uint8]:
    """One picture of all samples, uint8 (H, W, 3): images side by side, points of the plane as a scatter plot.

    Args:
        samples: images (N, C, H, W) in [-1, 1], or points (N, 2).

    Raises:
        ZooError: samples of another shape, which no picture shows.
    """
    if samples.ndim == 2 and samples.shape[1] == 2:
        return _scatter(samples.numpy())
    if samples.ndim != 4 or samples.shape[1] not in (1, 3):
        raise ZooError(f"samples of shape {tuple(samples.shape[1:])} are no pictures; write them with --out FILE.npy")
    bytes_ = ((samples.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    grid = make_grid(bytes_, nrow=math.ceil(math.sqrt(len(samples))), padding=1, pad_value=128)  # (3, H, W)
    zoom = max(1, math.ceil(_LEAST_SIDE / grid.shape[2]))
    pixels: NDArray[np.uint8] = grid.permute(1, 2, 0).numpy().repeat(zoom, 0).repeat(zoom, 1)
    return pixels


class Samples(Callback):
    """Draws ``figures/samples.png`` after each epoch, and hands it to the loggers that take pictures.

    The noise, and with conditioning the labels, are the same each time, and the generator is the one that is kept.
    Only the first process draws. A picture that cannot be drawn is a warning, never the end of a run.

    Args:
        folder: the run's folder.
        num: samples in the picture; points are drawn 32 times as many.
        every_n_epochs: draw after each n-th epoch, and after the last.
        keep_all: keep each picture, as ``samples_0001.png`` and so on, rather than the latest alone.
    """

    def __init__(self, folder: str | Path, num: int = 64, every_n_epochs: int = 1, keep_all: bool = False) -> None:
        if num < 1 or every_n_epochs < 1:
            raise ZooError(f"Samples: num and every_n_epochs must be at least 1, got {num} and {every_n_epochs}")
        self.folder, self.num, self.every_n_epochs, self.keep_all = Path(folder), num, every_n_epochs, keep_all

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, GAN):
            raise ZooError(f"Samples draws what a GAN makes, and {type(pl_module).__name__} makes no samples; drop it")
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        if not due or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        with warns("samples.png"):
            num = self.num if len(pl_module.generator.sample_shape) == 3 else 32 * self.num
            pixels = sample_grid(pl_module.sample(num))
            keep_picture(trainer, self.folder, "samples", pixels)
            if self.keep_all:
                latest = self.folder / "figures" / "samples.png"
                latest.with_name(f"samples_{epoch:04d}.png").write_bytes(latest.read_bytes())


def _scatter(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    from matplotlib.figure import Figure  # takes half a second

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=4, color=BLUE, alpha=0.3, linewidths=0)
    axes.set_aspect("equal")
    axes.set_title(f"{len(points):,} samples", fontsize=9)
    return render(figure)
