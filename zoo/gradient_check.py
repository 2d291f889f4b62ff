"""Back-propagation against numbers: gradients by autograd beside differences of the loss, in double precision."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn.modules.pooling import _AdaptiveMaxPoolNd, _MaxPoolNd

# Steps of the difference quotient: where one crosses a kink of the loss, a smaller one does not.
STEPS = (1e-5, 1e-6, 1e-7)
# Modules whose output has kinks, where the two sides of a difference disagree.
KINKS = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.RReLU, _MaxPoolNd,
    _AdaptiveMaxPoolNd,
)  # fmt: skip


class Checked(NamedTuple):
    """What came of a check.

    Attributes:
        parameters: numbers that were moved, each tensor along random directions.
        deviation: largest difference between the analytic and the numeric slope, as a share of the slope's scale.
        worst: the tensor with that deviation.
        passed: whether every tensor stayed within the tolerance.
    """

    parameters: int
    deviation: float
    worst: str
    passed: bool


def check_gradients(
    loss: Callable[[], Tensor],
    tensors: Mapping[str, Tensor],
    directions: int = 1,
    tolerance: float = 1e-7,
    full: bool = False,
) -> Checked:
    """Compare, for each tensor w and random directions v of length 1,

        analytic = <grad L(w), v>    and    numeric = (L(w + h v) - L(w - h v)) / 2h.

    A wrong gradient has a wrong slope in almost every direction, so that a few of them do for a tensor of any size;
    the quotient errs by h^2, and by rounding of about 1e-16 |L| / h.

    Args:
        loss: evaluates the same function each time it is called: no dropout, no batch statistics.
        tensors: what it depends on, by name; double precision, requiring gradients.
        directions: random ones for each tensor, from torch's generator.
        tolerance: largest deviation that passes, as a share of the tensor's gradient norm or of 1, whichever is more.
        full: ask ``torch.autograd.gradcheck`` as well, which moves every number by itself; for small smooth networks.
    """
    found: dict[str, float] = {}
    gradients = torch.autograd.grad(loss(), list(tensors.values()), allow_unused=True)
    with torch.no_grad():
        for (name, tensor), gradient in zip(tensors.items(), gradients):
            slope = torch.zeros_like(tensor) if gradient is None else gradient
            scale = max(float(slope.norm()), 1.0)
            for _ in range(directions):
                direction = torch.randn_like(tensor)
                direction /= direction.norm().clamp_min(1e-12)
                analytic = float((slope * direction).sum())
                error = math.inf
                for step in STEPS:
                    error = min(error, abs(analytic - _quotient(loss, tensor, direction, step)) / scale)
                    if error <= tolerance:
                        break
                found[name] = max(found.get(name, 0.0), error)
    worst = max(found, key=lambda name: found[name]) if found else ""
    deviation = found.get(worst, 0.0)
    passed = deviation <= tolerance
    if passed and full:
        # Named one by one, so that the first tensor that fails is known.
        for name, tensor in tensors.items():
            if not gradcheck(lambda _: loss(), (tensor,), raise_exception=False):
                worst, passed = name, False
                break
    return Checked(sum(tensor.numel() for tensor in tensors.values()), deviation, worst, passed)


def kinks(network: nn.Module) -> list[str]:
    """Kinds of layers whose output is not differentiable everywhere."""
    return sorted({type(layer).__name__ for layer in network.modules() if isinstance(layer, KINKS)})


def _quotient(loss: Callable[[], Tensor], tensor: Tensor, direction: Tensor, step: float) -> float:
    before = tensor.clone()
    tensor.copy_(before + step * direction)
    above = float(loss())
    tensor.copy_(before - step * direction)
    below = float(loss())
    tensor.copy_(before)
    return (above - below) / (2 * step)
