"""RMSprop: divide the gradient by a running root mean square of itself."""

from torch import Tensor

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


def rmsprop_step(
    parameter: Tensor, gradient: Tensor, square_mean: Tensor, lr: float, alpha: float = 0.99, eps: float = 1e-8
) -> tuple[Tensor, Tensor]:
    """One step: ``s <- alpha s + (1 - alpha) g^2``, ``w <- w - lr g / (sqrt(s) + eps)``.

    Tieleman and Hinton, "Neural networks for machine learning", 2012, lecture 6.5.

    Args:
        parameter, gradient, square_mean: tensors of one shape; the mean starts at zero.

    Returns:
        The new parameter and the new mean of squares.
    """
    square_mean = alpha * square_mean + (1 - alpha) * gradient**2
    return parameter - lr * gradient / (square_mean.sqrt() + eps), square_mean


class RMSprop(OptimizerSelection):
    """Adagrad that forgets: the sum of squares becomes a running mean.

    Args:
        lr: learning rate; 1e-4 to 1e-2.
        alpha: share of the mean of squares that is kept, in [0, 1); 0.9 in the lecture, 0.99 is calmer.
        eps: keeps the quotient finite; larger values make it more like SGD.
        momentum: of the scaled steps; 0 for none.
        centered: divide by the standard deviation instead (Graves 2013).
        weight_decay: L2 penalty on matrices and filters.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        options = {"alpha": alpha, "eps": eps, "momentum": momentum, "centered": centered}
        super().__init__("torch.optim.RMSprop", lr, weight_decay, {**options}, rules, layer_decay, network)
