"""DeepFool: the shortest way over the nearest boundary, by linearising the network again and again."""

import torch
from torch import Tensor, nn

from zoo.attacks.attacked import attacked, is_wrong
from zoo.attacks.ball import like
from zoo.errors import ZooError

# Added to the length of each step, in pixel units, as the authors' program does: steps that only halve the distance to
# a boundary would never be on its other side.
_BEYOND = 1e-4


def deepfool(model: nn.Module, x: Tensor, y: Tensor, steps: int = 50, overshoot: float = 0.02) -> Tensor:
    """The smallest change in the Euclidean norm that a linear network would need, repeated until the class is wrong.

    With f_k = z_k - z_y and w_k its gradient, each step adds |f_l| / |w_l|^2 w_l for the class l with the smallest
    |f_l| / |w_l|. Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool: a simple and accurate method to fool deep neural
    networks", 2016, algorithm 2. The ball is not given but found: the distance to x is the result. A step costs a
    forward pass and as many backward passes as there are classes; only samples that are still right take part.

    Args:
        model: takes pixels in [0, 1] and gives logits, see ``zoo.attacks.pixels.Pixels``.
        x: float32 images (B, C, H, W) in [0, 1].
        y: classes (B,); a sample that is wrong at the start comes back unchanged.
        steps: at most so many.
        overshoot: share by which each step is lengthened, to come to lie behind the boundary.

    Returns:
        Images of the same shape, in [0, 1]; still right where no step sufficed.
    """
    if steps < 1 or overshoot < 0:
        raise ZooError(f"deepfool: needs at least 1 step and no negative overshoot, got {steps} and {overshoot}")
    with attacked(model, x, y) as (x, y):
        at = x.clone()
        left = torch.arange(len(x), device=x.device)  # samples that are still right
        for step in range(steps + 1):
            inputs = at[left].requires_grad_()
            logits = model(inputs)
            right = ~is_wrong(logits, y[left])
            if step == steps or not bool(right.any()):
                break
            slopes = _slopes(logits, inputs)  # (B, K, ...)
            left, slopes, logits = left[right], slopes[right], logits.detach()[right]
            # From the image cut to [0, 1], not from the sum of all steps: pixels at their limit stay there, and the
            # next step makes up for them with others.
            at[left] = (at[left] + (1 + overshoot) * _shortest(logits, slopes, y[left])).clamp(0, 1)
        return at


def _slopes(logits: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of every logit, (B, K, ...)."""
    classes = logits.sum(0).unbind()
    return torch.stack([torch.autograd.grad(z, inputs, retain_graph=True)[0] for z in classes], dim=1)


def _shortest(logits: Tensor, slopes: Tensor, y: Tensor) -> Tensor:
    """The step onto the nearest boundary of the linearised network, (B, ...)."""
    rows = torch.arange(len(y), device=y.device)
    gap = (logits - logits[rows, y, None]).abs()  # (B, K): |f_k|
    normals = slopes - slopes[rows, y, None]  # (B, K, ...): w_k
    squares = normals.flatten(2).square().sum(2).clamp(min=1e-12)  # (B, K)
    distance = gap / squares.sqrt()
    distance[rows, y] = torch.inf
    nearest = distance.argmin(1)
    normal = normals[rows, nearest]
    return like((distance[rows, nearest] + _BEYOND) / squares[rows, nearest].sqrt(), normal) * normal
