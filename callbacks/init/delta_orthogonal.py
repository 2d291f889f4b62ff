"""Delta-orthogonal init: a convolution that rotates the channels of each pixel and looks at no neighbour."""

import torch
from torch import Tensor, nn

from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError


@torch.no_grad()
def delta_orthogonal_(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Fill a convolution with zeros but for its centre, which is a matrix H with H^T H = g^2 I.

    A convolution of stride 1 with circular padding then keeps the norm of every image, times g. Xiao, Bahri,
    Sohl-Dickstein, Schoenholz and Pennington, "Dynamical isometry and a mean field theory of CNNs", 2018, Algorithm 1.

    Args:
        weight: (out, in, *kernel) with odd kernel sizes and in <= out; or a matrix, which becomes (semi-)orthogonal
            whichever side is longer.
        gain: g, all singular values.

    Raises:
        ZooError: an even kernel has no centre; more inputs than outputs cannot keep a norm.
    """
    if weight.ndim == 2:
        return nn.init.orthogonal_(weight, gain)
    out_channels, in_channels, *kernel = weight.shape
    if any(size % 2 == 0 for size in kernel):
        raise ZooError(f"delta-orthogonal needs a kernel of odd size, which has a centre, got {tuple(kernel)}")
    if in_channels > out_channels:
        raise ZooError(f"delta-orthogonal needs in_channels <= out_channels, got {in_channels} > {out_channels}")
    centre = weight.zero_()
    for size in kernel:
        centre = centre.select(2, size // 2)  # a view, (out, in) in the end
    centre.copy_(nn.init.orthogonal_(weight.new_empty(out_channels, in_channels), gain))
    return weight


class DeltaOrthogonal(InitScheme):
    """Keep all singular values of deep convolutional networks equal, so that thousands of layers can start to learn.

    Args:
        gain: g > 0: 1 for tanh at the critical point and linear layers, sqrt(2) = 1.414 for ReLU.
        layers, head_only: see InitScheme.
    """

    def __init__(self, gain: float = 1.0, layers: str | None = None, head_only: bool = False) -> None:
        super().__init__(layers, head_only)
        if not gain > 0:
            raise ZooError(f"DeltaOrthogonal: gain must be positive, got {gain}")
        self.gain = gain

    def init_(self, weight: Tensor) -> None:
        delta_orthogonal_(weight, self.gain)
