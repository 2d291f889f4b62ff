"""Gradient centralization: take the mean out of each unit's gradient."""

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from callbacks.gradients.gradient_technique import GradientTechnique


@torch.no_grad()
def centralize_(gradient: Tensor) -> Tensor:
    """Subtract, in place, from each row its mean: ``g_i <- g_i - mean(g_i)``.

    Yong et al., "Gradient centralization: a new optimization technique for deep neural networks", 2020, eq. 1.

    Args:
        gradient: (units, ...) of a matrix or of filters; each unit needs more than one incoming weight.
    """
    return gradient.sub_(gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True))


class GradientCentralization(GradientTechnique):
    """Centralises the gradients of matrices and filters, so that a unit's mean weight stays where it began.

    Biases, norms, and weights with a single input, whose gradient would vanish, are left alone.

    Args:
        linear: centralise linear layers too, not only convolutions.
        network: which network, for families that have several.
    """

    def __init__(self, linear: bool = True, network: str = "network") -> None:
        super().__init__(network)
        self.linear = linear

    def edit(self, parameters: dict[str, Tensor], trainer: Trainer) -> None:
        for parameter in parameters.values():
            gradient = parameter.grad
            assert gradient is not None
            if gradient.ndim > (1 if self.linear else 2) and gradient[0].numel() > 1:
                centralize_(gradient)
                self.acted()

    def no_effect_hint(self) -> str:
        return "the network has no convolution with several inputs; set linear to true, or drop GradientCentralization"
