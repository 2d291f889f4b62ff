"""Multilayer perceptrons: the textbook network, with the choices that matter as arguments."""

from typing import cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.layers.dropout_kind import VectorDropout, make_dropout
from zoo.layers.gate import Nonlinearity, make_nonlinearity, widening
from zoo.layers.norm import Norm, make_linear, make_norm
from zoo.module import SupervisedModule
from zoo.task import Task


class MLPBlock(nn.Module):
    """linear -> norm -> activation -> dropout, with the input added when ``residual`` and the widths agree.

    Before a gate the linear layer and the norm are twice as wide.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: Nonlinearity,
        norm: Norm,
        dropout: float,
        dropout_kind: VectorDropout,
        residual: bool,
    ) -> None:
        super().__init__()
        width = out_features * widening(activation)
        self.linear = make_linear(in_features, width, norm)
        self.norm = make_norm(norm, width, spatial=False)
        self.activation = make_nonlinearity(activation)
        self.dropout = make_dropout(dropout_kind, dropout)
        self.residual = residual and in_features == out_features

    def forward(self, x: Tensor) -> Tensor:
        branch = self.dropout(self.activation(self.norm(self.linear(x))))
        return x + branch if self.residual else branch


class MLP(SupervisedModule):
    """Fully connected network on flattened samples.

    Args:
        in_features: numbers in one sample; linked from the data.
        task: what is asked of the network; gives the number of outputs.
        hidden: widths of the hidden layers; an empty list is linear or logistic regression.
        activation: between the layers; a gate (glu, reglu, geglu, swiglu) makes each linear layer twice as wide.
        norm: between linear layer and activation.
        dropout: probability in [0, 1) after each hidden layer; 0.1 to 0.5 where a network overfits.
        residual: add a block's input to its output where their widths agree; helps beyond about 8 layers.
        dropout_kind: null is "alpha" behind "selu" (Klambauer et al. 2017) and "standard" behind all others.
    """

    takes = ("vectors", "images")

    def __init__(
        self,
        in_features: int,
        task: Task,
        hidden: list[int] = [256, 256],  # noqa: B006  never changed; a list reads best in --help
        activation: Nonlinearity = "relu",
        norm: Norm = "none",
        dropout: float = 0.0,
        residual: bool = False,
        dropout_kind: VectorDropout | None = None,
    ) -> None:
        super().__init__(task)
        if any(width < 1 for width in hidden):
            raise ZooError(f"MLP: widths must be positive, got hidden={hidden}")
        if not 0 <= dropout < 1:
            raise ZooError(f"MLP: dropout must lie in [0, 1), got {dropout}")
        self.example_input_array = torch.zeros(2, in_features)
        widths = [in_features, *hidden]
        kind = dropout_kind or ("alpha" if activation == "selu" else "standard")
        self.backbone = nn.Sequential(
            *[MLPBlock(a, b, activation, norm, dropout, kind, residual) for a, b in zip(widths, hidden, strict=False)]
        )
        self.head = nn.Linear(widths[-1], task.out_features)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.backbone(x.flatten(1))))
