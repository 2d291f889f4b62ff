"""The guard: what it calls a fault, when it gives an alarm, what it advises, resume, no trace in the run."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks.diagnostics.collapse_guard import CURES, CollapseGuard, Look, advise, diagnose
from callbacks.gan.r1 import R1
from callbacks.gan.relativistic import Relativistic
from datamodules.ring import mode_centres
from tests.callbacks.technique_checks import make_mlp
from tests.gan_checks import assert_resumes, copy, digits, digits_gan, fit, ring, ring_gan
from tests.tools import quiet_trainer
from zoo.errors import NonFiniteError, ZooError
from zoo.gan import GAN
from zoo.generators.base import Generator
from zoo.generators.mlp import MLPDiscriminator
from zoo.judging.comparison import Comparison

ROOT = Path(__file__).resolve().parents[3]
GOOD = Comparison(0.1, 0.0, 0.95, 0.9, 1.0, 0.97, 0.02, 1.0)


class Modes(Generator):
    """Makes samples of so many of the ring's eight modes, and learns nothing."""

    def __init__(self, modes: int, shift: float = 0.0) -> None:
        super().__init__([2], 4, 0)
        self.modes, self.shift, self.scale = modes, shift, nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        mode = (torch.special.ndtr(z[:, 0]) * self.modes).long().clamp(max=self.modes - 1)
        return self.scale.detach() * (mode_centres(8, 2.0)[mode] + self.shift) + 0.02 * z[:, 1:3] + 0 * self.scale


def play(modes: int, shift: float = 0.0) -> GAN:
    return GAN(Modes(modes, shift), MLPDiscriminator([2], hidden=[8]))


def test_faults() -> None:
    floor = Look(GOOD, [], 0.0)
    assert diagnose(floor, floor) == ("", "")
    fault, signs = diagnose(Look(GOOD, [1, 4], 0.25), floor)
    assert fault == "collapse"
    assert signs == "hardly any samples of 2 classes (1, 4), 25% of the data"
    for field, value in (("coverage", 0.3), ("recall", 0.1), ("spread", 0.4)):
        fault, signs = diagnose(Look(GOOD._replace(**{field: value}), [], 0.0), floor)
        assert fault == "collapse"
        assert signs == f"{field} {value:.2f} (real data: {getattr(GOOD, field):.2f})"
    assert diagnose(Look(GOOD._replace(class_kl=0.3), [], 0.0), floor)[1] == "class divergence 0.30 (real data: 0.02)"
    fault, signs = diagnose(Look(GOOD._replace(precision=0.01, coverage=0.0), [], 0.0), floor)
    assert fault == "astray"
    assert signs.startswith("precision 0.01 (real data: 0.95), coverage 0.00")
    assert diagnose(Look(GOOD._replace(class_kl=math.nan), [], 0.0), floor) == ("", "")  # data without classes
    assert diagnose(Look(GOOD, [7], 0.03), Look(GOOD, [5], 0.02)) == ("", "")  # rare classes are lost by chance


def test_advice_is_what_the_run_lacks() -> None:
    together = "add -c techniques/gan/relativistic -c techniques/gan/r1 -c techniques/gan/r2"
    assert advise("collapse", set()) == together
    assert advise("collapse", {"r1"}) == "add -c techniques/gan/relativistic -c techniques/gan/r2"
    everything = {name for groups in CURES.values() for group in groups for name in group}
    assert advise("collapse", everything).startswith("lower both learning rates")
    for name in everything:
        assert (ROOT / "configs" / "techniques" / "gan" / f"{name}.yaml").is_file()


@pytest.mark.parametrize("modes", [1, 4, 7])
def test_lost_modes_are_told_once(modes: int, capsys: pytest.CaptureFixture[str]) -> None:
    guard = CollapseGuard(warmup=0)
    trainer = fit(play(modes), guard, R1(), data=ring(size=4000, batch_size=1000, std=0.02), max_epochs=6)
    lines = [line for line in capsys.readouterr().out.splitlines() if "CollapseGuard" in line]
    assert len(lines) == 1
    assert lines[0].startswith("zoo: CollapseGuard: epoch 3, modes are lost: hardly any samples of")  # 2 is the first
    assert f"of {8 - modes} classes (" in lines[0]
    assert lines[0].endswith("add -c techniques/gan/relativistic -c techniques/gan/r2")
    assert trainer.callback_metrics["val/alarm"] == 1
    assert trainer.callback_metrics["val/guard_coverage_ring_points"] < (modes + 0.5) / 8
    assert guard.told <= set(trainer.callback_metrics)


