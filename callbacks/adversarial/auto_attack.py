"""AutoAttack, the usual judge of robust networks, from the optional package pyautoattack."""

import importlib.util

import torch
from torch import Tensor, nn

from zoo.attacks.attacked import attacked
from zoo.attacks.ball import Norm, check_ball
from zoo.errors import ZooError


def require_auto_attack(name: str) -> None:
    """Raise ZooError with the command that installs it where it is missing."""
    if importlib.util.find_spec("pyautoattack") is None:
        raise ZooError(
            f"{name}: autoattack needs a package that is not installed: pip install 'lightning-zoo[autoattack]', or set"
            " autoattack to 0"
        )


def auto_attack(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, norm: Norm = "linf", seed: int = 0) -> Tensor:
    """The standard ensemble of four attacks without settings: APGD on two losses, FAB and the black-box Square.

    Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    2020. It costs thousands of passes for each image that withstands; take a few hundred images on a CPU.

    Args:
        model: takes pixels in [0, 1] and gives logits of at least ten classes, see ``zoo.attacks.pixels.Pixels``.
        x: float32 images (B, C, H, W) in [0, 1].
        y: classes (B,).
        epsilon: radius of the ball in pixel units.
        norm: of the ball, "linf" or "l2".
        seed: of its draws; torch's global generators are left as they were.

    Returns:
        Images of the same shape.
    """
    from pyautoattack import AutoAttack

    check_ball("auto_attack", epsilon, norm)
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    devices = [x.device] if x.device.type == "cuda" else []
    with attacked(model, x, y) as (x, y), torch.random.fork_rng(devices):
        for weight in trainable:
            weight.requires_grad_(False)  # FAB calls backward, which would leave gradients on them
        try:
            judge = AutoAttack(model, eps=epsilon, norm="Linf" if norm == "linf" else "L2", seed=seed, device=x.device)
            found, _ = judge.run_standard_evaluation(x, y, batch_size=len(x))
        finally:
            for weight in trainable:
                weight.requires_grad_(True)
        return found.detach()
