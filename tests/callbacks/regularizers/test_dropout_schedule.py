"""Dropout schedule: the factor by hand, rates as they are in each step, restored afterwards, resume, refusals."""

from pathlib import Path
from typing import Any, Literal

import pytest
from lightning.pytorch import Callback
from torch import nn

from callbacks.regularizers.dropout_schedule import DropoutSchedule, factor_at
from callbacks.technique import NoEffect, UnsupportedModule
from datamodules.wine import Wine
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, copy, fit, make_mlp
from tests.tools import quiet_trainer
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.layers.dropout import dropouts
from zoo.tabular import FTTransformer
from zoo.task import Classification


def rates(module: nn.Module) -> list[float]:
    return [getattr(layer, attribute) for layer, attribute in dropouts(module)]


class Watch(Callback):
    """The rates that each training step was made with."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.seen.append(rates(pl_module))


@pytest.mark.parametrize(
    ("done", "linear", "constant"),
    [(0.0, 2.0, 2.0), (0.1, 2.0, 2.0), (0.2, 2.0, 2.0), (0.3, 1.0, 2.0), (0.4, 0.0, 0.0), (0.5, 0.25, 0.0),
     (0.8, 1.0, 1.0), (1.0, 1.0, 1.0)],
)  # fmt: skip
def test_the_factor(done: float, linear: float, constant: float) -> None:
    points = [0.2, 0.4, 0.8], [2.0, 0.0, 1.0]
    assert factor_at(done, *points, "linear") == pytest.approx(linear)
    assert factor_at(done, *points, "constant") == pytest.approx(constant)
    assert factor_at(done, [0.5], [0.3], "linear") == 0.3


@pytest.mark.parametrize("ramp", ["linear", "constant"])
def test_every_rate_follows_it_and_is_restored(ramp: Literal["linear", "constant"]) -> None:
    module = make_mlp(dropout=0.4)
    watch = Watch()
    trainer = fit(module, DropoutSchedule([0.0, 0.5], [1.0, 0.0], ramp), watch, max_epochs=2)
    steps = int(trainer.estimated_stepping_batches)
    assert steps == len(watch.seen) >= 8
    for step, found in enumerate(watch.seen):
        done = step / steps
        expected = (max(1 - 2 * done, 0.0) if ramp == "linear" else float(done < 0.5)) * 0.4
        assert found == pytest.approx([expected] * 2)
    assert rates(module) == [0.4, 0.4]


def test_drop_path_and_attention_follow_by_their_own_rates() -> None:
    network = ResNet(1, Classification(10), [1, 1, 1], 4, drop_path=0.4, dropout=0.2)
    watch = Watch()
    fit(network, DropoutSchedule([0.0], [0.5], "constant"), watch)
    own = [p for p in rates(network) if p]
    assert own == pytest.approx([0.2, 0.4, 0.2])  # drop-paths, then the dropout before the head
    assert [p for p in watch.seen[0] if p] == pytest.approx([p / 2 for p in own])
    transformer, watch = FTTransformer(13, Classification(3), width=8, blocks=1, heads=2, dropout=0.2), Watch()
    trainer = quiet_trainer(callbacks=[DropoutSchedule([0.0], [2.0]), watch])
    trainer.fit(transformer, datamodule=Wine(batch_size=64))
    assert watch.seen[0] == pytest.approx([0.4, 0.4])
    assert rates(transformer) == [0.2, 0.2]


def test_at_factor_zero_it_is_a_network_without_dropout() -> None:
    scheduled, without = make_mlp(dropout=0.3), make_mlp(dropout=0.0)
    fit(scheduled, DropoutSchedule([0.0], [0.0]), max_epochs=1)
    fit(without, max_epochs=1)
    first, second = copy(scheduled), copy(without)
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize("ramp", ["linear", "constant"])
def test_resumes_to_the_bit(ramp: Literal["linear", "constant"], tmp_path: Path) -> None:
    assert_resumes(lambda: [DropoutSchedule([0.2, 0.7], [2.0, 0.0], ramp)], tmp_path)


def test_second_fit_and_a_fit_that_fails_leave_the_rates_alone() -> None:
    module, technique = make_mlp(dropout=0.3), DropoutSchedule()
    for _ in range(2):
        watch = Watch()
        fit(module, technique, watch)
        assert watch.seen[0] == [0.3, 0.3]
        assert watch.seen[-1] == [0.0, 0.0]
        assert rates(module) == [0.3, 0.3]

    class Fail(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fit(module, DropoutSchedule([0.0], [0.1]), Fail())
    assert rates(module) == [0.3, 0.3]


def test_learns_in_company() -> None:
    assert accuracy_in_company(DropoutSchedule()) > 0.85


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([0.2, 0.1], [1.0, 0.0]),
            r"progress lists increasing shares .* got progress=\[0.2, 0.1\] and factor=\[1.0, 0",
        ),
        (([0.0, 1.1], [1.0, 0.0]), "progress lists increasing shares"),
        (([-0.1], [0.0]), "progress lists increasing shares"),
        (([0.0], [1.0, 0.0]), "progress lists increasing shares"),
        (([], []), "progress lists increasing shares"),
        (([0.0], [-1.0]), r"factors must not be negative, got \[-1.0\]"),
        (([0.0], [float("nan")]), "factors must not be negative"),
    ],
)
def test_arguments_that_cannot_work(arguments: Any, message: str) -> None:
    with pytest.raises(ZooError, match=f"^DropoutSchedule: {message}"):
        DropoutSchedule(*arguments)


def test_refusals() -> None:
    with pytest.raises(NoEffect, match=r"DropoutSchedule: MLP has no dropout with a rate above 0; set --model.dropout"):
        fit(make_mlp(dropout=0.0), DropoutSchedule())
    with pytest.raises(NoEffect, match="DropoutSchedule: all factors are 1, which changes no rate"):
        fit(make_mlp(dropout=0.1), DropoutSchedule([0.0, 0.5], [1.0, 1.0]))
    with pytest.raises(ZooError, match=r"a rate of 0.4 times the factor 2.5 is 1, and a rate must stay below 1; lower"):
        fit(make_mlp(dropout=0.4), DropoutSchedule([0.0], [2.5]))
    with pytest.raises(
        ZooError, match="DropoutSchedule has to know the length of the run; set max_epochs or max_steps"
    ):
        fit(make_mlp(), DropoutSchedule(), max_epochs=-1)
    with pytest.raises(UnsupportedModule, match="DropoutSchedule does not support"):
        DropoutSchedule().setup(quiet_trainer(), object(), "fit")  # type: ignore[arg-type]
