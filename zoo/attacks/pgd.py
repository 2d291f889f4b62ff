"""Projected gradient descent: many small steps, each brought back into the ball."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from zoo.attacks.attacked import attacked, cross_entropy, gradient, is_wrong
from zoo.attacks.ball import Norm, check_ball, project, random_point, steepest
from zoo.errors import ZooError

Start: TypeAlias = Literal["uniform", "gaussian", "none"]
# Standard deviation of the "gaussian" start: Zhang et al. 2019, algorithm 1.
_NEARBY = 0.001


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    norm: Norm = "linf",
    restarts: int = 1,
    start: Start = "uniform",
    generator: torch.Generator | None = None,
) -> Tensor:
    """x_{t+1} = P(x_t + step_size s(d CE / d x_t)), with P onto the ball and s the sign, or the normalised gradient.

    Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to adversarial attacks", 2018,
    section 2.1. One step costs a forward and a backward pass.

    Args:
        model: takes pixels in [0, 1] and gives logits, see ``zoo.attacks.pixels.Pixels``.
        x: float32 images (B, C, H, W) in [0, 1].
        y: classes (B,) or soft targets (B, num_classes).
        epsilon: radius of the ball in pixel units; 0 gives the images back.
        steps: at least 1; 7 to 10 to train, 20 to 100 to judge.
        step_size: in pixel units; None is 2.5 epsilon / steps, which reaches any point of the ball from any other.
        norm: of the ball, "linf" or "l2".
        restarts: runs from different starts; the worst image of each sample is kept, and a sample that is wrong takes
            part in no further run.
        start: uniform in the ball, a normal draw of deviation 0.001 close by, or the image itself.
        generator: on the device of ``x``; None draws from torch's global one.

    Returns:
        Images of the same shape, in the ball and in [0, 1] up to rounding.

    Raises:
        ZooError: a radius, a number of steps or of restarts that makes no sense.
    """
    check_steps("pgd", epsilon, norm, steps)
    if restarts < 1 or (restarts > 1 and start == "none"):
        raise ZooError(f"pgd: restarts is {restarts} with start={start!r}; give 1 or more, and a random start for more")
    size = 2.5 * epsilon / steps if step_size is None else step_size

    def climb(x: Tensor, y: Tensor) -> Tensor:
        at = start_from(x, epsilon, norm, start, generator)
        for _ in range(steps):
            slope, _ = gradient(model, at, lambda logits: cross_entropy(logits, y))
            at = project(at + size * steepest(slope, norm), x, epsilon, norm)
        return at

    with attacked(model, x, y) as (x, y):
        worst = climb(x, y)
        if restarts == 1:
            return worst
        loss, wrong = _judge(model, worst, y)
        for _ in range(restarts - 1):
            left = (~wrong).nonzero()[:, 0]
            if len(left) == 0:
                break
            found = climb(x[left], y[left])
            found_loss, found_wrong = _judge(model, found, y[left])
            better = found_wrong | (found_loss > loss[left])
            worst[left[better]], loss[left[better]] = found[better], found_loss[better]
            wrong[left] = found_wrong
        return worst


def start_from(x: Tensor, epsilon: float, norm: Norm, start: Start, generator: torch.Generator | None) -> Tensor:
    """Where an attack begins: see ``pgd``."""
    if start == "uniform":
        return random_point(x, epsilon, norm, generator)
    if start == "gaussian":
        return project(torch.empty_like(x).normal_(0, _NEARBY, generator=generator) + x, x, epsilon, norm)
    return x


def check_steps(where: str, epsilon: float, norm: Norm, steps: int) -> None:
    """Raise ZooError unless there is a ball and at least one step."""
    check_ball(where, epsilon, norm)
    if steps < 1:
        raise ZooError(f"{where}: steps must be at least 1, got {steps}")


@torch.no_grad()
def _judge(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each sample, and whether it is wrong, both (B,)."""
    logits = model(x)
    return cross_entropy(logits, y), is_wrong(logits, y)
