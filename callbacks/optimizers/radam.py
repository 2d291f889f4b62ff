"""RAdam: Adam that holds back until its mean square can be trusted."""

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


class RAdam(OptimizerSelection):
    """Adam with a warm-up that follows from the variance of its step size, rather than from a schedule.

    With ``rho_inf = 2 / (1 - b2) - 1`` and ``rho_t = rho_inf - 2 t b2^t / (1 - b2^t)``, step t is one of plain
    momentum while ``rho_t <= 5``, and after that Adam's step times

        sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t))

    Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, algorithm 2 (which has 4 in place
    of torch's 5).

    Args:
        lr: learning rate; 1e-4 to 3e-3.
        betas: shares of the running means of gradient and square that are kept, each in [0, 1); the second sets how
            long the warm-up lasts.
        eps: keeps the quotient finite.
        weight_decay: of matrices and filters.
        decoupled_weight_decay: decay the weights as AdamW does, rather than through the gradient.
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
        decoupled_weight_decay: bool = True,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__(
            "torch.optim.RAdam", lr, weight_decay,
            {"betas": [*betas], "eps": eps, "decoupled_weight_decay": decoupled_weight_decay},
            rules, layer_decay, network,
        )  # fmt: skip
