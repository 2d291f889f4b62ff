"""Normal init with one standard deviation for all layers, whatever their width."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError


@torch.no_grad()
def normal_(weight: Tensor, std: float = 0.02) -> Tensor:
    """Fill with N(0, std^2).

    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012,
    section 5, with std 0.01; Radford, Metz and Chintala, "Unsupervised representation learning with deep
    convolutional GANs", 2016, section 4, with std 0.02.
    """
    return nn.init.normal_(weight, std=std)


class Normal(InitScheme):
    """Draw every weight from one normal distribution.

    Args:
        std: standard deviation, > 0. It suits layers with about 1 / std^2 inputs (2 / std^2 below a ReLU): 0.02 means
            2,500 inputs. Smaller values let signals fade with depth, larger ones let them explode.
        layers, head_only: see InitScheme.
    """

    def __init__(self, std: float = 0.02, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)
        if not std > 0:
            raise ZooError(f"Normal: std must be positive, got {std}; for equal weights use Constant")
        self.std = std

    def init_(self, weight: Tensor) -> None:
        normal_(weight, self.std)
