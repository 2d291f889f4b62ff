"""Adversarial weight perturbation: step with the gradient at weights that were moved against the network as well."""

import torch
from torch import Tensor

from callbacks.optimizers.perturbed_step import PerturbedStep
from callbacks.technique import NoEffect
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.optim import decays


@torch.no_grad()
def weight_perturbation(parameters: list[Tensor], gamma: float) -> list[Tensor]:
    """v = gamma |w| g / |g| for each matrix and filter bank by itself; 0 for biases and the gains of norms.

    Wu, Xia and Wang 2020, with the layer-wise bound reached in one step.

    Args:
        parameters: each with a gradient.
        gamma: size of the perturbation in shares of each layer's norm.
    """
    steps = []
    for p in parameters:
        assert p.grad is not None
        steps.append(p.grad * (gamma * p.norm() / (p.grad.norm() + 1e-12)) if decays(p) else torch.zeros_like(p))
    return steps


class AWP(PerturbedStep):
    """Flatten the loss in the weights too: beside PGDTraining, TRADES or MART, both images and weights are adversarial.

    min_w max_{|v_l| <= gamma |w_l|} rho(w + v), with rho the loss of whatever strategy is listed beside it. Wu, Xia and
    Wang, "Adversarial weight perturbation helps robust generalization", 2020, algorithm 1: the images are made at w,
    then v is one step up at these images, then the optimizer steps from w with the gradient at w + v. That is one more
    evaluation of the batch a step, but no second attack. It narrows the gap between robust accuracy in training and in
    test; without a strategy beside it, it perturbs plain training.

    Args:
        gamma: in shares of each layer's norm, positive; 0.005 to 0.01 in the paper. Large values underfit.

    Raises:
        ZooError: a negative gamma.
        NoEffect: in a fit, when ``gamma`` is 0.
        Conflict: in a fit, with gradient accumulation, 16-bit loss scaling, or L-BFGS.
    """

    def __init__(self, gamma: float = 0.01) -> None:
        if not gamma >= 0:
            raise ZooError(f"AWP: gamma must not be negative, got {gamma}; 0.005 to 0.01 are usual")
        self.gamma = gamma

    def attach(self, module: ZooModule) -> None:
        if self.gamma == 0:
            raise NoEffect("AWP: gamma is 0, which is the optimizer alone at a higher cost; raise it or drop AWP")
        super().attach(module)

    def perturbation(self, parameters: list[Tensor]) -> list[Tensor]:
        return weight_perturbation(parameters, self.gamma)
