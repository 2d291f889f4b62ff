import pytest
import torch
from torch import nn

from callbacks.init.forget_gate_bias import ForgetGateBias
from callbacks.init.orthogonal import Orthogonal
from callbacks.init.recurrent_orthogonal import RecurrentOrthogonal, recurrent_orthogonal_
from callbacks.technique import NoEffect, UnsupportedModule
from datamodules.japanese_vowels import JapaneseVowels
from tests.callbacks.init.recurrent_checks import Holder, initialised
from zoo.errors import ZooError
from zoo.rnn import RNN
from zoo.task import Classification


def blocks(weight: torch.Tensor, gates: int) -> torch.Tensor:
    return weight.detach().view(gates, -1, weight.shape[1])


@pytest.mark.parametrize("gain", [1.0, 0.5])
@pytest.mark.parametrize(
    ("layer", "gates"),
    [
        pytest.param(nn.LSTM(3, 6, num_layers=2, bidirectional=True), 4, id="lstm"),
        pytest.param(nn.GRU(3, 6), 3, id="gru"),
        pytest.param(nn.RNN(3, 6), 1, id="rnn"),
        pytest.param(nn.LSTM(3, 6, proj_size=4), 4, id="projected"),
        pytest.param(nn.LSTMCell(3, 6), 4, id="lstm_cell"),
        pytest.param(nn.GRU(3, 6).bfloat16(), 3, id="bfloat16"),
    ],
)
def test_every_gate_is_orthogonal_and_nothing_else_changes(layer: nn.Module, gates: int, gain: float) -> None:
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    initialised(Holder(layer), RecurrentOrthogonal(gain))
    for name, parameter in layer.named_parameters():
        if not name.startswith("weight_hh"):
            assert torch.equal(parameter, before[name]), name
            continue
        rough = parameter.dtype == torch.bfloat16
        for block in blocks(parameter.float(), gates):
            expected = gain**2 * torch.eye(block.shape[1])
            torch.testing.assert_close(block.T @ block, expected, atol=2e-2 if rough else 1e-5, rtol=0)


def test_gates_differ_and_the_stacked_matrix_is_not_what_is_orthogonal() -> None:
    weight = recurrent_orthogonal_(torch.empty(4 * 8, 8), 4)
    first, second, *_ = blocks(weight, 4)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(weight.T @ weight, 4 * torch.eye(8), atol=1e-5, rtol=0)


def test_a_linear_network_keeps_a_state_that_torchs_init_loses() -> None:
    torch.manual_seed(0)
    state, lost = torch.randn(4, 32), torch.randn(4, 32)
    layer = nn.RNN(2, 32)
    turned = recurrent_orthogonal_(torch.empty(32, 32), 1)
    before = lost.norm(), state.norm()
    for _ in range(100):
        lost, state = lost @ layer.weight_hh_l0.detach().T, state @ turned.T
    assert lost.norm() < 1e-6 * before[0]
    torch.testing.assert_close(state.norm(), before[1], rtol=1e-4, atol=0)


def test_entries_have_mean_zero_over_seeds() -> None:
    draws = []
    for seed in range(300):
        torch.manual_seed(seed)
        draws.append(recurrent_orthogonal_(torch.empty(8, 4), 2))
    assert torch.stack(draws).mean(0).abs().max() < 4 * 0.5 / 300**0.5  # entries have variance 1 / 4


def test_it_goes_on_from_a_broad_scheme_and_with_a_bias() -> None:
    module = initialised(RNN(3, Classification(4), 6), Orthogonal(2.0), RecurrentOrthogonal(), ForgetGateBias(3.0))
    layer = module.encoder.layers[0].forwards
    for block in blocks(layer.weight_hh_l0, 4):
        torch.testing.assert_close(block.T @ block, torch.eye(6), atol=1e-5, rtol=0)
    assert layer.bias_ih_l0.detach().view(4, 6)[1].unique().tolist() == [3.0]
    assert not module.head.bias.any()


def test_a_filter() -> None:
    module = RNN(3, Classification(4), 6, layers=2)
    before = module.encoder.layers[1].forwards.weight_hh_l0.detach().clone()
    initialised(module, RecurrentOrthogonal(layers=r"layers\.0"))
    assert torch.equal(module.encoder.layers[1].forwards.weight_hh_l0, before)
    known = "encoder.layers.0.forwards, encoder.layers.1.forwards"
    with pytest.raises(NoEffect, match=rf"layers='head' matches nothing in RNN, which has: {known}$"):
        initialised(RNN(3, Classification(4), 6, layers=2), RecurrentOrthogonal(layers="head"))


def test_a_run_begins_and_learns(trainer) -> None:
    torch.manual_seed(0)
    run = trainer(RecurrentOrthogonal(), max_epochs=6)
    run.fit(RNN(12, Classification(9), 32, readout="mean"), datamodule=JapaneseVowels(batch_size=16))
    assert run.callback_metrics["val/accuracy"].item() > 0.5


def test_refusals(mlp) -> None:
    with pytest.raises(ZooError, match="RecurrentOrthogonal: gain must be positive, got 0"):
        RecurrentOrthogonal(0)
    RecurrentOrthogonal().attach(mlp)
    with pytest.raises(UnsupportedModule, match="RecurrentOrthogonal does not support MLP: it has no recurrent layer"):
        mlp.initialize()
