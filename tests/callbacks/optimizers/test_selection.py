"""The general selection: class paths, errors, slots, fused kernels, resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from callbacks.optimizers.adam import Adam
from callbacks.optimizers.adamw import AdamW
from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.selection import OptimizerSelection, resolve_optimizer
from callbacks.optimizers.sgd import SGD
from callbacks.schedules.cosine import Cosine
from callbacks.technique import Conflict, UnsupportedModule
from datamodules.digits import Digits
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_resumes,
    loss_ratio_on_a_quadratic,
    make_mlp,
)
from tests.tools import quiet_trainer
from zoo.errors import ResumeError, ZooError
from zoo.module import ZooModule
from zoo.optim import default_optimizer, may_fuse


def fit(*callbacks: Callback, model: LightningModule | None = None, ckpt: Path | None = None, **settings: Any) -> Any:
    trainer = quiet_trainer(callbacks=list(callbacks), limit_val_batches=0, **settings)
    trainer.fit(model or make_mlp(), datamodule=Digits(batch_size=400), ckpt_path=ckpt)
    return trainer


@pytest.mark.parametrize("path", ["torch.optim.Adamax", "Adamax", "torch.optim.adamax.Adamax"])
def test_class_paths(path: str) -> None:
    assert resolve_optimizer(path) is torch.optim.Adamax


class Twice(torch.optim.SGD):
    """An optimizer of the user's own."""


def test_own_optimizer_of_an_imported_module() -> None:
    assert resolve_optimizer(f"{__name__}.Twice") is Twice


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("torch.optim.AdmW", r"'torch.optim.AdmW' is no torch.optim.Optimizer; did you mean torch.optim.AdamW\?"),
        ("sgd", r"'sgd' is no torch.optim.Optimizer; torch.optim has: .*SGD"),
        ("torch.nn.Linear", "is no torch.optim.Optimizer"),
        ("torch.optim.Optimizer", "is no torch.optim.Optimizer"),
        ("this_package.Lion", "this_package is not imported.*--trust this_package"),
    ],
)
def test_what_is_no_optimizer(path: str, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        OptimizerSelection(path)


def test_a_configuration_imports_nothing() -> None:
    import sys

    with pytest.raises(ZooError, match="is not imported"):
        OptimizerSelection("antigravity.Optimizer")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, "AdamW: lr must be positive, got 0.0"),
        ({"weight_decay": -1.0}, "AdamW: weight_decay must be >= 0"),
        ({"layer_decay": 0.0}, r"AdamW: layer_decay must lie in \(0, 1\], got 0.0; 1 turns it off"),
        ({"options": {"beta": 0.9}}, r"AdamW has no option 'beta'; did you mean betas\?"),
        ({"options": {"lr": 0.9}}, "AdamW: give lr as the argument of that name"),
        ({"optimizer": "Rprop"}, "Rprop knows no weight decay; set weight_decay to 0"),
    ],
)
def test_argument_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        OptimizerSelection(**arguments)


def test_errors_of_torch_name_the_technique() -> None:
    with pytest.raises(ZooError, match=r"^Adam: Invalid beta parameter at index 0: 1.5$"):
        Adam(betas=(1.5, 0.9)).build(make_mlp())


@pytest.mark.parametrize("name", ["Rprop", "Adamax", "ASGD", "Adadelta", "LBFGS"])
def test_any_optimizer_of_torch_lowers_a_quadratic(name: str) -> None:
    lr = {"Adadelta": 5.0, "Rprop": 0.01, "LBFGS": 0.5}.get(name, 0.05)
    assert loss_ratio_on_a_quadratic(OptimizerSelection(name, lr=lr, weight_decay=0.0)) < 0.1


def test_options_reach_the_optimizer() -> None:
    optimizer = OptimizerSelection("AdamW", options={"betas": [0.8, 0.9], "fused": False}).build(make_mlp())
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    assert optimizer.param_groups[0]["fused"] is False


def test_learns_digits_and_resumes(tmp_path: Path) -> None:
    assert accuracy_on_digits(OptimizerSelection("Adamax", lr=0.01)) > 0.8
    assert_resumes(lambda: OptimizerSelection("Adamax", rules=[ParameterRule("head", 0.5)], layer_decay=0.9), tmp_path)


