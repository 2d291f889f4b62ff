"""Adversarial training with projected gradient descent: learn from the worst image that a few steps find."""

import torch
from torch import Tensor

from callbacks.adversarial.strategy import AdversarialTraining
from zoo.attacks.ball import Norm
from zoo.attacks.pgd import check_steps, pgd
from zoo.attacks.pixels import Pixels
from zoo.batch import Batch
from zoo.module import SupervisedModule, task_objective
from zoo.task import Output


class PGDTraining(AdversarialTraining):
    """Minimise the loss of the worst image in the ball, as PGD finds it: min_w E max_{|d| <= epsilon} L(w, x + d, y).

    Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to adversarial attacks", 2018,
    eq. 2.1. The network sees no clean image: loss, accuracy and batch norm's running statistics in training are those
    of adversarial ones. A step costs ``steps`` forward and backward passes more.

    Args:
        epsilon: radius in pixel units, up to 1 with "linf"; 0.3 for MNIST, 8/255 = 0.03137 for colour photos.
        steps: of the attack, at least 1; 7 to 10 are usual. Few leave weak examples, which the network may learn alone.
        step_size: in pixel units; null is 2.5 epsilon / steps. It grows with the radius during warmup.
        norm: of the ball, "linf" or "l2".
        warmup: share of the run over which the radius grows from 0; helps where a large one keeps a network from
            learning at all (MNIST at 0.3).
    """

    def __init__(
        self,
        epsilon: float,
        steps: int = 10,
        step_size: float | None = None,
        norm: Norm = "linf",
        warmup: float = 0.0,
    ) -> None:
        super().__init__(epsilon, norm, warmup)
        check_steps(self.name, epsilon, norm, steps)
        self.steps, self.step_size = steps, step_size

    def objective(self, module: SupervisedModule, batch: Batch) -> Output:
        return task_objective(module, batch._replace(x=self.examples(module, batch, self.attack)))

    def attack(self, model: Pixels, x: Tensor, y: Tensor, radius: float, generator: torch.Generator) -> Tensor:
        """Adversarial pixels within ``radius``."""
        size = self.scaled(self.step_size, radius)
        return pgd(model, x, y, radius, self.steps, size, self.norm, generator=generator)
