"""Recurrent networks: one answer for a sequence, or one for each of its steps."""

from typing import cast

import torch
from torch import Tensor, nn

from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.padding import check_lengths
from zoo.layers.readout import Readout, make_readout
from zoo.layers.recurrent import Cell, RecurrentEncoder, RecurrentNorm
from zoo.module import SupervisedModule
from zoo.task import Task


class RNN(SupervisedModule):
    """Recurrent layers over sequences of numbers, padded at the end: LSTM, GRU or plain, one or both directions.

    Args:
        num_channels: numbers in one step; linked from the data.
        task: what is asked of the network; with Tagging it answers at every step, with others once a sequence.
        hidden: width of the states in each direction; 32 to 512.
        layers: 1 to 4.
        cell: "lstm" and "gru" remember over hundreds of steps, "rnn_tanh" and "rnn_relu" over tens.
        bidirectional: read each sequence in both directions; not for what must not see the future.
        readout: from all steps to one vector; "last" by default. "mean", "max" and "attention" help where what matters
            may stand anywhere. None with Tagging.
        dropout: probability in [0, 1), between layers (one mask for all steps) and before the head; 0.1 to 0.5.
        norm: layer norm "between" layers, or after "each".
        residual: add a layer's input to its output where the widths agree; for 3 layers and more.
        zoneout: probability in [0, 1) of a unit keeping its old state at a step; 0.05 to 0.2, and many times slower.

    Attributes:
        causal: whether what it says at a step depends on the steps up to it alone.
    """

    takes = ("sequences",)

    def __init__(
        self,
        num_channels: int,
        task: Task,
        hidden: int = 128,
        layers: int = 1,
        cell: Cell = "lstm",
        bidirectional: bool = False,
        readout: Readout | None = None,
        dropout: float = 0.0,
        norm: RecurrentNorm = "none",
        residual: bool = False,
        zoneout: float = 0.0,
    ) -> None:
        super().__init__(task)
        if task.per_step and readout is not None:
            raise ZooError(f"RNN: {type(task).__name__} answers at every step and reads nothing out; leave out readout")
        self.encoder = RecurrentEncoder(
            num_channels, hidden, layers, cell, bidirectional, residual, norm, dropout, zoneout=zoneout
        )
        width = self.encoder.out_features
        self.readout = None if task.per_step else make_readout(readout or "last", width, bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, task.out_features)
        self.causal = not bidirectional
        self.example_input_array = torch.zeros(2, 8, num_channels)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, num_channels), lengths (B,) in 1..T -> (B, out_features), or (B, T, out_features) for each step."""
        if lengths is not None:
            check_lengths(lengths, x.shape[1])
        outputs, _ = self.encoder(x, lengths)
        if self.readout is not None:
            outputs = self.readout(outputs, lengths)
        return cast(Tensor, self.head(self.dropout(outputs)))

    def forward_batch(self, batch: Batch) -> Tensor:
        return cast(Tensor, self(batch.x, batch.lengths))
