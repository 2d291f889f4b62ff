"""The Wasserstein loss: the difference of mean scores, for a critic whose slope is held."""

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from callbacks.gan.adversarial_step import AdversarialStep
from zoo.errors import ZooError
from zoo.gan import GAN


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """mean D(G(z)) - mean D(x). Arjovsky et al., "Wasserstein generative adversarial networks", 2017, eq. 2."""
    return fake.mean() - real.mean()


class Wasserstein(AdversarialStep):
    """The critic's loss estimates a distance between the distributions, as far as its slope is bounded.

    The bound comes from ``clip``, or from the technique GradientPenalty with ``clip`` 0 (WGAN-GP: Gulrajani et al.
    2017). Either wants about five steps of the critic for each of the generator (``model.discriminator_steps``).

    Args:
        clip: after each of its steps the critic's parameters are clipped to [-clip, clip]; 0 leaves them alone.
            Arjovsky et al. 2017, algorithm 1, with 0.01. Too small a clip makes gradients vanish, too large a one
            takes long to reach.
    """

    def __init__(self, clip: float = 0.01) -> None:
        if not 0 <= clip < math.inf:
            raise ZooError(f"Wasserstein: clip must not be negative, got {clip}; 0.01 to 0.1 are usual, 0 turns it off")
        self.clip = clip
        self._handle: RemovableHandle | None = None

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return wasserstein_critic(real, fake)

    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        return -fake.mean()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GAN)
        parameters: list[Tensor] = [p for p in pl_module.discriminator.parameters() if p.requires_grad]

        def clip_(*_: Any) -> None:
            with torch.no_grad():
                torch._foreach_clamp_min_(parameters, -self.clip)
                torch._foreach_clamp_max_(parameters, self.clip)

        if self.clip:
            optimizer = trainer.optimizers[list(pl_module.networks()).index("discriminator")]
            self._handle = optimizer.register_step_post_hook(clip_)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
