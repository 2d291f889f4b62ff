import pytest
import torch
from torch import nn

from callbacks.init.forget_gate_bias import ForgetGateBias, forget_gate_bias_
from callbacks.init.orthogonal import Orthogonal
from callbacks.technique import NoEffect, UnsupportedModule
from datamodules.japanese_vowels import JapaneseVowels
from tests.callbacks.init.recurrent_checks import Holder, initialised
from zoo.errors import ZooError
from zoo.rnn import RNN
from zoo.task import Classification


def test_the_formula() -> None:
    assert forget_gate_bias_(torch.empty(3), 2.0).tolist() == [2.0] * 3


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.LSTMCell, 4), (nn.GRUCell, 3)])
def test_the_sum_of_both_biases_is_the_value_and_other_gates_stay(kind: type[nn.Module], gates: int) -> None:
    layer = kind(3, 5)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    initialised(Holder(layer), ForgetGateBias(1.5))
    suffix = "" if isinstance(layer, nn.RNNCellBase) else "_l0"
    total = sum(getattr(layer, f"bias_{each}{suffix}").detach().view(gates, 5) for each in ("ih", "hh"))
    assert total[1].unique().tolist() == [1.5]
    for name, parameter in layer.named_parameters():
        if name.startswith("weight"):
            assert torch.equal(parameter, before[name])
        else:
            others = [gate for gate in range(gates) if gate != 1]
            assert torch.equal(parameter.view(gates, 5)[others], before[name].view(gates, 5)[others])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_the_gate_is_the_one_that_keeps_the_state(kind: type[nn.RNNBase]) -> None:
    """With a gate that is wide open, and nothing let in, a state stays for a hundred steps."""
    layer = kind(3, 5, batch_first=True)
    initialised(Holder(layer), ForgetGateBias(50.0))
    state = torch.rand(1, 2, 5)
    with torch.no_grad():
        if isinstance(layer, nn.LSTM):
            layer.bias_ih_l0[:5] = -100  # the input gate is shut
            _, (_, kept) = layer(torch.randn(2, 100, 3), (torch.zeros_like(state), state))
        else:
            _, kept = layer(torch.randn(2, 100, 3), state)
    torch.testing.assert_close(kept, state)


def test_every_layer_and_direction() -> None:
    module = initialised(RNN(3, Classification(4), 5, layers=2, bidirectional=True), Orthogonal(), ForgetGateBias())
    for layer in module.encoder.layers:
        for one in (layer.forwards, layer.backwards):
            assert one.bias_ih_l0.detach().view(4, 5).mean(1).tolist() == [0, 1, 0, 0]
            assert not one.bias_hh_l0.any()
    stacked = nn.LSTM(3, 5, num_layers=2, bidirectional=True)
    initialised(Holder(stacked), ForgetGateBias(2.0))
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        assert getattr(stacked, f"bias_ih_{suffix}")[5:10].unique().tolist() == [2.0]
        assert not getattr(stacked, f"bias_hh_{suffix}")[5:10].any()


def test_a_run_goes_on_with_what_was_learnt(trainer) -> None:
    module = RNN(12, Classification(9), 8)
    scheme = ForgetGateBias()
    for _ in range(2):
        trainer(scheme, max_epochs=1).fit(module, datamodule=JapaneseVowels(batch_size=64))
        assert module.encoder.layers[0].forwards.bias_ih_l0[8:16].unique().numel() > 1


def test_refusals(mlp) -> None:
    with pytest.raises(ZooError, match="ForgetGateBias: value must be finite, got nan"):
        ForgetGateBias(float("nan"))
    with pytest.raises(UnsupportedModule, match=r"forwards is a RNN, which has no gates; use an LSTM or GRU"):
        initialised(RNN(3, Classification(4), 5, cell="rnn_tanh"), ForgetGateBias())
    with pytest.raises(UnsupportedModule, match="ForgetGateBias: layer has no biases; build it with bias=True"):
        initialised(Holder(nn.LSTM(3, 5, bias=False)), ForgetGateBias())
    with pytest.raises(UnsupportedModule, match="ForgetGateBias does not support MLP: it has no recurrent layer"):
        initialised(mlp, ForgetGateBias())
    with pytest.raises(NoEffect, match="layers='decoder' matches nothing in RNN"):
        initialised(RNN(3, Classification(4), 5), ForgetGateBias(layers="decoder"))
