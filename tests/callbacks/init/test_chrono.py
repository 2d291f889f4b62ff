import pytest
import torch
from torch import nn

from callbacks.init.chrono import Chrono, chrono_
from callbacks.technique import UnsupportedModule
from tests.callbacks.init.recurrent_checks import Holder, initialised
from zoo.errors import ZooError
from zoo.rnn import RNN
from zoo.task import Classification


def test_the_formula_and_its_distribution() -> None:
    keep, write = torch.empty(20_000), torch.empty(20_000)
    assert chrono_(keep, write, 50) is keep
    assert torch.equal(write, -keep)
    u = keep.exp()  # U[1, 49]: mean 25, deviation 48 / sqrt(12)
    assert u.min() >= 1
    assert u.max() <= 49 + 1e-3
    assert u.mean().item() == pytest.approx(25, abs=4 * 48 / 12**0.5 / 20_000**0.5)
    assert u.std().item() == pytest.approx(48 / 12**0.5, rel=0.02)
    # A unit forgets after u + 1 steps.
    torch.testing.assert_close(1 / (1 - keep.sigmoid()), u + 1, rtol=1e-3, atol=0)


def test_an_lstm_writes_as_it_forgets() -> None:
    layer = nn.LSTM(3, 64)
    before = layer.bias_ih_l0.detach().view(4, 64)[2:].clone()
    initialised(Holder(layer), Chrono(20))
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().view(4, 64)
    assert torch.equal(bias[0], -bias[1])
    assert bias[1].min() >= 0
    assert bias[1].max() <= torch.tensor(19.0).log()
    assert bias[1].unique().numel() == 64
    assert torch.equal(layer.bias_ih_l0.detach().view(4, 64)[2:], before)


def test_a_gru_keeps_by_its_update_gate_alone() -> None:
    layer = nn.GRU(3, 64)
    before = layer.bias_ih_l0.detach().view(3, 64)[[0, 2]].clone()
    initialised(Holder(layer), Chrono(20))
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().view(3, 64)
    assert 0 <= bias[1].min() <= bias[1].max() <= torch.tensor(19.0).log()
    assert torch.equal(layer.bias_ih_l0.detach().view(3, 64)[[0, 2]], before)


def test_the_seed_decides() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        module = RNN(3, Classification(4), 5, cell="gru")
        torch.manual_seed(seed)
        drawn.append(initialised(module, Chrono()).encoder.layers[0].forwards.bias_ih_l0)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_a_memory_reaches_as_far_as_it_says() -> None:
    """What is in the cell at first is still there after half of ``longest`` steps, and gone with torch's own biases."""

    def left(*schemes: Chrono) -> float:
        torch.manual_seed(0)
        layer = nn.LSTM(1, 128, batch_first=True)
        initialised(Holder(layer), *schemes)
        first = torch.ones(1, 1, 128)
        with torch.no_grad():
            ends = [layer(torch.zeros(1, 100, 1), (torch.zeros_like(first), c))[1][1] for c in (first, 0 * first)]
        return (ends[0] - ends[1]).abs().mean().item()

    assert left(Chrono(200)) > 0.2
    assert left() < 1e-3


def test_refusals() -> None:
    with pytest.raises(ZooError, match="Chrono: longest counts steps and must be at least 3, got 2"):
        Chrono(2)
    with pytest.raises(UnsupportedModule, match="is a RNN, which has no gates"):
        initialised(RNN(3, Classification(4), 5, cell="rnn_relu"), Chrono())
