"""The slots of a module: their order, fits one after another, checks, and what rests on Lightning's inside."""

import inspect
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from datamodules.base import TensorSplit, ZooDataModule
from datamodules.digits import Digits
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.batch import Batch
from zoo.errors import DataError
from zoo.mlp import MLP
from zoo.module import SupervisedModule, ZooModule, task_objective
from zoo.task import Classification, Output

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


# Slots ----------------------------------------------------------------------------------------------------------------


def test_a_step_goes_through_the_slots_in_order() -> None:
    module, seen = make_mlp(), []

    def transform(name: str, factor: float) -> Any:
        def apply(module: ZooModule, batch: Batch) -> Batch:
            seen.append((name, batch.x.mean().item()))
            return batch._replace(x=batch.x * factor)

        return apply

    def objective(module: SupervisedModule, batch: Batch) -> Output:
        seen.append(("objective", batch.x.mean().item()))
        return Output(torch.tensor(10.0), module.forward_batch(batch))

    def penalty(name: str, value: float) -> Any:
        def apply(module: ZooModule, batch: Batch, output: Output) -> Tensor:
            seen.append((name, output.loss.item()))
            return torch.tensor(value)

        return apply

    module.batch_transforms = {"double": transform("double", 2), "triple": transform("triple", 3)}
    module.penalties = {"one": penalty("one", 1.0), "two": penalty("two", 2.0)}
    module.objective = objective
    loss = module.training_step((torch.ones(4, 64), torch.zeros(4).long()), 0)
    assert seen == [("double", 1.0), ("triple", 2.0), ("objective", 6.0), ("one", 10.0), ("two", 10.0)]
    assert loss.item() == module.last_loss == 13.0


def test_the_default_objective_is_the_tasks_loss() -> None:
    module = make_mlp()
    x, y = torch.rand(8, 64), torch.arange(8)
    output = task_objective(module, Batch(x, y))
    assert torch.equal(output.prediction, module(x))
    assert torch.equal(output.loss, nn.functional.cross_entropy(module(x), y))
    assert torch.equal(module.training_step([x, y], 0), output.loss)


def test_evaluation_feels_no_slot() -> None:
    plain, module = make_mlp(), make_mlp()

    def refuse(*args: Any) -> Any:
        raise AssertionError("not in evaluation")

    module.batch_transforms["x"] = module.penalties["x"] = module.objective = refuse
    for stage in ("validate", "test"):
        measured = [getattr(quiet_trainer(), stage)(m, datamodule=Digits(), verbose=False) for m in (plain, module)]
        assert measured[0] == measured[1]


