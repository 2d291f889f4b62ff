"""Recurrent layers: equal to torch's on packed sequences, readouts against loops, dropout fixed over the steps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from zoo.errors import DataError, ZooError
from zoo.layers.padding import check_lengths, flip_valid, last_valid, padding_mask
from zoo.layers.readout import AttentionReadout, last_states, make_readout, masked_max, masked_mean
from zoo.layers.recurrent import RecurrentEncoder

LENGTHS = torch.tensor([3, 7, 1, 5])
STEPS = 7


def draw(channels: int = 4) -> Tensor:
    """A padded batch whose padding is not zero, so that whoever reads it is found out."""
    return torch.randn(len(LENGTHS), STEPS, channels, generator=torch.Generator().manual_seed(1))


def packed(kind: str, channels: int, hidden: int, layers: int, bidirectional: bool, **arguments: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    common: dict[str, Any] = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": True, **arguments}
    if kind.startswith("rnn"):
        return nn.RNN(channels, hidden, nonlinearity=kind[4:], **common)
    return (nn.LSTM if kind == "lstm" else nn.GRU)(channels, hidden, **common)


def same_weights(encoder: RecurrentEncoder, theirs: nn.RNNBase) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Copy the weights of torch's network, and pair them with ours."""
    pairs = []
    for depth, layer in enumerate(encoder.layers):
        for ours, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
            if ours is not None:
                for name, parameter in ours.named_parameters():
                    other = getattr(theirs, name.replace("_l0", f"_l{depth}{suffix}"))
                    parameter.data.copy_(other.data)
                    pairs.append((parameter, other))
    return pairs


