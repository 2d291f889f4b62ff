"""Consistency regularisation: the discriminator shall say the same of an image and of its augmented twin."""

from torch import Tensor

from callbacks.gan.game_technique import GameTechnique
from callbacks.gan.pictures import flip, translate
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule
from zoo.play import Play


class Consistency(GameTechnique):
    """weight * mean (D(x) - D(T(x)))^2 over real images, where T shifts and perhaps mirrors.

    Zhang et al., "Consistency regularization for generative adversarial networks", 2020. With ``fake_weight``
    it holds for fakes too: Zhao et al., "Improved consistency regularization for GANs", 2021, algorithm 1.

    Args:
        weight: lambda; 10 in the paper.
        fake_weight: the same for fakes; 0 for none.
        shift: largest shift as a part of the side, in [0, 0.5]; 1/8.
        mirror: mirror half of the images; not where a mirrored image is another, such as digits.
        final_weight: the weight changes to this on a straight line; None keeps it.
        share: part of the run over which it changes, in (0, 1].
    """

    inputs = ("images",)

    def __init__(
        self,
        weight: float = 10.0,
        fake_weight: float = 0.0,
        shift: float = 0.125,
        mirror: bool = False,
        final_weight: float | None = None,
        share: float = 1.0,
    ) -> None:
        self.require_strengths(share, weight=weight, fake_weight=fake_weight, final_weight=final_weight)
        if not 0 <= shift <= 0.5 or (shift == 0 and not mirror):
            raise ZooError(f"Consistency: shift must lie in (0, 0.5], or be 0 with mirror, got {shift}; 0.125 is usual")
        self.weight, self.fake_weight, self.shift, self.mirror = weight, fake_weight, shift, mirror
        self.final_weight, self.share = final_weight, share

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, GAN)
        self.require_images(module)
        self.add_discriminator_penalty(module, self.penalty)

    def penalty(self, module: GAN, play: Play) -> Tensor:
        """What is added to the discriminator's loss."""
        total = play.real_logits.new_zeros(())
        if self.weight > 0 or self.final_weight or self.fake_weight > 0:
            self.acted()  # a run may be taken up where the weight is 0
        weight = self.strength(module, self.weight, self.final_weight, self.share)
        for strength, x, logits in (
            (weight, play.real, play.real_logits),
            (self.fake_weight, play.fake, play.fake_logits),
        ):
            if strength > 0:
                twin = module.discriminator(self.change(x.detach()), play.y).logits.float()
                total = total + strength * (logits - twin).square().mean()
        return total

    def change(self, x: Tensor) -> Tensor:
        """T: images (B, C, H, W) shifted, and mirrored where that is asked for."""
        x = translate(x, self.shift)
        return flip(x) if self.mirror else x

    def no_effect_hint(self) -> str:
        return f"weight is {self.weight}; it has to be positive"
