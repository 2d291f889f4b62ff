"""Zoneout: a loop by hand, the plain layer at 0, the mean in evaluation, rates, state, padding, resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.regularizers.dropout_schedule import DropoutSchedule
from callbacks.regularizers.weight_drop import WeightDrop
from tests.callbacks.sequence_checks import check_resume, fit, language_model, text, vowels, vowels_rnn
from zoo.errors import ZooError
from zoo.layers.recurrent import RecurrentEncoder
from zoo.layers.zoneout import Zoneout, read_with_zoneout

LAYERS = {
    "lstm": lambda: nn.LSTM(3, 6, batch_first=True),
    "gru": lambda: nn.GRU(3, 6, batch_first=True),
    "rnn": lambda: nn.RNN(3, 6, batch_first=True),
    "projected": lambda: nn.LSTM(3, 6, batch_first=True, proj_size=4),
}
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def start(layer: nn.RNNBase) -> tuple[Tensor, ...]:
    sizes = [layer.proj_size or 6, 6] if layer.mode == "LSTM" else [6]
    return tuple(torch.randn(1, 2, size) for size in sizes)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "state"])
def test_the_loop_at_rate_0_is_the_plain_layer(kind: str, given: bool) -> None:
    layer, x = LAYERS[kind](), torch.randn(2, 5, 3)
    state = start(layer) if given else None
    out, end = read_with_zoneout(layer, x, state, Zoneout(0.0))
    theirs, last = layer(x, state if state is None or len(state) > 1 else state[0])
    torch.testing.assert_close(out, theirs)
    for ours, other in zip(end, last if isinstance(last, tuple) else (last,), strict=True):
        torch.testing.assert_close(ours, other)


def test_evaluation_mixes_as_the_formula_says() -> None:
    layer, cell, x = nn.LSTM(3, 6, batch_first=True), nn.LSTMCell(3, 6), torch.randn(2, 5, 3)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    h, c, expected = torch.zeros(2, 6), torch.zeros(2, 6), []
    for step in range(5):
        new_h, new_c = cell(x[:, step], (h, c))
        h, c = 0.3 * h + 0.7 * new_h, 0.3 * c + 0.7 * new_c
        expected.append(h)
    out, end = read_with_zoneout(layer, x, None, Zoneout(0.3).eval())
    torch.testing.assert_close(out, torch.stack(expected, 1))
    torch.testing.assert_close(end, (h[None], c[None]))


def test_the_share_of_units_that_stay_and_the_mean_of_many_draws() -> None:
    zoneout, new, old = Zoneout(0.2), torch.ones(200, 500), torch.zeros(200, 500)
    mixed = zoneout(new, old)
    assert set(mixed.unique().tolist()) == {0.0, 1.0}
    assert (mixed == 0).float().mean().item() == pytest.approx(0.2, abs=4 * (0.16 / 100_000) ** 0.5)
    torch.testing.assert_close(zoneout.eval()(new, old), torch.full_like(new, 0.8))


def test_steps_draw_anew_and_gradients_pass_through_units_that_stay() -> None:
    layer, x = nn.RNN(3, 200, batch_first=True), torch.randn(1, 6, 3)
    nn.init.zeros_(layer.weight_hh_l0)
    state = (torch.randn(1, 1, 200, requires_grad=True),)
    out, _ = read_with_zoneout(layer, x, state, Zoneout(0.5))
    stays = torch.cat([state[0], out], 1).diff(dim=1)[0] == 0  # (T, H)
    assert (stays.float().mean(1) - 0.5).abs().max() < 4 * 0.5 / 200**0.5
    assert not torch.equal(stays[0], stays[1])
    out[0, 0].sum().backward()
    assert torch.equal(state[0].grad[0, 0], stays[0].float())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_never_moves_a_state(cell: Any, bidirectional: bool) -> None:
    encoder = RecurrentEncoder(4, 6, 2, cell, bidirectional, zoneout=0.3).eval()
    x, lengths = torch.randn(3, 7, 4), torch.tensor([3, 7, 1])
    together, _ = encoder(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = encoder(x[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0])
        assert not together[row, length:].any()


def test_a_stream_goes_on_from_its_state() -> None:
    encoder, x = RecurrentEncoder(4, 6, 2, zoneout=0.3).eval(), torch.randn(2, 8, 4)
    whole, _ = encoder(x)
    first, state = encoder(x[:, :3])
    second, _ = encoder(x[:, 3:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_names_of_the_weights_are_those_without() -> None:
    assert vowels_rnn(zoneout=0.2).state_dict().keys() == vowels_rnn().state_dict().keys()


@pytest.mark.parametrize("kind", ["padded", "stateful"])
def test_resumes_to_the_bit_beside_weight_drop_and_a_schedule(tmp_path: Path, kind: str) -> None:
    make, data = (vowels_rnn, vowels) if kind == "padded" else (language_model, text)
    check_resume(
        lambda: make(zoneout=0.2), data, lambda: [WeightDrop(0.3), DropoutSchedule([0, 1], [0.5, 1])], tmp_path
    )


def test_learns_vowels() -> None:
    trainer = fit(vowels_rnn(32, zoneout=0.1), vowels(), epochs=12)
    assert trainer.callback_metrics["val/accuracy"].item() > 0.5


def test_a_rate_of_1_is_refused() -> None:
    with pytest.raises(ZooError, match=r"zoneout probability must lie in \[0, 1\), got 1"):
        vowels_rnn(zoneout=1)
