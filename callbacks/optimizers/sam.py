"""Sharpness-aware minimisation: step with the gradient of the worst point in the neighbourhood."""

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

from callbacks.technique import Conflict, NoEffect, Technique
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.optim import decays


@torch.no_grad()
def ascent(parameters: list[Tensor], rho: float, eta: float | None = None) -> list[Tensor]:
    """The step up to the (approximately) worst point around the weights, from their gradients::

        SAM:   e = rho * g / |g|                          Foret et al. 2021, eq. 2 with p = 2
        ASAM:  e = rho * T^2 g / |T g|,  T = |w| + eta    Kwon et al. 2021, section 4, element by element

    The norm is over all parameters together. T is 1 for biases and the gains of norms.

    Args:
        parameters: each with a gradient.
        rho: radius of the neighbourhood; measured in shares of each weight with ASAM.
        eta: None for SAM.

    Returns:
        One step for each parameter, of its shape.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if eta is None:
        scale = rho / (nn.utils.get_total_norm(gradients) + 1e-12)
        return [gradient * scale for gradient in gradients]
    widths = [p.abs() + eta if decays(p) else torch.ones_like(p) for p in parameters]
    scaled = [width * gradient for width, gradient in zip(widths, gradients)]
    scale = rho / (nn.utils.get_total_norm(scaled) + 1e-12)
    return [width * gradient * scale for width, gradient in zip(widths, scaled)]


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


class SAM(Technique):
    """Makes each step of any optimizer with the gradient at ``w + e(w)``; two gradients for each step, no more.

    Foret et al., "Sharpness-aware minimization for efficiently improving generalization", 2021, eq. 2 and 3; Kwon et
    al., "ASAM: adaptive sharpness-aware minimization for scale-invariant learning of deep neural networks", 2021.

    The optimizer stays itself, with its state, its parameter groups, its schedule and its fused kernel: a hook before
    its step hands it a closure that evaluates the batch twice. The second evaluation draws the same dropout masks and
    mixes as the first, leaves the running statistics of batch norm alone, and is not counted in the training metrics.
    What edits gradients sees both of them.

    Args:
        rho: radius, positive; 0.02 to 0.2 for SAM, 0.5 to 2 for ASAM. Large values underfit, 0 is the plain optimizer.
        adaptive: ASAM: measure the radius relative to the size of each weight.
        eta: smallest size that a weight counts as, with ``adaptive``.

    Raises:
        ZooError: a negative radius, or an eta that is not positive.
        NoEffect: in a fit, when ``rho`` is 0.
        Conflict: in a fit, with gradient accumulation, 16-bit loss scaling, or L-BFGS.
    """

    supports = SupervisedModule

    def __init__(self, rho: float = 0.05, adaptive: bool = False, eta: float = 0.01) -> None:
        if rho < 0:
            raise ZooError(f"SAM: rho must not be negative, got {rho}; 0.05 is usual, 1 with adaptive")
        if eta <= 0:
            raise ZooError(f"SAM: eta must be positive, got {eta}; 0.01 is usual")
        self.rho, self.adaptive, self.eta = rho, adaptive, eta

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.accumulate_grad_batches != 1:
            raise Conflict(
                f"SAM and trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} do not go together: the"
                " second gradient would be that of the last batch alone; set it to 1 and raise the batch size"
            )
        plugin = trainer.precision_plugin
        if stage == "fit" and isinstance(plugin, MixedPrecision) and plugin.scaler is not None:
            raise Conflict(
                "SAM and trainer.precision=16-mixed do not go together: the loss scaler evaluates a batch only once;"
                " use bf16-mixed or 32-true"
            )
        super().setup(trainer, pl_module, stage)

    def attach(self, module: ZooModule) -> None:
        if self.rho == 0:
            raise NoEffect("SAM: rho is 0, which is the optimizer alone at twice the cost; raise it or drop SAM")

        def wrap(optimizer: Optimizer) -> Optimizer:
            if isinstance(optimizer, LBFGS):
                raise Conflict("SAM and LBFGS do not go together: both evaluate a batch several times; drop one")
            optimizer.register_step_pre_hook(lambda opt, args, kwargs: self._replace_closure(module, opt, args, kwargs))
            return optimizer

        self.add_optimizer_wrapper(module, wrap)

    def _replace_closure(
        self, module: ZooModule, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        first = kwargs.get("closure")
        if first is None:
            raise Conflict("SAM needs to evaluate a batch twice, and this optimizer was stepped without a closure")
        return args, {**kwargs, "closure": lambda: self._evaluate_twice(module, optimizer, first)}

    def _evaluate_twice(self, module: ZooModule, optimizer: Optimizer, closure: Callable[[], Any]) -> Any:
        """Leave the gradients of ``w + e(w)`` with the weights at ``w``; returns the loss at ``w``."""
        with isolate_rng(include_cuda=module.device.type == "cuda"):
            loss = closure()
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # The weights are kept rather than the step subtracted again, which would round.
        before = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            torch._foreach_add_(parameters, ascent(parameters, self.rho, self.eta if self.adaptive else None))
        module.revisiting = True
        try:
            with untracked_statistics(module):
                closure()
        finally:
            module.revisiting = False
            with torch.no_grad():
                torch._foreach_copy_(parameters, before)
        return loss
