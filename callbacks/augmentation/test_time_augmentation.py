"""Test-time augmentation: average what the network says about several views of an image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from callbacks.technique import EvaluationTechnique, NoEffect, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.tasks.ensemble import combine


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


class TestTimeAugmentation(EvaluationTechnique):
    """Validate, test and predict with the mean over flipped and shifted views, in probability space.

    After Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012,
    section 4.1 (five crops and their mirror images). Training is as it was; each evaluation costs as many forward
    passes as there are views. The loss that is reported is that of the mean probability.

    Args:
        flip: add mirror images; not for digits, letters and whatever has a left and a right.
        shift: add views moved by so many pixels in four directions; 0 for none.
    """

    inputs = ("images",)

    def __init__(self, flip: bool = True, shift: int = 0) -> None:
        if shift < 0:
            raise ZooError(f"TestTimeAugmentation: shift counts pixels and must not be negative, got {shift}")
        self.flip, self.shift = flip, shift

    def attach(self, module: ZooModule) -> None:
        if not self.flip and self.shift == 0:
            raise NoEffect("TestTimeAugmentation adds no view; set flip to true or shift to 1 or more")
        super().attach(module)

    def answer(self, module: SupervisedModule, batch: Batch, index: int) -> Tensor:
        images = batch.x
        if not isinstance(images, Tensor) or images.ndim != 4:
            raise UnsupportedModule("TestTimeAugmentation flips and shifts images (B, C, H, W); drop it")
        said = [module.forward_batch(batch._replace(x=view)) for view in views(images, self.flip, self.shift)]
        return combine(module.task, torch.stack(said, 1))