def test_no_alarm_without_need(capsys: pytest.CaptureFixture[str]) -> None:
    fit(play(3), CollapseGuard(warmup=100), data=ring(size=4000, batch_size=1000, std=0.02), max_epochs=4)  # 16 rounds
    trainer = fit(play(8), CollapseGuard(warmup=0), data=ring(size=4000, batch_size=1000, std=0.02), max_epochs=4)
    assert "CollapseGuard" not in capsys.readouterr().out
    assert trainer.callback_metrics["val/alarm"] == 0


def test_samples_that_leave_the_data_stop_the_run_if_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    data = ring(size=4000, batch_size=1000, std=0.02)
    trainer = fit(play(8, shift=30.0), CollapseGuard(warmup=0, stop=True), data=data, max_epochs=9)
    assert "epoch 4, the samples are not like the data: precision 0.00" in capsys.readouterr().out
    assert trainer.current_epoch == 4


def test_recovery_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Mend(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            pl_module.generator.modes = 8 if trainer.current_epoch >= 4 else 3

    trainer = fit(
        play(3), Mend(), CollapseGuard(warmup=0), data=ring(size=4000, batch_size=1000, std=0.02), max_epochs=6
    )
    assert "CollapseGuard: epoch 5, all is well again" in capsys.readouterr().out
    assert trainer.callback_metrics["val/alarm"] == 0


def test_how_often_it_looks() -> None:
    looked: list[int] = []

    class Watched(CollapseGuard):
        def state_dict(self) -> dict[str, Any]:
            return super().state_dict()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.told = frozenset()
            super().on_train_epoch_end(trainer, pl_module)
            if self.told:
                looked.append(trainer.current_epoch + 1)

    for looks, expected in ((3, [2, 4, 6]), (4, [2, 3, 5, 6]), (20, [1, 2, 3, 4, 5, 6]), (0, [])):
        looked.clear()
        fit(ring_gan(), Watched(num=40, looks=looks), max_epochs=6)
        assert looked == expected
    looked.clear()
    fit(ring_gan(), Watched(num=40, looks=2), max_epochs=-1, max_steps=15)
    assert looked == [2, 3]


def test_training_does_not_feel_it_and_resumes(tmp_path: Path) -> None:
    with_it, without = digits_gan(), digits_gan()
    fit(with_it, CollapseGuard(), data=digits(), max_epochs=2)
    fit(without, data=digits(), max_epochs=2)
    for name, value in copy(with_it).items():
        assert torch.equal(value, without.state_dict()[name]), name
    assert_resumes(lambda: [CollapseGuard(), Relativistic()], tmp_path)


def test_images_by_components_and_labels() -> None:
    trainer = fit(ring_gan(conditioning="projection"), CollapseGuard(num=40))
    assert "val/guard_class_kl_ring_points" in trainer.callback_metrics
    trainer = fit(digits_gan(), CollapseGuard(), data=digits())
    assert 0 <= trainer.callback_metrics["val/guard_recall_digits_pixels"] <= 1


def test_not_finite() -> None:
    class Break(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.generator.layers[0].weight.data.fill_(math.nan)

    with pytest.raises(NonFiniteError, match="80 of 80 samples of the generator are not finite after epoch 1"):
        fit(ring_gan(), Break(), CollapseGuard())


def test_errors_and_other_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZooError, match="num is at least 20 and looks at least 0, got 5 and 20"):
        CollapseGuard(num=5)
    with pytest.raises(ZooError, match="CollapseGuard looks at what a GAN makes, and MLP makes no samples; drop it"):
        quiet_trainer(callbacks=[CollapseGuard()]).fit(make_mlp(), datamodule=digits())

    class Plain(LightningDataModule):
        def train_dataloader(self) -> DataLoader:
            return DataLoader(TensorDataset(torch.randn(64, 2), torch.zeros(64).long()), 32)

    trainer = quiet_trainer(callbacks=[CollapseGuard()])
    trainer.fit(ring_gan(), datamodule=Plain())
    assert "Plain has no 20 validation samples to compare with; no guard" in capsys.readouterr().out
