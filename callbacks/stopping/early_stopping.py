"""End a run that has stopped getting better, on Lightning's own callback."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from callbacks.technique import Technique
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice


class StopEarly(EarlyStopping, Technique):
    """Stop when what the task monitors on the validation split was not better for ``patience`` epochs.

    It watches the quantity by which the best checkpoint is chosen (accuracy, rmse, ...), so that both agree. Patience
    is kept in the checkpoint. Prechelt, "Early stopping - but when?", 1998.

    Args:
        patience: validations without a gain before the run ends, at least 1.
        min_delta: a smaller gain does not count, in units of the quantity; not negative.

    Raises:
        ZooError: a number out of range; in a fit, when there is no validation split.
    """

    supports = SupervisedModule

    def __init__(self, patience: int = 10, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ZooError(f"StopEarly: patience counts validations and must be at least 1, got {patience}")
        if min_delta < 0:
            raise ZooError(f"StopEarly: min_delta must not be negative, got {min_delta}")
        super().__init__("val/loss", min_delta, patience, check_on_train_epoch_end=False)

    def attach(self, module: ZooModule) -> None:
        """Watch what the task monitors; the best of an earlier fit does not count."""
        assert isinstance(module, SupervisedModule)
        super().__init__(
            f"val/{module.task.monitor}", abs(self.min_delta), self.patience, mode=module.task.mode,
            check_on_train_epoch_end=False,
        )  # fmt: skip

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        Technique.setup(self, trainer, pl_module, stage)
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.enable_validation:
            raise ZooError("StopEarly watches the validation split, and this run has none; drop it")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if trainer.should_stop and self.stopped_epoch == trainer.current_epoch:
            self.acted()
            notice(
                f"StopEarly: {self.monitor} was not better than {float(self.best_score):.4g} for {self.wait_count}"
                f" validations; stopped after epoch {trainer.current_epoch + 1}"
            )

    def require_effect(self, batches: int, module: LightningModule | None = None) -> None:
        """Nothing to require: a run that gets better to its end is not stopped."""
