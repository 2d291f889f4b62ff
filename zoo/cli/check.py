"""``zoo check``: is what back-propagation computes the slope of the loss, and is a run worth starting?"""

import contextlib
import copy
import math
import os
import tempfile
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn

from zoo.batch import Batch, as_batch
from zoo.cli import check_all
from zoo.cli.arguments import prepare
from zoo.errors import ZooError
from zoo.gradient_check import Checked, check_gradients, kinks
from zoo.module import SupervisedModule
from zoo.tasks.class_labels import ClassLabels

USAGE = """\
usage: zoo check                                    every family and every loss, at tiny sizes
       zoo check -c RECIPE [-c FRAGMENT] [--model...]   your model on a small batch of your data

Compares the gradients of back-propagation with differences of the loss in double precision. Exit status 1 when one
is wrong; the parameter is named.
"""
SAMPLES, STEPS, LR = 8, 100, 1e-2  # of the batch that is looked at; of the attempt to learn it by heart
TOLERANCE = 1e-6  # as a share of the gradient; user's networks have kinks and large sums


def run(argv: list[str]) -> None:
    """Check everything, or the model of a configuration.

    Raises:
        SystemExit: status 1 when a gradient is wrong.
    """
    if "--help" in argv or "-h" in argv:
        print(USAGE, end="")
        return
    torch.manual_seed(0)
    passed = _check_recipe(argv) if argv else _check_all()
    if not passed:
        raise SystemExit(1)


def _check_all() -> bool:
    print(f"{'what':<44}{'numbers':>8}{'deviation':>11}  passed")
    passed = True
    for row in check_all.rows():
        if row.result is None:
            print(f"{row.what:<44}{'-':>8}{'-':>11}  left out: {row.why_not}")
            continue
        found = row.result
        verdict = "yes" if found.passed else f"NO: {found.worst}"
        print(f"{row.what:<44}{found.parameters:>8}{found.deviation:>11.1e}  {verdict}", flush=True)
        passed &= found.passed
    return passed


def _check_recipe(argv: list[str]) -> bool:
    from zoo.cli.cli import ZooCLI, run

    small = ["--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
             "--trainer.devices=1", "--trainer.enable_checkpointing=false"]  # fmt: skip
    preflight = Preflight()

    class Command(ZooCLI):
        """A run that ends before its first step."""

        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            trainer = super().instantiate_trainer(**kwargs)
            trainer.callbacks.append(preflight)  # type: ignore[attr-defined]
            return trainer

    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_RUNS"] = folder
        with contextlib.suppress(Finished):
            run(prepare("fit", [*argv, *small]), Command)
    return preflight.passed


class Finished(Exception):
    """All checks were made; the run need not begin."""


class Preflight(Callback):
    """Looks at a model when its data, its techniques and its weights are in place, and stops there."""

    def __init__(self) -> None:
        self.passed = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, SupervisedModule):
            raise ZooError(f"zoo check -c looks at models with one loss, which {type(pl_module).__name__} has not")
        batch = first_samples(trainer.datamodule, pl_module)  # type: ignore[attr-defined]
        _say("model", f"{type(pl_module).__name__}, {sum(p.numel() for p in pl_module.parameters()):,} parameters")
        self.passed = check_start(pl_module, batch)
        memorise(copy.deepcopy(pl_module), batch)
        found = check_slopes(pl_module, batch)
        verdict = "passed" if found.passed else f"FAILED at {found.worst}"
        _say("slopes", f"{verdict}: largest deviation {found.deviation:.1e} of {found.parameters:,} parameters")
        self.passed &= found.passed
        raise Finished


def first_samples(data: LightningDataModule, module: SupervisedModule) -> Batch:
    """A few training samples as evaluation would prepare them: without augmentation."""
    loader = data.train_dataloader()
    state, data.trainer.training = data.trainer.training, False  # type: ignore[union-attr]
    batch = as_batch(data.on_after_batch_transfer(next(iter(loader)), 0))
    data.trainer.training = state  # type: ignore[union-attr]
    return Batch(*[part[:SAMPLES] if isinstance(part, Tensor) else part for part in batch])


def check_start(module: SupervisedModule, batch: Batch) -> bool:
    """The first loss beside that of a guess, and where its gradient arrives; False when it is not finite."""
    module.train()
    module.zero_grad()
    loss = module.objective(module, batch).loss
    loss.backward()
    guess = ""
    if isinstance(module.task, ClassLabels) and isinstance(module.task.criterion, nn.CrossEntropyLoss):
        guess = f"; a guess among {module.task.num_classes} classes costs ln {module.task.num_classes} ="
        guess += f" {math.log(module.task.num_classes):.3f}"
    _say("loss", f"{loss.item():.3f} at the start{guess}")
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    missed = [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
    wrong = [name for name, p in trained.items() if p.grad is not None and not p.grad.isfinite().all()]
    _say("gradient", f"reaches {len(trained) - len(missed)} of {len(trained)} parameter tensors"
         + (f"; not: {', '.join(missed[:5])}{', ...' if len(missed) > 5 else ''}" if missed else ""))  # fmt: skip
    if wrong:
        _say("gradient", f"NOT FINITE in {', '.join(wrong[:5])}")
    module.zero_grad()
    return not wrong and math.isfinite(loss.item())


def memorise(module: SupervisedModule, batch: Batch) -> None:
    """Try to learn the batch by heart: a network that cannot has a fault, or too little room."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0
    module.train()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=LR, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = module.objective(module, batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    least = min(losses)
    share = (losses[0] - least) / max(abs(losses[0]), 1e-12)
    verdict = "can be learnt by heart" if share > 0.5 else "is NOT learnt by heart"
    _say("one batch", f"{verdict}: loss {losses[0]:.3f} -> {least:.3f} in {STEPS} steps of AdamW at {LR:g}")


def check_slopes(module: SupervisedModule, batch: Batch) -> Checked:
    """The gradient check, along a random direction for each tensor, with dropout off and norms in evaluation."""
    module = module.double().eval()
    double = Batch(*[p.double() if isinstance(p, Tensor) and p.is_floating_point() else p for p in batch])
    if found := kinks(module):
        _say("kinks", f"{', '.join(found)}: steps across one are made smaller")
    tensors = {name: p for name, p in module.named_parameters() if p.requires_grad}
    return check_gradients(lambda: module.objective(module, double).loss, tensors, tolerance=TOLERANCE)


def _say(what: str, text: str) -> None:
    print(f"{what:<10}{text}", flush=True)
