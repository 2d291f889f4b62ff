"""Normalisation layers by the field's names, for vectors (B, C) and images (B, C, H, W)."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from zoo.errors import ZooError
from zoo.layers.filter_response import FilterResponseNorm
from zoo.layers.ghost_batch_norm import GhostBatchNorm
from zoo.layers.spectral_norm import SpectralNorm

Norm: TypeAlias = Literal[
    "none", "batch", "sync_batch", "ghost_batch", "layer", "rms", "group", "instance", "filter_response",
    "weight_standardized", "weight_norm", "spectral_norm",
]  # fmt: skip


# Where a layer keeps its bias: norms that do not take the mean of a channel out again, or that have none of their own.
_KEEP_BIAS = ("none", "filter_response", "weight_norm", "spectral_norm")


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel, (B, C, H, W). Ba et al. 2016; Liu et al. 2022 (ConvNeXt)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelRMSNorm(nn.RMSNorm):
    """RMS norm over the channels of each pixel, (B, C, H, W). Zhang and Sennrich 2019, eq. 4."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class StandardizedConv2d(nn.Conv2d):
    """Convolution whose filters have mean 0 and variance 1 / fan_in.

    Qiao et al., "Weight standardization", 2019, eq. 3, with the division by fan_in that keeps the size of activations.
    """

    def forward(self, x: Tensor) -> Tensor:
        filters = self.weight.flatten(1)
        var, mean = torch.var_mean(filters, dim=1, correction=0, keepdim=True)
        filters = (filters - mean) * (var * filters.shape[1] + 1e-5).rsqrt()
        return self._conv_forward(x, filters.view_as(self.weight), self.bias)


class StandardizedLinear(nn.Linear):
    """Linear layer whose rows have mean 0 and variance 1 / in_features."""

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(self.weight, dim=1, correction=0, keepdim=True)
        return F.linear(x, (self.weight - mean) * (var * self.weight.shape[1] + 1e-5).rsqrt(), self.bias)


def make_norm(name: Norm, channels: int, spatial: bool) -> nn.Module:
    """A fresh normalisation layer.

    Args:
        name: "group" takes groups of 16 channels, as few groups as divide. "weight_standardized" pairs group norm
            with standardised weights (Qiao et al. 2019); "weight_norm" and "spectral_norm" change weights alone. These
            three are for networks that build their layers with ``make_conv`` and ``make_linear``.
        channels: C.
        spatial: whether the input is (B, C, H, W) rather than (B, C).
    """
    match name:
        case "none" | "weight_norm" | "spectral_norm":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)
        case "sync_batch":
            return nn.SyncBatchNorm(channels)  # over all processes, which torch has for GPUs only
        case "ghost_batch":
            return GhostBatchNorm(channels)
        case "layer":
            return ChannelLayerNorm(channels) if spatial else nn.LayerNorm(channels)
        case "rms":
            return ChannelRMSNorm(channels) if spatial else nn.RMSNorm(channels)
        case "group" | "weight_standardized":
            return nn.GroupNorm(_groups(channels), channels)
        case "instance" | "filter_response":
            if not spatial:
                raise ZooError(f"norm={name} normalises over the pixels of an image; vectors have none, use layer")
            return nn.InstanceNorm2d(channels, affine=True) if name == "instance" else FilterResponseNorm(channels)


def make_conv(in_channels: int, out_channels: int, kernel_size: int, norm: Norm, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1; without bias where a norm follows that makes it needless."""
    layer = StandardizedConv2d if norm == "weight_standardized" else nn.Conv2d
    bias = norm in _KEEP_BIAS
    conv = layer(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias)
    _parametrize(conv, norm)
    return conv


def make_linear(in_features: int, out_features: int, norm: Norm) -> nn.Linear:
    """A linear layer; without bias where a norm follows that makes it needless."""
    layer = StandardizedLinear if norm == "weight_standardized" else nn.Linear
    linear = layer(in_features, out_features, bias=norm in _KEEP_BIAS)
    _parametrize(linear, norm)
    return linear


def _parametrize(layer: nn.Conv2d | nn.Linear, norm: Norm) -> None:
    if norm == "weight_norm":
        parametrizations.weight_norm(layer)
    elif norm == "spectral_norm":
        parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def _groups(channels: int) -> int:
    groups = max(1, channels // 16)
    while channels % groups:
        groups -= 1
    return groups
