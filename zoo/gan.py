"""Generative adversarial networks: two players, two short methods, and slots for all that stabilises the game."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.batch import Batch, as_batch
from zoo.errors import DataError, ZooError
from zoo.generators.base import Discriminator, Generator, check_pair, check_samples
from zoo.generators.sampling import draw_samples
from zoo.meter import Meter
from zoo.module import ZooModule
from zoo.play import (
    DiscriminatorLoss,
    DiscriminatorPenalty,
    DiscriminatorTransform,
    GeneratorLoss,
    Observer,
    Play,
    average_over_processes,
    logistic_discriminator,
    logistic_generator,
    no_closure,
    parameters,
    parts,
)
from zoo.randomness import key, run_seed


class GAN(ZooModule):
    """A generator that learns to make what a discriminator cannot tell from real samples.

    A training batch is one round of the game: it is dealt out evenly to ``discriminator_steps`` steps of the
    discriminator, each with as many fakes as it has real samples, and then the generator makes one step of that size.
    ``global_step`` counts rounds. So the batch size of the data is that of a step times ``discriminator_steps``.
    Fakes have the labels of the real samples that they stand beside.

    Goodfellow et al., "Generative adversarial nets", 2014, algorithm 1.

    Args:
        generator: makes samples from noise.
        discriminator: tells them from real ones.
        discriminator_steps: for each step of the generator; 1, or 2 to 5 for Wasserstein losses.
        discriminator_micro_batches: a step's gradient is the mean over so many parts of its samples, to save memory.
        generator_micro_batches: the same for the generator.
        class_weight: of the cross-entropy of an auxiliary classifier, for both players.

    Attributes:
        discriminator_loss: (logits of real samples, of fakes) -> loss; claimed by an adversarial step.
        generator_loss: (logits of fakes, function that gives those of real samples) -> loss; claimed with the other.
        discriminator_penalties: scalars that are added to the discriminator's loss.
        discriminator_transforms: change what the discriminator sees, real and fake alike, in either player's step.
        observers: are told of each of the discriminator's steps.
        sampling_generator: gives the network that samples are taken from; claimed by an average of the weights.
    """

    takes = ("vectors", "images")

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        discriminator_steps: int = 1,
        discriminator_micro_batches: int = 1,
        generator_micro_batches: int = 1,
        class_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        counts = {
            "discriminator_steps": discriminator_steps,
            "discriminator_micro_batches": discriminator_micro_batches,
            "generator_micro_batches": generator_micro_batches,
        }
        for argument, value in counts.items():
            if value < 1:
                raise ZooError(f"GAN: {argument} must be at least 1, got {value}")
        check_pair(generator, discriminator)
        self.generator, self.discriminator = generator, discriminator
        self.discriminator_steps = discriminator_steps
        self.discriminator_micro_batches = discriminator_micro_batches
        self.generator_micro_batches = generator_micro_batches
        self.class_weight = class_weight
        self.discriminator_loss: DiscriminatorLoss = logistic_discriminator
        self.generator_loss: GeneratorLoss = logistic_generator
        self.discriminator_penalties: dict[str, DiscriminatorPenalty] = {}
        self.discriminator_transforms: dict[str, DiscriminatorTransform] = {}
        self.observers: dict[str, Observer] = {}
        self.sampling_generator: Callable[[], Generator] = self._own_generator
        self._meters = {name: Meter() for name in ("discriminator", "generator", "val", "test")}

    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    @property
    def conditional(self) -> bool:
        """Whether samples can be asked for by label."""
        return self.generator.num_classes > 0

    # The game -------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> None:
        batch = as_batch(batch)
        generator, discriminator = cast(list[LightningOptimizer], self.optimizers())
        for index, share in enumerate(parts(batch, self.discriminator_steps)):
            self.discriminator_step(share, discriminator, index)
        self.generator_step(share, generator)
        self._average_buffers()
        for config in self.trainer.lr_scheduler_configs:
            config.scheduler.step()  # type: ignore[call-arg]  # none of those that wait for a metric

    # Lightning asks for the signature in every step; one that is kept here need not be built anew (40 us).
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def discriminator_step(self, batch: Batch, optimizer: LightningOptimizer, index: int) -> None:
        """One step of the discriminator on real samples and as many fakes; ``index`` counts within the round."""
        optimizer.zero_grad()
        step = self.trainer.global_step * self.discriminator_steps + index
        for part in parts(batch, self.discriminator_micro_batches):
            with torch.no_grad():
                real, fake = self._shown(part.x), self._shown(self._fakes(part))
            if self.discriminator_penalties:
                real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
            y = self._labels(part)
            on_real, on_fake = self.discriminator(real, y), self.discriminator(fake, y)
            play = Play(real, fake, y, on_real.logits.float(), on_fake.logits.float(), step)
            adversarial = self.discriminator_loss(play.real_logits, play.fake_logits)
            loss = adversarial + self._class_loss(on_real.classes, part) + self._class_loss(on_fake.classes, part)
            for penalty in self.discriminator_penalties.values():
                loss = loss + penalty(self, play)
            self.require_finite(loss, "discriminator's training loss")
            self._backward(loss * (part.size / batch.size), optimizer)
            for observe in self.observers.values():
                observe(self, play)
            logits = {"real_logit": play.real_logits.mean(), "fake_logit": play.fake_logits.mean()}
            self._meters["discriminator"].update(part.size, {"discriminator_loss": adversarial, **logits})
        self._average_gradients(optimizer)
        # Not through Lightning's wrapper, which would count a step of the discriminator as one of the run.
        self.trainer.strategy.optimizer_step(optimizer.optimizer, no_closure, self)

    def generator_step(self, batch: Batch, optimizer: LightningOptimizer) -> None:
        """One step of the generator with as many fakes as ``batch`` has real samples."""
        optimizer.zero_grad()
        for part in parts(batch, self.generator_micro_batches):
            y = self._labels(part)
            on_fake = self.discriminator(self._shown(self._fakes(part)), y)
            adversarial = self.generator_loss(on_fake.logits.float(), partial(self._judge_real, part))
            loss = adversarial + self._class_loss(on_fake.classes, part)
            self.require_finite(loss, "generator's training loss")
            self._backward(loss * (part.size / batch.size), optimizer)
            self._meters["generator"].update(part.size, {"generator_loss": adversarial})
        self._average_gradients(optimizer)
        self.log_step({"train/generator_loss_step": self.last_loss, **self._learning_rates()})
        optimizer.step()

    def _fakes(self, batch: Batch) -> Tensor:
        z = torch.randn(batch.size, self.generator.latent_dim, device=self.device)
        return cast(Tensor, self.generator(z, self._labels(batch)))

    def _shown(self, x: Tensor) -> Tensor:
        for transform in self.discriminator_transforms.values():
            x = transform(self, x)
        return x

    @torch.no_grad()
    def _judge_real(self, batch: Batch) -> Tensor:
        return cast(Tensor, self.discriminator(self._shown(batch.x), self._labels(batch)).logits.float())

    def _labels(self, batch: Batch) -> Tensor | None:
        return batch.y if self.conditional else None

    def _class_loss(self, classes: Tensor | None, batch: Batch) -> Tensor | float:
        return 0.0 if classes is None else self.class_weight * F.cross_entropy(classes.float(), batch.y)

    # Gradients, processes -------------------------------------------------------------------------------------------

    def _backward(self, loss: Tensor, optimizer: LightningOptimizer) -> None:
        """Add the gradient of the active player's parameters alone; the other's are not even computed."""
        strategy = self.trainer.strategy
        # DDP would wait for the gradients of both players.
        blocked = strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()
        with blocked:
            self.manual_backward(loss, inputs=parameters(optimizer))

    def _average_gradients(self, optimizer: LightningOptimizer) -> None:
        if self.trainer.world_size > 1:
            average_over_processes(self.trainer.strategy, [p.grad for p in parameters(optimizer) if p.grad is not None])

    def _average_buffers(self) -> None:
        """Running statistics become the mean over processes; those of the first alone would count for all else."""
        if self.trainer.world_size > 1:
            average_over_processes(self.trainer.strategy, [b for b in self.buffers() if b.is_floating_point()])

    def configure_optimizers(self) -> Any:
        configs = cast(tuple[dict[str, Any], ...], super().configure_optimizers())
        for name, config in zip(self.networks(), configs):
            schedule = config.get("lr_scheduler")
            if schedule is not None and "monitor" in schedule:
                raise ZooError(
                    f"the schedule of the {name} waits for {schedule['monitor']}, and a game has no such metric to"
                    " wait for; use a schedule that knows its course, such as Cosine or LinearSchedule"
                )
        return configs

    # Samples --------------------------------------------------------------------------------------------------------

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Samples (B, *sample_shape) from noise (B, latent_dim) and labels (B,), by the generator that is kept."""
        return cast(Tensor, self.sampling_generator()(z, y))

    def _own_generator(self) -> Generator:
        return self.generator

    @torch.no_grad()
    def sample(
        self,
        num: int,
        labels: Tensor | None = None,
        truncation: float | None = None,
        seed: int = 0,
        batch_size: int = 256,
    ) -> Tensor:
        """Samples (num, *sample_shape) on the CPU, a function of weights and arguments alone.

        Args:
            num: how many.
            labels: int64 (num,); by default all classes in turn. None without conditioning.
            truncation: bound of the latent noise, see ``truncated_normal``; smaller is more typical and less varied.
            seed: of the noise.
            batch_size: samples at a time.

        Raises:
            ZooError: labels for a generator that takes none, or labels out of range.
        """
        return draw_samples(self.sampling_generator(), num, labels, truncation, seed, batch_size)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """As many samples as the batch has, with its labels where there is conditioning."""
        batch = as_batch(batch)
        labels = self._labels(batch)
        place = key(run_seed(), "predict", batch_idx, self.trainer.global_rank)
        return self.sample(batch.size, None if labels is None else labels.cpu(), seed=place)

    # What is measured -----------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        for meter in self._meters.values():
            meter.reset()
        if not isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise ZooError(
                f"GAN runs in one process or with the strategy ddp, not {type(self.trainer.strategy).__name__}"
            )
        datamodule: LightningDataModule | None = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and datamodule is not None:
            self._check_data(datamodule)
        super().setup(stage)

    def on_train_epoch_end(self) -> None:
        for name in ("discriminator", "generator"):
            self.log_dict({f"train/{quantity}": value for quantity, value in self._meters[name].compute().items()})
            self._meters[name].reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", as_batch(batch), batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", as_batch(batch), batch_idx)

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _evaluate(self, stage: str, batch: Batch, batch_idx: int) -> None:
        """Logits of held-out and of made samples: held-out ones far below the training ones are an overfit critic."""
        y = self._labels(batch)
        place = key(run_seed(), stage, batch_idx, self.trainer.global_rank)
        labels = None if y is None else y.cpu()
        fake = self.sample(batch.size, labels, seed=place, batch_size=batch.size).to(self.device)
        logits = {"real_logit": self.discriminator(batch.x, y).logits, "fake_logit": self.discriminator(fake, y).logits}
        self._meters[stage].update(batch.size, {name: value.float().mean() for name, value in logits.items()})

    def _report(self, stage: str) -> None:
        self.log_dict({f"{stage}/{name}": value for name, value in self._meters[stage].compute().items()})
        self._meters[stage].reset()

    def _learning_rates(self) -> dict[str, float]:
        optimizers = zip(self.networks(), self.trainer.optimizers)
        return {f"train/{name}/lr": optimizer.param_groups[0]["lr"] for name, optimizer in optimizers}

    def _check_data(self, data: LightningDataModule) -> None:
        check_samples(self.generator, data)
        dealt = self.discriminator_steps * max(self.discriminator_micro_batches, self.generator_micro_batches)
        normalised = any(isinstance(module, _BatchNorm) for module in self.modules())
        least, last = dealt * (2 if normalised else 1), getattr(data, "last_batch_size", None)
        if last is not None and last < least:
            raise DataError(
                f"{type(data).__name__} train: the last batch holds {last} samples, and a round of {dealt} parts needs"
                f" {least}; set --data.drop_last true or change --data.batch_size"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["zoo"]["meters"] = {name: self._meters[name].state_dict() for name in ("discriminator", "generator")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        for name, state in checkpoint.get("zoo", {}).get("meters", {}).items():
            self._meters[name].load_state_dict(state, self.device)
