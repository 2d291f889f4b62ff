"""Base of the adversarial steps: what each player minimises, as functions of logits alone."""

from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor

from callbacks.gan.game_technique import GameTechnique
from callbacks.technique import Conflict
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule


class AdversarialStep(GameTechnique):
    """Base of the adversarial steps; a game has one."""

    @abstractmethod
    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises: a scalar of the logits (B,) of real samples and of fakes."""

    @abstractmethod
    def generator_loss(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """What the generator minimises: a scalar of the logits (B,) of its fakes.

        Args:
            fake: logits of fakes.
            real: gives those of the real samples beside them, which costs a pass through the discriminator.
        """

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, GAN)
        owner = module.slot_owners.get("discriminator_loss")
        if owner is not None and owner != self.name:
            raise Conflict(f"{owner} and {self.name} both want to be the adversarial step; drop one of them")
        self.claim(module, "discriminator_loss", self.discriminator_loss)
        self.claim(module, "generator_loss", self.generator_loss)


def check_real_label(name: str, real_label: float) -> float:
    """The target of real samples; ZooError outside (0.5, 1], where fake would be nearer than real."""
    if not 0.5 < real_label <= 1:
        raise ZooError(f"{name}: real_label must lie in (0.5, 1], got {real_label}; 0.9 smooths, 1 does not")
    return real_label
