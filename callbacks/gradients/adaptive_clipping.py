"""Adaptive gradient clipping: limit each unit's gradient by the size of its own weights."""

import math
import re

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from callbacks.gradients.clipping import ClippingTechnique
from callbacks.technique import NoEffect
from zoo.errors import ZooError
from zoo.module import ZooModule


def unit_norms(tensor: Tensor) -> Tensor:
    """Length of each unit's incoming weights: one for each row or filter (out, 1, ...), one for a whole vector."""
    if tensor.ndim < 2:
        return torch.linalg.vector_norm(tensor)
    return torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.ndim)), keepdim=True)


@torch.no_grad()
def adaptive_clip_(parameter: Tensor, clipping: float, eps: float = 1e-3) -> Tensor:
    """Clip ``parameter.grad`` in place, unit by unit::

        G_i <- clipping * max(|W_i|, eps) / |G_i| * G_i    where |G_i| > clipping * max(|W_i|, eps)

    Brock et al., "High-performance large-scale image recognition without normalization", 2021, eq. 3.

    Returns:
        Whether each unit was clipped, bool of shape (units, 1, ...) or ().
    """
    gradient = parameter.grad
    assert gradient is not None
    limit = clipping * unit_norms(parameter).clamp(min=eps)
    norms = unit_norms(gradient)
    clipped = norms > limit
    gradient.mul_(torch.where(clipped, limit / norms, torch.ones_like(norms)))
    return clipped


class AdaptiveClipping(ClippingTechnique):
    """Clips where a step would change a unit's weights by too large a share of their length.

    Every ``log_every_n_steps`` steps the share of units that were clipped is logged as ``train/agc_clipped``.

    Args:
        clipping: largest gradient as a share of the weights, positive; 0.01 for large batches, up to 0.16 for small.
        eps: weights count as at least that long, so that units that start at zero can leave it.
        exclude: regular expression for parameters that are left alone; the last layer, as the paper advises.
        network: which network, for families that have several.

    Raises:
        ZooError: an argument out of range, or an expression that is none.
        NoEffect: in a fit, when ``exclude`` excludes all parameters.
    """

    def __init__(
        self, clipping: float = 0.02, eps: float = 1e-3, exclude: str = r"^head\.", network: str = "network"
    ) -> None:
        super().__init__(network)
        if not 0 < clipping < math.inf:
            raise ZooError(f"AdaptiveClipping: clipping must be positive and finite, got {clipping}; 0.01 to 0.16")
        if eps <= 0:
            raise ZooError(f"AdaptiveClipping: eps must be positive, got {eps}; weights at zero could never leave it")
        try:
            # An expression that nothing contains stands for "exclude none".
            self._exclude = re.compile(exclude or r"(?!)")
        except re.error as error:
            raise ZooError(f"AdaptiveClipping: exclude={exclude!r} is no regular expression: {error}") from None
        self.clipping, self.eps, self.exclude = clipping, eps, exclude

    def attach(self, module: ZooModule) -> None:
        super().attach(module)
        if all(self._exclude.search(name) for name, p in module.named_parameters() if p.requires_grad):
            raise NoEffect(
                f"AdaptiveClipping: exclude={self.exclude!r} excludes every trainable parameter of"
                f" {type(module).__name__}; narrow it or drop AdaptiveClipping"
            )

    def edit(self, parameters: dict[str, Tensor], trainer: Trainer) -> None:
        chosen = [p for name, p in parameters.items() if not self._exclude.search(name)]
        if chosen:
            clipped = [adaptive_clip_(parameter, self.clipping, self.eps).flatten() for parameter in chosen]
            self.count({"agc_clipped": torch.cat(clipped).float().mean()})
