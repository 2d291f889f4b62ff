"""What strategies of adversarial training share: the ball and how it grows, and examples made anew in every step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.adversarial.classifier import classifier_of_pixels, require_classifier, require_images
from callbacks.technique import NoEffect, Technique
from zoo.attacks.ball import Norm, check_ball
from zoo.attacks.pixels import Pixels
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Output

# Adversarial pixels from (classifier of pixels, pixels, targets, radius, generator).
Attack: TypeAlias = Callable[[Pixels, Tensor, Tensor, float, torch.Generator], Tensor]


class AdversarialTraining(Technique, ABC):
    """Base of the strategies: each owns the objective, so that two of them, or any other objective, are a Conflict.

    The attack sees a batch after all batch transforms, mixed targets included, with batch norm and dropout in
    evaluation mode. Its draws come from one number of torch's global generator, which every step seeds anew, so that a
    resumed run makes the same examples. When a batch is evaluated a second time in its step (SAM, AWP) the examples of
    the first are kept: what is perturbed then are the weights.

    Args:
        epsilon: radius of the ball in pixel units.
        norm: of the ball.
        warmup: share of the run over which the radius grows linearly from 0, in [0, 1); 0 begins with all of it.
    """

    supports = SupervisedModule
    inputs = ("images",)
    tasks = (Classification,)

    def __init__(self, epsilon: float, norm: Norm, warmup: float) -> None:
        check_ball(self.name, epsilon, norm)
        if not 0 <= warmup < 1:
            raise ZooError(f"{self.name}: warmup is a share of the run in [0, 1), got {warmup}")
        self.epsilon, self.norm, self.warmup = epsilon, norm, warmup
        self._model: Pixels | None = None
        self._examples: Tensor | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and isinstance(pl_module, SupervisedModule):
            require_classifier(self.name, pl_module, trainer)
        super().setup(trainer, pl_module, stage)

    def attach(self, module: ZooModule) -> None:
        if self.epsilon == 0:
            raise NoEffect(f"{self.name}: epsilon is 0, which is training without an attack; raise it or drop it")
        self.claim(module, "objective", self.objective)

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._model = self._examples = None

    @abstractmethod
    def objective(self, module: SupervisedModule, batch: Batch) -> Output:
        """The loss of a training batch, and the prediction that training metrics are of."""

    def examples(self, module: SupervisedModule, batch: Batch, attack: Attack) -> Tensor:
        """Adversarial inputs for a batch, normalised as the network takes them."""
        require_images(self.name, batch.x)
        seed = int(torch.randint(2**62, (1,)))  # in a second evaluation too, so that dropout draws what it drew before
        if not module.revisiting or self._examples is None:
            model = self.model(module)
            generator = torch.Generator(batch.x.device).manual_seed(seed)
            pixels = attack(model, model.to_pixels(batch.x), batch.y, self.radius(module), generator)
            self._examples = model.to_inputs(pixels)
        return self._examples

    def model(self, module: SupervisedModule) -> Pixels:
        """The module as a function of pixels; made at the first step, when the data have their last normalisation."""
        if self._model is None:
            self._model = classifier_of_pixels(module)
        return self._model

    def radius(self, module: ZooModule) -> float:
        """The radius of this step: epsilon min(1, (step + 1) / (warmup * steps of the run))."""
        if self.warmup == 0:
            return self.epsilon
        total = float(module.trainer.estimated_stepping_batches)
        if total == float("inf"):
            raise ZooError(f"{self.name}: warmup has to know the length of the run; set max_epochs or max_steps")
        return self.epsilon * min(1.0, (module.trainer.global_step + 1) / (self.warmup * total))

    def scaled(self, step_size: float | None, radius: float) -> float | None:
        """A step size that was given for epsilon, for the radius of this step."""
        return None if step_size is None else step_size * radius / self.epsilon


def mean_over_batch(values: Tensor, batch: Batch) -> Tensor:
    """Mean of one number a sample (B,), weighted by ``batch.weight`` when it is given."""
    if batch.weight is None:
        return values.mean()
    return (values * batch.weight).sum() / batch.weight.sum()