# Equality with packed sequences ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("projection", [0, 3])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_padded_equals_packed(cell: Any, bidirectional: bool, projection: int) -> None:
    if projection and cell != "lstm":
        pytest.skip("only LSTMs are projected")
    more = {"proj_size": projection} if projection else {}
    theirs = packed(cell, 4, 6, 2, bidirectional, **more)
    ours = RecurrentEncoder(4, 6, 2, cell, bidirectional, projection=projection)
    pairs = same_weights(ours, theirs)
    x, y = draw().requires_grad_(), draw().requires_grad_()
    end, h = theirs(pack_padded_sequence(y, LENGTHS, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(end, batch_first=True, total_length=STEPS)
    outputs, state = ours(x, LENGTHS)
    assert state is None
    torch.testing.assert_close(outputs, expected, atol=1e-6, rtol=1e-5)
    h_n = h[0] if isinstance(h, tuple) else h
    last = torch.cat([h_n[-2], h_n[-1]], 1) if bidirectional else h_n[-1]
    torch.testing.assert_close(last_states(outputs, LENGTHS, bidirectional), last, atol=1e-6, rtol=1e-5)
    weight = torch.randn(outputs.shape)
    (outputs * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-6, rtol=1e-4)
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_groups_of_like_length_equal_packed(bidirectional: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.layers.recurrent._WORTH_GROUPING", 0)
    theirs, ours = packed("lstm", 4, 6, 2, bidirectional), RecurrentEncoder(4, 6, 2, "lstm", bidirectional)
    pairs = same_weights(ours, theirs)
    calls: list[tuple[int, int]] = []
    ours.layers[0].forwards.register_forward_hook(lambda layer, inputs, out: calls.append(inputs[0].shape[:2]))
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 31, (40,), generator=generator)
    x = torch.randn(40, 33, 4, generator=generator, requires_grad=True)  # no sequence fills all steps
    y = x.detach().clone().requires_grad_()
    end, _ = theirs(pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(end, batch_first=True, total_length=33)
    outputs, _ = ours(x, lengths)
    longest = lengths.sort(descending=True).values[::16].tolist()
    assert calls == [(16, longest[0]), (16, longest[1]), (8, longest[2])]
    torch.testing.assert_close(outputs, expected, atol=1e-6, rtol=1e-5)
    weight = torch.randn(outputs.shape)
    (outputs * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, atol=1e-6, rtol=1e-4)
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("why", ["gru", "small", "full", "state"])
def test_no_groups_where_they_cost_more(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why != "small":
        monkeypatch.setattr("zoo.layers.recurrent._WORTH_GROUPING", 0)
    encoder = RecurrentEncoder(4, 6, 1, "gru" if why == "gru" else "lstm")
    calls: list[int] = []
    encoder.layers[0].forwards.register_forward_hook(lambda layer, inputs, out: calls.append(len(inputs[0])))
    lengths = torch.full((40,), 9 if why == "full" else 3)
    lengths[0] = 10
    state = [(torch.zeros(1, 40, 6), torch.zeros(1, 40, 6))] if why == "state" else None
    encoder(torch.zeros(40, 10, 4), lengths, state)
    assert calls == [40]


def test_what_stands_in_the_padding_changes_nothing() -> None:
    encoder = RecurrentEncoder(4, 6, 2, bidirectional=True, residual=True, norm="each")
    x, mask = draw(), padding_mask(LENGTHS, STEPS)[..., None]
    torch.testing.assert_close(encoder(x, LENGTHS)[0], encoder(x.where(mask, 1e3), LENGTHS)[0])


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_a_sequence_in_two_pieces_equals_the_whole(cell: Any) -> None:
    encoder, x = RecurrentEncoder(4, 6, 2, cell), draw()
    whole, end = encoder(x)
    first, state = encoder(x[:, :3])
    second, last = encoder(x[:, 3:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for a, b in zip(end, last, strict=True):
        torch.testing.assert_close(a, b)


def test_residual_and_norm_by_hand() -> None:
    encoder, x = RecurrentEncoder(6, 6, 2, "gru", residual=True, norm="between"), draw(6)
    first, _ = encoder.layers[0].forwards(x)
    first = encoder.norms[0](first + x)
    second, _ = encoder.layers[1].forwards(first)
    assert isinstance(encoder.norms[0], nn.LayerNorm)
    assert isinstance(encoder.norms[1], nn.Identity)
    torch.testing.assert_close(encoder(x)[0], second + first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"cell": "gru", "projection": 2}, "projection is for LSTMs and narrower than hidden=6, got projection=2 with"),
        ({"projection": 6}, "narrower than hidden=6, got projection=6 with cell=lstm"),
        ({"dropout": 1.0}, r"dropout probability must lie in \[0, 1\), got 1.0"),
    ],
)
def test_arguments_that_make_no_network(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        RecurrentEncoder(**{"in_features": 4, "hidden": 6, **arguments})


def test_both_directions_have_no_state_to_go_on_from() -> None:
    _, state = RecurrentEncoder(4, 6)(draw())
    with pytest.raises(ZooError, match="cannot go on from a state"):
        RecurrentEncoder(4, 6, bidirectional=True)(draw(), state=state)


# Padding --------------------------------------------------------------------------------------------------------------


def test_flip_is_a_loop_over_sequences_and_its_own_inverse() -> None:
    x = draw()
    flipped = flip_valid(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        assert torch.equal(flipped[row, :length], x[row, :length].flip(0))
        assert torch.equal(flipped[row, length:], x[row, length:])
    assert torch.equal(flip_valid(flipped, LENGTHS), x)
    assert torch.equal(flip_valid(x), x.flip(1))


@pytest.mark.parametrize(("length", "sample"), [(0, 1), (8, 1)])
def test_lengths_outside_the_batch_are_named(length: int, sample: int) -> None:
    message = f"sequence {sample} of the batch has length {length}, outside 1..7"
    with pytest.raises(DataError, match=message):
        check_lengths(torch.tensor([3, length, 0]), STEPS)
    check_lengths(LENGTHS, STEPS)


# Readouts -------------------------------------------------------------------------------------------------------------


def by_loop(name: str, x: Tensor, lengths: list[int], attention: AttentionReadout) -> Tensor:
    rows = []
    for row, length in enumerate(lengths):
        valid = x[row, :length]
        if name == "attention":
            scores = torch.stack([attention.query.weight[0] @ torch.tanh(attention.hidden(h)) for h in valid])
            weights = scores.exp() / scores.exp().sum()
            rows.append(sum(w * h for w, h in zip(weights, valid)))
        else:
            rows.append({"last": valid[-1], "mean": valid.mean(0), "max": valid.amax(0)}[name])
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_readouts_are_loops_over_valid_steps(name: Any, lengths: Tensor | None) -> None:
    readout = make_readout(name, 4, False)
    attention = readout if isinstance(readout, AttentionReadout) else AttentionReadout(4)
    x = draw().requires_grad_()
    out = readout(x, lengths)
    steps = [STEPS] * len(x) if lengths is None else lengths.tolist()
    torch.testing.assert_close(out, by_loop(name, x, steps, attention))
    out.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    if lengths is not None:
        assert (x.grad[~padding_mask(lengths, STEPS)] == 0).all()


def test_infinite_padding_is_not_read() -> None:
    x = draw().masked_fill(~padding_mask(LENGTHS, STEPS)[..., None], torch.nan)
    for read in (masked_mean, masked_max, last_valid):
        assert read(x, LENGTHS).isfinite().all()


def test_attention_weights_are_a_distribution_over_valid_steps() -> None:
    weights = AttentionReadout(4).weights(draw(), LENGTHS)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(LENGTHS)))
    assert (weights[~padding_mask(LENGTHS, STEPS)] == 0).all()
