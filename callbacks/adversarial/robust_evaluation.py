"""Accuracy under attack: on validation to choose the best epoch by, on test as a table."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.adversarial.auto_attack import auto_attack, require_auto_attack
from callbacks.adversarial.classifier import classifier_of_pixels, require_classifier, require_images
from callbacks.adversarial.report import Shown, ball, picture, print_table, save_picture
from callbacks.technique import NoEffect, Technique
from zoo.attacks.attacked import withstands
from zoo.attacks.ball import Norm
from zoo.attacks.fgsm import fgsm
from zoo.attacks.pgd import check_steps, pgd
from zoo.attacks.pixels import Pixels
from zoo.batch import as_batch
from zoo.errors import ZooError
from zoo.meter import Meter
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice
from zoo.task import Classification

Attack = Callable[[Pixels, Tensor, Tensor], Tensor]
_SHOWN = 8
# PGD holds FGSM's image in its ball; where it finds clearly less, the gradients are of no use.
_MASKED = 0.02


@runtime_checkable
class NamesClasses(Protocol):
    """Data that say what their classes are called, in the order of the labels."""

    classes: Sequence[str]


def evenly(first: int, size: int, wanted: int, total: int) -> Tensor:
    """Places within a batch of the samples that belong to ``wanted`` ones spread evenly over ``total``.

    Args:
        first: place of the batch's first sample in the split.
        size: samples in the batch.
        wanted: how many of the split are wanted; all of them when there are not more.
        total: samples in the split.
    """
    places = torch.arange(first, first + size)
    if wanted >= total:
        return places - first
    return (places * wanted // total > (places - 1) * wanted // total).nonzero()[:, 0]


class RobustEvaluation(Technique):
    """Measure accuracy under attack, and keep the epoch that is best by it.

    Validation logs ``val/robust_accuracy`` under PGD, on the same images with the same draws after every epoch. Test
    prints a table: no attack, FGSM, PGD, and AutoAttack if asked for; it logs ``test/fgsm_accuracy``,
    ``test/robust_accuracy`` and ``test/autoattack_accuracy``, and draws clean and adversarial images beside each other
    in the run's figures. An image that is wrong without an attack counts as wrong under all. Works inside the Trainer's
    ``inference_mode``; nothing of the run changes by it, random states included.

    Why the best epoch: under adversarial training the robust error on test images rises again long before the end,
    while that on training images falls (Rice, Wong and Kolter, "Overfitting in adversarially robust deep learning",
    2020).

    Args:
        epsilon: radius of the ball in pixel units; the one that is trained with, usually.
        norm: of the ball, "linf" or "l2".
        steps: of PGD, 10 to 20 to choose by, 20 to 100 to report; the step size is 2.5 epsilon / steps.
        restarts: of PGD; the worst counts.
        val_samples: validation images to attack, spread evenly over the split; a few hundred keep an epoch cheap.
        test_samples: test images to attack; null for all of them.
        autoattack: test images that AutoAttack judges, 0 for none; it needs ``lightning-zoo[autoattack]``.
        select: keep the checkpoint with the best ``val/robust_accuracy`` instead of the best by the task's metric.
    """

    supports = SupervisedModule
    inputs = ("images",)
    tasks = (Classification,)
    patience = sys.maxsize  # acts at validation

    def __init__(
        self,
        epsilon: float,
        norm: Norm = "linf",
        steps: int = 20,
        restarts: int = 1,
        val_samples: int = 1000,
        test_samples: int | None = None,
        autoattack: int = 0,
        select: bool = True,
    ) -> None:
        check_steps(self.name, epsilon, norm, steps)
        if min(restarts, val_samples, test_samples or 1) < 1 or autoattack < 0:
            raise ZooError(
                f"RobustEvaluation: restarts, val_samples and test_samples are 1 or more, autoattack 0 or more; got"
                f" {restarts}, {val_samples}, {test_samples} and {autoattack}"
            )
        self.epsilon, self.norm, self.steps, self.restarts = epsilon, norm, steps, restarts
        self.val_samples, self.test_samples, self.autoattack = val_samples, test_samples, autoattack
        self.selects = ("val/robust_accuracy", "max") if select else None
        self._meter, self._judged, self._seen, self._total = Meter(), Meter(), 0, 0
        self._shown: Shown | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage in ("fit", "validate", "test") and isinstance(pl_module, SupervisedModule):
            require_classifier(self.name, pl_module, trainer)
            if self.autoattack:
                require_auto_attack(self.name)

    def attach(self, module: ZooModule) -> None:
        if self.epsilon == 0:
            raise NoEffect("RobustEvaluation: epsilon is 0, which attacks nothing; raise it or drop RobustEvaluation")

    def no_effect_hint(self) -> str:
        return "no validation batch was seen; let the run validate, or drop RobustEvaluation"

    # Validation -----------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if trainer.sanity_checking or dataloader_idx > 0:
            return
        model, x, y = self._chosen(trainer, pl_module, batch, self.val_samples, trainer.num_val_batches[0])
        if len(x):
            right, _ = self._withstands(model, x, y, withstands(model, x, y), self._pgd(batch_idx))
            self._meter.update(len(x), {"robust_accuracy": right.float().mean()})
        self.acted()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log_dict({f"val/{name}": value for name, value in self._meter.compute().items()})

    # Test -----------------------------------------------------------------------------------------------------------

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if dataloader_idx > 0:
            return
        wanted = sys.maxsize if self.test_samples is None else self.test_samples
        model, x, y = self._chosen(trainer, pl_module, batch, wanted, trainer.num_test_batches[0])
        if len(x) == 0:
            return
        clean = withstands(model, x, y)
        fast, _ = self._withstands(model, x, y, clean, lambda model, x, y: fgsm(model, x, y, self.epsilon, self.norm))
        slow, adversarial = self._withstands(model, x, y, clean, self._pgd(batch_idx))
        results = {"clean_accuracy": clean, "fgsm_accuracy": fast, "robust_accuracy": slow}
        self._meter.update(len(x), {name: right.float().mean() for name, right in results.items()})
        if self._shown is None:
            self._shown = _fooled(model, x, adversarial, clean, slow)
        more = min(-(-self.autoattack // trainer.world_size) - self._judged.count, len(x))
        if more > 0:
            judge: Attack = lambda model, x, y: auto_attack(model, x, y, self.epsilon, self.norm)  # noqa: E731
            # What PGD has fooled needs no other judge.
            judged, _ = self._withstands(model, x[:more], y[:more], slow[:more], judge)
            results = {"autoattack_accuracy": judged, "robust_accuracy_of_judged": slow[:more]}
            self._judged.update(more, {name: right.float().mean() for name, right in results.items()})

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = {**self._meter.compute(), **(self._judged.compute() if self.autoattack else {})}
        pl_module.log_dict({f"test/{name}": value for name, value in found.items()})
        if found and trainer.is_global_zero:
            self._report(trainer, {name: value.item() for name, value in found.items()})

    def _report(self, trainer: Trainer, found: dict[str, float]) -> None:
        count, judged = self._meter.count * trainer.world_size, self._judged.count * trainer.world_size
        again = f", worst of {self.restarts}" if self.restarts > 1 else ""
        rows = [
            ("none", found["clean_accuracy"], count),
            ("FGSM", found["fgsm_accuracy"], count),
            (f"PGD-{self.steps}{again}", found["robust_accuracy"], count),
        ]
        if "autoattack_accuracy" in found:
            # Beside AutoAttack on a part of the images stands PGD on that part, so that both can be compared.
            rows.append((f"PGD-{self.steps}{again}", found["robust_accuracy_of_judged"], judged))
            rows.append(("AutoAttack after PGD", found["autoattack_accuracy"], judged))
        print_table(f"accuracy within {ball(self.epsilon, self.norm)}", rows)
        if found["robust_accuracy"] > found["fgsm_accuracy"] + _MASKED:
            notice(
                "RobustEvaluation: PGD fools less than the single step of FGSM does, so that gradients lead nowhere"
                " (gradient masking); do not trust either figure, judge with autoattack"
            )
        folder = os.environ.get("ZOO_RUN_DIR")  # a figure belongs into the folder of a run, and only there
        if self._shown is not None and folder is not None:
            data = trainer.datamodule  # type: ignore[attr-defined]
            names = list(data.classes) if isinstance(data, NamesClasses) else None
            file = save_picture(picture(self._shown, self.epsilon, self.norm, names), Path(folder))
            notice(f"clean and adversarial images: {os.path.relpath(file)}")

    # Both -----------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._meter.reset()
        self._judged.reset()
        self._seen, self._total, self._shown = 0, 0, None

    def _pgd(self, batch_idx: int) -> Attack:
        """PGD with draws that depend on the batch alone: the same in every epoch, and of no other random state."""

        def attack(model: Pixels, x: Tensor, y: Tensor) -> Tensor:
            generator = torch.Generator(x.device).manual_seed(batch_idx)
            return pgd(model, x, y, self.epsilon, self.steps, None, self.norm, self.restarts, generator=generator)

        return attack

    def _chosen(
        self, trainer: Trainer, module: LightningModule, raw: Any, wanted: int, batches: int | float
    ) -> tuple[Pixels, Tensor, Tensor]:
        """The classifier of pixels, and those images and labels of a batch that are to be attacked."""
        assert isinstance(module, SupervisedModule)
        batch = as_batch(raw)
        require_images(self.name, batch.x)
        if self._total == 0:
            self._total = int(batches) * batch.size  # the last batch may be smaller: then a few less are chosen
        places = evenly(self._seen, batch.size, -(-wanted // trainer.world_size), self._total).to(batch.x.device)
        self._seen += batch.size
        y = batch.y.argmax(1) if batch.y.is_floating_point() else batch.y
        model = classifier_of_pixels(module)
        return model, model.to_pixels(batch.x[places]), y[places]

    @staticmethod
    def _withstands(model: Pixels, x: Tensor, y: Tensor, right: Tensor, attack: Attack) -> tuple[Tensor, Tensor]:
        """Which of the images that are ``right`` stay so under an attack, (B,), and the images after it."""
        after, still = x.clone(), right.clone()
        if bool(right.any()):
            after[right] = attack(model, x[right], y[right])
            still[right] = withstands(model, after[right], y[right])
        return still, after


@torch.no_grad()
def _fooled(model: Pixels, x: Tensor, adversarial: Tensor, clean: Tensor, robust: Tensor) -> Shown:
    """A few images of a batch, those first that were right until they were attacked."""
    chosen = (clean & ~robust).float().argsort(descending=True, stable=True)[:_SHOWN]
    before, after = x[chosen], adversarial[chosen]
    return Shown(before, after, model(before).argmax(1), model(after).argmax(1))
