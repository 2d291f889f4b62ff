"""Adam: momentum, and a step size for each parameter from the mean square of its gradients."""

from typing import NamedTuple

from torch import Tensor

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


class AdamState(NamedTuple):
    """Running means of the gradient and of its square, both zero at first, and how many steps were made."""

    mean: Tensor
    square_mean: Tensor
    steps: int = 0


def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    state: AdamState,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Tensor, AdamState]:
    """One step, the t-th::

        m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
        w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.

    Args:
        parameter, gradient: tensors of one shape, also that of the means in ``state``.
        lr: learning rate; hardly any parameter moves further than this in a step.
        betas: shares of the two means that are kept.

    Returns:
        The new parameter and the new state.
    """
    beta1, beta2 = betas
    steps = state.steps + 1
    mean = beta1 * state.mean + (1 - beta1) * gradient
    square_mean = beta2 * state.square_mean + (1 - beta2) * gradient**2
    # The means start at zero; the divisions undo that bias.
    unbiased, unbiased_square = mean / (1 - beta1**steps), square_mean / (1 - beta2**steps)
    return parameter - lr * unbiased / (unbiased_square.sqrt() + eps), AdamState(mean, square_mean, steps)


class Adam(OptimizerSelection):
    """Adam, with weight decay as an L2 term of the gradient; AdamW decays the weights themselves.

    Args:
        lr: learning rate; 1e-4 to 3e-3.
        betas: shares of the running means of gradient and square that are kept, each in [0, 1).
        eps: keeps the quotient finite; 1e-8 up to 1e-3, where it damps parameters with small gradients.
        weight_decay: L2 penalty on matrices and filters; it is divided by the root mean square like the gradient.
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
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__(
            "torch.optim.Adam", lr, weight_decay, {"betas": [*betas], "eps": eps, "amsgrad": amsgrad},
            rules, layer_decay, network,
        )  # fmt: skip
