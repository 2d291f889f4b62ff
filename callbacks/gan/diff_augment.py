"""DiffAugment: both players see augmented images, so that the discriminator cannot learn the data set by heart."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from callbacks.gan.game_technique import GameTechnique
from callbacks.gan.pictures import cutout, draw, translate
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule

Change: TypeAlias = Literal["color", "translation", "cutout"]


def jitter_color(x: Tensor) -> Tensor:
    """Brightness, saturation and contrast of images (B, C, H, W) in [-1, 1], with u ~ U[0, 1) for each and image::

    x + (u - 1/2)        m + 2u (x - m), m over channels        m + (u + 1/2) (x - m), m over all numbers
    """
    x = x + (draw(x) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + 2 * draw(x) * (x - grey)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (draw(x) + 0.5) * (x - mean)


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "color": jitter_color,
    "translation": lambda x: translate(x, 1 / 8),
    "cutout": lambda x: cutout(x, 1 / 2),
}


class DiffAugment(GameTechnique):
    """Augment real images and fakes alike before the discriminator sees them, in the steps of both players.

    The generator is judged through the same changes, so that it need not imitate them. Zhao et al., "Differentiable
    augmentation for data-efficient GAN training", 2020, section 3, with the paper's strengths: shifts up to 1/8 of
    the side, a hole of half the side.

    Args:
        policy: which changes, in this order; "translation" alone is mild, all three suit a few hundred images.
    """

    inputs = ("images",)

    def __init__(self, policy: list[Change] = ["color", "translation", "cutout"]) -> None:  # noqa: B006  never changed
        if not policy or len(set(policy)) < len(policy):
            raise ZooError(f"DiffAugment: policy names each change at most once and at least one, got {policy}")
        self.policy = policy

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, GAN)
        self.require_images(module)
        self.add_discriminator_transform(module, self.transform)

    def transform(self, module: GAN, x: Tensor) -> Tensor:
        """The images changed, (B, C, H, W)."""
        self.acted()
        for change in self.policy:
            x = _CHANGES[change](x)
        return x
