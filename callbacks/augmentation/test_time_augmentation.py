"""Test-time augmentation: average what the network says about several views of an image."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from callbacks.technique import NoEffect, Technique, UnsupportedModule
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Regression, Task


def views(images: Tensor, flip: bool, shift: int) -> list[Tensor]:
    """The images as they are, then moved by ``shift`` pixels up, down, left and right, then mirrored views of these.

    A moved view is a crop of the image after its border was repeated outwards.

    Args:
        images: floats (B, C, H, W).
        flip: add the mirror image, left to right, of every view.
        shift: pixels; 0 for none.

    Returns:
        1 to 10 tensors of the same shape, the first being ``images``.
    """
    height, width = images.shape[-2:]
    found = [images]
    if shift:
        padded = F.pad(images, (shift,) * 4, mode="replicate")
        corners = [(2 * shift, shift), (0, shift), (shift, 2 * shift), (shift, 0)]
        found += [padded[..., top : top + height, left : left + width] for top, left in corners]
    return found + [view.flip(-1) for view in found] if flip else found


def average_predictions(predictions: list[Tensor], task: Task) -> Tensor:
    """One raw prediction that decodes to the mean of the decoded ones.

    Classification: log mean_v softmax(z_v), whose softmax is the mean probability. Regression: the mean, as decoding
    is linear.

    Args:
        predictions: raw outputs (B, K) of the network, one for each view.
        task: says how outputs are read.
    """
    stacked = torch.stack(predictions)  # (V, B, K)
    if isinstance(task, Classification):
        return stacked.float().log_softmax(-1).logsumexp(0) - math.log(len(predictions))
    return stacked.mean(0)


class TestTimeAugmentation(Technique):
    """Validate, test and predict with the mean over flipped and shifted views, in probability space.

    After Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012,
    section 4.1 (five crops and their mirror images). Training is as it was; each evaluation costs as many forward
    passes as there are views. The loss that is reported is that of the mean probability.

    Args:
        flip: add mirror images; not for digits, letters and whatever has a left and a right.
        shift: add views moved by so many pixels in four directions; 0 for none.
    """

    supports = SupervisedModule

    def __init__(self, flip: bool = True, shift: int = 0) -> None:
        if shift < 0:
            raise ZooError(f"TestTimeAugmentation: shift counts pixels and must not be negative, got {shift}")
        self.flip, self.shift = flip, shift
        self._handle: RemovableHandle | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Every stage evaluates: the same checks and the same slot as while fitting.
        super().setup(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, "fit")

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, SupervisedModule)
        task = module.task
        if not isinstance(task, Classification | Regression):
            raise UnsupportedModule(
                f"TestTimeAugmentation does not support the task {type(task).__name__}: it knows how to average class"
                " probabilities and real values; drop it"
            )
        if not self.flip and self.shift == 0:
            raise NoEffect("TestTimeAugmentation adds no view; set flip to true or shift to 1 or more")
        self._remove()
        flip, shift = self.flip, self.shift

        # A closure, not a method: copies of the module, such as an average of weights, must not copy this technique.
        def average(called: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if not (module.trainer.evaluating or module.trainer.predicting):
                return None
            images = inputs[0]
            if not isinstance(images, Tensor) or images.ndim != 4:
                raise UnsupportedModule("TestTimeAugmentation flips and shifts images (B, C, H, W); drop it")
            others = [module.forward(view, *inputs[1:]) for view in views(images, flip, shift)[1:]]
            return average_predictions([output, *others], task)

        self._handle = module.register_forward_hook(average)
        self.acted()  # what it does shows in evaluation, not in training batches

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._remove()

    def _remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
