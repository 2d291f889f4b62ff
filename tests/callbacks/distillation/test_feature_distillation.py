"""FeatureDistillation: equal to the formula, a projection that learns and survives a resume, and errors."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from callbacks.averaging.ema import EMA
from callbacks.distillation.feature_distillation import FeatureDistillation, feature_distance
from callbacks.distillation.logit_distillation import LogitDistillation
from callbacks.optimizers.muon import Muon
from callbacks.optimizers.sam import SAM
from callbacks.optimizers.selection import OptimizerSelection
from callbacks.schedules.one_cycle import OneCycle
from callbacks.technique import Conflict, NoEffect
from tests.callbacks.distillation.distillation_checks import load, teacher_run
from tests.callbacks.technique_checks import assert_resumes, assert_same, copy, fit, make_mlp
from tests.tools import StopAt, Stopped
from zoo.batch import Batch
from zoo.cnn import LeNet, ResNet
from zoo.errors import ZooError
from zoo.module import task_objective
from zoo.task import Classification

GENERATOR = torch.Generator().manual_seed(0)
MAPS = torch.randn(2, 3, 5, 4, 4, generator=GENERATOR)

MATRIX_SKIP = "which layers of a teacher and a student go together is a choice for each pair of networks"


def test_equals_the_formula() -> None:
    a, b = MAPS
    torch.testing.assert_close(feature_distance(a, b, "mse"), (a - b).pow(2).mean())
    cosine = torch.stack([torch.dot(a[n, :, i, j], b[n, :, i, j]) / (a[n, :, i, j].norm() * b[n, :, i, j].norm())
                          for n in range(3) for i in range(4) for j in range(4)])  # fmt: skip
    torch.testing.assert_close(feature_distance(a, b, "cosine"), (1 - cosine).mean())
    torch.testing.assert_close(feature_distance(a, 3 * a, "cosine"), torch.tensor(0.0))
    large = a.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(feature_distance(a, large, "mse"), torch.tensor(0.0))


def test_penalty_is_the_distance_of_both_networks(tmp_path: Path) -> None:
    run, student = teacher_run(tmp_path / "run", hidden=32), make_mlp(dropout=0.0, hidden=(32,))
    technique = FeatureDistillation(str(run), {"backbone": "backbone", "head": "head"}, strength=0.5)
    technique.attach(student)
    batch = Batch(torch.rand(6, 64), torch.arange(6))
    penalty = student.penalties["FeatureDistillation"](student, batch, task_objective(student, batch))
    teacher = load(run)
    expected = sum(F.mse_loss(getattr(student, name)(x), getattr(teacher, name)(y)) for name, x, y in (
        ("backbone", batch.x, batch.x), ("head", student.backbone(batch.x), teacher.backbone(batch.x))))  # fmt: skip
    torch.testing.assert_close(penalty, 0.5 * expected)
    assert not student.optimizer_wrappers, "equal widths need no projection"


def distances(run: Path, epochs: int, lr: float = 0.01) -> tuple[list[float], FeatureDistillation, torch.Tensor]:
    """How far the features are apart at each step, and the projection before training."""
    technique, student, found = FeatureDistillation(str(run), strength=1.0), make_mlp(), []
    fit(student, technique)  # builds the projection; the second fit builds it anew
    penalty = technique._penalty
    technique._penalty = lambda *args: found.append(penalty(*args)) or found[-1]
    torch.manual_seed(0)
    start: list[torch.Tensor] = []
    train = technique._train_projections
    technique._train_projections = lambda m, o: (start.append(technique._projections[0].weight.clone()), train(m, o))[1]
    fit(student, technique, OptimizerSelection("SGD", lr, 0.0), max_epochs=epochs)
    return [value.item() for value in found], technique, start[0]


def test_features_come_nearer_and_the_projection_learns(tmp_path: Path) -> None:
    found, technique, start = distances(teacher_run(tmp_path / "run", epochs=2), 8, lr=0.1)
    assert sum(found[-7:]) < 0.8 * sum(found[:7])
    weight = technique._projections[0].weight
    assert weight.shape == (48, 32)
    assert not torch.equal(weight, start)


def test_maps_of_another_width_and_size(tmp_path: Path) -> None:
    """A LeNet of 8 pixels learns from itself through layers of other shapes."""
    run = teacher_run(tmp_path / "run", epochs=0)
    teacher, student = ResNet(1, Classification(10), [1], width=8), LeNet(1, 8, Classification(10))
    technique = FeatureDistillation(str(run), {"backbone.0": "backbone.0"})
    technique._teacher = _FakeTeacher(teacher)
    technique._watch_layers(student, technique._teacher)
    technique._build_projections(student, technique._teacher)
    assert technique._projections[0].weight.shape == (8, 6)
    assert student.training
    assert all(part.training for part in student.modules())
    batch = Batch(torch.rand(4, 1, 8, 8), torch.arange(4))
    penalty = technique._penalty(student, batch, task_objective(student, batch))
    penalty.backward()
    assert student.backbone[0].weight.grad.abs().sum() > 0


class _FakeTeacher:
    def __init__(self, model: ResNet) -> None:
        self.model = model

    def predict(self, batch: Batch, device: torch.device) -> torch.Tensor:
        with torch.no_grad():
            return self.model(batch.x)


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    run = teacher_run(tmp_path / "run")
    assert_resumes(lambda: [FeatureDistillation(str(run))], tmp_path)


def test_the_projection_survives_a_resume(tmp_path: Path) -> None:
    run = teacher_run(tmp_path / "run")
    whole = FeatureDistillation(str(run))
    fit(make_mlp(), whole, max_epochs=2)
    with pytest.raises(Stopped):
        fit(make_mlp(), FeatureDistillation(str(run)), StopAt(tmp_path / "cut.ckpt", 0, 2), max_epochs=2)
    resumed = FeatureDistillation(str(run))
    fit(make_mlp(), resumed, ckpt=tmp_path / "cut.ckpt", max_epochs=2)
    assert_same(copy(whole._projections), copy(resumed._projections))


@pytest.mark.parametrize(
    "company",
    [[Muon()], [SAM()], [EMA(0.9), OneCycle()], ["logits"]],
    ids=["muon", "sam", "ema and schedule", "logits"],
)
def test_gets_on_with_others(tmp_path: Path, company: list) -> None:
    run, student = teacher_run(tmp_path / "run"), make_mlp()
    names = student.state_dict().keys()
    others = [LogitDistillation(str(run)) if other == "logits" else other for other in company]
    trainer = fit(student, FeatureDistillation(str(run)), *others)
    assert student.state_dict().keys() == names
    assert trainer.optimizers[0].param_groups[-1]["name"] == "projections"


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    run = str(teacher_run(tmp_path / "run"))
    with pytest.raises(ZooError, match="strength must not be negative"):
        FeatureDistillation(run, strength=-1.0)
    with pytest.raises(ZooError, match="layers is empty"):
        FeatureDistillation(run, {})
    with pytest.raises(NoEffect, match="strength is 0, which leaves the teacher out"):
        fit(make_mlp(), FeatureDistillation(run, strength=0.0))
    with pytest.raises(ZooError, match=r"the student, a MLP, has no layer 'backbon'; did you mean backbone,"):
        FeatureDistillation(run, {"backbon": "backbone"}).attach(make_mlp())
    with pytest.raises(ZooError, match=r"the teacher, a MLP, has no layer 'stem'; did you mean"):
        FeatureDistillation(run, {"backbone": "stem"}).attach(make_mlp())
    with pytest.raises(Conflict, match="LBFGS takes no further parameters"):
        fit(make_mlp(), FeatureDistillation(run), OptimizerSelection("LBFGS", 0.1, 0.0))
    with pytest.raises(ZooError, match=r"teacher: .*none is not the folder of a run"):
        FeatureDistillation(str(tmp_path / "none")).attach(make_mlp())
