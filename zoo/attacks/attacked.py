"""What every attack needs: a network that holds still, and the gradient with respect to its input alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import DataError, ZooError


@contextmanager
def attacked(model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Hold ``model`` still while it is attacked; yields copies of ``x`` and ``y`` that no graph hangs on.

    Batch norm and dropout are in evaluation mode meanwhile, so that the function attacked is the one that is used and
    no running statistic changes; every module's flag is put back. Gradients are on even inside ``no_grad`` and
    ``inference_mode``, and numbers are float32 even inside autocast: small gradients vanish in 16 bits.

    Args:
        model: takes pixels and gives logits.
        x: float32 images (B, ...) in [0, 1].
        y: classes (B,) or soft targets (B, num_classes).

    Raises:
        DataError: ``x`` is something else; normalised images, most often.
        ZooError: the weights were made under ``torch.inference_mode``, which no gradient passes.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        x, y = x.detach().clone(), y.detach().clone()
        if x.dtype != torch.float32:
            raise DataError(f"an attack takes float32 images, got {x.dtype}")
        low, high = x.aminmax() if x.numel() else (x.new_zeros(()), x.new_zeros(()))
        if not bool((low >= 0) & (high <= 1)):
            raise DataError(
                f"an attack takes images with pixels in [0, 1], got {low.item():.3g} to {high.item():.3g}; put"
                " the normalisation into the model with zoo.attacks.pixels.Pixels"
            )
        if any(tensor.is_inference() for tensor in chain(model.parameters(), model.buffers())):
            raise ZooError(
                "an attack needs gradients, and these weights were made under torch.inference_mode; build or load the"
                " network outside of it, or use Trainer(inference_mode=False)"
            )
        flags = [(module, module.training) for module in model.modules()]
        for module, _ in flags:
            module.training = False  # not eval(): a module may do more there
        try:
            yield x, y
        finally:
            for module, flag in flags:
                module.training = flag


def gradient(model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The gradient of each sample's loss with respect to that sample, and the logits; weights get no gradient.

    ``autograd.grad`` rather than ``backward``: it computes no gradient of the weights and fires none of their hooks.

    Args:
        model: inside ``attacked``.
        x: images (B, ...).
        loss: from logits (B, num_classes) to one number a sample (B,).
    """
    x = x.detach().requires_grad_()
    logits = model(x)
    (slope,) = torch.autograd.grad(loss(logits).sum(), x)
    return slope, logits.detach()


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-sum_k y_k log softmax(z)_k of each sample, (B,); y are classes (B,) or soft targets (B, num_classes)."""
    return F.cross_entropy(logits, y, reduction="none")


def is_wrong(logits: Tensor, y: Tensor) -> Tensor:
    """Whether the likeliest class is not the (likeliest) true one, bool (B,)."""
    return logits.argmax(1) != (y.argmax(1) if y.is_floating_point() else y)


def withstands(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Whether images are seen for what they are, in evaluation mode and float32, bool (B,)."""
    with attacked(model, x, y) as (x, y), torch.no_grad():
        return ~is_wrong(model(x), y)
