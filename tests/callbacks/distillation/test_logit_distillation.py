"""LogitDistillation: equal to the formula, a teacher that stays itself, exact resume, and errors."""

import math
import os
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from callbacks.augmentation.mixup import MixUp
from callbacks.distillation.logit_distillation import LogitDistillation, answer_loss, soft_loss
from callbacks.technique import Conflict, NoEffect, UnsupportedModule
from datamodules.diabetes import Diabetes
from tests.callbacks.distillation.distillation_checks import load, matrix_run, regression_run, save_run, teacher_run
from tests.callbacks.technique_checks import assert_resumes, copy, fit, make_mlp
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.from_run import model_from_run
from zoo.mlp import MLP
from zoo.module import SupervisedModule, task_objective
from zoo.task import Classification, MultiLabel, Regression

STUDENT, TEACHER = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equals_the_divergence_by_hand(temperature: float) -> None:
    p, q = (TEACHER / temperature).softmax(1), (STUDENT / temperature).softmax(1)
    expected = temperature**2 * (p * (p.log() - q.log())).sum(1)
    torch.testing.assert_close(soft_loss(STUDENT, TEACHER, temperature), expected)


def test_gradient_is_that_of_the_cross_entropy_with_soft_targets() -> None:
    """Hinton et al. minimise the cross-entropy; it differs from the divergence by the teacher's entropy."""
    logits = STUDENT.clone().requires_grad_()
    ours = torch.autograd.grad(soft_loss(logits, TEACHER, 2.0).mean(), logits)[0]
    theirs = torch.autograd.grad(4 * F.cross_entropy(logits / 2, (TEACHER / 2).softmax(1)), logits)[0]
    torch.testing.assert_close(ours, theirs)


def test_gradient_does_not_vanish_with_the_temperature() -> None:
    """For large T the gradient becomes that of half the squared difference of centred logits, over C. Section 2.1."""
    logits = (STUDENT - STUDENT.mean(1, keepdim=True)).requires_grad_()
    centred = TEACHER - TEACHER.mean(1, keepdim=True)
    gradient = torch.autograd.grad(soft_loss(logits, centred, 1000.0).sum(), logits)[0]
    torch.testing.assert_close(gradient, (logits.detach() - centred) / 4, atol=2e-3, rtol=0)


def attached(run: Path, student: MLP, **arguments: float) -> MLP:
    LogitDistillation(str(run), **arguments).attach(student)
    return student


def test_objective_mixes_both_parts_and_heeds_weights(tmp_path: Path) -> None:
    run, student = teacher_run(tmp_path / "run"), make_mlp(dropout=0.0).eval()
    x, y = torch.rand(6, 64), torch.arange(6)
    hard = task_objective(student, Batch(x, y))
    attached(run, student, alpha=0.3, temperature=2.0)
    soft = soft_loss(hard.prediction, load(run)(x), 2.0)
    torch.testing.assert_close(student.objective(student, Batch(x, y)).loss, 0.3 * soft.mean() + 0.7 * hard.loss)
    weight = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0, 1.0])
    weighted = student.objective(student, Batch(x, y, weight=weight)).loss
    some = torch.tensor([0, 2, 2, 5])  # a weight of 2 is a sample that stands twice
    torch.testing.assert_close(weighted, student.objective(student, Batch(x[some], y[some])).loss)


def test_a_student_that_is_the_teacher_has_nothing_to_learn(tmp_path: Path) -> None:
    run = teacher_run(tmp_path / "run")
    student = attached(run, load(run).requires_grad_(True), alpha=1.0)
    loss = student.objective(student, Batch(torch.rand(6, 64), torch.arange(6))).loss
    assert loss.item() == pytest.approx(0, abs=1e-5)
    loss.backward()
    assert max(p.grad.abs().max().item() for p in student.parameters()) < 1e-5


