import pytest
import torch
from torch import nn

from callbacks.init.delta_orthogonal import DeltaOrthogonal, delta_orthogonal_
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.task import Classification


@pytest.mark.parametrize(("layer", "size"), [(nn.Conv1d, (9,)), (nn.Conv2d, (6, 5)), (nn.Conv3d, (4, 5, 6))])
@pytest.mark.parametrize(("kernel", "gain"), [(1, 1.0), (3, 1.0), (3, 2**0.5), (5, 0.5)])
def test_a_circular_convolution_keeps_norms_times_the_gain(layer, size, kernel, gain) -> None:
    torch.manual_seed(0)
    conv = layer(4, 6, kernel, padding=kernel // 2, padding_mode="circular", bias=False)
    delta_orthogonal_(conv.weight, gain)
    x = torch.randn(8, 4, *size)
    torch.testing.assert_close(conv(x).flatten(1).norm(dim=1), gain * x.flatten(1).norm(dim=1))


def test_all_but_the_centre_is_zero_and_the_centre_has_orthonormal_columns() -> None:
    weight = delta_orthogonal_(torch.full((6, 4, 3, 5), float("nan")))
    centre = weight[:, :, 1, 2].clone()
    torch.testing.assert_close(centre.T @ centre, torch.eye(4), atol=1e-5, rtol=0)
    weight[:, :, 1, 2] = 0
    assert not weight.any()


def test_forty_layers_keep_a_signal_that_kaiming_spreads() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 16, 6, 6)
    kept, spread, weight = x, x, torch.empty(16, 16, 3, 3)
    for _ in range(40):
        padded = nn.functional.pad(kept, (1, 1, 1, 1), mode="circular")
        kept = nn.functional.conv2d(padded, delta_orthogonal_(weight))
        padded = nn.functional.pad(spread, (1, 1, 1, 1), mode="circular")
        spread = nn.functional.conv2d(padded, nn.init.kaiming_normal_(weight, nonlinearity="linear"))
    ratio = kept.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    torch.testing.assert_close(ratio, torch.ones(4), atol=1e-3, rtol=0)
    ratio = spread.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    assert (ratio - 1).abs().max() > 0.1


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_linear_layers_are_semi_orthogonal_either_way(shape) -> None:
    weight = delta_orthogonal_(torch.empty(shape))
    values = torch.linalg.svdvals(weight)
    torch.testing.assert_close(values, torch.ones(4))


def test_an_even_kernel_has_no_centre() -> None:
    with pytest.raises(ZooError, match=r"needs a kernel of odd size, which has a centre, got \(3, 2\)"):
        delta_orthogonal_(torch.empty(4, 4, 3, 2))


def test_more_inputs_than_outputs_name_the_layer(start) -> None:
    network = ResNet(12, Classification(10), blocks=[1], width=8)
    message = r"^DeltaOrthogonal cannot fill backbone.0: delta-orthogonal needs in_channels <= out_channels, got 12 > 8"
    with pytest.raises(ZooError, match=message):
        start(network, DeltaOrthogonal())


def test_a_gain_of_zero_is_refused() -> None:
    with pytest.raises(ZooError, match="DeltaOrthogonal: gain must be positive, got 0"):
        DeltaOrthogonal(0)
