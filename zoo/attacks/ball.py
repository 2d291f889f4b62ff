"""The set of images that an attack may choose from: a ball around each image, within the range of pixels."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from zoo.errors import ZooError

Norm: TypeAlias = Literal["linf", "l2"]
# Below this a gradient has no direction; also keeps 0 / 0 out.
_TINY = 1e-12


def check_ball(where: str, epsilon: float, norm: str) -> None:
    """Raise ZooError unless ``epsilon`` is a radius in pixel units and ``norm`` is known."""
    if norm not in ("linf", "l2"):
        raise ZooError(f"{where}: norm must be linf or l2, got {norm!r}")
    if not epsilon >= 0:
        raise ZooError(f"{where}: epsilon must not be negative, got {epsilon}; it is in pixel units, such as 8/255")
    if norm == "linf" and epsilon > 1:
        raise ZooError(
            f"{where}: epsilon is {epsilon} in the linf norm, but pixels lie in [0, 1]; divide levels by 255"
        )


def project(perturbed: Tensor, x: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The nearest point of {x' : |x' - x| <= epsilon}, cut to [0, 1].

    Both sets are convex and hold x, so that cutting to [0, 1] moves each pixel towards x and never out of the ball.

    Args:
        perturbed, x: images (B, ...); x in [0, 1].
        epsilon: radius, in pixel units; with "l2" the Euclidean norm over all pixels and channels of an image.
    """
    if norm == "linf":
        return torch.clamp(perturbed, (x - epsilon).clamp_(min=0), (x + epsilon).clamp_(max=1))
    offset = perturbed - x
    return (x + offset * (epsilon / length(offset).clamp(min=_TINY)).clamp(max=1)).clamp_(0, 1)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The step of length 1 along which a linear function grows most: the sign, or gradient / |gradient|_2."""
    return gradient.sign() if norm == "linf" else gradient / length(gradient).clamp(min=_TINY)


def random_point(x: Tensor, epsilon: float, norm: Norm, generator: torch.Generator | None) -> Tensor:
    """A uniform draw from the ball around each image, cut to [0, 1]; None draws from torch's global generator."""
    if norm == "linf":
        noise = torch.empty_like(x).uniform_(-epsilon, epsilon, generator=generator)
        return noise.add_(x).clamp_(0, 1)
    direction = torch.empty_like(x).normal_(generator=generator)
    # The volume of a ball grows as r^d, so that r = u^(1/d) is uniform in it.
    share = torch.rand(len(x), generator=generator, device=x.device) ** (1 / x[0].numel())
    return (x + direction * (epsilon * like(share, x) / length(direction).clamp(min=_TINY))).clamp_(0, 1)


def length(offset: Tensor) -> Tensor:
    """Euclidean norm of each sample, (B, 1, ...)."""
    return like(offset.flatten(1).norm(dim=1), offset)


def like(values: Tensor, images: Tensor) -> Tensor:
    """One number a sample (B,) in a shape that multiplies images (B, ...)."""
    return values.view(-1, *[1] * (images.ndim - 1))
