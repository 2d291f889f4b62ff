"""Gradient clipping: no step may be made with a gradient that is too large."""

import math
from typing import Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from callbacks.gradients.clipping import ClippingTechnique
from callbacks.technique import Conflict
from zoo.errors import ZooError


@torch.no_grad()
def clip_gradients_(parameters: list[Tensor], limit: float, by: Literal["norm", "value"]) -> tuple[Tensor, Tensor]:
    """Clip the gradients of ``parameters`` in place::

        norm:  g <- g * min(1, limit / |g|)      |g| over all parameters together
        value: g_i <- max(-limit, min(limit, g_i))

    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, algorithm 1 (norm); Mikolov 2012
    (value).

    Returns:
        The norm before clipping, and 1.0 if anything was clipped or else 0.0; both scalars on the device.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if any(isinstance(gradient, DTensor) for gradient in gradients):
        return _clip_parts_(gradients, limit, by)
    if by == "norm":
        norm = nn.utils.clip_grad_norm_(parameters, limit)
        return norm, (norm > limit).float()
    norm = nn.utils.get_total_norm(gradients)
    largest = nn.utils.get_total_norm(gradients, norm_type=math.inf)
    nn.utils.clip_grad_value_(parameters, limit)
    return norm, (largest > limit).float()


def _clip_parts_(gradients: list[Tensor], limit: float, by: Literal["norm", "value"]) -> tuple[Tensor, Tensor]:
    """The same where processes hold parts of the gradients, in different ways, for which torch has no common kernel."""
    sizes = [math.inf if by == "value" else 2.0, 2.0]
    norms = [torch.stack([_whole(torch.linalg.vector_norm(g, size)) for g in gradients]) for size in sizes]
    judged, norm = torch.linalg.vector_norm(norms[0], sizes[0]), torch.linalg.vector_norm(norms[1])
    for gradient in gradients:
        part = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        if by == "value":
            part.clamp_(-limit, limit)
        else:
            part.mul_((limit / (norm + 1e-6)).clamp(max=1.0))  # as torch has it
    return norm, (judged > limit).float()


def _whole(scalar: Tensor) -> Tensor:
    return scalar.full_tensor() if isinstance(scalar, DTensor) else scalar


class GradientClipping(ClippingTechnique):
    """Clips the gradient of one network by its norm or by value, and logs how often that was necessary.

    Logged every ``log_every_n_steps`` steps: ``train/grad_norm``, the mean norm before clipping, and
    ``train/grad_clipped``, the share of steps that were clipped. Unlike the trainer's ``gradient_clip_val`` it works
    with a fused optimizer under bf16-mixed, and for each network on its own.

    Args:
        limit: the largest norm or entry; 1 is usual for a norm, 0.1 to 10 according to ``train/grad_norm``.
        by: "norm" keeps the gradient's direction, "value" does not.
        network: which network, for families that have several.

    Raises:
        ZooError: a limit that is not positive and finite.
        Conflict: in a fit, when the trainer clips as well.
    """

    def __init__(self, limit: float = 1.0, by: Literal["norm", "value"] = "norm", network: str = "network") -> None:
        super().__init__(network)
        if not 0 < limit < math.inf:
            raise ZooError(f"GradientClipping: limit must be positive and finite, got {limit}; 1 is usual for a norm")
        self.limit, self.by = limit, by

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.gradient_clip_val:
            raise Conflict(
                f"GradientClipping and trainer.gradient_clip_val={trainer.gradient_clip_val:g} both clip gradients;"
                " drop one of them"
            )
        super().setup(trainer, pl_module, stage)

    def edit(self, parameters: dict[str, Tensor], trainer: Trainer) -> None:
        norm, clipped = clip_gradients_(list(parameters.values()), self.limit, self.by)
        self.count({"grad_norm": norm, "grad_clipped": clipped})
