"""Muon: orthogonal steps for the hidden matrices, AdamW for everything else, as one optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection
from callbacks.technique import NoEffect
from zoo.errors import ZooError

# Coefficients of the quintic x -> a x + b x^3 + c x^5, with the steepest slope at zero for which five rounds bring all
# singular values near 1. Jordan et al. 2024.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, rounds: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Replace the singular values of a matrix by values near 1 (between about 0.7 and 1.2), keeping its directions.

    Newton-Schulz rounds ``X <- a X + (b S + c S^2) X`` with ``S = X X^T``, from ``X = M / |M|``. Jordan et al.,
    "Muon: an optimizer for hidden layers in neural networks", 2024, the listing ``newtonschulz5``.

    Args:
        matrix: (rows, columns).
        rounds: five suffice unless the matrix is very badly conditioned; 0 only divides by the norm.
        dtype: in which to multiply; bfloat16 is meant for tensor cores.

    Returns:
        (rows, columns) in ``dtype``.
    """
    a, b, c = QUINTIC
    x = matrix.to(dtype)
    wide = x if matrix.shape[0] <= matrix.shape[1] else x.T  # the smaller Gram matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(rounds):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def muon_update(
    gradient: Tensor, average: Tensor, momentum: float = 0.95, nesterov: bool = True, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The direction of one step; ``average`` is changed in place::

        A <- momentum A + (1 - momentum) G
        U = sqrt(max(1, rows / columns)) orthogonalize(momentum A + (1 - momentum) G if nesterov else A)

    Args:
        gradient, average: (rows, columns), or filters (out, in, height, width), which count as (out, in * height *
            width). The average starts at zero.

    Returns:
        The direction, of the gradient's shape and type.
    """
    average.lerp_(gradient, 1 - momentum)
    blend = gradient.lerp(average, momentum) if nesterov else average
    matrix = blend.flatten(1)  # (out, in * height * width)
    rows, columns = matrix.shape
    scale = max(1.0, rows / columns) ** 0.5
    return (orthogonalize(matrix, dtype=dtype) * scale).view(gradient.shape).to(gradient.dtype)


class MuonWithAdamW(Optimizer):
    """Both optimizers behind one list of parameter groups and one state, as schedules and checkpoints want it.

    Args:
        matrices: groups for Muon, each with "params", "lr", "weight_decay", "momentum" and "nesterov".
        others: groups for AdamW.
        fused: use AdamW's fused kernel.
    """

    def __init__(self, matrices: list[dict[str, Any]], others: list[dict[str, Any]], fused: bool = False) -> None:
        self._adamw = AdamW(others, fused=fused or None)
        groups = [{**group, "algorithm": "muon"} for group in matrices]
        super().__init__([*groups, *self._adamw.param_groups], {"algorithm": "adamw"})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["algorithm"] == "muon":
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._muon_step(parameter, group)
        # Handed over anew at each step, because loading a checkpoint replaces both.
        self._adamw.param_groups = [group for group in self.param_groups if group["algorithm"] == "adamw"]
        self._adamw.state = self.state
        self._adamw.step()
        return loss

    def _muon_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["average"] = torch.zeros_like(parameter)
        # bfloat16 is faster than float32 on tensor cores and slower on most processors.
        dtype = torch.bfloat16 if parameter.is_cuda else torch.float32
        gradient = parameter.grad
        assert gradient is not None
        update = muon_update(gradient, state["average"], group["momentum"], group["nesterov"], dtype)
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


class Muon(OptimizerSelection):
    """Momentum whose step is the nearest orthogonal matrix, so that all directions of a layer learn at one speed.

    For the weights of linear and convolutional layers between the first and the last one; those two, embeddings,
    biases and norms are trained by AdamW, as Jordan et al. 2024 advise. torch's own Muon takes matrices only; here the
    filters of a convolution count as the rows of one.

    Args:
        lr: learning rate of the hidden matrices; 0.005 to 0.05. The root mean square of a step's entries is about
            ``lr / sqrt(columns)``, whatever the size of the gradient.
        adamw_lr: learning rate of the rest.
        momentum: share of the average gradient that is kept, in [0, 1).
        nesterov: look ahead by one step.
        weight_decay: decoupled, of matrices and filters, in both parts.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.

    Raises:
        NoEffect: the network has no matrix between its first and its last layer.
    """

    def __init__(
        self,
        lr: float = 0.02,
        adamw_lr: float = 1e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.01,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__("torch.optim.AdamW", lr, weight_decay, None, rules, layer_decay, network)
        if not adamw_lr > 0:
            raise ZooError(f"Muon: adamw_lr must be positive, got {adamw_lr}")
        if not 0 <= momentum < 1:
            raise ZooError(f"Muon: momentum must lie in [0, 1), got {momentum}")
        self.adamw_lr, self.momentum, self.nesterov = adamw_lr, momentum, nesterov

    def construct(self, network: nn.Module, groups: list[dict[str, Any]], options: dict[str, Any]) -> Optimizer:
        hidden_ids = {id(p) for p in hidden_matrices(network)}
        matrices, others = [], []
        for group in groups:
            hidden = [p for p in group["params"] if id(p) in hidden_ids]
            rest = [p for p in group["params"] if id(p) not in hidden_ids]
            if hidden:
                muon = {"params": hidden, "name": f"muon/{group['name']}"}
                matrices.append({**group, **muon, "momentum": self.momentum, "nesterov": self.nesterov})
            if rest:
                others.append({**group, "params": rest, "lr": group["lr"] * self.adamw_lr / self.lr})
        return MuonWithAdamW(matrices, others, fused=bool(options.get("fused")))


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """Trainable weights of the linear and convolutional layers, without the first and the last layer.

    An embedding counts as a layer, so that behind one every matrix but the last is hidden.

    Raises:
        NoEffect: nothing is left.
    """
    kinds = nn.Embedding | nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    hidden = [m for m in network.modules() if isinstance(m, kinds)][1:-1]
    found = [m.weight for m in hidden if not isinstance(m, nn.Embedding) and m.weight.requires_grad]
    if not found:
        raise NoEffect(
            f"Muon is for hidden matrices, and {type(network).__name__} has no trainable one between its first and its"
            " last layer; make it deeper or use AdamW"
        )
    return found
