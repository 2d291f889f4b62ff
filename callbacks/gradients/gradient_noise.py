"""Gradient noise: Gaussian noise on every gradient, less and less of it."""

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from callbacks.gradients.gradient_technique import GradientTechnique
from callbacks.technique import NoEffect
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.randomness import key, run_seed


def noise_variance(step: int, eta: float, gamma: float) -> float:
    """Variance of the noise at a step counted from 0: ``eta / (1 + step)^gamma``.

    Neelakantan et al., "Adding gradient noise improves learning for very deep networks", 2015, eq. 1.
    """
    return eta / (1 + step) ** gamma


class GradientNoise(GradientTechnique):
    """Adds ``N(0, eta / (1 + t)^gamma)`` to each entry of the gradient at step t.

    The noise is a function of (seed, step) alone: the same in every process, and after a resume.

    Args:
        eta: variance at the first step, positive; the paper tries 0.01, 0.3 and 1. Compare its root with the entries of
            the gradient, or the noise is all there is.
        gamma: how fast it falls, >= 0; 0 keeps it constant.
        network: which network, for families that have several.

    Raises:
        ZooError: a negative argument.
        NoEffect: in a fit, when ``eta`` is 0.
    """

    def __init__(self, eta: float = 1e-4, gamma: float = 0.55, network: str = "network") -> None:
        super().__init__(network)
        if eta < 0 or gamma < 0:
            raise ZooError(f"GradientNoise: eta and gamma must not be negative, got {eta} and {gamma}")
        self.eta, self.gamma = eta, gamma

    def attach(self, module: ZooModule) -> None:
        super().attach(module)
        if self.eta == 0:
            raise NoEffect("GradientNoise: eta is 0, which adds nothing; raise it or drop GradientNoise")

    def edit(self, parameters: dict[str, Tensor], trainer: Trainer) -> None:
        std = noise_variance(trainer.global_step, self.eta, self.gamma) ** 0.5
        seed = key(run_seed(), "gradient_noise", self.network, trainer.global_step)
        device = next(iter(parameters.values())).device
        generator = torch.Generator(device).manual_seed(seed)
        for parameter in parameters.values():
            gradient = parameter.grad
            assert gradient is not None
            noise = torch.randn(gradient.shape, generator=generator, device=device, dtype=gradient.dtype)
            gradient.add_(noise, alpha=std)
        self.acted()
