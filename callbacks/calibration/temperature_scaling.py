"""Make probabilities mean what they say: one number, fitted on the validation split when training is over."""

import math
import sys
from typing import cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from callbacks.technique import Technique, UnsupportedModule
from zoo.errors import ZooError
from zoo.kept import borrowed, kept_weights, validation_batches
from zoo.losses.base import ClassificationLoss
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice
from zoo.task import Classification

LIMIT = 20.0


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T in [1 / 20, 20] with the smallest negative log-likelihood of softmax(logits / T).

    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017, section 4.2. The likelihood is
    convex in 1 / T, over which L-BFGS searches. Where all samples are right no T is small enough, hence the bounds.

    Args:
        logits: (N, C).
        labels: int64 (N,).
    """
    logits = logits.detach().double()
    sharpness = torch.ones((), dtype=torch.float64, device=logits.device, requires_grad=True)  # 1 / T
    optimizer = torch.optim.LBFGS([sharpness], max_iter=50, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits * sharpness, labels)
        torch.autograd.backward(loss)
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return 1 / min(max(sharpness.item(), 1 / LIMIT), LIMIT)


class TemperatureScaling(Technique):
    """Divide logits by a temperature T that is fitted on the validation split when the fit has ended.

    Guo et al., "On calibration of modern neural networks", 2017, section 4.2. T is kept in the task, as a buffer that
    is 1 in every network: it is written into the best checkpoint (and the module in memory gets its own), so that
    ``zoo test RUN`` and ``zoo predict RUN`` use it. The order of the classes, and with it the accuracy, stays the
    same. ``last.ckpt``, from which a run is resumed, is left as it is.

    With several processes T is fitted on the first one's share of the split.

    Raises:
        UnsupportedModule: in a fit, for another task than Classification, or a loss whose probabilities are no softmax.
        ZooError: in a fit, when there is no validation split.
    """

    supports = SupervisedModule
    tasks = (Classification,)
    patience = sys.maxsize  # acts when training is over

    def __init__(self) -> None:
        self._temperature: float | None = None

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, SupervisedModule)
        loss = module.task.criterion
        self._temperature = None
        if isinstance(loss, ClassificationLoss) and type(loss).probabilities is not ClassificationLoss.probabilities:
            raise UnsupportedModule(
                f"TemperatureScaling: the probabilities of {type(loss).__name__} are not the softmax of the network's"
                " outputs; use cross-entropy or another loss of logits, or drop it"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.enable_validation:
            raise ZooError("TemperatureScaling is fitted on the validation split, and this run has none; drop it")
        _task(pl_module).temperature.fill_(1)  # a second fit starts afresh, as does one from calibrated weights

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SupervisedModule)
        kept = kept_weights(trainer)
        with borrowed(trainer, pl_module):
            self._temperature, report = _calibrate(trainer, pl_module)
        if kept.file is not None:
            with borrowed(trainer, pl_module):
                pl_module.load_state_dict(cast("dict[str, Tensor]", kept.state))
                temperature, report = _calibrate(trainer, pl_module)
            if trainer.is_global_zero:
                file_io = trainer.strategy.checkpoint_io
                checkpoint = file_io.load_checkpoint(kept.file, map_location=torch.device("cpu"), weights_only=True)
                checkpoint["state_dict"]["task.temperature"].fill_(temperature)
                file_io.save_checkpoint(checkpoint, kept.file)
        notice(f"TemperatureScaling, {kept.about}: {report}")
        _task(pl_module).temperature.fill_(self._temperature)
        self.acted()

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        if self._temperature is not None:  # an average of the weights may have been copied into the module since
            _task(module).temperature.fill_(self._temperature)


@torch.no_grad()
def _calibrate(trainer: Trainer, module: SupervisedModule) -> tuple[float, str]:
    """The temperature of the weights as they are, and what it changes on the split that it was fitted on."""
    outputs, targets = [], []
    with trainer.precision_plugin.val_step_context():
        for batch in validation_batches(trainer):
            outputs.append(module.forward_batch(batch).float())
            targets.append(batch.y.argmax(1) if batch.y.is_floating_point() else batch.y)
    logits, labels = torch.cat(outputs), torch.cat(targets)
    temperature = fit_temperature(logits, labels)
    before, after = (_quality(logits / value, labels) for value in (1.0, temperature))
    bound = "; bound reached, the split is too small or too easy" if math.isclose(temperature, 1 / LIMIT) else ""
    return temperature, (
        f"T = {temperature:.3f}{bound}; on the {len(labels):,} validation samples that it was fitted on, calibration"
        f" error {before[0]:.4f} -> {after[0]:.4f}, negative log-likelihood {before[1]:.4f} -> {after[1]:.4f}"
    )


def _quality(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Calibration error, as the task logs it, and negative log-likelihood."""
    error = multiclass_calibration_error(logits.softmax(1), labels, logits.shape[1])
    return error.item(), F.cross_entropy(logits, labels).item()


def _task(module: LightningModule) -> Classification:
    assert isinstance(module, SupervisedModule)
    assert isinstance(module.task, Classification)
    return module.task