def test_a_second_fit_calls_each_slot_once_and_keeps_the_weights() -> None:
    module, calls = make_mlp(), {"initializer": 0, "penalty": 0}

    def fill(module: ZooModule) -> None:
        calls["initializer"] += 1

    def penalty(module: ZooModule, batch: Batch, output: Output) -> Tensor:
        calls["penalty"] += 1
        return output.loss * 0

    class Plug(Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            pl_module.initializers["fill"] = fill
            pl_module.penalties["penalty"] = penalty

    for n in (1, 2):
        fit(module, Plug())
        assert calls == {"initializer": 1, "penalty": BATCHES * n}


def test_initialisers_run_in_order_and_a_checkpoint_wins(tmp_path: Path) -> None:
    module = make_mlp()
    fit(module).save_checkpoint(tmp_path / "last.ckpt")
    fresh = make_mlp()

    @torch.no_grad()
    def set_bias(value: float) -> Any:
        return lambda m: nn.init.constant_(m.head.bias, value)

    fresh.initializers = {"ones": set_bias(1.0), "twos": set_bias(2.0)}
    fresh.initialize()
    assert fresh.head.bias.unique().tolist() == [2.0]
    resumed = make_mlp()
    resumed.initializers = {"ones": set_bias(1.0)}
    fit(resumed, ckpt=tmp_path / "last.ckpt")
    assert resumed.initialized == {"ones"}
    assert same(weights(module), weights(resumed))


def test_optimizers_are_wrapped_and_schedules_step_with_them() -> None:
    module = make_mlp()
    built: list[tuple[str, Any]] = []
    module.optimizer_factories["network"] = lambda network: torch.optim.SGD(network.parameters(), lr=1.0)

    def wrap(name: str) -> Any:
        def note(optimizer: Any) -> Any:
            built.append((name, type(optimizer).__name__))
            return optimizer

        return note

    def schedule(optimizer: Any, total: int) -> LambdaLR:
        built.append(("schedule", total))
        return LambdaLR(optimizer, lambda step: 0.5**step)

    module.optimizer_wrappers = {"a": wrap("a"), "b": wrap("b")}
    module.schedule_factories["network"] = schedule
    trainer = fit(module, max_epochs=2, accumulate_grad_batches=2)
    assert built == [("a", "SGD"), ("b", "SGD"), ("schedule", BATCHES)]  # two epochs, half as many steps as batches
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.5**BATCHES


# Fits one after another -----------------------------------------------------------------------------------------------


def test_a_broken_off_epoch_leaves_nothing_behind(tmp_path: Path) -> None:
    module = make_mlp()
    module.objective = lambda m, batch: Output(m.forward_batch(batch).sum() * 0 + 100, m.forward_batch(batch))
    with pytest.raises(Stopped):
        fit(module, StopAt(tmp_path / "middle.ckpt", 0, 2))
    module.objective = lambda m, batch: Output(m.forward_batch(batch).sum() * 0 + 1, m.forward_batch(batch))
    assert fit(module).callback_metrics["train/loss"].item() == 1.0


def test_weights_that_were_loaded_for_a_test_do_not_bind_the_next_fit(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(make_mlp(), StopAt(tmp_path / "middle.ckpt", 0, 2))
    module = make_mlp()
    quiet_trainer().test(module, datamodule=Digits(), ckpt_path=tmp_path / "middle.ckpt", verbose=False)
    module.optimizer_factories["network"] = lambda network: torch.optim.SGD(network.parameters(), lr=0.1)
    module.objective = lambda m, batch: Output(m.forward_batch(batch).sum() * 0 + 1, m.forward_batch(batch))
    assert fit(module).callback_metrics["train/loss"].item() == 1.0


# Batch norm and a single sample ---------------------------------------------------------------------------------------


class Few(ZooDataModule):
    def load(self) -> dict[str, TensorSplit]:  # type: ignore[override]
        x, y = torch.rand(17, 64), torch.arange(17) % 10
        return {name: TensorSplit(x, y) for name in ("train", "val", "test")}


def test_batch_norm_refuses_a_last_batch_of_one() -> None:
    message = r"Few train: the last batch holds a single sample, .* batch norm \(backbone.0.norm\).*--data.batch_size"
    with pytest.raises(DataError, match=message):
        quiet_trainer().fit(make_mlp(norm="batch"), datamodule=Few(8))
    quiet_trainer().fit(make_mlp(norm="batch"), datamodule=Few(8, drop_last=True))
    quiet_trainer().fit(make_mlp(norm="batch"), datamodule=Few(9))
    quiet_trainer().fit(make_mlp(norm="layer"), datamodule=Few(8))


def test_labels_are_checked_before_training() -> None:
    with pytest.raises(DataError, match=r"Few train: sample 5 has label 5, outside 0..4 \(7 such labels in all\)"):
        quiet_trainer().fit(MLP(64, Classification(5)), datamodule=Few(8))


def test_any_loader_of_pairs_will_do() -> None:
    x, y = torch.rand(20, 64), torch.arange(20) % 10
    loader = DataLoader(TensorDataset(x, y), batch_size=10)
    module, trainer = make_mlp(), quiet_trainer()
    trainer.fit(module, loader, loader)
    (first, second) = trainer.predict(module, DataLoader(x, batch_size=10))  # type: ignore
    torch.testing.assert_close(torch.cat([first, second]).sum(1), torch.ones(20))  # type: ignore[list-item]


# What rests on Lightning's inside -------------------------------------------------------------------------------------


def test_the_fast_path_is_for_a_name_that_lightning_still_uses() -> None:
    assert "_current_fx_name" in vars(LightningModule())
    assert "_current_fx_name" in inspect.getsource(call._call_lightning_module_hook)


class Names(SupervisedModule):
    """Notes under which hook each part of a step runs."""

    def __init__(self) -> None:
        super().__init__(Classification(10))
        self.layer = nn.Linear(64, 10)
        self.names: list[str | None] = []

    def forward(self, x: Tensor) -> Tensor:
        self.names.append(self._current_fx_name)
        return self.layer(x.flatten(1))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.names.append(self._current_fx_name)


def test_the_fast_path_keeps_what_lightning_writes() -> None:
    module = Names()
    fit(module, limit_train_batches=1, limit_val_batches=1, num_sanity_val_steps=0)
    assert module.names == ["on_train_batch_start", "training_step", "validation_step"]
    assert module._current_fx_name is None


def test_all_other_attributes_are_registered_as_ever() -> None:
    module = make_mlp()
    module.scale = nn.Parameter(torch.ones(1))
    module.extra = nn.Linear(2, 2)
    assert {"scale", "extra.weight", "extra.bias"} <= dict(module.named_parameters()).keys()
    with pytest.raises(TypeError, match="cannot assign"):
        module.scale = 3


def test_the_kept_signature_is_the_true_one() -> None:
    step = SupervisedModule.training_step
    fresh = types.FunctionType(step.__code__, step.__globals__, step.__name__, step.__defaults__)
    fresh.__annotations__ = step.__annotations__
    assert inspect.signature(step) == inspect.signature(fresh)
    module = make_mlp()
    assert inspect.getfullargspec(module.training_step).args == ["self", "batch", "batch_idx"]
    assert list(inspect.signature(module.training_step).parameters) == ["batch", "batch_idx"]
    assert is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
    assert not is_param_in_hook_signature(module.training_step, "dataloader_iter", explicit=True)
