import pytest
import torch
from torch import nn

from callbacks.init.identity import Identity, identity_
from callbacks.init.rules import fill_layer


def test_a_square_linear_layer_hands_its_input_on() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(x @ identity_(torch.empty(7, 7)).T, x)


@pytest.mark.parametrize(("layer", "size"), [(nn.Conv1d, (9,)), (nn.Conv2d, (5, 6)), (nn.Conv3d, (4, 4, 3))])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_hands_its_input_on(layer, size, kernel) -> None:
    conv = layer(3, 3, kernel, padding=kernel // 2, bias=False)
    identity_(conv.weight)
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(conv(x), x)


def test_other_shapes_hand_on_what_fits() -> None:
    x = torch.randn(5, 4)
    torch.testing.assert_close(x @ identity_(torch.empty(2, 4)).T, x[:, :2])
    torch.testing.assert_close(x @ identity_(torch.empty(6, 4)).T, nn.functional.pad(x, (0, 2)))


def test_square_layers_of_a_network(start, mlp) -> None:
    start(mlp, Identity(layers=r"backbone\.[12]"))
    x = torch.rand(5, 64)
    first = mlp.backbone[0](x)  # not negative, so that the ReLUs that follow do nothing
    assert torch.equal(mlp.backbone(x), first)


def test_every_gate_of_a_recurrent_layer_is_the_identity() -> None:
    layer = nn.GRU(4, 4)
    fill_layer(layer, Identity().init_, set())
    assert torch.equal(layer.weight_hh_l0, torch.eye(4).repeat(3, 1))
