"""Recurrent layers on padded sequences: fused kernels, one or two directions, exact without packing."""

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.layers.locked_dropout import LockedDropout
from zoo.layers.padding import flip_valid, padding_mask
from zoo.layers.zoneout import LayerState, Zoneout, read_with_zoneout

Cell: TypeAlias = Literal["rnn_tanh", "rnn_relu", "lstm", "gru"]
RecurrentNorm: TypeAlias = Literal["none", "between", "each"]
# One entry for each layer.
State: TypeAlias = list[LayerState]

_GROUP = 16  # sequences that are read together where lengths differ; their states stay in the processor's cache
_WORTH_GROUPING = 2**19  # states of a batch below which the calls cost more than the padding


def make_recurrent(cell: Cell, in_features: int, hidden: int, projection: int = 0) -> nn.RNNBase:
    """One layer in one direction, on (B, T, in_features)."""
    match cell:
        case "lstm":
            return nn.LSTM(in_features, hidden, batch_first=True, proj_size=projection)
        case "gru":
            return nn.GRU(in_features, hidden, batch_first=True)
        case "rnn_tanh" | "rnn_relu":
            return nn.RNN(in_features, hidden, batch_first=True, nonlinearity=cell.removeprefix("rnn_"))


class RecurrentLayer(nn.Module):
    """One layer, read forwards or in both directions: (B, T, in_features) -> (B, T, directions * width).

    Padding stands at the end, so that what is read forwards never sees it; the second direction reads a copy whose
    valid steps are reversed. At valid steps the output is that of a packed sequence, without packing; at padded ones it
    is zero.

    On a processor a large batch of different lengths is read by an LSTM in groups of like length, each as far as its
    longest sequence goes. Other cells, short batches and GPUs lose more by smaller calls than they save.
    """

    def __init__(
        self, cell: Cell, in_features: int, hidden: int, bidirectional: bool, projection: int, zoneout: float = 0.0
    ) -> None:
        super().__init__()
        self.forwards = make_recurrent(cell, in_features, hidden, projection)
        self.backwards = make_recurrent(cell, in_features, hidden, projection) if bidirectional else None
        self.zoneout = Zoneout(zoneout)

    def forward(self, x: Tensor, lengths: Tensor | None, state: LayerState | None) -> tuple[Tensor, LayerState]:
        if lengths is not None and state is None and self._gains_by_groups(x, lengths):
            return self._read_in_groups(x, lengths), ()
        out, end = self._read_directions(x, lengths, state)
        return out if lengths is None else _zero_padding(out, lengths), end

    def _read_directions(
        self, x: Tensor, lengths: Tensor | None, state: LayerState | None
    ) -> tuple[Tensor, LayerState]:
        out, end = self._read(self.forwards, x, state)
        if self.backwards is not None:
            reverse, _ = self._read(self.backwards, flip_valid(x, lengths), None)
            out = torch.cat([out, flip_valid(reverse, lengths)], 2)
        return out, end

    def _read(self, layer: nn.RNNBase, x: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState]:
        if self.zoneout.p:
            return read_with_zoneout(layer, x, state, self.zoneout)
        out, end = layer(x, state if state is None or len(state) > 1 else state[0])
        return out, end if isinstance(end, tuple) else (end,)

    def _gains_by_groups(self, x: Tensor, lengths: Tensor) -> bool:
        if torch.compiler.is_exporting():  # an exported graph is the same for all lengths
            return False
        rows, steps, _ = x.shape
        fused = isinstance(self.forwards, nn.LSTM) and not self.forwards.proj_size and x.device.type == "cpu"
        if not fused or self.zoneout.p or rows <= _GROUP or rows * steps * self.forwards.hidden_size < _WORTH_GROUPING:
            return False
        return int(lengths.sum()) < 0.8 * rows * steps

    def _read_in_groups(self, x: Tensor, lengths: Tensor) -> Tensor:
        order, step = lengths.argsort(descending=True), torch.arange(x.shape[1])
        parts, starts, size = [], torch.empty_like(lengths), 0
        for rows in order.split(_GROUP):
            steps = int(lengths[rows[0]])
            out, _ = self._read_directions(x[rows, :steps], lengths[rows], None)
            parts.append(out.flatten(0, 1))
            starts[rows] = size + torch.arange(len(rows)) * steps
            size += len(parts[-1])
        parts.append(parts[0].new_zeros(1, parts[0].shape[1]))  # what all padded steps read
        source = torch.where(step < lengths[:, None], starts[:, None] + step, size)  # (B, T)
        return torch.cat(parts).index_select(0, source.flatten()).unflatten(0, source.shape)


