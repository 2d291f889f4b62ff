"""Set the smallest weights to zero while a network trains, more and more of them."""

import sys
from typing import Any, Literal, TypeAlias

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import Optimizer

from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.notice import notice

Structure: TypeAlias = Literal["global", "layer", "channel"]


def cubic_sparsity(progress: float, sparsity: float) -> float:
    """s (1 - (1 - p)^3): fast while much is left to prune, then ever slower.

    Zhu and Gupta, "To prune, or not to prune", 2017, eq. 1, from an initial sparsity of 0.

    Args:
        progress: p, share of the pruning phase that is over; clamped to [0, 1].
        sparsity: s, share of zeros at the end.
    """
    return sparsity * (1 - (1 - min(max(progress, 0.0), 1.0)) ** 3)


@torch.no_grad()
def magnitude_masks(weights: list[Tensor], sparsity: float, structure: Structure) -> list[Tensor]:
    """Masks that leave out the smallest weights, by torch's own pruning methods; bool, of the weights' shapes.

    Args:
        weights: matrices and filters.
        sparsity: share to leave out, in [0, 1): of all weights together ("global"), of each layer's weights by |w|
            ("layer"), or of each layer's output channels by their L2 norm ("channel").
        structure: what competes with what.
    """
    if structure == "global":
        # The size of what is left out is one threshold for all: as prune.global_unstructured, without its hooks.
        flat = torch.cat([weight.flatten() for weight in weights])
        mask = prune.L1Unstructured(amount=round(sparsity * flat.numel())).compute_mask(flat, torch.ones_like(flat))
        parts = mask.bool().split([weight.numel() for weight in weights])
        return [part.view_as(weight) for part, weight in zip(parts, weights)]
    methods: list[prune.BasePruningMethod] = [
        prune.L1Unstructured(amount=round(sparsity * weight.numel()))
        if structure == "layer"
        else prune.LnStructured(amount=round(sparsity * len(weight)), n=2, dim=0)
        for weight in weights
    ]
    return [method.compute_mask(weight, torch.ones_like(weight)).bool() for method, weight in zip(methods, weights)]


class MagnitudePruning(Technique):
    """Prunes gradually: the share of zeros follows ``cubic_sparsity``, and what was pruned stays zero.

    Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017; masks by
    ``torch.nn.utils.prune``. Weights are zeroed in place, so that names, optimizer and checkpoints are those of the
    dense network and nothing has to be made permanent. The best epoch is looked for anew when the last weights are
    pruned: one from before would be the best of a denser network. Linear and convolutional layers are pruned, but for
    the head.

    Args:
        sparsity: share of zeros at the end, in [0, 1); 0.5 is nearly free, 0.9 asks for a wide network.
        structure: "global" compares all weights, "layer" those of each layer, "channel" whole output channels.
        begin, end: shares of the run between which pruning goes on, 0 <= begin < end <= 1; the rest is for recovery.
        every: optimizer steps from one pruning to the next.

    Raises:
        ZooError: a number out of range.
        NoEffect: in a fit, when ``sparsity`` is 0 or the network has no layer to prune.
        Conflict: in a fit, beside an average of the weights (EMA, SWA), in which pruned weights fade but never vanish.
    """

    rivals = ("WeightAveraging",)
    rivalry = "pruned weights fade in an average and never become zero"
    patience = sys.maxsize  # begins when the network has learnt something

    def __init__(
        self,
        sparsity: float = 0.8,
        structure: Structure = "global",
        begin: float = 0.1,
        end: float = 0.7,
        every: int = 10,
    ) -> None:
        if not 0 <= sparsity < 1:
            raise ZooError(f"MagnitudePruning: sparsity is a share in [0, 1), got {sparsity}; 0.5 to 0.9 are usual")
        if not 0 <= begin < end <= 1:
            raise ZooError(f"MagnitudePruning: 0 <= begin < end <= 1 are shares of the run, got {begin} and {end}")
        if every < 1:
            raise ZooError(f"MagnitudePruning: every counts optimizer steps and must be at least 1, got {every}")
        self.sparsity, self.structure, self.begin, self.end, self.every = sparsity, structure, begin, end, every
        self._weights: dict[str, Tensor] = {}
        self._masks: dict[str, Tensor] = {}
        self._reached, self._steps = 0.0, 0

    def attach(self, module: ZooModule) -> None:
        if self.sparsity == 0:
            raise NoEffect("MagnitudePruning: sparsity is 0, which prunes nothing; raise it or drop it")
        layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _PRUNED)}
        self._weights = {
            f"{name}.weight": layer.weight
            for name, layer in layers.items()
            if layer.weight.requires_grad and name.split(".")[0] != "head"
        }
        if not self._weights:
            raise NoEffect(
                f"MagnitudePruning: {type(module).__name__} has no trainable linear or convolutional layer before its"
                " head; drop it"
            )
        self._masks, self._reached, self._steps = {}, 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.estimated_stepping_batches == float("inf"):
            raise ZooError("MagnitudePruning has to know the length of the run; set max_epochs or max_steps")
        self._masks = {name: mask.to(pl_module.device) for name, mask in self._masks.items()}
        self._steps = trainer.global_step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        for name, mask in self._masks.items():  # no momentum for what is pruned
            gradient = self._weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step == self._steps:
            return  # gradients are still accumulated
        self._steps = trainer.global_step
        self._zero()
        progress = self._steps / float(trainer.estimated_stepping_batches)
        over = (progress - self.begin) / (self.end - self.begin)
        if over > 0 and self._reached < self.sparsity and (over >= 1 or self._steps % self.every == 0):
            self._prune(trainer, pl_module, cubic_sparsity(over, self.sparsity))

    def _prune(self, trainer: Trainer, module: LightningModule, sparsity: float) -> None:
        weights = list(self._weights.values())
        self._masks = dict(zip(self._weights, magnitude_masks(weights, sparsity, self.structure)))
        self._zero()
        self._reached = sparsity
        self.acted()
        if isinstance(module, ZooModule):
            module.log_step({"train/sparsity": sparsity}, self._steps - 1)
        if sparsity == self.sparsity:
            for keeper in trainer.checkpoint_callbacks:
                if isinstance(keeper, ModelCheckpoint) and keeper.monitor is not None:
                    keeper.best_k_models, keeper.best_model_score, keeper.kth_best_model_path = {}, None, ""

    @torch.no_grad()
    def _zero(self) -> None:
        if self._masks:
            torch._foreach_mul_([self._weights[name] for name in self._masks], list(self._masks.values()))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._masks:
            self.acted()  # a run that was resumed behind its last pruning
        if self._batches_seen:
            self.require_effect(self._batches_seen)
        total = sum(weight.numel() for weight in self._weights.values())
        zeros = sum(int((weight == 0).sum()) for weight in self._weights.values())
        notice(
            f"MagnitudePruning: {zeros:,} of {total:,} weights in {len(self._weights)} layers are zero"
            f" ({zeros / total:.1%}), {self.sparsity:.1%} were asked for"
        )

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._weights, self._masks = {}, {}

    def state_dict(self) -> dict[str, Any]:
        return {"masks": dict(self._masks), "reached": self._reached}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._masks, self._reached = dict(state_dict["masks"]), state_dict["reached"]


_PRUNED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
