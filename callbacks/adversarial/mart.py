"""MART: care most for the neighbours of images that the network does not get right anyway."""

import torch
from torch import Tensor
from torch.nn import functional as F

from callbacks.adversarial.divergence import divergence
from callbacks.adversarial.strategy import AdversarialTraining, mean_over_batch
from callbacks.technique import UnsupportedModule
from zoo.attacks.ball import Norm
from zoo.attacks.pgd import check_steps, pgd
from zoo.attacks.pixels import Pixels
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule
from zoo.task import Output


def mart_loss(clean: Tensor, adversarial: Tensor, y: Tensor, weight: float) -> Tensor:
    """BCE(p(x'), y) + weight KL(p(x) || p(x')) (1 - p_y(x)) of each sample, (B,). Wang et al. 2020, section 3.

    BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k): the best other class is pushed down as well.

    Args:
        clean, adversarial: logits (B, num_classes) of x and of x'.
        y: classes (B,).
        weight: lambda, of the second term.
    """
    own = y[:, None]
    runner_up = adversarial.softmax(1).scatter(1, own, 0).amax(1)
    boosted = F.cross_entropy(adversarial, y, reduction="none") - torch.log1p(-runner_up.clamp(max=1 - 1e-6))
    unsure = 1 - clean.softmax(1).gather(1, own)[:, 0]
    return boosted + weight * divergence(clean, adversarial) * unsure


class MART(AdversarialTraining):
    """Train on PGD's images with a boosted cross-entropy, and weigh agreement with the clean answer by its doubt.

    Wang, Zou, Yi, Bailey, Ma and Gu, "Improving adversarial robustness requires revisiting misclassified examples",
    2020. It replaces the task's loss, label smoothing and class weights included. Accuracy that training logs is that
    of adversarial images. Batch norm is updated by a pass over the adversarial and then one over the clean batch.

    Args:
        epsilon: radius in pixel units, up to 1 with "linf"; 8/255 = 0.03137 for colour photos.
        weight: of the agreement, lambda, not negative; 5 is the paper's, 0 leaves the boosted loss alone.
        steps: of the attack, at least 1; 10 is usual.
        step_size: in pixel units; null is 2.5 epsilon / steps.
        norm: of the ball, "linf" or "l2".
        warmup: share of the run over which the radius grows from 0.
    """

    rivals = ("BatchMixing",)
    rivalry = "its loss is one of class indices, and mixed targets are none"

    def __init__(
        self,
        epsilon: float,
        weight: float = 5.0,
        steps: int = 10,
        step_size: float | None = None,
        norm: Norm = "linf",
        warmup: float = 0.0,
    ) -> None:
        super().__init__(epsilon, norm, warmup)
        check_steps(self.name, epsilon, norm, steps)
        if not weight >= 0:
            raise ZooError(f"MART: weight must not be negative, got {weight}; 5 is usual")
        self.weight, self.steps, self.step_size = weight, steps, step_size

    def objective(self, module: SupervisedModule, batch: Batch) -> Output:
        if batch.y.is_floating_point():
            raise UnsupportedModule(
                "MART needs class indices, not mixed or soft targets; drop what mixes them, or MART"
            )
        adversarial = module.forward_batch(batch._replace(x=self.examples(module, batch, self.attack)))
        clean = module.forward_batch(batch)
        losses = mart_loss(clean.float(), adversarial.float(), batch.y, self.weight)
        return Output(mean_over_batch(losses, batch), adversarial)

    def attack(self, model: Pixels, x: Tensor, y: Tensor, radius: float, generator: torch.Generator) -> Tensor:
        """Adversarial pixels within ``radius``."""
        size = self.scaled(self.step_size, radius)
        return pgd(model, x, y, radius, self.steps, size, self.norm, generator=generator)
