"""NAdam: Adam with Nesterov's look ahead in place of plain momentum."""

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


class NAdam(OptimizerSelection):
    """Adam whose step already counts the present gradient into the momentum of the next one.

    Step t, with ``mu_t = b1 (1 - 0.5 * 0.96^(t * momentum_decay))`` and the means m and v of Adam::

        m_hat <- mu_{t+1} m / (1 - prod_{i<=t+1} mu_i) + (1 - mu_t) g / (1 - prod_{i<=t} mu_i)
        w <- w - lr m_hat / (sqrt(v / (1 - b2^t)) + eps)

    Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 2.

    Args:
        lr: learning rate; 1e-4 to 3e-3.
        betas: shares of the running means of gradient and square that are kept, each in [0, 1).
        weight_decay: of matrices and filters.
        momentum_decay: how fast the momentum rises from half of b1 to b1.
        decoupled_weight_decay: decay the weights as AdamW does, rather than through the gradient.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        momentum_decay: float = 0.004,
        decoupled_weight_decay: bool = True,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__(
            "torch.optim.NAdam", lr, weight_decay,
            {"betas": [*betas], "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay},
            rules, layer_decay, network,
        )  # fmt: skip
