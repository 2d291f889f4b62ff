"""What a step does beside learning: it stops at a loss that is not finite, is seeded, and is written down."""

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from callbacks.reporting.checkpoint import Checkpoint
from datamodules.base import TensorSplit
from datamodules.digits import Digits
from tests.tools import quiet_trainer
from zoo.errors import NonFiniteError
from zoo.mlp import MLP
from zoo.task import Classification

BATCHES = 4  # of 400 digits, in an epoch


def make_mlp(**arguments: Any) -> MLP:
    torch.manual_seed(0)
    return MLP(64, Classification(10), **{"hidden": [16], **arguments})


def fit(module: LightningModule, *callbacks: Callback, ckpt: Path | None = None, **settings: Any) -> Any:
    trainer = quiet_trainer(callbacks=list(callbacks), **settings)
    trainer.fit(module, datamodule=Digits(batch_size=400), ckpt_path=ckpt)
    return trainer


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


# Non-finite losses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_loss_stops_before_the_optimizer(bad: float) -> None:
    module, before = make_mlp(), {}

    class Poison(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            before.update(weights(module))
            if (trainer.current_epoch, batch_idx) == (1, 2):
                module.penalties["poison"] = lambda m, batch, output: output.loss * bad

    trainer = quiet_trainer(callbacks=[Poison()], max_epochs=3)
    with pytest.raises(NonFiniteError, match=rf"the training loss is {bad} in epoch 1, batch 2; no step was made with"):
        trainer.fit(module, datamodule=Digits(batch_size=400))
    assert trainer.global_step == BATCHES + 2
    assert same(before, weights(module))


class Sour(nn.Module):
    """Cross-entropy that is NaN in evaluation from the second epoch's end on."""

    evaluations = 0

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(prediction, target)
        if not torch.is_grad_enabled():
            self.evaluations += 1
        return loss * math.nan if self.evaluations > 1 else loss


def test_a_non_finite_validation_loss_never_becomes_best(tmp_path: Path) -> None:
    module = MLP(64, Classification(10, Sour()), hidden=[16])
    checkpoint = Checkpoint(tmp_path, "val/accuracy", "max")
    with pytest.raises(NonFiniteError, match="the validation loss is nan after epoch 1; the weights of this epoch are"):
        fit(module, checkpoint, max_epochs=3, num_sanity_val_steps=0, enable_checkpointing=True)
    for name in ("best", "last"):
        saved = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)
        assert (saved["epoch"], saved["global_step"]) == (0, BATCHES)


# Seeding --------------------------------------------------------------------------------------------------------------


class Masks(Callback):
    """Dropout masks by (epoch, batch)."""

    def __init__(self, disturb: bool = False) -> None:
        self.masks: dict[tuple[int, int], Tensor] = {}
        self.disturb = disturb

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        def note(layer: nn.Module, args: Any, out: Tensor) -> None:
            if layer.training:
                self.masks[trainer.current_epoch, trainer.fit_loop.batch_idx] = out == 0

        self.handle = pl_module.backbone[0].dropout.register_forward_hook(note)

    def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
        if self.disturb:
            torch.rand(100)

    def on_fit_end(self, *rest: Any) -> None:
        self.handle.remove()


def test_dropout_is_a_function_of_seed_epoch_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def masks(seed: int, **settings: Any) -> dict[tuple[int, int], Tensor]:
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        noted = Masks(**settings)
        # A linear network whose dropout alone makes zeros.
        fit(make_mlp(activation="identity", dropout=0.5), noted, max_epochs=2)
        return noted.masks

    first = masks(0)
    assert len(first) == 2 * BATCHES
    assert same(first, masks(0, disturb=True))  # type: ignore[arg-type]
    full = [mask for mask in first.values() if len(mask) == 400]
    shares = [(a == b).float().mean().item() for i, a in enumerate(full) for b in full[:i]]
    other = masks(1)
    shares += [(mask == other[place]).float().mean().item() for place, mask in first.items()]
    assert shares == pytest.approx([0.5] * len(shares), abs=0.05)


# Logging --------------------------------------------------------------------------------------------------------------


class Points(Logger):
    """Keeps what it was given."""

    name, version = "points", 0

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.points.append((step, dict(metrics)))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        pass


class Losses(Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())


@pytest.mark.parametrize("every", [1, 3])
def test_points_of_the_training_curve(every: int) -> None:
    logger, losses = Points(), Losses()
    trainer = fit(make_mlp(), losses, logger=logger, log_every_n_steps=every, max_epochs=2)
    curve = {step: values["train/loss_step"] for step, values in logger.points if "train/loss_step" in values}
    assert curve == {step: losses.losses[step] for step in range(0, 2 * BATCHES, every)}
    ends = [values for _, values in logger.points if "train/loss" in values]
    assert len(ends) == 2
    metrics = {f"{stage}/{name}" for stage in ("train", "val") for name in ("loss", "accuracy")}
    assert set(trainer.callback_metrics) == {*metrics, "val/f1", "val/calibration_error"}


def test_epoch_values_are_means_over_samples() -> None:
    losses = Losses()
    module, data = make_mlp(), Digits(batch_size=400)
    trainer = quiet_trainer(callbacks=[losses])
    trainer.fit(module, datamodule=data)
    sizes = [400] * (BATCHES - 1) + [data.last_batch_size]
    mean = sum(n * loss for n, loss in zip(sizes, losses.losses)) / sum(sizes)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(mean, rel=1e-5)
    split = data.splits["val"]
    assert isinstance(split, TensorSplit)
    with torch.no_grad():
        logits = module.eval()(data.transform_batch(split.x))
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(
        nn.functional.cross_entropy(logits, split.y).item(), rel=1e-5
    )
    right = (logits.argmax(1) == split.y).float().mean().item()
    assert trainer.callback_metrics["val/accuracy"].item() == pytest.approx(right)
