"""EMA against the recursion by hand; what is validated, kept and trained on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor

from callbacks.averaging.ema import EMA, ema_decay
from callbacks.technique import Technique, UnsupportedModule
from datamodules.digits import Digits
from tests.tools import quiet_trainer
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Classification

State = dict[str, Tensor]
BATCHES = 4  # of 400 digits, in an epoch


def make_mlp() -> MLP:
    torch.manual_seed(0)
    return MLP(64, Classification(10), hidden=[16], norm="batch", dropout=0.2)


def fit(module: Any, *callbacks: Callback, **settings: Any) -> Any:
    trainer = quiet_trainer(callbacks=list(callbacks), **settings)
    trainer.fit(module, datamodule=Digits(batch_size=400))
    return trainer


def copy(module: torch.nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


class Raw(Callback):
    """The weights that the optimizer left, after each of its steps, and those that validation saw."""

    def __init__(self) -> None:
        self.steps: list[State] = []
        self.validated: list[State] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if trainer.global_step > len(self.steps):
            self.steps.append(copy(pl_module))

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.validated.append(copy(pl_module))


def by_hand(steps: list[State], decay: float, warmup: bool) -> State:
    """m <- d m + (1 - d) w in double precision; counters are those of the last step."""
    average = {name: value.double() for name, value in steps[0].items()}
    for n, weights in enumerate(steps[1:], start=1):
        d = min(decay, (1 + n) / (10 + n)) if warmup else decay
        average = {name: d * average[name] + (1 - d) * value.double() for name, value in weights.items()}
    return {
        n: a.to(steps[-1][n].dtype) if steps[-1][n].is_floating_point() else steps[-1][n] for n, a in average.items()
    }


def test_warmup_decay() -> None:
    assert [ema_decay(0.99, n) for n in (0, 1, 10, 90)] == [1 / 10, 2 / 11, 11 / 20, 91 / 100]
    assert ema_decay(0.99, 10_000) == 0.99


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_equals_the_recursion_by_hand(warmup: bool, accumulate: int) -> None:
    module, raw = make_mlp(), Raw()
    fit(module, raw, EMA(0.8, warmup), max_epochs=3, accumulate_grad_batches=accumulate)
    assert len(raw.steps) == 3 * BATCHES // accumulate
    expected = by_hand(raw.steps, 0.8, warmup)
    torch.testing.assert_close(copy(module), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(module.head.weight, raw.steps[-1]["head.weight"], atol=1e-4)
    # Running statistics are averaged as well, and batches are counted.
    name = "backbone.0.norm.running_mean"
    assert not torch.allclose(expected[name], raw.steps[-1][name], atol=1e-4)
    assert expected["backbone.0.norm.num_batches_tracked"] == 3 * BATCHES


def test_training_does_not_feel_it() -> None:
    with_it, without = Raw(), Raw()
    fit(make_mlp(), with_it, EMA(0.9), max_epochs=2)
    fit(make_mlp(), without, max_epochs=2)
    for first, second in zip(with_it.steps, without.steps, strict=True):
        assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    module, raw = make_mlp(), Raw()
    # Raw comes after EMA, which puts the average in before validation.
    trainer = fit(module, EMA(0.8), raw, max_epochs=2, num_sanity_val_steps=0)
    for epoch in (1, 2):
        expected = by_hand(raw.steps[: epoch * BATCHES], 0.8, True)
        torch.testing.assert_close(raw.validated[epoch - 1], expected, rtol=1e-4, atol=1e-6)
    validated = trainer.callback_metrics["val/loss"].item()
    (metrics,) = quiet_trainer().validate(module, datamodule=Digits(), verbose=False)
    assert metrics["val/loss"] == validated


def test_a_checkpoint_holds_the_average_and_what_training_goes_on_from(tmp_path: Path) -> None:
    class Save(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / "last.ckpt")

    raw = Raw()
    fit(make_mlp(), raw, EMA(0.8), Save(), max_epochs=2)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    torch.testing.assert_close(saved["state_dict"], by_hand(raw.steps, 0.8, True), rtol=1e-4, atol=1e-6)
    assert all(torch.equal(value, raw.steps[-1][name]) for name, value in saved["current_model_state"].items())
    # The average can be used without the technique.
    plain = make_mlp()
    plain.load_state_dict(saved["state_dict"])


def test_a_sanity_check_sees_the_weights_that_an_init_scheme_filled() -> None:
    class Fill(Technique):
        def attach(self, module: ZooModule) -> None:
            self.add_initializer(module, lambda m: torch.nn.init.constant_(m.head.weight, 3.0))  # type: ignore

    raw = Raw()
    fit(make_mlp(), EMA(0.9), Fill(), raw, limit_train_batches=2)
    assert raw.validated[0]["head.weight"].unique().tolist() == [3.0]


def test_two_fits_begin_two_averages() -> None:
    ema, module, raw = EMA(0.8), make_mlp(), Raw()
    fit(module, ema)
    fit(module, ema, raw)
    torch.testing.assert_close(copy(module), by_hand(raw.steps, 0.8, True), rtol=1e-4, atol=1e-6)


def test_a_run_of_a_single_step() -> None:
    raw, module = Raw(), make_mlp()
    fit(module, EMA(0.8), raw, max_steps=1)
    torch.testing.assert_close(copy(module), raw.steps[0])


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0])
def test_a_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ZooError, match=rf"^EMA: decay must lie in \(0, 1\), got {decay}; 0.99 to 0.9999 are usual$"):
        EMA(decay)


def test_a_module_from_elsewhere() -> None:
    with pytest.raises(UnsupportedModule, match=r"^EMA does not support BoringModel"):
        quiet_trainer(callbacks=[EMA()]).fit(BoringModel())
