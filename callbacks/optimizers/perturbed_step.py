"""Step with the gradient at perturbed weights: a batch is evaluated twice, and the optimizer stays itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import LBFGS, Optimizer

from callbacks.technique import Conflict, Technique
from zoo.module import SupervisedModule, ZooModule


@contextmanager
def untracked_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, batch norm in training mode uses the batch's statistics without changing its running ones."""
    tracking = [m for m in network.modules() if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


class PerturbedStep(Technique, ABC):
    """Base of the techniques that make each step of any optimizer with the gradient at ``w + e(w)``.

    The optimizer keeps its state, its parameter groups, its schedule and its fused kernel: a hook before its step hands
    it a closure that evaluates the batch twice. The second evaluation draws the same dropout masks and mixes as the
    first, keeps its adversarial examples, leaves the running statistics of batch norm alone, and is not counted in the
    training metrics. What edits gradients sees both of them.

    Raises:
        Conflict: in a fit, with gradient accumulation, 16-bit loss scaling, L-BFGS, or another of its kind.
    """

    supports = SupervisedModule
    rivals = ("PerturbedStep",)
    rivalry = "both perturb the weights of a step"

    @abstractmethod
    def perturbation(self, parameters: list[Tensor]) -> list[Tensor]:
        """e(w) for parameters that have a gradient, each of its parameter's shape."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.accumulate_grad_batches != 1:
            raise Conflict(
                f"{self.name} and trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} do not go together:"
                " the second gradient would be that of the last batch alone; set it to 1 and raise the batch size"
            )
        plugin = trainer.precision_plugin
        if stage == "fit" and isinstance(plugin, MixedPrecision) and plugin.scaler is not None:
            raise Conflict(
                f"{self.name} and trainer.precision=16-mixed do not go together: the loss scaler evaluates a batch only"
                " once; use bf16-mixed or 32-true"
            )
        super().setup(trainer, pl_module, stage)

    def attach(self, module: ZooModule) -> None:
        def wrap(optimizer: Optimizer) -> Optimizer:
            if isinstance(optimizer, LBFGS):
                raise Conflict(
                    f"{self.name} and LBFGS do not go together: both evaluate a batch several times; drop one"
                )
            optimizer.register_step_pre_hook(lambda opt, args, kwargs: self._replace_closure(module, opt, args, kwargs))
            return optimizer

        self.add_optimizer_wrapper(module, wrap)

    def _replace_closure(
        self, module: ZooModule, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        first = kwargs.get("closure")
        if first is None:
            raise Conflict(
                f"{self.name} needs to evaluate a batch twice, and this optimizer was stepped without a closure"
            )
        return args, {**kwargs, "closure": lambda: self._evaluate_twice(module, optimizer, first)}

    def _evaluate_twice(self, module: ZooModule, optimizer: Optimizer, closure: Callable[[], Any]) -> Any:
        """Leave the gradients of ``w + e(w)`` with the weights at ``w``; returns the loss at ``w``."""
        with isolate_rng(include_cuda=module.device.type == "cuda"):
            loss = closure()
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # The weights are kept rather than the step subtracted again, which would round.
        before = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            torch._foreach_add_(parameters, self.perturbation(parameters))
        module.revisiting = True
        try:
            with untracked_statistics(module):
                closure()
        finally:
            module.revisiting = False
            with torch.no_grad():
                torch._foreach_copy_(parameters, before)
        return loss
