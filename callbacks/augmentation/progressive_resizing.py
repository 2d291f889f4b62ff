"""Progressive resizing: small images first, full size at the end."""

import torch
from torch import Tensor
from torch.nn import functional as F

from callbacks.technique import Technique, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule


def side_at(progress: float, full: int, start: float, until: float, multiple: int) -> int:
    """Pixels of a side at a point of the run: linear from ``start * full`` to ``full``, in whole steps.

    s(t) = full (start + (1 - start) min(t / until, 1)), rounded to the nearest multiple, at least one multiple and at
    most ``full``.

    Args:
        progress: t, the share of the run that is done, in [0, 1].
        full: the side of the images as the data have them, in pixels.
        start: share of the side at the beginning, in (0, 1].
        until: progress at which images are whole again, in (0, 1].
        multiple: sizes are multiples of it, so that few of them occur and strides divide them.
    """
    side = full * (start + (1 - start) * min(progress / until, 1.0))
    return full if progress >= until else min(max(round(side / multiple), 1) * multiple, full)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Float images (B, C, H, W) at another size: bilinear, with the low-pass that shrinking needs."""
    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


class ProgressiveResizing(Technique):
    """Train on small images early in the run and on whole ones at its end; evaluation always sees whole ones.

    A forward pass over images of half the side costs a quarter. Used by Howard et al. for DAWNBench, 2018; Tan and Le,
    "EfficientNetV2: Smaller models and faster training", 2021, section 4, let regularisation grow with the size. For
    networks that take any size: convolutions with a global pooling.

    Args:
        start: share of the side at the beginning, in (0, 1]; 1 changes nothing.
        until: share of the run after which images are whole, in (0, 1].
        multiple: sizes in pixels are multiples of this.
    """

    supports = SupervisedModule
    inputs = ("resizable images",)

    def __init__(self, start: float = 0.5, until: float = 0.8, multiple: int = 4) -> None:
        if not 0 < start <= 1 or not 0 < until <= 1:
            raise ZooError(f"ProgressiveResizing: start and until are shares in (0, 1], got {start} and {until}")
        if multiple < 1:
            raise ZooError(f"ProgressiveResizing: multiple must be at least 1 pixel, got {multiple}")
        self.start, self.until, self.multiple = start, until, multiple

    def attach(self, module: ZooModule) -> None:
        self.require_any_size(module)
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch at the size that belongs to this point of the run."""
        total = float(module.trainer.estimated_stepping_batches)
        if total == float("inf"):
            raise ZooError("ProgressiveResizing has to know the length of the run; set max_epochs or max_steps")
        progress = module.trainer.global_step / total
        height, width = batch.x.shape[-2:]
        if self.side(0.0, height) < height or self.side(0.0, width) < width:
            self.acted()  # also for a run that is taken up when images are whole again
        small = self.side(progress, height), self.side(progress, width)
        return batch if small == (height, width) else batch._replace(x=resize(batch.x, *small))

    def side(self, progress: float, full: int) -> int:
        """See ``side_at``."""
        return side_at(progress, full, self.start, self.until, self.multiple)

    def require_any_size(self, module: ZooModule) -> None:
        """Raise UnsupportedModule unless ``module`` takes images, and smaller ones as well."""
        example = module.example_input_array
        if not isinstance(example, Tensor) or example.ndim != 4:
            raise UnsupportedModule(
                f"ProgressiveResizing does not support {type(module).__name__}, which takes no images (B, C, H, W)"
            )
        sides = [self.side(0.0, full) for full in example.shape[-2:]]
        flags = {layer: layer.training for layer in module.modules()}
        module.eval()
        try:
            with torch.no_grad():
                module(resize(example.to(module.device), *sides))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UnsupportedModule(
                f"ProgressiveResizing does not support {type(module).__name__}: it takes images of one size, and"
                f" {sides[0]} x {sides[1]} pixels failed; use a network with a global pooling, such as ResNet"
            ) from error
        finally:
            for layer, flag in flags.items():
                layer.training = flag

    def no_effect_hint(self) -> str:
        return f"start is {self.start} and multiple is {self.multiple}: no image became smaller; lower both"
