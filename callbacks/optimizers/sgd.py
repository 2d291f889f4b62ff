"""Stochastic gradient descent: small steps against the gradient of one batch."""

from torch import Tensor

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


def sgd_step(parameter: Tensor, gradient: Tensor, lr: float, weight_decay: float = 0.0) -> Tensor:
    """One step: ``w - lr (g + weight_decay w)``.

    Robbins and Monro, "A stochastic approximation method", 1951, with the gradient as the noisy measurement.

    Args:
        parameter, gradient: tensors of one shape.
        lr: learning rate.
        weight_decay: weight of the L2 penalty ``weight_decay / 2 * |w|^2``.

    Returns:
        The new parameter; the old one is left as it is.
    """
    return parameter - lr * (gradient + weight_decay * parameter)


class SGD(OptimizerSelection):
    """Stochastic gradient descent without momentum.

    Args:
        lr: learning rate; 0.01 to 0.5 on standardised inputs.
        weight_decay: L2 penalty on matrices and filters; 1e-4 to 5e-4 for image networks.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.
    """

    def __init__(
        self,
        lr: float = 0.1,
        weight_decay: float = 0.0,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__("torch.optim.SGD", lr, weight_decay, None, rules, layer_decay, network)
