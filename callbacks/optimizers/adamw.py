"""AdamW: Adam whose weight decay acts on the weights and not through the gradient."""

from torch import Tensor

from callbacks.optimizers.adam import AdamState, adam_step
from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


def adamw_step(
    parameter: Tensor,
    gradient: Tensor,
    state: AdamState,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Tensor, AdamState]:
    """One step: ``w <- (1 - lr weight_decay) w``, then Adam's step with the gradient alone.

    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2, line 12, with the decay
    multiplied by the learning rate as in torch. Arguments and returned values as in ``adam_step``.
    """
    return adam_step(parameter * (1 - lr * weight_decay), gradient, state, lr, betas, eps)


class AdamW(OptimizerSelection):
    """Adam with decoupled weight decay: a good first choice for almost every network.

    Args:
        lr: learning rate; 1e-4 to 3e-3.
        betas: shares of the running means of gradient and square that are kept, each in [0, 1); [0.9, 0.95] is usual
            for transformers.
        eps: keeps the quotient finite.
        weight_decay: of matrices and filters, per unit of learning rate; 0.01 to 0.3.
        amsgrad: divide by the largest mean square so far (Reddi et al. 2018, algorithm 2).
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__(
            "torch.optim.AdamW", lr, weight_decay, {"betas": [*betas], "eps": eps, "amsgrad": amsgrad},
            rules, layer_decay, network,
        )  # fmt: skip