@pytest.mark.parametrize(
    ("settings", "fused"),
    [
        ({}, True),
        ({"gradient_clip_val": 1.0}, True),
        ({"precision": "bf16-mixed"}, True),
        ({"precision": "bf16-mixed", "gradient_clip_val": 1.0}, None),
    ],
)
def test_fused_unless_the_run_forbids_it(settings: dict[str, Any], fused: bool | None) -> None:
    trainer = fit(AdamW(), max_steps=1, **settings)
    assert trainer.optimizers[0].param_groups[0]["fused"] is fused


def test_the_slot_is_left_as_it_was() -> None:
    model = make_mlp()
    assert type(fit(SGD(), model=model).optimizers[0]) is torch.optim.SGD
    assert not model.optimizer_factories
    assert not model.slot_owners
    assert type(fit(model=model).optimizers[0]) is torch.optim.AdamW


def test_a_run_that_failed_leaves_no_conflict_behind() -> None:
    class Fail(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            raise RuntimeError("power cut")

    model = make_mlp()
    with pytest.raises(RuntimeError, match="power cut"):
        fit(SGD(), Fail(), model=model)
    assert type(fit(Adam(), model=model).optimizers[0]) is torch.optim.Adam


def test_two_optimizers_for_one_network() -> None:
    with pytest.raises(Conflict, match="Adam and SGD both want to be the optimizer of the network 'network'; drop one"):
        fit(Adam(), SGD())
    with pytest.raises(Conflict, match="Adam and Adam"):
        fit(Adam(), Adam())


def test_names_differ_by_network_and_not_by_class() -> None:
    assert Adam().state_key == SGD().state_key == Adam().name
    assert Adam(network="generator").name != Adam(network="discriminator").name


def test_unknown_network_and_foreign_module() -> None:
    with pytest.raises(UnsupportedModule, match="MLP has no network called 'generator'; it has: network"):
        fit(Adam(network="generator"))
    with pytest.raises(UnsupportedModule, match="needs a ZooModule"):
        fit(Adam(), model=BoringModel())


def test_resume_with_another_optimizer(tmp_path: Path) -> None:
    fit(SGD()).save_checkpoint(tmp_path / "sgd.ckpt")
    with pytest.raises(ResumeError, match="trained with SGD for the network, this run asks for Adam; resume with the"):
        fit(Adam(), ckpt=tmp_path / "sgd.ckpt", max_epochs=2)
    with pytest.raises(ResumeError, match="groups the parameters differently"):
        fit(SGD(rules=[ParameterRule("head", 0.1)]), ckpt=tmp_path / "sgd.ckpt", max_epochs=2)


class Pair(ZooModule):
    """Two networks, each with an optimizer of its own, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = nn.Linear(64, 10), nn.Linear(64, 10)

    def networks(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        for network, optimizer in zip(self.networks().values(), self.optimizers(), strict=True):  # type: ignore[arg-type]
            self.manual_backward(nn.functional.cross_entropy(network(x.flatten(1)), y))
            optimizer.step()


def test_each_network_has_its_own_optimizer_and_schedule() -> None:
    module = Pair()
    trainer = fit(
        SGD(lr=0.1, network="second"), Adam(lr=0.01, network="first"), Cosine(network="second"),
        model=module,
    )  # fmt: skip
    first, second = trainer.optimizers
    assert (type(first), type(second)) == (torch.optim.Adam, torch.optim.SGD)
    assert first.param_groups[0]["params"] == [module.first.weight]
    assert second.param_groups[0]["params"] == [module.second.weight]
    assert [config.scheduler.optimizer for config in trainer.lr_scheduler_configs] == [second]


def test_not_fused_where_a_scaler_would_show_scaled_gradients_to_hooks() -> None:
    trainer = quiet_trainer(plugins=[MixedPrecision("16-mixed", "cpu")])
    assert not may_fuse(trainer)
    assert default_optimizer(make_mlp(), fuse=may_fuse(trainer)).param_groups[0]["fused"] is None
