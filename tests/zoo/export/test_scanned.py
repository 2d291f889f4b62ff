"""Recurrent layers as scans: equal to torch's own, for every cell, from every state."""

import pytest
import torch
from torch import nn

from zoo.export.scanned import ScannedRNN, scanned
from zoo.rnn import RNN
from zoo.task import Classification

LAYERS = {
    "lstm": lambda: nn.LSTM(3, 4, batch_first=True),
    "projected": lambda: nn.LSTM(3, 4, batch_first=True, proj_size=2),
    "gru": lambda: nn.GRU(3, 4, batch_first=True),
    "rnn_tanh": lambda: nn.RNN(3, 4, batch_first=True),
    "rnn_relu": lambda: nn.RNN(3, 4, batch_first=True, nonlinearity="relu"),
}


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_equals_torch(name: str, steps: int) -> None:
    layer = LAYERS[name]()
    scan, x = ScannedRNN(layer), torch.randn(2, steps, 3)
    with torch.no_grad():
        first, state = layer(x)
        ours, our_state = scan(x)
        torch.testing.assert_close(ours, first)
        torch.testing.assert_close(our_state, state)
        torch.testing.assert_close(scan(x, our_state), layer(x, state))  # going on from there


@torch.no_grad()
@pytest.mark.parametrize("zoneout", [0.0, 0.3])
def test_a_network_of_scans_says_the_same_and_shares_its_weights(zoneout: float) -> None:
    network = RNN(3, Classification(4), hidden=5, layers=2, bidirectional=True, zoneout=zoneout).eval()
    copied = scanned(network)
    x, lengths = torch.randn(3, 6, 3), torch.tensor([6, 2, 1])
    torch.testing.assert_close(copied(x, lengths), network(x, lengths))
    assert any(isinstance(part, ScannedRNN) for part in copied.modules())
    assert not any(isinstance(part, ScannedRNN) for part in network.modules())
    assert copied.head.weight is network.head.weight
    assert network.encoder.layers[0].zoneout.p == zoneout