def test_values_are_compared_in_the_students_units() -> None:
    own, other = Regression(), Regression()
    own.mean.fill_(10), own.std.fill_(2), other.mean.fill_(4), other.std.fill_(3)
    # The student says 12 and 10, the teacher 10 and 7: differences of 1 and 1.5 standard deviations.
    loss = answer_loss(torch.tensor([[1.0], [0.0]]), torch.tensor([[2.0], [1.0]]), own, other)
    torch.testing.assert_close(loss, torch.tensor([1.0, 2.25]))


def test_the_teacher_stays_itself_and_out_of_the_student(tmp_path: Path) -> None:
    run, student = teacher_run(tmp_path / "run"), make_mlp()
    names, technique = student.state_dict().keys(), LogitDistillation(str(run))
    seen: list[tuple[nn.Module, bool]] = []
    attach = technique.attach

    def look(module: MLP) -> None:
        attach(module)
        teacher = technique._teacher.model
        teacher.backbone.register_forward_hook(lambda m, i, o: seen.append((teacher, o.requires_grad or m.training)))

    technique.attach = look
    fit(student, technique, MixUp(0.4), max_epochs=2)
    teacher = seen[0][0]
    assert len(seen) == 14
    assert not any(flag for _, flag in seen)
    assert student.state_dict().keys() == names
    for name, tensor in load(run).state_dict().items():
        assert torch.equal(tensor, teacher.state_dict()[name]), name
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in student.parameters()}
    assert not student.slot_owners
    assert technique._teacher is None


def test_building_the_teacher_draws_no_number(tmp_path: Path) -> None:
    run = teacher_run(tmp_path / "run")
    before = torch.get_rng_state()
    LogitDistillation(str(run)).attach(make_mlp_with_state(before))
    assert torch.equal(torch.get_rng_state(), before)


def make_mlp_with_state(state: torch.Tensor) -> MLP:
    student = make_mlp()
    torch.set_rng_state(state)
    return student


def test_a_good_teacher_helps(tmp_path: Path) -> None:
    """Most of the student's labels are wrong; who listens to a teacher that saw clean ones reads digits better."""

    class Noisy(MLP):
        def training_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
            x, y = batch
            return super().training_step((x, torch.where(torch.rand(len(y)) < 0.8, torch.randint(10, y.shape), y)), 0)

    run = teacher_run(tmp_path / "run", epochs=8)
    accuracy = []
    for techniques in ([], [LogitDistillation(str(run), alpha=0.9)]):
        torch.manual_seed(0)
        trainer = fit(Noisy(64, Classification(10), [32]), *techniques, batch_size=64, max_epochs=5)
        accuracy.append(trainer.callback_metrics["val/accuracy"].item())
    assert accuracy[1] > accuracy[0] + 0.03, accuracy


def test_distils_values_too(tmp_path: Path) -> None:
    run = regression_run(tmp_path / "run")
    torch.manual_seed(0)
    student = MLP(10, Regression(), [16])
    trainer = quiet_trainer(callbacks=[LogitDistillation(str(run), alpha=1.0)], max_epochs=30)
    data = Diabetes(batch_size=32)
    trainer.fit(student, datamodule=data)
    x = data.splits["val"].x
    theirs, ours = (m.task.decode(m(x)) for m in (load(run), student.eval()))
    assert (theirs - ours).square().mean() < 0.25 * theirs.var(), "the student answers as its teacher does"


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    run = teacher_run(tmp_path / "run")
    assert_resumes(lambda: [LogitDistillation(str(run))], tmp_path)


