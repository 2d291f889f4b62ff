"""The average of the generator's weights, from which samples are taken."""

import copy
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from callbacks.gan.game_technique import GameTechnique
from zoo.batch import as_batch
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.generators.base import Generator
from zoo.module import ZooModule


def half_life_decay(images: int, half_life: float, seen: int, ramp: float) -> float:
    """Decay of one update: 2^(-images / h) with h = min(half_life, ramp * seen).

    Karras et al., "Training generative adversarial networks with limited data", 2020, appendix C (ramp 0.05).

    Args:
        images: that one step of the generator makes.
        half_life: images after which a weight counts half.
        seen: images that all steps have made so far.
        ramp: the half-life is at most this part of the run so far; 0 for no such bound.
    """
    bounded = min(half_life, ramp * seen) if ramp else half_life
    return 0.5 ** (images / bounded) if bounded > 0 else 0.0


class GeneratorEMA(GameTechnique):
    """Validate, sample and keep an exponential average of the generator: m <- d m + (1 - d) w after each of its steps.

    The generator of a game does not come to rest, and circles round the point that its average finds. The
    discriminator is left as it is. Yazici et al., "The unusual effectiveness of averaging in GAN training", 2019.

    A checkpoint holds the average as ``generator``, so that it can be used without this technique, and beside it the
    weights that training goes on with. Running statistics of batch norm are averaged too.

    Args:
        half_life: in images that the generator makes in its steps, over all processes; about a tenth to a hundredth
            of the run. Too long and the average still holds what was bad, too short and it is as restless as the
            weights.
        ramp: the half-life is at most this part of the images so far, so that the random start is forgotten; 0 turns
            it off.
    """

    def __init__(self, half_life: float = 10_000, ramp: float = 0.05) -> None:
        if not half_life > 0:
            raise ZooError(f"GeneratorEMA: half_life must be positive, got {half_life}; it counts images")
        if not 0 <= ramp <= 1:
            raise ZooError(f"GeneratorEMA: ramp is a part of the run in [0, 1], got {ramp}; 0.05 is usual")
        self.half_life, self.ramp = half_life, ramp
        self.average: Generator | None = None
        self.seen = 0
        self._floats: tuple[list[Tensor], list[Tensor]] = ([], [])  # of the average and of the generator
        self._counters: tuple[list[Tensor], list[Tensor]] = ([], [])  # such as batches that a norm has seen

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            assert isinstance(pl_module, GAN)
            self.seen = 0
            self.average = copy.deepcopy(pl_module.generator).requires_grad_(False).eval()

    def attach(self, module: ZooModule) -> None:
        self.claim(module, "sampling_generator", self._sampling_generator)

    def _sampling_generator(self) -> Generator:
        assert self.average is not None
        return self.average

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GAN)
        assert self.average is not None
        self.average.to(pl_module.device)
        if self.seen == 0:  # the copy was made before init schemes ran
            self.average.load_state_dict(pl_module.generator.state_dict())
        pairs = list(zip(_tensors(self.average), _tensors(pl_module.generator), strict=True))
        self._floats = _unzip([pair for pair in pairs if pair[0].is_floating_point()])
        self._counters = _unzip([pair for pair in pairs if not pair[0].is_floating_point()])

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, GAN)
        images = as_batch(batch).size // pl_module.discriminator_steps * trainer.world_size
        self.seen += images
        decay = half_life_decay(images, self.half_life, self.seen, self.ramp)
        averaged, current = self._floats
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for counter, now in zip(*self._counters):
            counter.copy_(now)
        self.acted()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GAN)
        assert self.average is not None
        pl_module.generator.load_state_dict(self.average.state_dict())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        assert self.average is not None
        weights = checkpoint["state_dict"]
        average = {f"generator.{name}": tensor for name, tensor in self.average.state_dict().items()}
        checkpoint["training_generator"] = {name: weights[name] for name in average}
        checkpoint["state_dict"] = {**weights, **average}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.average is None or not isinstance(pl_module, GAN):
            return  # measured or sampled: the average is what was loaded
        self.average.load_state_dict(pl_module.generator.state_dict())
        if "training_generator" in checkpoint:
            pl_module.load_state_dict(checkpoint["training_generator"], strict=False)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"]


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _unzip(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
