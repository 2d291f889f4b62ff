"""Adafactor: Adam's scaling with the memory of a row and a column in place of a whole matrix."""

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection


class Adafactor(OptimizerSelection):
    """Estimate the mean squares of a matrix's gradients from the means of its rows and columns, without momentum.

    For a matrix with gradient G at step t, with ``b = 1 - t^beta2_decay``::

        R <- b R + (1 - b) row_mean(G^2)        C <- b C + (1 - b) column_mean(G^2)
        U <- G / sqrt(R C / mean(R))
        W <- W - min(lr, 1 / sqrt(t)) max(eps2, rms(W)) U / max(1, rms(U) / d)

    Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018, algorithms 4 and 5. The
    step is relative to the size of the weights, so ``lr`` is a share, not a length. Filters of a convolution are
    factored over their last two dimensions.

    Args:
        lr: relative learning rate; 1e-3 to 1e-1.
        beta2_decay: negative; how fast the averages come to span the whole past.
        eps: (guard of the squares, null for the machine epsilon; least size of weights that a step is relative to).
        d: updates with a root mean square above d are scaled down to it; at least 1.
        weight_decay: decoupled, of matrices and filters.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: factor on the learning rate for each layer below the head, in (0, 1].
        network: which network, for families that have several.
    """

    def __init__(
        self,
        lr: float = 0.01,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        super().__init__(
            "torch.optim.Adafactor", lr, weight_decay, {"beta2_decay": beta2_decay, "eps": [*eps], "d": d},
            rules, layer_decay, network,
        )  # fmt: skip
