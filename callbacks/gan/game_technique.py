"""Base of the techniques for adversarial games: how they fill its slots, and strengths that change in the run."""

import math
from abc import ABC, abstractmethod

from torch.nn.modules.batchnorm import _BatchNorm

from callbacks.technique import Technique, UnsupportedModule
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule
from zoo.play import DiscriminatorPenalty, DiscriminatorTransform, Observer


def linear_strength(progress: float, start: float, end: float | None, share: float) -> float:
    """From ``start`` to ``end`` on a straight line over the first ``share`` of the run, then ``end``.

    Args:
        progress: share of the run that is done, in [0, 1].
        end: None for a strength that stays what it is.
        share: in (0, 1].

    >>> linear_strength(0.25, 1.0, 0.0, 0.5)
    0.5
    """
    return start if end is None else start + (end - start) * min(progress / share, 1.0)


class GameTechnique(Technique, ABC):
    """Base of techniques for adversarial games.

    What is lazy, or fades in the course of the run, says itself by ``acted`` that it is at work: a run that is resumed
    may meet it at rest for longer than the patience of ``NoEffect``.
    """

    supports = GAN

    @abstractmethod
    def attach(self, module: ZooModule) -> None:
        """Fill slots of a game."""

    def add_discriminator_penalty(self, module: GAN, function: DiscriminatorPenalty) -> None:
        """Add a scalar to the discriminator's loss."""
        module.discriminator_penalties[self.name] = function

    def add_discriminator_transform(self, module: GAN, function: DiscriminatorTransform) -> None:
        """Change what the discriminator sees, in the steps of both players."""
        module.discriminator_transforms[self.name] = function

    def add_observer(self, module: GAN, function: Observer) -> None:
        """Be told of each step of the discriminator."""
        module.observers[self.name] = function

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        if isinstance(module, GAN):
            for slot in (module.discriminator_penalties, module.discriminator_transforms, module.observers):
                slot.pop(self.name, None)

    def strength(self, module: GAN, start: float, end: float | None, share: float) -> float:
        """The strength of this round, see ``linear_strength``."""
        if end is None:
            return start
        total = module.trainer.estimated_stepping_batches
        if not math.isfinite(total) or total < 1:
            raise ZooError(
                f"{self.name}: a strength that changes over a share of the run needs a run with an end; set"
                " --trainer.max_epochs or --trainer.max_steps"
            )
        return linear_strength(module.trainer.global_step / total, start, end, share)

    def require_strengths(self, share: float, **strengths: float | None) -> None:
        """Raise ZooError unless the strengths are finite and not negative, and ``share`` lies in (0, 1]."""
        for argument, value in strengths.items():
            if value is not None and not 0 <= value < math.inf:
                raise ZooError(f"{self.name}: {argument} must be finite and not negative, got {value}")
        if not 0 < share <= 1:
            raise ZooError(f"{self.name}: share is a part of the run, in (0, 1], got {share}")

    def require_images(self, module: GAN) -> None:
        """Raise UnsupportedModule unless samples are images."""
        if len(module.generator.sample_shape) != 3:
            raise UnsupportedModule(
                f"{self.name} moves and recolours images (C, H, W), and this game is about samples of shape"
                f" {module.generator.sample_shape}; drop {self.name}"
            )

    def refuse_batch_norm(self, module: GAN) -> None:
        """Raise UnsupportedModule where a sample's logit depends on the others, and has no slope."""
        for name, layer in module.discriminator.named_modules():
            if isinstance(layer, _BatchNorm):
                raise UnsupportedModule(
                    f"{self.name} needs the gradient at each sample, and batch norm in the discriminator ({name}) mixes"
                    f" samples; build it with norm none, layer or group, or with spectral norm, or drop {self.name}"
                )
