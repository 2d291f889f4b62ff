"""Convolutional families: published sizes, shapes, options, pretrained files, gradients, and that they learn."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from zoo.cnn import LeNet, PretrainedBackbone, ResidualBlock, ResNet, load_backbone
from zoo.errors import ZooError
from zoo.layers.dropout import DropPath
from zoo.task import Classification, Regression

TASK = Classification(10)


def small(**arguments: Any) -> Any:
    torch.manual_seed(0)
    return ResNet(**{"in_channels": 1, "task": Classification(10), "blocks": [1, 1], "width": 8, **arguments})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Sizes and shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "millions"),
    [
        ({"blocks": [3, 3, 3]}, 0.27),  # He et al. 2016, table 6
        ({"blocks": [9, 9, 9]}, 0.85),  # He et al. 2016, table 6
        ({"blocks": [2, 2, 2, 2], "width": 64}, 11.2),  # ResNet-18 with the stem for CIFAR
        ({"blocks": [1, 0, 1], "width": 64, "downsample": "conv_pool"}, 6.6),  # Page 2018
    ],
)
def test_parameter_counts_are_the_published_ones(arguments: dict[str, Any], millions: float) -> None:
    module = ResNet(3, Classification(10), **arguments)
    # The CIFAR networks of the paper pad their shortcuts with zeros, where these have projections.
    projections = sum(count(m.shortcut) for m in module.modules() if isinstance(m, ResidualBlock))
    digits = 2 if millions < 1 else 1
    assert round((count(module) - (projections if millions < 1 else 0)) / 1e6, digits) == millions


def test_resnet_18_has_the_layers_of_torchvisions() -> None:
    reference = torchvision.models.resnet18(weights=None, num_classes=10)
    stem = 64 * 3 * 7 * 7 - 64 * 3 * 3 * 3  # torchvision's first convolution is one of 7 x 7
    assert count(ResNet(3, TASK, [2, 2, 2, 2], width=64)) == count(reference) - stem


def test_a_stage_halves_the_size_and_doubles_the_channels() -> None:
    module = small(blocks=[2, 1, 1])
    x = torch.zeros(2, 1, 32, 32)
    shapes = []
    for layer in module.backbone:
        x = layer(x)
        if isinstance(layer, ResidualBlock):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(8, 32, 32), (8, 32, 32), (16, 16, 16), (32, 8, 8)]
    assert module.head.in_features == 32


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 28, 31])
@pytest.mark.parametrize("task", [Classification(7), Regression(2)])
def test_output_shapes(channels: int, size: int, task: Any) -> None:
    x = torch.randn(3, channels, size, size)
    modules = [
        LeNet(channels, size, task),
        ResNet(channels, task, [1, 1], width=4),
        ResNet(channels, task, [1, 0, 1], width=4, downsample="conv_pool"),
    ]
    for module in modules:
        assert module.eval()(x).shape == (3, task.out_features)


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("kind", ["lenet", "resnet"])
def test_pooling(kind: str, pool: Any) -> None:
    module: Any = LeNet(1, 8, TASK, pool=pool) if kind == "lenet" else small(pool=pool)
    wanted = (nn.AvgPool2d, nn.AdaptiveAvgPool2d) if pool == "avg" else (nn.MaxPool2d, nn.AdaptiveMaxPool2d)
    other = (nn.MaxPool2d, nn.AdaptiveMaxPool2d) if pool == "avg" else (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    assert any(isinstance(m, wanted) for m in module.modules())
    assert not any(isinstance(m, other) for m in module.modules())


def test_lenet_is_lenet_5() -> None:
    module = LeNet(1, 28, TASK, activation="tanh", pool="avg")
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    linears = [m for m in module.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in convolutions] == [(1, 6, (5, 5)), (6, 16, (5, 5))]
    assert [(m.in_features, m.out_features) for m in linears] == [(16 * 7 * 7, 120), (120, 84), (84, 10)]


def test_weights_lie_in_channels_last_order() -> None:
    for module in (LeNet(3, 16, TASK), small(in_channels=3), PretrainedBackbone(TASK, weights=None)):
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    seen: list[bool] = []
    module = small(in_channels=3)
    module.backbone[0].register_forward_pre_hook(
        lambda layer, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    module(torch.randn(2, 3, 8, 8))
    assert seen == [True]


# Options --------------------------------------------------------------------------------------------------------------


def test_a_residual_block_by_hand() -> None:
    torch.manual_seed(0)
    block: Any = ResidualBlock(4, 8, 2, "relu", "batch", 0.0).eval()
    x = torch.randn(2, 4, 6, 6)
    out = F.relu(block.norm1(F.conv2d(x, block.conv1.weight, stride=2, padding=1)))
    out = block.last_norm(F.conv2d(out, block.conv2.weight, padding=1))
    projection, norm = block.shortcut
    torch.testing.assert_close(block(x), F.relu(out + norm(F.conv2d(x, projection.weight, stride=2))))
    with torch.no_grad():
        block.last_norm.weight.zero_()
        block.last_norm.bias.zero_()
    torch.testing.assert_close(block(x), F.relu(block.shortcut(x)))
    assert isinstance(ResidualBlock(4, 4, 1, "relu", "batch", 0.0).shortcut, nn.Identity)


@pytest.mark.parametrize("blocks", [[1], [1, 1], [3, 3, 3]])
def test_drop_path_grows_linearly_with_depth(blocks: list[int]) -> None:
    rates = [m.p for m in small(blocks=blocks, drop_path=0.4).modules() if isinstance(m, DropPath)]
    n = sum(blocks)
    assert rates == pytest.approx([0.4 * i / (n - 1) for i in range(n)] if n > 1 else [0.4])


def test_drop_path_and_dropout_act_in_training_alone() -> None:
    module, x = small(drop_path=0.5, dropout=0.3, norm="layer"), torch.randn(8, 1, 8, 8)
    torch.manual_seed(1)
    first, second = module(x), module(x)
    assert not torch.equal(first, second)
    module.eval()
    assert torch.equal(module(x), module(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeNet(1, 7, TASK), "^LeNet pools an image twice and needs at least 8 pixels, got image_size=7$"),
        (lambda: small(blocks=[]), r"^ResNet: blocks lists the residual blocks of each stage, got \[\]$"),
        (lambda: small(blocks=[1, -1]), r"^ResNet: blocks lists .*, got \[1, -1\]$"),
        (lambda: small(drop_path=1.0), r"^drop path probability must lie in \[0, 1\), got 1.0$"),
    ],
)
def test_arguments_that_cannot_work(make: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make()


# Pretrained backbones -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, dict[str, Path]]:
    """A network of torchvision's with its weights in two kinds of files."""
    torch.manual_seed(3)
    network = torchvision.models.resnet18(weights=None)
    folder = tmp_path_factory.mktemp("weights")
    torch.save(network.state_dict(), folder / "resnet18.pth")
    save_file(network.state_dict(), folder / "resnet18.safetensors")
    return network.eval(), {kind: folder / f"resnet18.{kind}" for kind in ("pth", "safetensors")}


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_from_a_local_file(files: tuple[Any, dict[str, Path]], kind: str) -> None:
    network, paths = files
    module = PretrainedBackbone(Classification(4), weights=str(paths[kind])).eval()
    assert module.pretrained == {"backbone"}
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(network.fc(module.backbone(x)), network(x))
    assert module(x).shape == (2, 4)
    grey = PretrainedBackbone(Classification(4), weights=str(paths[kind]), in_channels=1).eval()
    grey.head.load_state_dict(module.head.state_dict())
    assert torch.equal(grey(x[:, :1]), module(x[:, :1].repeat(1, 3, 1, 1)))


