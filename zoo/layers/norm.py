"""Normalisation layers by the field's names, for vectors (B, C) and images (B, C, H, W)."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError

Norm: TypeAlias = Literal["none", "batch", "layer", "rms", "group", "instance", "weight_standardized"]


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
        name: "group" takes groups of 16 channels, as few groups as divide; "weight_standardized" pairs group norm
            with standardised weights (Qiao et al. 2019) and is for networks that build their layers with ``make_conv``.
        channels: C.
        spatial: whether the input is (B, C, H, W) rather than (B, C).
    """
    match name:
        case "none":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)
        case "layer":
            return ChannelLayerNorm(channels) if spatial else nn.LayerNorm(channels)
        case "rms":
            return ChannelRMSNorm(channels) if spatial else nn.RMSNorm(channels)
        case "group" | "weight_standardized":
            return nn.GroupNorm(_groups(channels), channels)
        case "instance":
            if not spatial:
                raise ZooError("norm=instance normalises over the pixels of an image; vectors have none, use layer")
            return nn.InstanceNorm2d(channels, affine=True)


def make_conv(in_channels: int, out_channels: int, kernel_size: int, norm: Norm, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1; without bias where a norm follows that has its own."""
    layer = StandardizedConv2d if norm == "weight_standardized" else nn.Conv2d
    return layer(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=norm == "none")


def make_linear(in_features: int, out_features: int, norm: Norm) -> nn.Linear:
    """A linear layer; without bias where a norm follows that has its own."""
    layer = StandardizedLinear if norm == "weight_standardized" else nn.Linear
    return layer(in_features, out_features, bias=norm == "none")


def _groups(channels: int) -> int:
    groups = max(1, channels // 16)
    while channels % groups:
        groups -= 1
    return groups
