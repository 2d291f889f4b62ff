"""Dropout by name: the kinds that fit between the layers of perceptrons and of convolutional networks."""

from typing import Literal, TypeAlias

from torch import nn

from zoo.errors import ZooError
from zoo.layers.drop_block import DropBlock
from zoo.layers.gaussian_dropout import GaussianDropout

VectorDropout: TypeAlias = Literal["standard", "gaussian", "alpha"]
ImageDropout: TypeAlias = Literal["standard", "gaussian", "spatial", "dropblock"]
Dropout: TypeAlias = Literal[VectorDropout, ImageDropout]

# Kinds that are made for feature maps (B, C, H, W) and act within a network, not before its head.
OF_MAPS = ("spatial", "dropblock")


def make_dropout(kind: Dropout, p: float) -> nn.Module:
    """A fresh dropout layer.

    Args:
        kind: "standard" zeroes single entries; "gaussian" multiplies with N(1, p / (1 - p)); "alpha" keeps the mean and
            variance of SELU activations (Klambauer et al. 2017); "spatial" zeroes whole channels of an image (Tompson
            et al. 2015); "dropblock" squares of 3 x 3 pixels (Ghiasi et al. 2018).
        p: the rate, in [0, 1).
    """
    if not 0 <= p < 1:
        raise ZooError(f"dropout must lie in [0, 1), got {p}")
    match kind:
        case "standard":
            return nn.Dropout(p)
        case "gaussian":
            return GaussianDropout(p)
        case "alpha":
            return nn.AlphaDropout(p)
        case "spatial":
            return nn.Dropout2d(p)
        case "dropblock":
            return DropBlock(p)


def dropout_in_maps(kind: ImageDropout, p: float) -> nn.Module:
    """The layer for a place with feature maps (B, C, H, W): one that drops where the kind is made for them."""
    return make_dropout(kind, p) if kind in OF_MAPS else nn.Identity()


def dropout_before_head(kind: ImageDropout, p: float) -> nn.Module:
    """The layer for the place before the head, (B, C): one that drops where ``dropout_in_maps`` does not."""
    return nn.Identity() if kind in OF_MAPS else make_dropout(kind, p)
