"""Gradient descent with momentum: the heavy ball of Polyak, and Nesterov's look ahead."""

from torch import Tensor

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


def momentum_step(
    parameter: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    lr: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """One step, with ``g = gradient + weight_decay w``::

        v <- momentum v + g
        w <- w - lr v                   (heavy ball)
        w <- w - lr (g + momentum v)    (Nesterov, in torch's variables)

    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; Sutskever et al., "On the
    importance of initialization and momentum in deep learning", 2013, eq. 1 to 4.

    Args:
        parameter, gradient, velocity: tensors of one shape; the velocity starts at zero.
        lr: learning rate; the ball's final speed on a constant slope is ``lr / (1 - momentum)``.
        momentum: share of the velocity that is kept, in [0, 1).
        nesterov: take the gradient's effect on the velocity into account at once.
        weight_decay: weight of the L2 penalty.

    Returns:
        The new parameter and the new velocity.
    """
    gradient = gradient + weight_decay * parameter
    velocity = momentum * velocity + gradient
    step = gradient + momentum * velocity if nesterov else velocity
    return parameter - lr * step, velocity


class Momentum(OptimizerSelection):
    """Stochastic gradient descent with momentum, the usual choice for convolutional networks.

    Args:
        lr: learning rate; 0.01 to 0.2 with batch norm, a tenth of SGD's without.
        momentum: share of the velocity that is kept, in (0, 1); 0.9 averages over about ten steps.
        nesterov: Nesterov's variant rather than the heavy ball.
        weight_decay: L2 penalty on matrices and filters; 1e-4 to 5e-4 for image networks.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.
    """

    def __init__(
        self,
        lr: float = 0.05,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        options = {"momentum": momentum, "nesterov": nesterov}
        super().__init__("torch.optim.SGD", lr, weight_decay, {**options}, rules, layer_decay, network)
