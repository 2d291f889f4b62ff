"""The fast gradient sign method: one step to the edge of the ball."""

from torch import Tensor, nn

from zoo.attacks.attacked import attacked, cross_entropy, gradient
from zoo.attacks.ball import Norm, check_ball, project, steepest


def fgsm(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, norm: Norm = "linf") -> Tensor:
    """x + epsilon sign(d CE / d x), cut to [0, 1].

    Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", 2015, section 4. The cheapest
    attack: it finds what a nearly linear network gets wrong, and little of what others do.

    Args:
        model: takes pixels in [0, 1] and gives logits, see ``zoo.attacks.pixels.Pixels``.
        x: float32 images (B, C, H, W) in [0, 1].
        y: classes (B,) or soft targets (B, num_classes).
        epsilon: radius of the ball in pixel units; 0 gives the images back.
        norm: "linf" for the sign, "l2" for a step along the normalised gradient.

    Returns:
        Images of the same shape, in the ball and in [0, 1] up to rounding.
    """
    check_ball("fgsm", epsilon, norm)
    with attacked(model, x, y) as (x, y):
        slope, _ = gradient(model, x, lambda logits: cross_entropy(logits, y))
        return project(x + epsilon * steepest(slope, norm), x, epsilon, norm)
