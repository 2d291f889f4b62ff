"""The momentum iterative method: steps along a running sum of gradients, which carry over to other networks."""

import torch
from torch import Tensor, nn

from zoo.attacks.attacked import attacked, cross_entropy, gradient
from zoo.attacks.ball import Norm, like, project, steepest
from zoo.attacks.pgd import check_steps


def mim(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    norm: Norm = "linf",
) -> Tensor:
    """g_{t+1} = decay g_t + d / |d|_1 with d = d CE / d x_t; x_{t+1} = P(x_t + step_size s(g_{t+1})).

    Dong, Liao, Pang, Su, Zhu, Hu and Li, "Boosting adversarial attacks with momentum", 2018, eq. 6 and 7. Begins at the
    image and draws nothing.

    Args:
        model: takes pixels in [0, 1] and gives logits, see ``zoo.attacks.pixels.Pixels``.
        x: float32 images (B, C, H, W) in [0, 1].
        y: classes (B,) or soft targets (B, num_classes).
        epsilon: radius of the ball in pixel units; 0 gives the images back.
        steps: at least 1.
        step_size: in pixel units; None is epsilon / steps, as in the paper.
        decay: of the running sum; 0 is PGD from the image, 1 sums all gradients.
        norm: of the ball, "linf" or "l2".

    Returns:
        Images of the same shape, in the ball and in [0, 1] up to rounding.
    """
    check_steps("mim", epsilon, norm, steps)
    size = epsilon / steps if step_size is None else step_size
    with attacked(model, x, y) as (x, y):
        at, momentum = x, torch.zeros_like(x)
        for _ in range(steps):
            slope, _ = gradient(model, at, lambda logits: cross_entropy(logits, y))
            # The mean rather than the sum of absolute values: the direction is the same.
            momentum = decay * momentum + slope / like(slope.flatten(1).abs().mean(1).clamp(min=1e-20), slope)
            at = project(at + size * steepest(momentum, norm), x, epsilon, norm)
        return at
