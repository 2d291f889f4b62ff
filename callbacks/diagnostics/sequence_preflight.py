"""Is a run on sequences worth starting? Padding, the future and the rows of other splits must not be read."""

import time
from typing import Literal, TypeAlias, get_args

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.seed import isolate_rng

from callbacks.diagnostics.cache_check import generates_cached, read_cache
from callbacks.diagnostics.leak_checks import (
    ScalesRows,
    StatesRows,
    StatesTargetRows,
    histories,
    scaled_by_others,
    shared_rows,
    targets_scaled_by_others,
)
from callbacks.diagnostics.sequence_checks import forecasts, must_be_causal, read_future, read_padding, read_targets
from zoo.errors import ZooError
from zoo.kept import borrowed, validation_batches
from zoo.module import SupervisedModule
from zoo.notice import notice
from zoo.task import Forecasting

Check: TypeAlias = Literal["padding", "future", "cache", "scaler", "splits"]
CHECKS: tuple[Check, ...] = get_args(Check)


class PreflightError(ZooError):
    """A run on sequences would learn from, or be measured on, what it must not see; says which check has failed."""


class SequencePreflight(Callback):
    """Before the first step of a run on sequences or tokens: five checks, and one line that says what was checked.

    - ``padding``: more padded steps do not change what the network says of a sequence;
    - ``future``: where it is causal, later steps do not change what it says of earlier ones; a forecast in evaluation
      does not depend on its targets;
    - ``cache``: a model that generates with kept keys and values says what it says without;
    - ``scaler``: inputs, and series to forecast, are scaled by what the training rows say and nothing else;
    - ``splits``: no row that validation or test is scored on is a training target; their histories may be.

    The first three look at a few sequences of the first validation batch, the others at the rows that the data state. A
    check without anything to look at is left out. Weights, statistics, states, flags and random generators stay as they
    are; a run that goes on from a checkpoint is not checked again.

    Args:
        checks: which to make; [] makes none.

    Raises:
        PreflightError: a check has failed.
    """

    def __init__(self, checks: list[Check] = list(CHECKS)) -> None:  # noqa: B006  never changed
        for check in checks:
            if check not in CHECKS:
                raise ZooError(f"SequencePreflight: no check {check!r}; there are {', '.join(CHECKS)}")
        self.checks = checks

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.checks or trainer.global_step or not isinstance(pl_module, SupervisedModule):
            return
        start = time.perf_counter()
        passed = [*self._check_data(trainer, pl_module), *self._check_network(trainer, pl_module)]
        if passed:
            notice(f"preflight passed in {time.perf_counter() - start:.2f} s: {'; '.join(passed)}")

    def _check_data(self, trainer: Trainer, module: SupervisedModule) -> list[str]:
        data, passed = trainer.datamodule, list[str]()  # type: ignore[attr-defined]
        if "scaler" in self.checks and isinstance(data, ScalesRows):
            self._require("scaler", data, scaled_by_others(data))
            if isinstance(module.task, Forecasting):
                self._require("scaler", data, targets_scaled_by_others(data, module.task))
            passed.append("scaled by training rows alone")
        if "splits" in self.checks and isinstance(data, StatesRows):
            self._require("splits", data, shared_rows(data))
            past = histories(data) if isinstance(data, StatesTargetRows) else ""
            reach = f" ({past} read some as their past, which is known then)" if past else ""
            passed.append(f"nothing is scored on training targets{reach}")
        return passed

    def _check_network(self, trainer: Trainer, module: SupervisedModule) -> list[str]:
        wanted = {"padding", "future", "cache"} & set(self.checks)
        whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # weights that no process has alone
        if not wanted or not whole or not trainer.val_dataloaders:
            return []
        passed = []
        with torch.no_grad(), isolate_rng(include_cuda=False), borrowed(trainer, module):
            batch = next(validation_batches(trainer), None)
            if batch is not None and batch.lengths is not None and "padding" in wanted:
                multiple = getattr(trainer.datamodule, "pad_to_multiple", 1)  # type: ignore[attr-defined]
                found = read_padding(module, batch, multiple)
                self._require("padding", module, found and (
                    f"padded steps change the answer {found}; mask them there by batch.lengths (zoo.layers.padding)"
                ))  # fmt: skip
                passed.append("padding is not read")
            if batch is not None and must_be_causal(module) and "future" in wanted:
                found = read_future(module, batch)
                self._require("future", module, found and (
                    f"later steps change the answer at earlier ones {found}; read forwards only (bidirectional=false, a"
                    " causal mask, padding on the left of convolutions)"
                ))  # fmt: skip
                passed.append("the future is not read")
            if batch is not None and generates_cached(module) and "cache" in wanted:
                differs = read_cache(module, batch)
                self._require("cache", module, differs and (
                    f"generation with a cache differs from reading the text anew {differs}; look at the places and the"
                    " mask of the steps behind those that are kept"
                ))  # fmt: skip
                passed.append("the cache says the same")
            if batch is not None and forecasts(module) and "future" in wanted:
                found = read_targets(module, batch)
                self._require("future", module, found and (
                    f"the targets change the forecast in evaluation {found}; feed them to the decoder in training alone"
                ))  # fmt: skip
                passed.append("forecasts do not depend on their targets")
        return passed

    def _require(self, check: Check, at: object, wrong: str | None) -> None:
        if wrong:
            raise PreflightError(
                f"{type(at).__name__}: {wrong}. SequencePreflight with checks that leave out {check!r} lets it pass"
            )