def test_random_weights_are_not_called_pretrained() -> None:
    assert PretrainedBackbone(TASK, weights=None).pretrained == set()


def test_a_frozen_backbone_stays_as_it_is(files: tuple[Any, dict[str, Path]]) -> None:
    module = PretrainedBackbone(TASK, weights=str(files[1]["pth"]), freeze=True).train()
    assert module.training
    assert module.head.training
    assert not any(m.training for m in module.backbone.modules())
    before = {name: value.clone() for name, value in module.backbone.state_dict().items()}
    module.training_step((torch.randn(4, 3, 32, 32), torch.arange(4)), 0).backward()
    assert all(p.grad is None for p in module.backbone.parameters())
    assert all(p.grad is not None for p in module.head.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.backbone.state_dict().items())
    free = PretrainedBackbone(TASK, weights=str(files[1]["pth"])).train()
    assert all(m.training for m in free.modules())


def test_names_and_files_that_do_not_fit(tmp_path: Path, files: tuple[Any, dict[str, Path]]) -> None:
    with pytest.raises(ZooError, match=r"^torchvision has no classifier 'resnet_18'; did you mean .*resnet18"):
        load_backbone("resnet_18", None)
    with pytest.raises(ZooError, match=r"^no weights file .*lost.pth; give a local .safetensors or .pth, or DEFAULT$"):
        load_backbone("resnet18", str(tmp_path / "lost.pth"))
    with pytest.raises(ZooError, match=r"^squeezenet1_1 ends in no linear layer, .* choose another arch$"):
        load_backbone("squeezenet1_1", None)
    with pytest.raises(ZooError, match=r"^the weights in .*resnet18.pth are not those of resnet34: ") as caught:
        load_backbone("resnet34", str(files[1]["pth"]))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    for name in ("bad.pth", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(ZooError, match=rf"^the weights file .*{name} is damaged, or holds more than tensors$"):
            load_backbone("resnet18", str(tmp_path / name))
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ZooError, match=r"^the weights in .*list.pth are not those of resnet18: "):
        load_backbone("resnet18", str(tmp_path / "list.pth"))


@pytest.mark.parametrize("arch", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5"])
def test_other_classifiers_lose_their_last_layer(arch: str) -> None:
    backbone, features = load_backbone(arch, None)
    assert backbone.eval()(torch.randn(1, 3, 64, 64)).shape == (1, features)


# Gradients and learning -----------------------------------------------------------------------------------------------


def test_gradients_of_lenet() -> None:
    torch.manual_seed(0)
    module = LeNet(1, 8, Classification(3), width=2, activation="tanh", pool="avg").double()
    names = [name for name, _ in module.named_parameters()]
    x, y = torch.randn(2, 1, 8, 8, dtype=torch.double, requires_grad=True), torch.tensor([0, 2])

    def loss(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(torch.func.functional_call(module, dict(zip(names, parameters)), (x,)), y)

    # One projected derivative for each of 12,000 parameters at once; the full Jacobian takes minutes.
    assert torch.autograd.gradcheck(loss, (x, *module.parameters()), fast_mode=True)


@pytest.mark.parametrize(
    ("kind", "norm"),
    [("lenet", "none"), ("resnet", "batch"), ("resnet", "ghost_batch"), ("resnet", "filter_response")],
)
def test_learns_64_digits_by_heart(kind: str, norm: str) -> None:
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels[:64]).float().view(-1, 1, 8, 8) / 16, torch.tensor(labels[:64])
    torch.manual_seed(0)
    module: Any = LeNet(1, 8, Classification(10)) if kind == "lenet" else small(norm=norm)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        module.training_step((x, y), 0).backward()
        optimizer.step()
    assert (module(x).argmax(1) == y).all()
    assert module.last_loss < 0.1
