"""Penalties on the slope of the discriminator: its gradient by the samples, in float32, differentiable again."""

from abc import abstractmethod

import torch
from torch import Tensor

from callbacks.gan.game_technique import GameTechnique
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule
from zoo.play import Play


def slopes(module: GAN, x: Tensor, y: Tensor | None, logits: Tensor | None = None) -> Tensor:
    """Squared length of dD(x)/dx for each sample, (B,), float32; it can be differentiated by the weights.

    Args:
        module: the game.
        x: samples (B, *sample_shape); they require a gradient where ``logits`` is given.
        y: their labels.
        logits: (B,), of a pass that has been made; used again unless it was in reduced precision.
    """
    kind = x.device.type
    if logits is None or torch.is_autocast_enabled(kind):
        x = x.detach().float().requires_grad_()
        with torch.autocast(kind, enabled=False):
            logits = module.discriminator(x, y).logits
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.flatten(1).float().square().sum(1)


class SlopePenalty(GameTechnique):
    """Base of the penalties on the discriminator's slope.

    Args:
        weight: factor on the penalty.
        final_weight: the factor changes to this on a straight line; None keeps it.
        share: part of the run over which it changes, in (0, 1].
        interval: act in every so many steps of the discriminator, with a factor of the same size (lazy regularisation:
            Karras et al., "Analyzing and improving the image quality of StyleGAN", 2020, appendix B); 1 to 16.
    """

    def __init__(self, weight: float, final_weight: float | None, share: float, interval: int) -> None:
        self.require_strengths(share, weight=weight, final_weight=final_weight)
        if interval < 1:
            raise ZooError(f"{self.name}: interval must be at least 1, got {interval}")
        self.weight, self.final_weight, self.share, self.interval = weight, final_weight, share, interval

    @abstractmethod
    def penalty(self, module: GAN, play: Play) -> Tensor:
        """The penalty at strength 1, a scalar."""

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, GAN)
        self.refuse_batch_norm(module)
        self.add_discriminator_penalty(module, self.weighted)

    def weighted(self, module: GAN, play: Play) -> Tensor:
        """What is added to the discriminator's loss."""
        if self.weight > 0 or self.final_weight:
            self.acted()  # a run may be taken up between two turns of a long interval, or where the weight is 0
        weight = self.strength(module, self.weight, self.final_weight, self.share)
        if play.step % self.interval or weight == 0:
            return play.real_logits.new_zeros(())
        return weight * self.interval * self.penalty(module, play)

    def no_effect_hint(self) -> str:
        return f"weight is {self.weight}; it has to be positive"
