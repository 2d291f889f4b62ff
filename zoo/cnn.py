"""Convolutional networks for images: LeNet, residual networks of every CIFAR shape, and pretrained backbones."""

from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from zoo.batch import Inputs
from zoo.errors import ZooError
from zoo.layers.activation import Activation, make_activation
from zoo.layers.dropout import DropPath, depth_rates
from zoo.layers.dropout_kind import OF_MAPS, ImageDropout, dropout_before_head, dropout_in_maps
from zoo.layers.norm import Norm, make_conv, make_norm
from zoo.module import SupervisedModule
from zoo.task import Task


class ConvNet(SupervisedModule):
    """Base of the image families: keeps weights and inputs in channels-last order, which convolutions prefer."""

    takes: ClassVar[tuple[Inputs, ...]] = ("images",)

    backbone: nn.Module
    head: nn.Module

    def __init__(self, in_channels: int, task: Task, image_size: int = 32) -> None:
        super().__init__(task)
        self.example_input_array = torch.zeros(2, in_channels, image_size, image_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self.head(self.backbone(x)))


class LeNet(ConvNet):
    """LeNet-5 after LeCun et al. 1998, section II.B: two convolutions of 5 x 5, each pooled, and a small MLP.

    Args:
        in_channels: channels of one image; linked from the data.
        image_size: height and width in pixels, at least 8; linked from the data.
        task: what is asked of the network.
        width: channels of the first convolution; the second has 8 / 3 of them, as 6 and 16 in the paper.
        activation: "tanh" as in the paper, or "relu".
        norm: after each convolution.
        dropout: probability in [0, 1) before the last layer.
        pool: "avg" as in the paper, or "max".
        dropout_kind: "spatial" and "dropblock" act behind the activation of each convolution instead.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        task: Task,
        width: int = 6,
        activation: Activation = "relu",
        norm: Norm = "none",
        dropout: float = 0.0,
        pool: Literal["max", "avg"] = "max",
        dropout_kind: ImageDropout = "standard",
    ) -> None:
        super().__init__(in_channels, task, image_size)
        if image_size < 8:
            raise ZooError(f"LeNet pools an image twice and needs at least 8 pixels, got image_size={image_size}")
        pooling = nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
        second = round(width * 16 / 6)
        side = image_size // 2 // 2
        pools = [nn.Sequential(dropout_in_maps(dropout_kind, dropout), pooling) for _ in range(2)]
        self.backbone = nn.Sequential(
            make_conv(in_channels, width, 5, norm), make_norm(norm, width, True), make_activation(activation), pools[0],
            make_conv(width, second, 5, norm), make_norm(norm, second, True), make_activation(activation), pools[1],
            nn.Flatten(),
            nn.Linear(second * side * side, 120), make_activation(activation),
            nn.Linear(120, 84), make_activation(activation), dropout_before_head(dropout_kind, dropout),
        )  # fmt: skip
        self.head = nn.Linear(84, task.out_features)
        self.to(memory_format=torch.channels_last)


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 and a shortcut: activation(shortcut(x) + branch(x)). He et al. 2016, figure 2.

    Dropout, of the kinds for feature maps, lies between the convolutions: Zagoruyko and Komodakis, "Wide residual
    networks", 2016, section 2.4.

    Attributes:
        last_norm: the layer whose gain may start at zero, so that the block starts as the identity.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        activation: Activation,
        norm: Norm,
        drop_path: float,
        dropout: float = 0.0,
        dropout_kind: ImageDropout = "standard",
    ) -> None:
        super().__init__()
        self.conv1 = make_conv(in_channels, channels, 3, norm, stride)
        self.norm1 = make_norm(norm, channels, True)
        self.activation1 = make_activation(activation)
        self.dropout = dropout_in_maps(dropout_kind, dropout)
        self.conv2 = make_conv(channels, channels, 3, norm)
        self.last_norm = make_norm(norm, channels, True)
        self.drop_path = DropPath(drop_path)
        self.activation2 = make_activation(activation)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            # Option B of the paper, section 4.1: a projection of 1 x 1 where the shape changes.
            self.shortcut = nn.Sequential(
                make_conv(in_channels, channels, 1, norm, stride), make_norm(norm, channels, True)
            )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation1(self.norm1(self.conv1(x))))
        branch = self.last_norm(self.conv2(hidden))
        return cast(Tensor, self.activation2(self.shortcut(x) + self.drop_path(branch)))


class ResNet(ConvNet):
    """Residual network for small images, from ResNet-8 to ResNet-18 and ResNet-9 by arguments.

    | network | blocks | width | downsample |
    |---|---|---|---|
    | ResNet-8, -20, -56 (He et al. 2016, section 4.2) | [1, 1, 1], [3, 3, 3], [9, 9, 9] | 16 | stride |
    | ResNet-18, CIFAR stem | [2, 2, 2, 2] | 64 | stride |
    | ResNet-9 (Page 2018, "How to train your ResNet") | [1, 0, 1] | 64 | conv_pool |

    Args:
        in_channels: channels of one image; linked from the data.
        task: what is asked of the network.
        blocks: residual blocks of each stage.
        width: channels of the stem; every stage after the first doubles them.
        downsample: "stride": the first block of each later stage halves the size; "conv_pool": every stage begins
            with a convolution, norm, activation and 2 x 2 max pooling that doubles the channels.
        activation, norm: in every block.
        drop_path: probability of the last block's branch to be left out; earlier blocks less, linearly from 0.
        dropout: probability in [0, 1) before the last layer.
        pool: how the last feature map becomes a vector.
        dropout_kind: "spatial" and "dropblock" act between the convolutions of each residual block instead.
    """

    takes = ("images", "resizable images")

    def __init__(
        self,
        in_channels: int,
        task: Task,
        blocks: list[int] = [3, 3, 3],  # noqa: B006  never changed; a list reads best in --help
        width: int = 16,
        downsample: Literal["stride", "conv_pool"] = "stride",
        activation: Activation = "relu",
        norm: Norm = "batch",
        drop_path: float = 0.0,
        dropout: float = 0.0,
        pool: Literal["avg", "max"] = "avg",
        dropout_kind: ImageDropout = "standard",
    ) -> None:
        super().__init__(in_channels, task)
        if not blocks or any(count < 0 for count in blocks):
            raise ZooError(f"ResNet: blocks lists the residual blocks of each stage, got {blocks}")
        if dropout and dropout_kind in OF_MAPS and not any(blocks):
            raise ZooError(f"ResNet: dropout_kind={dropout_kind} acts in residual blocks, and blocks={blocks} has none")
        rates = iter(depth_rates(drop_path, sum(blocks)))
        layers = [make_conv(in_channels, width, 3, norm), make_norm(norm, width, True), make_activation(activation)]
        channels = width
        for stage, count in enumerate(blocks):
            stride = 1
            if downsample == "conv_pool":
                layers += [
                    make_conv(channels, 2 * channels, 3, norm), make_norm(norm, 2 * channels, True),
                    make_activation(activation), nn.MaxPool2d(2),
                ]  # fmt: skip
                channels *= 2
            elif stage > 0:
                stride = 2
            for block in range(count):
                out = channels * 2 if stride == 2 and block == 0 else channels
                layers.append(
                    ResidualBlock(
                        channels, out, stride if block == 0 else 1, activation, norm, next(rates), dropout, dropout_kind
                    )
                )
                channels = out
        pooling = nn.AdaptiveAvgPool2d(1) if pool == "avg" else nn.AdaptiveMaxPool2d(1)
        self.backbone = nn.Sequential(*layers, pooling, nn.Flatten(), dropout_before_head(dropout_kind, dropout))
        self.head = nn.Linear(channels, task.out_features)
        self.to(memory_format=torch.channels_last)

    @property
    def last_norms(self) -> dict[str, nn.Module]:
        """The norm that ends the branch of each residual block, by name."""
        blocks = {name: layer for name, layer in self.named_modules() if isinstance(layer, ResidualBlock)}
        return {f"{name}.last_norm": block.last_norm for name, block in blocks.items()}


class PretrainedBackbone(ConvNet):
    """Any torchvision classifier with a new head, for transfer learning.

    Args:
        task: what is asked of the network.
        arch: a name that ``torchvision.models.list_models()`` knows.
        weights: a local file (.safetensors, or .pth read with ``weights_only``), "DEFAULT" for torchvision's download,
            or null for random weights.
        freeze: train the new head alone.
        in_channels: 3, or 1 to repeat a grey image in three channels; linked from the data.
    """

    takes = ("images", "resizable images")

    def __init__(
        self,
        task: Task,
        arch: str = "resnet18",
        weights: str | None = "DEFAULT",
        freeze: bool = False,
        in_channels: int = 3,
    ) -> None:
        super().__init__(3, task, image_size=224)
        self.backbone, features = load_backbone(arch, weights)
        self.head = nn.Linear(features, task.out_features)
        self.in_channels = in_channels
        if weights is not None:
            self.pretrained = {"backbone"}
        if freeze:
            self.backbone.requires_grad_(False)
        self.freeze_backbone = freeze
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> "PretrainedBackbone":
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()  # frozen batch norm must keep its statistics
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.expand(-1, 3, -1, -1) if self.in_channels == 1 else x)


def load_backbone(arch: str, weights: str | None) -> tuple[nn.Module, int]:
    """A torchvision classifier without its last linear layer, and the number of features it puts out."""
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if arch not in names:
        import difflib

        close = difflib.get_close_matches(arch, names, 3)
        raise ZooError(f"torchvision has no classifier {arch!r}; did you mean {', '.join(close) or names[0]}?")
    file = Path(weights) if weights not in (None, "DEFAULT") else None
    try:
        network = torchvision.models.get_model(arch, weights="DEFAULT" if weights == "DEFAULT" else None)
    except (OSError, RuntimeError) as error:  # no network, or a download with another checksum
        raise ZooError(
            f"the pretrained weights of {arch} could not be downloaded ({' '.join(str(error).split())}); give a file"
            " with --model.weights, or null for random weights"
        ) from error
    if file is not None:
        try:
            network.load_state_dict(_read_weights(file))
        except (RuntimeError, TypeError) as error:
            why = str(error).strip().splitlines()[-1].strip()
            raise ZooError(f"the weights in {file} are not those of {arch}: {why[:200]}") from error
    linear = [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise ZooError(f"{arch} ends in no linear layer, which a new head could replace; choose another arch")
    last_name, last = linear[-1]
    network.set_submodule(last_name, nn.Identity())
    return network, last.in_features


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ZooError(f"no weights file {file}; give a local .safetensors or .pth, or DEFAULT")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return cast(dict[str, Tensor], torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # each format has errors of its own, and torch's recommend to run what is in the file
        raise ZooError(f"the weights file {file} is damaged, or holds more than tensors") from error
