"""Sharpness-aware minimisation: step with the gradient of the worst point in the neighbourhood."""

import torch
from torch import Tensor, nn

from callbacks.optimizers.perturbed_step import PerturbedStep
from callbacks.technique import NoEffect
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.optim import decays


@torch.no_grad()
def ascent(parameters: list[Tensor], rho: float, eta: float | None = None) -> list[Tensor]:
    """The step up to the (approximately) worst point around the weights, from their gradients::

        SAM:   e = rho * g / |g|                          Foret et al. 2021, eq. 2 with p = 2
        ASAM:  e = rho * T^2 g / |T g|,  T = |w| + eta    Kwon et al. 2021, section 4, element by element

    The norm is over all parameters together. T is 1 for biases and the gains of norms.

    Args:
        parameters: each with a gradient.
        rho: radius of the neighbourhood; measured in shares of each weight with ASAM.
        eta: None for SAM.

    Returns:
        One step for each parameter, of its shape.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if eta is None:
        scale = rho / (nn.utils.get_total_norm(gradients) + 1e-12)
        return [gradient * scale for gradient in gradients]
    widths = [p.abs() + eta if decays(p) else torch.ones_like(p) for p in parameters]
    scaled = [width * gradient for width, gradient in zip(widths, gradients)]
    scale = rho / (nn.utils.get_total_norm(scaled) + 1e-12)
    return [width * gradient * scale for width, gradient in zip(widths, scaled)]


class SAM(PerturbedStep):
    """Makes each step of any optimizer with the gradient at ``w + e(w)``; two gradients for each step, no more.

    Foret et al., "Sharpness-aware minimization for efficiently improving generalization", 2021, eq. 2 and 3; Kwon et
    al., "ASAM: adaptive sharpness-aware minimization for scale-invariant learning of deep neural networks", 2021.

    The optimizer stays itself, with its state, its parameter groups, its schedule and its fused kernel: a hook before
    its step hands it a closure that evaluates the batch twice. The second evaluation draws the same dropout masks and
    mixes as the first, leaves the running statistics of batch norm alone, and is not counted in the training metrics.
    What edits gradients sees both of them.

    Args:
        rho: radius, positive; 0.02 to 0.2 for SAM, 0.5 to 2 for ASAM. Large values underfit, 0 is the plain optimizer.
        adaptive: ASAM: measure the radius relative to the size of each weight.
        eta: smallest size that a weight counts as, with ``adaptive``.

    Raises:
        ZooError: a negative radius, or an eta that is not positive.
        NoEffect: in a fit, when ``rho`` is 0.
        Conflict: in a fit, with gradient accumulation, 16-bit loss scaling, or L-BFGS.
    """

    def __init__(self, rho: float = 0.05, adaptive: bool = False, eta: float = 0.01) -> None:
        if rho < 0:
            raise ZooError(f"SAM: rho must not be negative, got {rho}; 0.05 is usual, 1 with adaptive")
        if eta <= 0:
            raise ZooError(f"SAM: eta must be positive, got {eta}; 0.01 is usual")
        self.rho, self.adaptive, self.eta = rho, adaptive, eta

    def attach(self, module: ZooModule) -> None:
        if self.rho == 0:
            raise NoEffect("SAM: rho is 0, which is the optimizer alone at twice the cost; raise it or drop SAM")
        super().attach(module)

    def perturbation(self, parameters: list[Tensor]) -> list[Tensor]:
        return ascent(parameters, self.rho, self.eta if self.adaptive else None)
