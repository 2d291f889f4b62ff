"""The base of the schedules: warm-up, slots, runs without an end."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.sgd import SGD
from callbacks.schedules.constant_schedule import ConstantSchedule
from callbacks.schedules.cosine import Cosine
from callbacks.schedules.linear_schedule import LinearSchedule
from callbacks.schedules.schedule import after_warmup, ramp
from callbacks.technique import Conflict, UnsupportedModule
from datamodules.digits import Digits
from tests.callbacks.schedules.schedule_checks import make_optimizer
from tests.tools import quiet_trainer
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Classification


class Rates(Callback):
    """Notes the learning rate of each group at every step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.seen.append([group["lr"] for group in optimizer.param_groups])


def fit(*callbacks: Callback, model: ZooModule | None = None, **settings: Any) -> list[list[float]]:
    rates = Rates()
    trainer = quiet_trainer(callbacks=[*callbacks, rates], limit_val_batches=0, **settings)
    trainer.fit(model or MLP(64, Classification(10), hidden=[16]), datamodule=Digits(batch_size=400))
    return rates.seen


def test_warm_up() -> None:
    assert [ramp(p, 0.5) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert ramp(0.0, 0.0) == 1.0
    assert after_warmup(0.25, 0.5, lambda p: 7 + p) == 0.5
    assert after_warmup(0.75, 0.5, lambda p: 7 + p) == 7.5
    assert after_warmup(1.0, 1.0, lambda p: 7 + p) == 1.0


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 8), (2, 4), (3, 4)])
def test_progress_counts_optimizer_steps(accumulate: int, steps: int) -> None:
    # 1,295 images in batches of 400 are 4 batches an epoch
    seen = fit(SGD(lr=0.5), LinearSchedule(), max_epochs=2, accumulate_grad_batches=accumulate)
    assert [rates[0] for rates in seen] == pytest.approx([0.5 * (1 - k / steps) for k in range(steps)])


def test_every_group_keeps_its_share() -> None:
    seen = fit(SGD(lr=0.5, rules=[ParameterRule("head", 0.5)]), Cosine(warmup=0.5), max_epochs=1)
    assert all(head == pytest.approx(0.5 * rest) for head, _, rest, _ in seen)
    assert [rest for _, _, rest, _ in seen] == pytest.approx([0.0, 0.25, 0.5, 0.25])


def test_max_steps_end_the_schedule() -> None:
    seen = fit(SGD(lr=1.0), LinearSchedule(), max_epochs=-1, max_steps=5)
    assert [rates[0] for rates in seen] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_a_run_without_an_end() -> None:
    with pytest.raises(ZooError, match=r"Cosine works in fractions of the run, and this run has no end; set --trainer"):
        fit(Cosine(), max_epochs=-1)
    with pytest.raises(ZooError, match="this run has no end"):
        Cosine().build(make_optimizer(), -1, quiet_trainer())


def test_two_schedules_for_one_network() -> None:
    with pytest.raises(Conflict, match="ConstantSchedule and Cosine both want to be the schedule of the network"):
        fit(ConstantSchedule(), Cosine())


def test_unknown_network() -> None:
    with pytest.raises(UnsupportedModule, match="MLP has no network called 'critic'; it has: network"):
        fit(Cosine(network="critic"))


def test_the_slot_is_left_as_it_was() -> None:
    model = MLP(64, Classification(10), hidden=[16])
    fit(SGD(lr=1.0), Cosine(), model=model)
    assert not model.schedule_factories
    assert [rates[0] for rates in fit(SGD(lr=1.0), model=model)] == [1.0] * 4


def test_names_differ_by_network_and_not_by_class() -> None:
    assert Cosine().state_key == LinearSchedule().state_key
    assert Cosine(network="generator").name != Cosine().name


@pytest.mark.parametrize("warmup", [-0.1, 1.5])
def test_fractions(warmup: float) -> None:
    with pytest.raises(ZooError, match=rf"Cosine: warmup is a fraction in \[0, 1\], got {warmup}"):
        Cosine(warmup=warmup)
