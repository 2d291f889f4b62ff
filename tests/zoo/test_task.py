"""Tasks: losses against torch, weights against hand-written means, metrics against scikit-learn, errors."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.diabetes import Diabetes
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.mlp import MLP
from zoo.task import Classification, Regression, Task

SAMPLES, CLASSES = 60, 4


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, hard labels of unequal frequency, soft targets, sample weights."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(SAMPLES, CLASSES, generator=generator) * 3
    y = torch.multinomial(torch.tensor([0.5, 0.3, 0.15, 0.05]), SAMPLES, True, generator=generator)
    y[:CLASSES] = torch.arange(CLASSES)
    soft = torch.rand(SAMPLES, CLASSES, generator=generator).softmax(1)
    return logits, y, soft, torch.rand(SAMPLES, generator=generator)


def evaluate(task: Task, prediction: Tensor, y: Tensor, batch_size: int = 25) -> dict[str, float]:
    """Metrics of a split that comes in batches."""
    metrics = task.metrics()
    for part, target in zip(prediction.split(batch_size), y.split(batch_size)):
        task.update(metrics, part, Batch(part, target))
    return {name: value.item() for name, value in metrics.compute().items()}


# Classification: loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 3.0]])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_is_torchs(smoothing: float, weights: list[float] | None, soft: bool) -> None:
    logits, hard_targets, soft_targets, _ = draw()
    y = soft_targets if soft else hard_targets
    task = Classification(CLASSES, label_smoothing=smoothing, class_weights=weights)
    weight = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, y, weight=weight, label_smoothing=smoothing)
    torch.testing.assert_close(task.loss(logits, Batch(logits, y)), expected)


def test_cross_entropy_by_hand() -> None:
    logits, y, soft, _ = draw()
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    picked = log_p[torch.arange(SAMPLES), y]
    w = torch.tensor([1.0, 2.0, 0.5, 3.0])
    for task, target, expected in (
        (Classification(CLASSES), y, -picked.mean()),
        (Classification(CLASSES), soft, -(soft * log_p).sum(1).mean()),
        (Classification(CLASSES, label_smoothing=0.2), y, -(0.8 * picked + 0.2 * log_p.mean(1)).mean()),
        (Classification(CLASSES, class_weights=w.tolist()), y, -(w[y] * picked).sum() / w[y].sum()),
    ):
        torch.testing.assert_close(task.loss(logits, Batch(logits, target)), expected)


def test_balanced_class_weights_are_scikit_learns() -> None:
    _, y, _, _ = draw()
    task = Classification(CLASSES, class_weights="balanced")
    task.fit_targets(y)
    expected = compute_class_weight("balanced", classes=np.arange(CLASSES), y=y.numpy())
    torch.testing.assert_close(task.state_dict()["criterion.weight"], torch.tensor(expected).float())
    one_hot = Classification(CLASSES, class_weights="balanced")
    one_hot.fit_targets(F.one_hot(y, CLASSES).float())
    torch.testing.assert_close(one_hot.state_dict(), task.state_dict())


@pytest.mark.parametrize("class_weights", [None, [1.0, 2.0, 0.5, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_equal_sample_weights_are_none(class_weights: list[float] | None, smoothing: float, soft: bool) -> None:
    logits, hard_targets, soft_targets, _ = draw()
    y = soft_targets if soft else hard_targets
    task = Classification(CLASSES, label_smoothing=smoothing, class_weights=class_weights)
    weighted = task.loss(logits, Batch(logits, y, weight=torch.full((SAMPLES,), 0.3)))
    torch.testing.assert_close(weighted, task.loss(logits, Batch(logits, y)))


def test_sample_weights_by_hand() -> None:
    logits, y, soft, weight = draw()
    log_p = logits.log_softmax(1)
    hard_losses = -log_p[torch.arange(SAMPLES), y]
    class_weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    both = weight * class_weights[y]
    for task, target, losses, mass in (
        (Classification(CLASSES), y, hard_losses, weight),
        (Classification(CLASSES), soft, -(soft * log_p).sum(1), weight),
        (Classification(CLASSES, class_weights=class_weights.tolist()), y, hard_losses, both),
        (Classification(CLASSES, nn.MultiMarginLoss()), y, F.multi_margin_loss(logits, y, reduction="none"), weight),
    ):
        expected = (mass * losses).sum() / mass.sum()
        torch.testing.assert_close(task.loss(logits, Batch(logits, target, weight=weight)), expected)


def test_sample_weights_leave_the_loss_as_it_was() -> None:
    logits, y, _, weight = draw()
    task = Classification(CLASSES)
    before = task.loss(logits, Batch(logits, y))
    task.loss(logits, Batch(logits, y, weight=weight))
    assert task.loss(logits, Batch(logits, y)) == before


def test_a_sample_of_weight_zero_has_no_gradient() -> None:
    logits, y, _, weight = draw()
    weight[7] = 0
    logits.requires_grad_()
    Classification(CLASSES).loss(logits, Batch(logits, y, weight=weight)).backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(1) == 0).nonzero().flatten().tolist() == [7]


# Classification: decoding and metrics ---------------------------------------------------------------------------------


def test_decode_is_a_distribution() -> None:
    logits, *_ = draw()
    p = Classification(CLASSES).decode(logits.bfloat16())
    assert p.dtype == torch.float32
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(1), torch.ones(SAMPLES))
    assert torch.equal(p.argmax(1), logits.bfloat16().argmax(1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("soft", [False, True])
def test_classification_metrics_are_scikit_learns(seed: int, soft: bool) -> None:
    logits, y, *_ = draw(seed)
    targets = F.one_hot(y, CLASSES).float() * 0.9 + 0.025 if soft else y
    task = Classification(CLASSES)
    guess = logits.argmax(1)
    values = evaluate(task, logits, targets)
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(y, guess))
    assert values["f1"] == pytest.approx(sk.f1_score(y, guess, average="macro"), rel=1e-5)
    confidence = logits.softmax(1).amax(1).numpy()
    bins = np.minimum((confidence * 15).astype(int), 14)
    right = (guess == y).numpy()
    error = sum(abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    assert values["calibration_error"] == pytest.approx(error, rel=1e-4)
    assert task.quick(logits, Batch(logits, targets))["accuracy"].item() == pytest.approx(values["accuracy"])


# Regression -----------------------------------------------------------------------------------------------------------


def fitted(y: Tensor, **arguments: Any) -> Regression:
    task = Regression(num_targets=y[0].numel(), **arguments)
    task.fit_targets(y)
    return task


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
def test_loss_is_taken_on_standardised_targets(shape: tuple[int, ...]) -> None:
    y = torch.randn(shape) * 7 + 100
    task = fitted(y)
    z = (y.numpy().reshape(50, -1) - y.numpy().reshape(50, -1).mean(0)) / y.numpy().reshape(50, -1).std(0)
    np.testing.assert_allclose(task.target(y).numpy(), z, rtol=1e-3, atol=1e-5)
    prediction = torch.randn(50, task.num_targets)
    assert task.loss(prediction, Batch(y, y)).item() == pytest.approx(((prediction.numpy() - z) ** 2).mean(), rel=1e-4)
    torch.testing.assert_close(task.decode(task.target(y)), y.reshape(50, -1))
    weight = torch.rand(50)
    expected = (((prediction.numpy() - z) ** 2).mean(1) * weight.numpy()).sum() / weight.sum().item()
    assert task.loss(prediction, Batch(y, y, weight=weight)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("num_targets", [1, 3])
def test_regression_metrics_are_scikit_learns_in_original_units(num_targets: int) -> None:
    y = torch.randn(60, num_targets) * torch.tensor([7.0, 0.5, 20.0][:num_targets]) + 100
    task = fitted(y)
    z = task.target(y) + torch.randn(60, num_targets) * 0.5
    guess, truth = task.decode(z).numpy(), y.numpy()
    values = evaluate(task, z, y)
    assert values["mae"] == pytest.approx(sk.mean_absolute_error(truth, guess), rel=1e-5)
    assert values["rmse"] == pytest.approx(sk.mean_squared_error(truth, guess) ** 0.5, rel=1e-5)
    assert values["r2"] == pytest.approx(sk.r2_score(truth, guess), rel=1e-3)
    assert task.quick(z, Batch(z, y))["mae"].item() == pytest.approx(values["mae"], rel=1e-5)


def test_without_scaling_targets_are_left_alone() -> None:
    y = torch.randn(20) * 7 + 100
    task = fitted(y, scale_targets=False)
    assert torch.equal(task.target(y), y[:, None])
    assert torch.equal(task.decode(y[:, None]), y[:, None])


def test_scales_come_from_training_targets_and_travel_in_the_checkpoint(tmp_path: Path) -> None:
    def network() -> MLP:
        return MLP(10, Regression(), hidden=[8])

    data, module, trainer = Diabetes(batch_size=64), network(), quiet_trainer()
    trainer.fit(module, datamodule=data)
    targets = data.train_targets
    assert targets is not None
    task = module.task
    assert isinstance(task, Regression)
    assert task.mean.item() == pytest.approx(targets.double().mean().item())
    assert task.std.item() == pytest.approx(targets.double().std(correction=0).item())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    expected = torch.cat(quiet_trainer().predict(module, datamodule=Diabetes()))  # type: ignore[arg-type]
    again = quiet_trainer().predict(network(), datamodule=Diabetes(), ckpt_path=tmp_path / "last.ckpt")
    assert torch.equal(torch.cat(again), expected)  # type: ignore[arg-type]
    # In original units: untrained as it is, the network predicts about the mean of the disease scores.
    assert abs(expected.mean() - targets.mean()) < targets.std()


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(1), "Classification needs at least 2 classes, got num_classes=1"),
        (lambda: Classification(3, label_smoothing=1.0), r"label_smoothing must lie in \[0, 1\), got 1.0"),
        (lambda: Classification(3, class_weights=[1.0, 2.0]), "class_weights has 2 entries for 3 classes"),
        (lambda: Classification(3, nn.NLLLoss(), label_smoothing=0.1), "label_smoothing and class_weights belong to"),
        (lambda: Classification(3, nn.NLLLoss(), class_weights="balanced"), "give them to the loss itself"),
        (lambda: Regression(0), "Regression needs at least one target, got num_targets=0"),
    ],
)
def test_arguments_that_cannot_work(make: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make()


CLASSIFIER, REGRESSION = Classification(3), Regression(2)
LABELS = r"classification takes integer labels \(int64, \(N,\)\) or soft targets \(N, 3\)"
VALUES = r"regression takes floats of shape \(N,\) or \(N, 2\)"


@pytest.mark.parametrize(
    ("task", "y", "message"),
    [
        (CLASSIFIER, torch.tensor([0, 1, 3, 5]), r"Rows train: sample 2 has label 3, outside 0..2 \(2 such labels in"),
        (CLASSIFIER, torch.tensor([0, -100]), "Rows train: sample 1 has label -100, outside 0..2"),
        (CLASSIFIER, torch.zeros(4), rf"Rows train: targets are torch.float32 of shape \(4,\); {LABELS}"),
        (CLASSIFIER, torch.zeros(4, 2), rf"of shape \(4, 2\); {LABELS}"),
        (CLASSIFIER, torch.zeros(4, 1, dtype=torch.long), rf"targets are torch.int64 of shape \(4, 1\); {LABELS}"),
        (CLASSIFIER, torch.zeros(4, dtype=torch.int32), rf"targets are torch.int32 of shape \(4,\); {LABELS}"),
        (CLASSIFIER, torch.tensor([[0.5, 0.5, 0], [np.nan, 0, 0]]), "Rows train: sample 1 has soft targets that are"),
        (CLASSIFIER, torch.tensor([[2.0, -1.0, 0]]), "Rows train: sample 0 has soft targets that are"),
        (REGRESSION, torch.zeros(4, 3), rf"Rows train: targets are torch.float32 of shape \(4, 3\); {VALUES}"),
        (REGRESSION, torch.zeros(4, 2, dtype=torch.long), rf"targets are torch.int64 of shape \(4, 2\); {VALUES}"),
        (REGRESSION, torch.tensor([[0.0, 1], [0, np.inf]]), "Rows train: sample 1 has a target that is NaN or infin"),
    ],
)
def test_targets_that_a_task_cannot_take(task: Task, y: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task.check_targets(y, "Rows train")


def test_targets_that_a_task_can_take() -> None:
    CLASSIFIER.check_targets(torch.tensor([0, 2]), "Rows train")
    CLASSIFIER.check_targets(torch.tensor([[0.2, 0.3, 0.5]]), "Rows train")
    REGRESSION.check_targets(torch.zeros(3, 2), "Rows train")


def test_targets_from_which_nothing_can_be_learnt() -> None:
    with pytest.raises(DataError, match="a training target is constant; there is nothing to learn from it"):
        fitted(torch.stack([torch.randn(9), torch.full((9,), 2.5)], 1))
    with pytest.raises(DataError, match=r"class_weights=balanced, but the training split has no sample of class \[1\]"):
        Classification(3, class_weights="balanced").fit_targets(torch.tensor([0, 2, 2]))


def test_a_loss_that_cannot_be_weighted() -> None:
    class Plain(nn.Module):
        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            return prediction.mean()

    logits, y, _, weight = draw()
    with pytest.raises(ZooError, match="Plain has no `reduction`, so sample weights cannot be applied to it"):
        Classification(CLASSES, Plain()).loss(logits, Batch(logits, y, weight=weight))


# A constant answer ----------------------------------------------------------------------------------------------------


def test_the_commonest_class_is_the_naive_answer() -> None:
    train, y = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 1, 0, 2])
    assert Classification(3).naive(train, [Batch(y, y)]) == {"a constant answer": {"accuracy": 0.5}}


def test_mean_and_median_are_the_naive_answers() -> None:
    batches = [Batch(y, y) for y in torch.tensor([2.0, 4.0]).split(1)]
    naive = Regression().naive(torch.tensor([0.0, 1.0, 5.0]), batches)
    assert naive == {"a constant answer": {"mae": pytest.approx(2.0), "rmse": pytest.approx(math.sqrt(2.0))}}
