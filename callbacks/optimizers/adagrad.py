"""Adagrad: a learning rate of its own for each parameter, which only ever falls."""

from torch import Tensor

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


def adagrad_step(
    parameter: Tensor, gradient: Tensor, square_sum: Tensor, lr: float, eps: float = 1e-10
) -> tuple[Tensor, Tensor]:
    """One step: ``s <- s + g^2``, ``w <- w - lr g / (sqrt(s) + eps)``.

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011,
    eq. 1 with the diagonal of the matrix.

    Args:
        parameter, gradient, square_sum: tensors of one shape; the sum starts at zero.

    Returns:
        The new parameter and the new sum of squares.
    """
    square_sum = square_sum + gradient**2
    return parameter - lr * gradient / (square_sum.sqrt() + eps), square_sum


class Adagrad(OptimizerSelection):
    """Divide each gradient by the root of the sum of its squares so far.

    Args:
        lr: learning rate; 0.01 to 0.1.
        lr_decay: the rate falls as ``lr / (1 + lr_decay t)`` on top of what the sum does; 0 is usual.
        initial_accumulator_value: where the sum starts; above 0 it tames the first steps, of which each is else ``lr``
            in size.
        eps: keeps the quotient finite.
        weight_decay: L2 penalty on matrices and filters.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.
    """

    def __init__(
        self,
        lr: float = 0.01,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        options = {"lr_decay": lr_decay, "initial_accumulator_value": initial_accumulator_value, "eps": eps}
        super().__init__("torch.optim.Adagrad", lr, weight_decay, {**options}, rules, layer_decay, network)
