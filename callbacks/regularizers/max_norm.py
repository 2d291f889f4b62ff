"""Max-norm: forbid the incoming weights of a unit to grow beyond a length."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from callbacks.regularizers.weights import compile_match, select_weights
from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.notice import notice


@torch.no_grad()
def project_rows_(weight: Tensor, max_norm: float) -> Tensor:
    """Shorten, in place, each row that is longer than ``max_norm`` to that length; the others stay as they are.

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, section 5.1:
    ``|w|_2 <= c`` for the vector w of the weights that come into one unit.

    Args:
        weight: (units, ...); filters (out, in, height, width) have one row for each output channel.
        max_norm: c, positive.
    """
    return weight.renorm_(2, 0, max_norm)


class MaxNorm(Technique):
    """Projects the rows of chosen weights onto the ball of radius ``max_norm`` after each optimizer step.

    Every ``log_every_n_steps`` steps the share of rows at the bound is logged as ``train/max_norm_share``.

    Args:
        max_norm: length that no row may exceed; 1 to 4. Below 1 a network with few inputs can hardly be sure of a
            class, above what rows reach by themselves nothing happens, and the end of the fit says so.
        match: regular expression for names of parameters; empty for all matrices and filters.

    Raises:
        ZooError: a bound that is not positive and finite, or a match that is no regular expression.
        NoEffect: in a fit, when nothing matches.
    """

    def __init__(self, max_norm: float = 3.0, match: str = "") -> None:
        if not 0 < max_norm < math.inf:
            raise ZooError(f"MaxNorm: max_norm must be positive and finite, got {max_norm}; 1 to 4 are usual")
        self.max_norm, self.match = max_norm, match
        self._pattern = compile_match("MaxNorm", match)
        self._weights: list[Tensor] = []

    @property
    def name(self) -> str:
        return f"MaxNorm[{self.match}]" if self.match else "MaxNorm"

    def attach(self, module: ZooModule) -> None:
        if not select_weights(module, self._pattern):
            raise NoEffect(
                f"{self.name}: no trainable matrix or filter of {type(module).__name__} has a name with"
                f" {self.match!r} in it; correct match (names look like head.weight)"
            )
        self._weights = []

        def wrap(optimizer: Optimizer) -> Optimizer:
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            weights: list[Tensor] = [p for p in select_weights(module, self._pattern).values() if id(p) in own]
            self._weights += weights
            # A hook of the optimizer itself, so that averages of the weights see them projected.
            optimizer.register_step_post_hook(lambda *_: self._project(weights))
            return optimizer

        self.add_optimizer_wrapper(module, wrap)

    def _project(self, weights: list[Tensor]) -> None:
        for weight in weights:
            project_rows_(weight, self.max_norm)

    def share_at_bound(self) -> float:
        """Share of rows whose length is the bound, up to rounding."""
        lengths = torch.cat([weight.detach().flatten(1).norm(dim=1) for weight in self._weights])
        return (lengths > 0.999 * self.max_norm).float().mean().item()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if pl_module.loggers and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            assert isinstance(pl_module, ZooModule)
            pl_module.log_step({"train/max_norm_share": self.share_at_bound()}, trainer.global_step - 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if self._weights and self.share_at_bound() == 0:
            notice(f"{self.name}: no row has length {self.max_norm:g} at the end; lower max_norm, or do without it")
