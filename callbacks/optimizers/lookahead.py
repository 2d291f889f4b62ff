"""Lookahead: k steps forward, one step back."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.module import ZooModule

# Where the optimizer's own state and groups keep ours, so that checkpoints hold them.
SLOW, STEPS = "lookahead_slow", "lookahead_steps"


@torch.no_grad()
def look_back_(fast: list[Tensor], slow: list[Tensor], alpha: float) -> None:
    """``slow <- slow + alpha (fast - slow)``, then ``fast <- slow``, in place.

    Zhang et al., "Lookahead optimizer: k steps forward, 1 step back", 2019, algorithm 1.
    """
    torch._foreach_lerp_(slow, fast, alpha)
    torch._foreach_copy_(fast, slow)


class Lookahead(Technique):
    """Lets any optimizer make k steps, then goes back to a point between where they began and where they led.

    The optimizer stays itself, with its schedule and its fused kernel: hooks round its step keep the slow weights in
    its state and the count in its parameter groups, so that a resumed run goes on to the bit. Its momentum is kept
    when the weights go back, which the paper found to work well.

    Args:
        k: steps of the optimizer for each of the slow weights; 5 to 10. 1 shortens every step.
        alpha: how far to go towards the fast weights, in (0, 1]; 0.5 to 0.8.

    Raises:
        ZooError: an argument out of range.
        NoEffect: in a fit, when ``alpha`` is 1, which is the optimizer alone.
    """

    def __init__(self, k: int = 5, alpha: float = 0.5) -> None:
        if k < 1:
            raise ZooError(f"Lookahead: k must be at least 1, got {k}; 5 to 10 are usual")
        if not 0 < alpha <= 1:
            raise ZooError(f"Lookahead: alpha must lie in (0, 1], got {alpha}; 0.5 to 0.8 are usual")
        self.k, self.alpha = k, alpha

    def attach(self, module: ZooModule) -> None:
        if self.alpha == 1:
            raise NoEffect("Lookahead: alpha is 1, which never goes back; lower it or drop Lookahead")
        self.add_optimizer_wrapper(module, self.wrap)

    def wrap(self, optimizer: Optimizer) -> Optimizer:
        """Hook into ``optimizer`` and return it."""
        starts: dict[Tensor, Tensor] = {}

        def remember(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            for parameter in _parameters(optimizer):
                if SLOW not in optimizer.state.get(parameter, {}):
                    starts[parameter] = parameter.detach().clone()

        def follow(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # An optimizer sets up a parameter's state when it first steps it; only then is there room for ours.
            for parameter, start in starts.items():
                if parameter.grad is not None:
                    optimizer.state[parameter][SLOW] = start
            starts.clear()
            steps = optimizer.param_groups[0].get(STEPS, 0) + 1
            for group in optimizer.param_groups:
                group[STEPS] = steps
            if steps % self.k == 0:
                moved = [p for p in _parameters(optimizer) if SLOW in optimizer.state.get(p, {})]
                look_back_(moved, [optimizer.state[p][SLOW] for p in moved], self.alpha)

        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(follow)
        return optimizer


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
