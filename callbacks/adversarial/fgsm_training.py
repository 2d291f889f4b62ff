"""Adversarial training with a single step from a random start, and a guard against the way it fails."""

from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.adversarial.strategy import AdversarialTraining
from zoo.attacks.attacked import withstands
from zoo.attacks.pgd import pgd
from zoo.attacks.pixels import Pixels
from zoo.batch import Batch, as_batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule, task_objective
from zoo.notice import notice
from zoo.task import Output

# The guard's own attack: PGD-10 on at most so many images.
_STEPS, _IMAGES = 10, 128


class FGSMTraining(AdversarialTraining):
    """Train on one sign step of length ``step * epsilon`` from a uniform start in the ball: twice the cost of plain.

    Wong, Rice and Kolter, "Fast is better than free: revisiting adversarial training", 2020, algorithm 3. It may fail
    within a few steps: the network learns to mask its gradient, is right on every single-step image and wrong on nearly
    all that PGD finds (catastrophic overfitting). So a guard compares both on images of the batch just trained on: when
    PGD-10 leaves ``tolerance`` less accuracy than the single step does, it says so and acts.

    Args:
        epsilon: radius in pixel units, linf, up to 1; 0.3 for MNIST, 8/255 = 0.03137 for colour photos.
        step: length of the step in shares of epsilon; 1.25 is the paper's, 2 fails early, below 1 is weak.
        warmup: share of the run over which the radius grows from 0.
        check_every: steps between two looks of the guard, each about twelve passes over 128 images; 0 never looks.
        tolerance: accuracy, in (0, 1], by which PGD may do better than the single step.
        on_collapse: "stop": end the training, the best checkpoint is from before; "restore": also put back the weights
            of the last look that was fine; "lower": put them back, halve the step and go on.
    """

    def __init__(
        self,
        epsilon: float,
        step: float = 1.25,
        warmup: float = 0.0,
        check_every: int = 100,
        tolerance: float = 0.3,
        on_collapse: Literal["stop", "restore", "lower"] = "restore",
    ) -> None:
        super().__init__(epsilon, "linf", warmup)
        if not step > 0 or check_every < 0 or not 0 < tolerance <= 1:
            raise ZooError(
                "FGSMTraining: step is positive, check_every 0 or more and tolerance in (0, 1]; got"
                f" {step}, {check_every} and {tolerance}"
            )
        self.step, self.check_every, self.tolerance, self.on_collapse = step, check_every, tolerance, on_collapse
        self._shrunk = 1.0  # what "lower" has made of the step
        self._good: dict[str, Tensor] = {}

    def attach(self, module: ZooModule) -> None:
        super().attach(module)
        self._shrunk, self._good = 1.0, {}  # a resumed run gets its own from the checkpoint later

    def objective(self, module: SupervisedModule, batch: Batch) -> Output:
        return task_objective(module, batch._replace(x=self.examples(module, batch, self.attack)))

    def attack(self, model: Pixels, x: Tensor, y: Tensor, radius: float, generator: torch.Generator) -> Tensor:
        """Adversarial pixels within ``radius``."""
        return pgd(model, x, y, radius, 1, self._shrunk * self.step * radius, generator=generator)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.check_every and trainer.global_step % self.check_every == 0:
            assert isinstance(pl_module, SupervisedModule)
            self._look(trainer, pl_module, as_batch(batch))

    def state_dict(self) -> dict[str, Any]:
        return {"shrunk": self._shrunk, "good": self._good}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._shrunk, self._good = state_dict["shrunk"], state_dict["good"]

    def _look(self, trainer: Trainer, module: SupervisedModule, batch: Batch) -> None:
        model, radius = self.model(module), self.radius(module)
        x, y = model.to_pixels(batch.x[:_IMAGES]), batch.y[:_IMAGES]
        generator = torch.Generator(x.device).manual_seed(trainer.global_step)
        single = withstands(model, self.attack(model, x, y, radius, generator), y)
        many = withstands(model, pgd(model, x, y, radius, _STEPS, generator=generator), y)
        accuracies = torch.stack([single.float().mean(), many.float().mean()])
        fast, slow = trainer.strategy.reduce(accuracies, reduce_op="mean").tolist()  # the same in every process
        module.log_step({"train/fgsm_accuracy": fast, "train/pgd_accuracy": slow}, trainer.global_step - 1)
        if fast - slow <= self.tolerance:
            if self.on_collapse != "stop":
                self._good = {name: value.detach().clone() for name, value in module.state_dict().items()}
            return
        found = (
            f"FGSMTraining: catastrophic overfitting at step {trainer.global_step}: accuracy {fast:.0%} under the"
            f" single step it trains with, {slow:.0%} under PGD-{_STEPS}"
        )
        restored = self.on_collapse != "stop" and bool(self._good)
        if restored:
            module.load_state_dict(self._good)
        back = "; weights of the last good look are back" if restored else ""
        if self.on_collapse == "lower":
            self._shrunk /= 2
            notice(f"{found}{back}; the step is now {self._shrunk * self.step:g} epsilon")
        else:
            trainer.should_stop = True
            notice(f"{found}{back}; training ends here. Lower step or epsilon, raise warmup, or use PGDTraining")