def test_a_resumed_run_keeps_its_teacher(tmp_path: Path) -> None:
    first, second = teacher_run(tmp_path / "first"), teacher_run(tmp_path / "second", seed=8)
    latest = tmp_path / "latest"
    os.symlink(first, latest)
    technique = LogitDistillation(str(latest))
    technique.attach(make_mlp())
    state = technique.state_dict()
    assert state == {"teacher": str(first.resolve())}
    latest.unlink()
    os.symlink(second, latest)
    again = LogitDistillation(str(latest))
    again.attach(make_mlp())
    again.load_state_dict(state)
    assert torch.equal(again._teacher.model.head.weight, load(first).head.weight)
    other = LogitDistillation(str(teacher_run(tmp_path / "third", hidden=20)))
    other.attach(make_mlp())
    with pytest.raises(ZooError, match=r"has learnt from .*first, which is another network than the one in .*third"):
        other.load_state_dict(state)


def test_second_fit_and_company(tmp_path: Path) -> None:
    run, student = teacher_run(tmp_path / "run"), make_mlp()
    technique = LogitDistillation(str(run))
    fit(student, technique)
    before = copy(student)
    fit(student, technique)
    assert any(not torch.equal(a, b) for a, b in zip(before.values(), copy(student).values()))
    student.slot_owners["objective"] = "Other"
    with pytest.raises(Conflict, match="Other and LogitDistillation both want the slot objective; drop one of them"):
        technique.attach(student)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    run = teacher_run(tmp_path / "run")
    with pytest.raises(ZooError, match=r"alpha is a share in \[0, 1\], got 1.5"):
        LogitDistillation("x", alpha=1.5)
    for temperature in (0.0, math.nan):
        with pytest.raises(ZooError, match="temperature must be positive"):
            LogitDistillation("x", temperature=temperature)
    with pytest.raises(NoEffect, match="alpha is 0, which leaves the teacher out"):
        attached(run, make_mlp(), alpha=0.0)
    with pytest.raises(ZooError, match=r"LogitDistillation: teacher: .*/none is not .*: it is no folder; give one"):
        attached(tmp_path / "none", make_mlp())
    with pytest.raises(ZooError, match=r"it has no config\.yaml"):
        attached(tmp_path, make_mlp())
    with pytest.raises(ZooError, match=r"tells 10 classes apart, the student 4 classes; choose a teacher"):
        attached(run, MLP(64, Classification(4), [8]))
    with pytest.raises(ZooError, match="was trained for Classification, the student for Regression"):
        attached(run, MLP(64, Regression(), [8]))
    with pytest.raises(UnsupportedModule, match="does not support the task MultiLabel; use Classification or Regr"):
        fit(MLP(64, MultiLabel(10), [8]), LogitDistillation(str(run)))
    small = attached(run, MLP(10, Classification(10), [8]))
    with pytest.raises(ZooError, match=r"cannot take the student's inputs \(2, 10\): .*; choose one that was"):
        small.objective(small, Batch(torch.rand(2, 10), torch.tensor([1, 2])))


def test_nothing_in_a_run_folder_is_executed(tmp_path: Path) -> None:
    run = teacher_run(tmp_path / "run")
    model_from_run(run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    for path in ("subprocess.Popen", "os.system", "torch.hub.load"):
        config["model"]["init_args"]["task"]["init_args"]["loss"] = {"class_path": path, "init_args": {"args": "ls"}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(ZooError, match=r"config.yaml describes no model that can be built: .*"):
            model_from_run(run)
    for model in (None, "zoo.task.Classification", {"class_path": "datamodules.digits.Digits"}):
        (run / "config.yaml").write_text(yaml.safe_dump({"model": model}))
        with pytest.raises(ZooError, match=r"config.yaml (describes|names) no model"):
            model_from_run(run)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    task = {"class_path": "zoo.task.Classification", "init_args": {"num_classes": 10}}
    run = save_run(tmp_path / "run", make_mlp(), task, [16])
    with pytest.raises(ZooError, match=r"the weights in .* are not those of the model in its config.yaml"):
        model_from_run(run)


def for_matrix(module: SupervisedModule, folder: Path) -> LogitDistillation:
    """The teacher is of another family, and takes the same data."""
    run = matrix_run(folder / type(module).__name__, module)
    return LogitDistillation(str(run))
