"""Random lengths for truncated back-propagation: the places where gradients stop differ from epoch to epoch."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from callbacks.sampling.sequences import CarriesState
from callbacks.technique import NoEffect, Technique, UnsupportedModule
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.randomness import key, run_seed
from zoo.task import LanguageModeling


def random_length(window: int, p: float, std: float, generator: torch.Generator) -> int:
    """A length drawn from N(b, std^2) with probability p, else from N(b / 2, std^2); rounded, at least 1.

    b = window / (p + (1 - p) / 2), so that the mean is ``window`` and a stream is read as fast as it comes. Merity,
    Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018, section 4.1.

    Args:
        window: steps.
        p: in [0, 1].
        std: of the length, in steps.
        generator: what to draw from.
    """
    base = window / (p + (1 - p) / 2)
    whole, noise = torch.rand((), generator=generator).item() < p, torch.randn((), generator=generator).item()
    return max(1, round((base if whole else base / 2) + std * noise))


class RandomBPTT(Technique):
    """Cut the streams of a stateful model at random places, where truncated back-propagation otherwise always cuts.

    What a batch leaves over waits for the next one, so that the text stays in one piece; a draw beyond what is there
    takes all of it, and what is left at the end of an epoch is dropped. The length is a function of (seed, epoch,
    batch), the same in all processes. Steps of longer batches get a proportionally higher learning rate.

    Args:
        p: probability in [0, 1] of a length about the window, rather than about half of it.
        std: standard deviation of the length, in steps; not negative.
        scale_lr: multiply the learning rate of a step by length / window.

    Raises:
        ZooError: a number out of range.
        UnsupportedModule: in a fit, for a model that carries no state from batch to batch.
        NoEffect: in a fit, when p is 1 (or 0) and std 0, which makes all lengths equal.
    """

    supports = CarriesState
    inputs = ("tokens",)
    tasks = (LanguageModeling,)

    def __init__(self, p: float = 0.95, std: float = 5.0, scale_lr: bool = True) -> None:
        if not 0 <= p <= 1:
            raise ZooError(f"RandomBPTT: p is a probability in [0, 1], got {p}; 0.95 is usual")
        if not std >= 0:
            raise ZooError(f"RandomBPTT: std is in steps and must not be negative, got {std}; 5 is usual")
        self.p, self.std, self.scale_lr = p, std, scale_lr
        self._forget()

    def _forget(self) -> None:
        self._window = 0
        self._rest: tuple[Tensor, Tensor] | None = None  # x and y, (B, steps left over)
        self._current: Batch | None = None
        self._factors: list[float] = []  # of the batches since the last step
        self._rates: list[float] | None = None  # of the groups, while they are scaled

    def attach(self, module: ZooModule) -> None:
        if not isinstance(module, CarriesState) or not module.stateful:
            raise UnsupportedModule(
                "RandomBPTT cuts streams, and this model carries no state from batch to batch; use --model.stateful"
                " true with --data.mode streams, or drop RandomBPTT"
            )
        if self.std == 0 and self.p in (0, 1):
            raise NoEffect(f"RandomBPTT: with p={self.p:g} and std=0 all lengths are equal; raise std or drop it")
        self._forget()
        self.add_batch_transform(module, self.transform)
        if self.scale_lr:
            self.add_optimizer_wrapper(module, self._restore_after_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._current = None
        if batch_idx == 0:
            self._rest = None

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The next stretch of the streams, of random length."""
        if module.revisiting and self._current is not None:  # SAM's second look is at the same stretch
            return self._current
        epoch, index = module.trainer.current_epoch, module.trainer.fit_loop.batch_idx
        if index == 0:
            self._window = batch.x.shape[1]  # the last batch of an epoch may be shorter
        x, y = batch.x, batch.y
        if self._rest is not None:
            x = torch.cat([self._rest[0].to(x.device), x], 1)
            y = torch.cat([self._rest[1].to(y.device), y], 1)
        # Not from the global generator, which differs between processes: their gradients are averaged.
        generator = torch.Generator().manual_seed(key(run_seed(), "random_bptt", epoch, index))
        length = min(random_length(self._window, self.p, self.std, generator), x.shape[1])
        self._rest = (x[:, length:], y[:, length:])
        if self.scale_lr:
            self._factors.append(length / self._window)
        self._current = batch._replace(x=x[:, :length], y=y[:, :length])
        return self._current

    # The learning rate ----------------------------------------------------------------------------------------------

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        # The batch is only known within the optimizer's step, which calls the closure and then reads the rates.
        if self._factors and self._rates is None:
            self._rates = [group["lr"] for group in optimizer.param_groups]
            factor = sum(self._factors) / len(self._factors)
            for group in optimizer.param_groups:
                group["lr"] *= factor

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._rates is not None:  # half precision left the step out, and so its hook
            self._restore(trainer.optimizers[0])

    def _restore_after_step(self, optimizer: Optimizer) -> Optimizer:
        optimizer.register_step_post_hook(lambda *_: self._restore(optimizer))  # before a schedule reads them
        return optimizer

    def _restore(self, optimizer: Optimizer) -> None:
        for group, rate in zip(optimizer.param_groups, self._rates or []):
            group["lr"] = rate
        self._rates, self._factors = None, []

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._rest is not None:
            # Every process has streams of its own: side by side, (world size, 2, B, steps).
            rest: Tensor = pl_module.all_gather(torch.stack(self._rest))  # type: ignore[assignment]
            rest = rest.view(trainer.world_size, 2, *self._rest[0].shape).cpu()
            checkpoint["random_bptt"] = {"window": self._window, "factors": self._factors, "rest": rest}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("random_bptt")
        if saved is not None and trainer.global_rank < len(saved["rest"]):
            self._window, self._factors = saved["window"], list(saved["factors"])
            x, y = saved["rest"][trainer.global_rank]
            self._rest = x, y
