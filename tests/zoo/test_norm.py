"""Norms against the formulas of their papers."""

import copy
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.cnn import LeNet, ResNet
from zoo.errors import DataError, ZooError
from zoo.layers.norm import Norm, StandardizedConv2d, StandardizedLinear, make_conv, make_linear, make_norm
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.task import Classification

EPS = 1e-5


def randomise(module: nn.Module) -> Any:
    """The same layer with gains and biases that are neither 1 nor 0."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def standardised(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + EPS).sqrt()


def affine(x: Tensor, norm: Any) -> Tensor:
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * norm.weight.view(shape) + (norm.bias.view(shape) if norm.bias is not None else 0)


@pytest.mark.parametrize(
    ("name", "shape", "dims"),
    [
        ("batch", (6, 8), (0,)),
        ("batch", (6, 8, 5, 5), (0, 2, 3)),
        ("layer", (6, 8), (1,)),
        ("layer", (6, 8, 5, 5), (1,)),
        ("instance", (6, 8, 5, 5), (2, 3)),
    ],
)
def test_mean_and_variance_norms(name: Norm, shape: tuple[int, ...], dims: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    norm = randomise(make_norm(name, 8, spatial=len(shape) == 4))
    torch.testing.assert_close(norm(x), affine(standardised(x, dims), norm), rtol=1e-4, atol=1e-5)


def test_channel_layer_norm_equals_torch_on_permuted_input() -> None:
    x = torch.randn(2, 8, 3, 4)
    norm = randomise(make_norm("layer", 8, spatial=True))
    reference = nn.LayerNorm(8)
    reference.load_state_dict(norm.state_dict())
    torch.testing.assert_close(norm(x), reference(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(6, 8, 5, 5), (6, 8)])
def test_rms(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    norm = randomise(make_norm("rms", 8, spatial=len(shape) == 4))
    gain = norm.weight.view(1, -1, *[1] * (len(shape) - 2))
    torch.testing.assert_close(norm(x), x / x.square().mean(1, keepdim=True).sqrt() * gain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (16, 1), (24, 1), (32, 2), (48, 3), (64, 4), (100, 5)])
def test_groups_of_about_sixteen_channels(channels: int, groups: int) -> None:
    x = torch.randn(4, channels, 3, 3)
    norm = randomise(make_norm("group", channels, spatial=True))
    assert norm.num_groups == groups
    parts = [standardised(part, (1, 2, 3)) for part in x.chunk(groups, dim=1)]
    torch.testing.assert_close(norm(x), affine(torch.cat(parts, 1), norm), rtol=1e-4, atol=1e-5)


def test_weight_standardised_convolution() -> None:
    torch.manual_seed(0)
    layer = make_conv(4, 6, 3, "weight_standardized", stride=2)
    assert isinstance(layer, StandardizedConv2d)
    x = torch.randn(2, 4, 9, 9)
    filters = layer.weight.detach().numpy().reshape(6, -1)
    standard = (filters - filters.mean(1, keepdims=True)) / filters.std(1, keepdims=True) / filters.shape[1] ** 0.5
    expected = F.conv2d(x, torch.from_numpy(standard).view_as(layer.weight), stride=2, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-3, atol=1e-4)


def test_weight_standardised_linear() -> None:
    torch.manual_seed(0)
    layer = make_linear(50, 6, "weight_standardized")
    assert isinstance(layer, StandardizedLinear)
    rows = layer(torch.eye(50)).T  # the standardised weight itself
    torch.testing.assert_close(rows.mean(1), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows.square().sum(1), torch.ones(6), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_standardised_weights_do_not_feel_shift_and_scale(kind: str) -> None:
    torch.manual_seed(0)
    layer: Any = (
        make_conv(3, 4, 3, "weight_standardized") if kind == "conv" else make_linear(27, 4, "weight_standardized")
    )
    x = torch.randn(2, 3, 5, 5) if kind == "conv" else torch.randn(2, 27)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(10).add_(3)
    torch.testing.assert_close(layer(x), before, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("name", get_args(Norm))
def test_only_layers_whose_norm_makes_a_bias_needless_lack_it(name: Norm) -> None:
    keeps = name in ("none", "filter_response", "weight_norm", "spectral_norm")
    assert (make_conv(2, 4, 3, name).bias is not None) == keeps
    assert (make_linear(2, 4, name).bias is not None) == keeps


def test_none_changes_nothing() -> None:
    x = torch.randn(2, 8)
    assert make_norm("none", 8, spatial=False)(x) is x


@pytest.mark.parametrize("name", ["instance", "filter_response"])
def test_norms_of_pixels_refuse_vectors(name: Any) -> None:
    with pytest.raises(ZooError, match=f"norm={name} normalises over the pixels of an image; vectors have none, use"):
        make_norm(name, 8, spatial=False)


def make_network(kind: str, norm: Any) -> SupervisedModule:
    torch.manual_seed(0)
    if kind == "mlp":
        return MLP(64, Classification(3), [8, 8], norm=norm)
    return LeNet(1, 8, Classification(3), norm=norm) if kind == "lenet" else ResNet(1, Classification(3), [1, 1], 8,
                                                                                    norm=norm)  # fmt: skip


OF_PIXELS = ("instance", "filter_response")
NETWORKS = [(k, n) for k in ("mlp", "lenet", "resnet") for n in get_args(Norm) if k != "mlp" or n not in OF_PIXELS]


@pytest.mark.parametrize(("kind", "norm"), NETWORKS)
def test_every_network_trains_on_two_samples_and_evaluates_one(kind: str, norm: Norm) -> None:
    network, x = make_network(kind, norm), torch.randn(2, 1, 8, 8)
    network.training_step((x, torch.tensor([0, 2])), 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    network.eval()
    both = network(x)
    torch.testing.assert_close(torch.cat([network(x[:1]), network(x[1:])]), both, rtol=1e-4, atol=1e-5)
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x), both)
    for parameter in network.parameters():
        parameter.data.zero_()
    assert torch.equal(twin(x), both)  # nothing is shared with the copy
    network.load_state_dict(twin.state_dict())
    assert torch.equal(network(x), both)


@pytest.mark.parametrize(("kind", "norm"), NETWORKS)
def test_the_last_batch_is_refused_where_it_has_no_variance_and_only_there(kind: str, norm: Norm) -> None:
    network = make_network(kind, norm)
    data: Any = SimpleNamespace(last_batch_size=1, batch_size=2)
    if norm in ("batch", "sync_batch", "ghost_batch"):
        with pytest.raises(DataError, match="the last batch holds a single sample, for which batch norm"):
            network._check_last_batch(data)
        return
    network._check_last_batch(data)
    network.training_step((torch.randn(1, 1, 8, 8), torch.tensor([1])), 0).backward()


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [7, 8])
def test_convolutions_keep_the_size(kernel: int, size: int) -> None:
    x = torch.zeros(1, 2, size, size)
    assert make_conv(2, 4, kernel, "none")(x).shape == (1, 4, size, size)
    assert make_conv(2, 4, kernel, "none", stride=2)(x).shape == (1, 4, -(-size // 2), -(-size // 2))