class RecurrentEncoder(nn.Module):
    """Stacked recurrent layers with what may stand between them; equal to nn.LSTM, nn.GRU, nn.RNN on packed sequences.

    Each layer: recurrent -> + its input, where ``residual`` and the widths agree -> layer norm; locked dropout before
    the next one. The output at padded steps is zero.

    Sources: Hochreiter and Schmidhuber 1997 (LSTM); Cho et al. 2014 (GRU); Sak, Senior and Beaufays 2014 (projection).

    Args:
        in_features: numbers at each step.
        hidden: width of the states, in each direction.
        layers: at least 1; beyond 2 or 3 with ``residual`` or a norm.
        cell: "lstm" or "gru", which remember over hundreds of steps; "rnn_tanh" and "rnn_relu" over tens.
        bidirectional: read each sequence in both directions; doubles the width of the output.
        residual: add a layer's input to its output where the widths agree.
        norm: layer norm "between" layers, or after "each", the last included.
        dropout: probability in [0, 1) between layers, one mask for all steps.
        projection: width to which an LSTM's states are projected before they are fed back and put out; 0 for none.
        zoneout: probability in [0, 1) of a unit keeping its old state at a step, see Zoneout; 0.05 to 0.2. There is no
            place for it within the fused kernels: above 0 each step is a call of its own, many times slower.

    Attributes:
        out_features: width of the output.
    """

    def __init__(
        self,
        in_features: int,
        hidden: int,
        layers: int = 1,
        cell: Cell = "lstm",
        bidirectional: bool = False,
        residual: bool = False,
        norm: RecurrentNorm = "none",
        dropout: float = 0.0,
        projection: int = 0,
        zoneout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("in_features", in_features), ("hidden", hidden), ("layers", layers)):
            if value < 1:
                raise ZooError(f"recurrent layers: {name} must be at least 1, got {value}")
        if projection and (cell != "lstm" or not 0 < projection < hidden):
            raise ZooError(
                f"recurrent layers: projection is for LSTMs and narrower than hidden={hidden}, got"
                f" projection={projection} with cell={cell}"
            )
        self.bidirectional, self.residual = bidirectional, residual
        self.out_features = (projection or hidden) * (2 if bidirectional else 1)
        widths = [in_features, *[self.out_features] * (layers - 1)]
        self.layers = nn.ModuleList(RecurrentLayer(cell, w, hidden, bidirectional, projection, zoneout) for w in widths)
        normed = {"none": 0, "between": layers - 1, "each": layers}[norm]
        self.norms = nn.ModuleList(
            nn.LayerNorm(self.out_features) if depth < normed else nn.Identity() for depth in range(layers)
        )
        self.dropout = LockedDropout(dropout)

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State | None]:
        """Outputs of the last layer, and the state that a next call goes on from.

        Args:
            x: (B, T, in_features), padded at the end.
            lengths: valid steps, (B,), each in 1..T; None where nothing is padded.
            state: what an earlier call ended with; None begins with zeros.

        Returns:
            outputs (B, T, out_features), and the state of every layer after step T; None where sequences are padded
            or read in both directions, for then there is none to go on from.

        Raises:
            ZooError: a state for a network that reads both directions.
        """
        if state is not None and self.bidirectional:
            raise ZooError("a network that reads both directions cannot go on from a state; use bidirectional=false")
        ends: State = []
        for depth, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            if depth:
                x = self.dropout(x)
            out, end = layer(x, lengths, state[depth] if state else None)
            if self.residual and out.shape == x.shape:
                out = out + x
            x = cast(Tensor, norm(out))
            ends.append(end)
        if lengths is not None and (self.residual or isinstance(self.norms[-1], nn.LayerNorm)):
            x = _zero_padding(x, lengths)
        return x, None if self.bidirectional or lengths is not None else ends


def _zero_padding(outputs: Tensor, lengths: Tensor) -> Tensor:
    return outputs.masked_fill(~padding_mask(lengths, outputs.shape[1])[..., None], 0)
