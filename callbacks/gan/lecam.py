"""LeCam: hold the logits near those of the other side, for small data sets."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.gan.game_technique import GameTechnique
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule
from zoo.play import Play


def lecam(real: Tensor, fake: Tensor, real_anchor: Tensor, fake_anchor: Tensor) -> Tensor:
    """mean (D(x) - a_F)^2 + mean (D(G(z)) - a_R)^2, with running means of the logits as anchors.

    Tseng et al., "Regularizing generative adversarial networks under limited data", 2021.
    """
    return (real - fake_anchor).square().mean() + (fake - real_anchor).square().mean()


class LeCam(GameTechnique):
    """weight * lecam(logits): a discriminator that overfits drives its logits apart, and this pulls them together.

    The anchors are exponential means over the steps of the discriminator and over all processes; they are kept in the
    checkpoint.

    Args:
        weight: 0.01 to 0.5; towards 0 nothing changes, too much and the discriminator tells nothing apart.
        decay: of the anchors, in [0, 1); 0.99 remembers about 100 steps.
        warmup: steps of the discriminator before the penalty begins, while the anchors settle.
        final_weight: the weight changes to this on a straight line; None keeps it.
        share: part of the run over which it changes, in (0, 1].
    """

    def __init__(
        self,
        weight: float = 0.1,
        decay: float = 0.99,
        warmup: int = 100,
        final_weight: float | None = None,
        share: float = 1.0,
    ) -> None:
        self.require_strengths(share, weight=weight, final_weight=final_weight)
        if not 0 <= decay < 1:
            raise ZooError(f"LeCam: decay must lie in [0, 1), got {decay}; 0.99 is usual")
        if warmup < 0:
            raise ZooError(f"LeCam: warmup must not be negative, got {warmup}")
        self.weight, self.decay, self.warmup = weight, decay, warmup
        self.final_weight, self.share = final_weight, share
        self.anchors: Tensor | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.anchors = None  # a second fit begins anew; a resume loads its own later

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, GAN)
        self.add_discriminator_penalty(module, self.penalty)

    def penalty(self, module: GAN, play: Play) -> Tensor:
        """What is added to the discriminator's loss; moves the anchors first."""
        now = torch.stack([play.real_logits.detach().mean(), play.fake_logits.detach().mean()])
        if module.trainer.world_size > 1:
            now = module.trainer.strategy.reduce(now, reduce_op="mean")
        self.anchors = now if self.anchors is None else torch.lerp(now, self.anchors.to(now.device), self.decay)
        weight = self.strength(module, self.weight, self.final_weight, self.share)
        if self.weight > 0 or self.final_weight:
            self.acted()  # the penalty itself waits for the warm-up
        if play.step < self.warmup or weight == 0:
            return play.real_logits.new_zeros(())
        return weight * lecam(play.real_logits, play.fake_logits, self.anchors[0], self.anchors[1])

    def no_effect_hint(self) -> str:
        return f"weight is {self.weight}; it has to be positive"

    def state_dict(self) -> dict[str, Any]:
        return {"anchors": None if self.anchors is None else self.anchors.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        anchors = state_dict["anchors"]
        self.anchors = None if anchors is None else torch.tensor(anchors)
