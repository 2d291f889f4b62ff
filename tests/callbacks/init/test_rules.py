import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from callbacks.init.rules import bias_names, fill_layer, weight_blocks
from zoo.errors import ZooError


class Recorder:
    """Fills with ones and remembers what it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, block: Tensor) -> None:
        assert block.is_contiguous()
        self.shapes.append(tuple(block.shape))
        block.fill_(1.0)


def orthogonal(block: Tensor) -> None:
    nn.init.orthogonal_(block)


LAYERS = [
    (nn.Linear(5, 3), [(3, 5)]),
    (nn.Conv2d(4, 6, 3), [(6, 4, 3, 3)]),
    (nn.Conv2d(4, 6, 3, groups=2), [(3, 2, 3, 3)] * 2),
    (nn.ConvTranspose2d(4, 6, 3), [(6, 4, 3, 3)]),
    (nn.ConvTranspose1d(4, 6, 3, groups=2), [(3, 2, 3)] * 2),
    (nn.Embedding(7, 3), [(7, 3)]),
    (nn.EmbeddingBag(7, 3), [(7, 3)]),
    (nn.RNN(2, 3), [(3, 2), (3, 3)]),
    (nn.GRU(2, 3, num_layers=2), [(3, 2)] * 3 + [(3, 3)] * 9),
    (nn.LSTM(2, 3, bidirectional=True), ([(3, 2)] * 4 + [(3, 3)] * 4) * 2),
    (nn.LSTM(2, 4, proj_size=3), [(4, 2)] * 4 + [(4, 3)] * 4 + [(3, 4)]),
    (nn.LSTMCell(2, 3), [(3, 2)] * 4 + [(3, 3)] * 4),
    (nn.GRUCell(2, 3), [(3, 2)] * 3 + [(3, 3)] * 3),
    (nn.RNNCell(2, 3), [(3, 2), (3, 3)]),
    (nn.MultiheadAttention(4, 2), [(4, 4)] * 3),
    (nn.MultiheadAttention(4, 2, kdim=3, vdim=5), [(4, 4), (4, 3), (4, 5)]),
]


@pytest.mark.parametrize(("layer", "shapes"), LAYERS, ids=lambda case: type(case).__name__)
def test_every_weight_is_filled_block_by_block_and_biases_are_zero(layer: nn.Module, shapes: list) -> None:
    record = Recorder()
    fill_layer(layer, record, set())
    assert record.shapes == shapes
    filled, zeroed = set(weight_blocks(layer)), set(bias_names(layer))
    own = {name for name, _ in layer.named_parameters(recurse=False)}
    assert filled | zeroed == own  # nothing is forgotten
    assert all((layer.get_parameter(name) == 1).all() for name in filled)
    assert all((layer.get_parameter(name) == 0).all() for name in zeroed)


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 3, bias=False), nn.Conv1d(3, 3, 1, bias=False), nn.GRU(3, 3, bias=False),
              nn.LSTMCell(3, 3, bias=False), nn.MultiheadAttention(4, 2, bias=False)],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_layers_without_bias(layer: nn.Module) -> None:
    assert bias_names(layer) == []
    fill_layer(layer, Recorder(), set())


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(3), nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.PReLU(), nn.Bilinear(2, 2, 2), nn.ReLU()],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
def test_other_layers_are_untouched(layer: nn.Module) -> None:
    before = {name: p.clone() for name, p in layer.named_parameters()}
    fill_layer(layer, Recorder(), set())
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())


def test_a_transposed_convolution_is_filled_as_the_convolution_that_it_is() -> None:
    """Its matrix from inputs to outputs is orthogonal in the (out, in) layout, group by group."""
    layer = nn.ConvTranspose2d(8, 4, 1, groups=2, bias=False)
    fill_layer(layer, orthogonal, set())
    x = torch.randn(1, 8, 1, 1)
    for group in range(2):
        matrix = layer.weight[4 * group : 4 * (group + 1), :, 0, 0].T  # (out / 2, in / 2)
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(2), atol=1e-5, rtol=0)
        out = layer(x)[0, 2 * group : 2 * (group + 1), 0, 0]
        torch.testing.assert_close(out, matrix @ x[0, 4 * group : 4 * (group + 1), 0, 0])


def test_recurrent_weights_are_orthogonal_gate_by_gate() -> None:
    layer = nn.LSTM(6, 6)
    fill_layer(layer, orthogonal, set())
    for gate in layer.weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6), atol=1e-5, rtol=0)


def test_the_padding_row_of_an_embedding_stays_zero() -> None:
    layer = nn.Embedding(5, 3, padding_idx=2)
    fill_layer(layer, Recorder(), set())
    assert layer.weight.sum(1).tolist() == [3, 3, 0, 3, 3]


def test_memory_format_does_not_change_what_is_drawn() -> None:
    plain, last = nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    for layer in (plain, last):
        torch.manual_seed(0)
        fill_layer(layer, orthogonal, set())
    assert torch.equal(plain.weight, last.weight)
    assert last.weight.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_weights_are_drawn_in_float32() -> None:
    layer = nn.Linear(8, 8).bfloat16()
    fill_layer(layer, orthogonal, set())  # no QR factorisation exists in bfloat16
    torch.testing.assert_close(layer.weight.float() @ layer.weight.float().T, torch.eye(8), atol=0.03, rtol=0)


def test_tied_weights_are_filled_once() -> None:
    embedding, head = nn.Embedding(7, 3), nn.Linear(3, 7)
    head.weight = embedding.weight
    record, done = Recorder(), set[int]()
    for layer in (embedding, head):
        fill_layer(layer, record, done)
    assert record.shapes == [(7, 3)]
    assert (head.bias == 0).all()


def test_weight_norm_is_set_through_its_parametrisation() -> None:
    layer = parametrizations.weight_norm(nn.Linear(6, 4))
    record = Recorder()
    fill_layer(layer, record, set())
    assert record.shapes == [(4, 6)]
    torch.testing.assert_close(layer.weight, torch.ones(4, 6))
    torch.testing.assert_close(layer.parametrizations.weight.original0, torch.full((4, 1), 6**0.5))


def test_spectral_norm_keeps_its_bound_on_what_was_filled() -> None:
    layer = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last))
    fill_layer(layer, lambda block: nn.init.orthogonal_(block, 5.0), set())
    stored = layer.parametrizations.weight.original.flatten(1)
    torch.testing.assert_close(stored @ stored.T, 25 * torch.eye(4), atol=1e-4, rtol=0)
    assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_a_value_that_a_parametrisation_cannot_express_is_an_error() -> None:
    layer = parametrizations.weight_norm(nn.Linear(6, 4))
    with pytest.raises(ZooError, match="its weight is parametrised by _WeightNorm, which cannot express this value"):
        fill_layer(layer, lambda block: block.zero_(), set())


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def test_a_parametrisation_without_inverse_is_an_error() -> None:
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Doubled())
    with pytest.raises(ZooError, match=r"its weight is parametrised by Doubled and cannot be set: .*right_inverse"):
        fill_layer(layer, Recorder(), set())
