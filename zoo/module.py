"""The loop and the slots: what every family shares, and the only places where a technique may plug in."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias, cast

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection

from zoo.batch import Batch, Inputs, as_batch
from zoo.errors import DataError, NonFiniteError, ZooError
from zoo.layers.padding import padding_mask
from zoo.meter import Meter
from zoo.optim import check_same_optimizers, default_optimizer, may_fuse, parameter_names
from zoo.preprocessing import describe
from zoo.randomness import seed_step
from zoo.task import Output, Task

Initializer: TypeAlias = Callable[["ZooModule"], None]
BatchTransform: TypeAlias = Callable[["ZooModule", Batch], Batch]
Objective: TypeAlias = Callable[["SupervisedModule", Batch], Output]
Answer: TypeAlias = Callable[["SupervisedModule", Batch, int], Tensor]
Penalty: TypeAlias = Callable[["ZooModule", Batch, Output], Tensor]
OptimizerFactory: TypeAlias = Callable[[nn.Module], Optimizer]
OptimizerWrapper: TypeAlias = Callable[[Optimizer], Optimizer]
ScheduleFactory: TypeAlias = Callable[[Optimizer, int], LRScheduler | LRSchedulerConfigType]


# What is logged here was summed over processes before; averages refuse a network in parts themselves.
warnings.filterwarnings("ignore", ".*when logging on epoch level in distributed setting.*")
warnings.filterwarnings("ignore", ".*WeightAveraging callback with a model that overrides the configure_model.*")


class Frozen(NamedTuple):
    """Parameters that a technique keeps from being trained: by name, and whether their turn will come."""

    names: list[str]
    for_now: bool = False


class ZooModule(LightningModule):
    """Base of all families: slots, optimizers, seeding of each step, and what a checkpoint has to remember.

    Slots that many techniques may share are dictionaries from the technique's name to its function, so that a second
    ``fit`` adds nothing twice; slots with room for one are claimed through ``slot_owners``, so that two techniques
    that want the same one are a ``Conflict``.

    Attributes:
        takes: the kinds of inputs that the family is built for; empty where it takes what it is given.
        initializers: fill weights, in order, once, before weights are restored from a checkpoint.
        batch_transforms: change a training batch on the device.
        penalties: scalars that are added to the loss.
        optimizer_factories: one optimizer for each network name of ``networks()``; AdamW where none is given.
        optimizer_wrappers: change an optimizer after it was built (SAM, Lookahead).
        schedule_factories: one learning-rate schedule for each network name.
        slot_owners: who claimed a slot with room for one.
        frozen: what techniques keep from being trained, so that one that finds nothing to act on can say why.
        initialized: the init schemes that have run; a second ``fit`` keeps what the first has learnt.
        last_loss: the training loss of the last batch.
        revisiting: whether a batch is evaluated once more in the same step (SAM), which counts for no metric.
        pretrained: names of submodules that hold pretrained weights, which no init scheme may overwrite.
    """

    takes: ClassVar[tuple[Inputs, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.initializers: dict[str, Initializer] = {}
        self.batch_transforms: dict[str, BatchTransform] = {}
        self.penalties: dict[str, Penalty] = {}
        self.optimizer_factories: dict[str, OptimizerFactory] = {}
        self.optimizer_wrappers: dict[str, OptimizerWrapper] = {}
        self.schedule_factories: dict[str, ScheduleFactory] = {}
        self.slot_owners: dict[str, str] = {}
        self.frozen: dict[str, Frozen] = {}
        self.pretrained: set[str] = set()
        self.last_loss = math.nan
        self.revisiting = False
        self.initialized: set[str] = set()
        self._restored_optimizers: dict[str, list[str]] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets this one name about 40 times a step, and nn.Module's bookkeeping for it costs 0.1 ms in all.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def networks(self) -> dict[str, nn.Module]:
        """The networks that have an optimizer of their own, by name."""
        return {"network": self}

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._restored_optimizers = None  # what was loaded for a test before does not bind this fit
            self.initialize()

    def initialize(self) -> None:
        """Run the init schemes that have not run yet; weights of a checkpoint are restored later and win."""
        for name, initializer in self.initializers.items():
            if name not in self.initialized:
                initializer(self)
                self.initialized.add(name)

    def configure_model(self) -> None:
        """Spread the network over the processes of a strategy with a mesh of devices (ModelParallelStrategy)."""
        if self.device_mesh is not None:
            from zoo import parallel  # a second of imports that few runs need

            parallel.spread(self, self.device_mesh)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Processes that hold parts of one matrix read the same batch and drop the same units.
        mesh = self.device_mesh
        rank = self.trainer.global_rank if mesh is None else mesh["data_parallel"].get_local_rank()
        seed_step(self.trainer.current_epoch, batch_idx, rank)

    def configure_optimizers(self) -> Any:
        built = [self._configure_optimizer(name, network) for name, network in self.networks().items()]
        names = {name: parameter_names(self, config["optimizer"]) for name, config in zip(self.networks(), built)}
        if self._restored_optimizers is not None:
            check_same_optimizers(self._restored_optimizers, names)
        return built[0] if len(built) == 1 else tuple(built)

    def _configure_optimizer(self, name: str, network: nn.Module) -> dict[str, Any]:
        factory = self.optimizer_factories.get(name)
        optimizer = factory(network) if factory else default_optimizer(network, may_fuse(self.trainer))
        for wrap in self.optimizer_wrappers.values():
            optimizer = wrap(optimizer)
        config: dict[str, Any] = {"optimizer": optimizer}
        if name in self.schedule_factories:
            schedule = self.schedule_factories[name](optimizer, int(self.trainer.estimated_stepping_batches))
            # A schedule that waits for a metric says so itself; all others advance with every optimizer step.
            config["lr_scheduler"] = (
                {"scheduler": schedule, "interval": "step"} if isinstance(schedule, LRScheduler) else schedule
            )
        return config

    def require_finite(self, loss: Tensor, name: str = "training loss") -> None:
        """Stop before the optimizer uses a loss that is NaN or infinite; names epoch and batch."""
        value = loss.item()
        if not self.revisiting:
            self.last_loss = value
        if not math.isfinite(value):
            batch = self.trainer.fit_loop.batch_idx
            raise NonFiniteError(
                f"the {name} is {value} in epoch {self.trainer.current_epoch}, batch {batch}; no step"
                " was made with it. Lower the learning rate, warm it up, clip gradients, or look at that batch"
            )

    def log_step(self, values: dict[str, float], step: int | None = None) -> None:
        """Send a point of a training curve to the loggers.

        Args:
            values: what to log.
            step: which step it belongs to, counted from 0; by default the one that is about to be made, and then only
                every ``log_every_n_steps`` of them.
        """
        now = self.trainer.global_step
        if step is not None or now % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for logger in self.loggers:
                logger.log_metrics(values, now if step is None else step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        optimizers = zip(self.networks(), self.trainer.optimizers)
        checkpoint["zoo"] = {"optimizers": {name: parameter_names(self, used) for name, used in optimizers}}
        make = getattr(self.trainer.datamodule, "preprocessing", None)  # type: ignore[attr-defined]
        if make is not None and (preprocessing := make()) is not None:
            checkpoint["zoo"]["preprocessing"] = describe(preprocessing)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restored_optimizers = checkpoint.get("zoo", {}).get("optimizers")


class SupervisedModule(ZooModule):
    """Base of the families that learn from pairs (x, y); a subclass builds layers and defines ``forward``.

    Attributes:
        objective: (module, batch) -> Output; the task's loss unless a technique claims the slot.
        answer: (module, batch, index of the batch) -> raw prediction in validation, test and prediction; what
            ``forward_batch`` says unless a technique claims the slot.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.objective: Objective = task_objective
        self.answer: Answer = plain_answer
        self._train_meter = Meter()
        self._loss_meters = {"val": Meter(), "test": Meter()}
        self._metrics = nn.ModuleDict({"val_metrics": task.metrics(), "test_metrics": task.metrics()})

    def forward_batch(self, batch: Batch) -> Tensor:
        """Raw prediction for a batch; families whose inputs have lengths override this."""
        return cast(Tensor, self(batch.x))

    def setup(self, stage: str) -> None:
        # A run that broke off in the middle of a split leaves half its sums behind; a resume loads its own later.
        for meter in (self._train_meter, *self._loss_meters.values()):
            meter.reset()
        for metrics in self._metrics.values():
            cast(MetricCollection, metrics).reset()
        datamodule: LightningDataModule | None = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and datamodule is not None:
            targets = getattr(datamodule, "train_targets", None)
            if isinstance(targets, Tensor):
                self.task.check_targets(targets, f"{type(datamodule).__name__} train")
                self.task.fit_targets(targets)
            self._check_last_batch(datamodule)
        if stage == "fit":
            self._check_processes()
        super().setup(stage)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch = as_batch(batch)
        for transform in self.batch_transforms.values():
            batch = transform(self, batch)
        output = self.objective(self, batch)
        loss = output.loss
        for penalty in self.penalties.values():
            loss = loss + penalty(self, batch, output)
        self.require_finite(loss)
        if not self.revisiting:
            self._train_meter.update(
                self.task.count(batch), {"loss": loss, **self.task.quick(output.prediction.detach(), batch)}
            )
        return loss

    # Lightning asks for the signature in every step; one that is kept here need not be built anew (40 us).
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        # Here rather than at the batch's end: a run that is asked to stop leaves before that hook.
        self.log_step({"train/loss_step": self.last_loss, "train/lr": optimizer.param_groups[0]["lr"]})

    def on_train_epoch_end(self) -> None:
        self.log_dict({f"train/{name}": value for name, value in self._train_meter.compute().items()})
        self._train_meter.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", as_batch(batch), batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", as_batch(batch), batch_idx)

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Predictions as a user reads them: probabilities, values in original units; NaN at padded steps."""
        batch = as_batch(batch)
        said = self.task.predict(self.answer(self, batch, batch_idx))
        if self.task.per_step and batch.lengths is not None:
            padded = ~padding_mask(batch.lengths, said.shape[1])
            said = said.masked_fill(padded[..., None], math.nan)
        return said

    def _evaluate(self, stage: str, batch: Batch, index: int) -> None:
        prediction = self.answer(self, batch, index)
        self._loss_meters[stage].update(self.task.count(batch), {"loss": self.task.loss(prediction, batch)})
        self.task.update(cast(MetricCollection, self._metrics[f"{stage}_metrics"]), prediction, batch)

    def _report(self, stage: str) -> None:
        metrics = cast(MetricCollection, self._metrics[f"{stage}_metrics"])
        values = {**self._loss_meters[stage].compute(), **metrics.compute()}
        self._loss_meters[stage].reset()
        metrics.reset()
        if stage == "val" and not math.isfinite(float(values["loss"])):
            raise NonFiniteError(
                f"the validation loss is {float(values['loss'])} after epoch {self.trainer.current_epoch}; the weights"
                " of this epoch are not kept. Lower the learning rate or clip gradients"
            )
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()})

    def _check_last_batch(self, datamodule: LightningDataModule) -> None:
        normalised = [name for name, m in self.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if normalised and getattr(datamodule, "last_batch_size", None) == 1:
            single = getattr(datamodule, "batch_size", None) == 1
            cure = "raise --data.batch_size" if single else "change --data.batch_size or set --data.drop_last true"
            raise DataError(
                f"{type(datamodule).__name__} train: the last batch holds a single sample, for which batch norm"
                f" ({normalised[0]}) has no variance; {cure}"
            )

    def _check_processes(self) -> None:
        if self.trainer.world_size > 1 and self.trainer.strategy.root_device.type == "cpu":
            for name, layer in self.named_modules():
                if isinstance(layer, nn.SyncBatchNorm):
                    raise ZooError(
                        f"{name} is a SyncBatchNorm, which works over several processes on GPUs only; choose"
                        " norm=batch or group, or a single process"
                    )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["zoo"]["train_meter"] = self._train_meter.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._train_meter.load_state_dict(checkpoint.get("zoo", {}).get("train_meter", {}), self.device)


def task_objective(module: SupervisedModule, batch: Batch) -> Output:
    """The default objective: the task's loss of the network's prediction."""
    prediction = module.forward_batch(batch)
    return Output(module.task.loss(prediction, batch), prediction)


def plain_answer(module: SupervisedModule, batch: Batch, index: int) -> Tensor:
    """The default answer: what the network says."""
    return module.forward_batch(batch)
