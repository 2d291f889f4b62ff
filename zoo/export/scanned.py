"""Recurrent layers as a scan over steps, which a graph holds for sequences of every length.

Tracing one of torch's recurrent layers writes out its steps one by one, and so fixes how many there are.
"""

import copy
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan  # no public name yet; tests/zoo/export/ holds it
from torch.nn import functional as F

from zoo.layers.recurrent import RecurrentLayer
from zoo.layers.zoneout import LayerState

_Module = TypeVar("_Module", bound=nn.Module)
StateAndOutput: TypeAlias = tuple[LayerState, Tensor]  # with a name, for the tracer reads no subscripts of types


class ScannedRNN(nn.Module):
    """One layer of ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` in one direction, batch first, with the same weights.

    Args:
        layer: whose weights to use.
        zoneout: share of the old state that stays at each step, as Zoneout has it in evaluation.
        loop: go through the steps in Python, each product an operation of its own, for those who count them.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    projection: Tensor | None

    def __init__(self, layer: nn.RNNBase, zoneout: float = 0.0, loop: bool = False) -> None:
        super().__init__()
        self.loop = loop
        assert layer.num_layers == 1
        assert layer.batch_first
        assert not layer.bidirectional
        self.hidden, self.width, self.zoneout = layer.hidden_size, layer.proj_size or layer.hidden_size, zoneout
        self.step: Callable[[LayerState, Tensor], LayerState] = {
            "LSTM": self._lstm, "GRU": self._gru, "RNN_TANH": self._tanh, "RNN_RELU": self._relu,
        }[layer.mode]  # fmt: skip
        self.is_lstm = layer.mode == "LSTM"
        of_layer = dict(layer.named_parameters(recurse=False))
        self.weight_ih, self.weight_hh = of_layer["weight_ih_l0"], of_layer["weight_hh_l0"]
        self.bias_ih, self.bias_hh = of_layer.get("bias_ih_l0"), of_layer.get("bias_hh_l0")
        self.projection = of_layer.get("weight_hr_l0")

    def forward(self, x: Tensor, state: LayerState | Tensor | None = None) -> tuple[Tensor, LayerState | Tensor]:
        """As torch's layers: x (B, T, in_features), state (1, B, width) each -> outputs (B, T, width), state."""
        begin: LayerState
        if state is None:
            zeros = x.new_zeros(x.shape[0], self.width)
            begin = (zeros, x.new_zeros(x.shape[0], self.hidden)) if self.is_lstm else (zeros,)
        else:
            begin = tuple(part[0] for part in (state if isinstance(state, tuple) else (state,)))
        inputs = F.linear(x, self.weight_ih, self.bias_ih).transpose(0, 1)  # (T, B, gates): one product for all steps
        if self.loop or (isinstance(x.shape[1], int) and x.shape[1] == 1):
            end, rows = begin, []
            for row in inputs:
                end = self._next(end, row)
                rows.append(end[0])
            outputs = torch.stack(rows, 1)
        else:
            end, stacked = _scan(self._next, begin, inputs)
            outputs = stacked.transpose(0, 1)
        last = tuple(part[None] for part in end)
        return outputs, last if self.is_lstm else last[0]

    def _next(self, state: LayerState, inputs: Tensor) -> LayerState:
        new = self.step(state, inputs)
        return tuple(torch.lerp(n, o, self.zoneout) for n, o in zip(new, state)) if self.zoneout else new

    def _hidden(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight_hh, self.bias_hh)

    def _lstm(self, state: LayerState, inputs: Tensor) -> LayerState:
        h, c = state
        i, f, g, o = (inputs + self._hidden(h)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return (h if self.projection is None else F.linear(h, self.projection)), c

    def _gru(self, state: LayerState, inputs: Tensor) -> LayerState:
        (h,) = state
        r, z, n = inputs.chunk(3, 1)
        hr, hz, hn = self._hidden(h).chunk(3, 1)
        n = (n + (r + hr).sigmoid() * hn).tanh()
        return (torch.lerp(n, h, (z + hz).sigmoid()),)

    def _tanh(self, state: LayerState, inputs: Tensor) -> LayerState:
        return ((inputs + self._hidden(state[0])).tanh(),)

    def _relu(self, state: LayerState, inputs: Tensor) -> LayerState:
        return ((inputs + self._hidden(state[0])).relu(),)


def _scan(
    step: Callable[[LayerState, Tensor], LayerState], begin: LayerState, inputs: Tensor
) -> tuple[LayerState, Tensor]:
    """The state after all steps of inputs (T, B, ...), and its first part after each of them, (T, B, width)."""

    def body(state: LayerState, row: Tensor) -> StateAndOutput:
        new = step(state, row)
        return tuple(part.clone() for part in new), new[0].clone()  # a scan allows no two names of one tensor

    end, outputs = scan(body, begin, inputs)
    return tuple(end), outputs


def scanned(network: _Module, loop: bool = False) -> _Module:
    """A copy of a network whose recurrent layers are scans, or loops; it shares the weights."""
    network = copy.deepcopy(network, {id(tensor): tensor for tensor in [*network.parameters(), *network.buffers()]})
    for layer in list(network.modules()):
        if isinstance(layer, RecurrentLayer):
            share = layer.zoneout.p
            for name in ("forwards", "backwards"):
                if isinstance(part := getattr(layer, name), nn.RNNBase):
                    setattr(layer, name, ScannedRNN(part, share, loop))
            layer.zoneout.p = 0.0
    for layer in list(network.modules()):
        for name, part in layer.named_children():
            if isinstance(part, nn.RNNBase):
                setattr(layer, name, ScannedRNN(part, loop=loop))
    return network
