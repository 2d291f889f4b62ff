"""TRADES: be right on clean images, and say the same about their neighbours."""

import torch
from torch import Tensor

from callbacks.adversarial.divergence import divergence
from callbacks.adversarial.strategy import AdversarialTraining, mean_over_batch
from zoo.attacks.attacked import attacked
from zoo.attacks.ball import Norm
from zoo.attacks.pgd import check_steps, pgd
from zoo.attacks.pixels import Pixels
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, task_objective
from zoo.task import Output


class TRADES(AdversarialTraining):
    """Minimise L(f(x), y) + beta max_{x'} KL(f(x) || f(x')), with x' in the ball around x.

    Zhang, Yu, Jiao, Xing, El Ghaoui and Jordan, "Theoretically principled trade-off between robustness and accuracy",
    2019, algorithm 1 (where the weight is 1 / lambda). The attack needs no label: it begins with a normal
    draw of deviation 0.001 and climbs the divergence. Loss and accuracy that training logs are of clean images. Batch
    norm is updated by a pass over the clean and then one over the adversarial batch. A step costs ``steps`` + 1 passes
    more, and one without a gradient.

    Args:
        epsilon: radius in pixel units, up to 1 with "linf"; 0.3 for MNIST, 8/255 = 0.03137 for colour photos.
        beta: weight of the divergence, positive; 1 leans to accuracy, 6 is usual for photos and leans to robustness.
        steps: of the attack, at least 1; 10 is usual, 40 in the paper for MNIST.
        step_size: in pixel units; null is 2.5 epsilon / steps.
        norm: of the ball, "linf" or "l2".
        warmup: share of the run over which the radius grows from 0.
    """

    def __init__(
        self,
        epsilon: float,
        beta: float = 6.0,
        steps: int = 10,
        step_size: float | None = None,
        norm: Norm = "linf",
        warmup: float = 0.0,
    ) -> None:
        super().__init__(epsilon, norm, warmup)
        check_steps(self.name, epsilon, norm, steps)
        if not beta > 0:
            raise ZooError(f"TRADES: beta must be positive, got {beta}; 1 to 6 are usual, without it drop TRADES")
        self.beta, self.steps, self.step_size = beta, steps, step_size

    def objective(self, module: SupervisedModule, batch: Batch) -> Output:
        x = self.examples(module, batch, self.attack)
        clean = task_objective(module, batch)
        adversarial = module.forward_batch(batch._replace(x=x))
        apart = divergence(clean.prediction.float(), adversarial.float())
        return Output(clean.loss + self.beta * mean_over_batch(apart, batch), clean.prediction)

    def attack(self, model: Pixels, x: Tensor, y: Tensor, radius: float, generator: torch.Generator) -> Tensor:
        """Adversarial pixels within ``radius``."""
        with attacked(model, x, y) as (x, y), torch.no_grad():
            said = model(x).softmax(1)
        # The divergence from fixed answers and the cross-entropy against them differ by a constant.
        size = self.scaled(self.step_size, radius)
        return pgd(model, x, said, radius, self.steps, size, self.norm, start="gaussian", generator=generator)
