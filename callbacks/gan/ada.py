"""Adaptive discriminator augmentation: as much augmentation as the discriminator's overfitting calls for."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from callbacks.gan.game_technique import GameTechnique
from callbacks.gan.pictures import draw, flip, translate
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import ZooModule
from zoo.play import Play


def warp(x: Tensor) -> Tensor:
    """Rotate each image by an angle from U(-pi, pi) and scale it by 2^(0.2 n), n ~ N(0, 1); edges are mirrored."""
    angle = (2 * draw(x) - 1).view(-1) * math.pi
    scale = torch.exp2(0.2 * torch.randn(len(x), device=x.device))
    cos, sin, zero = angle.cos() / scale, angle.sin() / scale, torch.zeros_like(angle)
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3).to(x.dtype)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def recolor(x: Tensor) -> Tensor:
    """Brightness x + 0.2 n, contrast 2^(0.5 n) x and, of colour images, saturation 2^n round the grey; n ~ N(0, 1)."""

    def normal() -> Tensor:
        return torch.randn(len(x), 1, 1, 1, device=x.device)

    x = (x + 0.2 * normal()) * torch.exp2(0.5 * normal())
    if x.shape[1] == 3:
        grey = x.mean(1, keepdim=True)
        x = grey + torch.exp2(normal()) * (x - grey)
    return x


class ADA(GameTechnique):
    """Each change is made to each image with a probability p that follows how sure the discriminator is of the data.

    r = mean sign(D(x)) over real images is 0 where it cannot tell them and 1 where it knows them by heart. Every
    ``interval`` rounds p rises where r is above ``target`` and falls where it is below, so fast that it could go from 0
    to 1 in ``speed`` images. Karras et al., "Training generative adversarial networks with limited data", 2020,
    section 3.1 and appendix B, of whose changes these are made: shift by up to 1/8, rotation, scaling, brightness,
    contrast, saturation, and flips where they are asked for.

    Logs ``train/ada_p``. p and the sums since its last change are kept in the checkpoint.

    Args:
        target: of r, in (0, 1); 0.6 in the paper.
        speed: real images in which p could rise from 0 to 1; 500,000 in the paper.
        interval: rounds between two changes of p.
        mirror: flips too; not where a mirrored image is another, such as digits.
        p: where it begins, in [0, 1].
    """

    inputs = ("images",)

    def __init__(
        self, target: float = 0.6, speed: int = 500_000, interval: int = 4, mirror: bool = False, p: float = 0.0
    ) -> None:
        if not 0 < target < 1:
            raise ZooError(f"ADA: target must lie in (0, 1), got {target}; 0.6 is usual")
        if speed < 1 or interval < 1:
            raise ZooError(f"ADA: speed and interval must be at least 1, got {speed} and {interval}")
        if not 0 <= p <= 1:
            raise ZooError(f"ADA: p is a probability in [0, 1], got {p}")
        self.target, self.speed, self.interval, self.mirror, self.initial_p = target, speed, interval, mirror, p
        self.p = p
        self._sums = torch.zeros(2)  # of the signs, and how many

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.p, self._sums = self.initial_p, torch.zeros(2)

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, GAN)
        self.require_images(module)
        self.add_discriminator_transform(module, self.transform)
        self.add_observer(module, self.observe)

    def transform(self, module: GAN, x: Tensor) -> Tensor:
        """The images (B, C, H, W), each changed by each change with probability p."""
        if self.p == 0:
            return x
        if self.mirror:
            x = flip(x, self.p / 2)
        for change in (lambda x: translate(x, 1 / 8), warp, recolor):
            x = torch.where(draw(x) < self.p, change(x), x)
        return x

    def observe(self, module: GAN, play: Play) -> None:
        """Count how many real images were taken for real."""
        self.acted()
        signs = play.real_logits.detach().sign()
        now = torch.stack([signs.sum(), signs.new_tensor(float(len(signs)))])
        if module.trainer.world_size > 1:
            now = module.trainer.strategy.reduce(now, reduce_op="sum")
        self._sums = self._sums.to(now.device) + now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        assert isinstance(pl_module, GAN)
        if trainer.global_step % self.interval == 0:
            signs, count = self._sums.tolist()
            step = math.copysign(count / self.speed, signs / count - self.target)
            self.p = min(max(self.p + step, 0.0), 1.0)
            self._sums = torch.zeros_like(self._sums)
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            pl_module.log_step({"train/ada_p": self.p}, trainer.global_step - 1)

    def state_dict(self) -> dict[str, Any]:
        return {"p": self.p, "sums": self._sums.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.p, self._sums = state_dict["p"], torch.tensor(state_dict["sums"])
