"""The multi-label task and its loss, against torch, torchvision and scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sk
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import sigmoid_focal_loss

from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.losses import Asymmetric, Focal
from zoo.mlp import MLP
from zoo.task import MultiLabel

N, C = 40, 5


def draw(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, C, generator=generator, dtype=torch.float64) * 2
    return logits, (torch.rand(N, C, generator=generator) < 0.3).long()


def test_asymmetric_by_hand() -> None:
    logits, y = draw()
    p = 1 / (1 + np.exp(-logits.numpy()))
    shifted = np.maximum(p - 0.1, 0)
    expected = np.where(y == 1, -((1 - p) ** 1.0) * np.log(p), -(shifted**3.0) * np.log(1 - shifted))
    loss = Asymmetric(1.0, 3.0, margin=0.1, reduction="none")
    np.testing.assert_allclose(loss(logits, y), expected, rtol=1e-9, atol=1e-12)
    assert Asymmetric(1.0, 3.0, 0.1)(logits, y).item() == pytest.approx(expected.mean())
    assert Asymmetric(1.0, 3.0, 0.1, "sum")(logits, y).item() == pytest.approx(expected.sum())


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_asymmetric_holds_the_symmetric_losses(gamma: float) -> None:
    logits, y = draw()
    expected = sigmoid_focal_loss(logits, y.double(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(Asymmetric(gamma, gamma, margin=0.0)(logits, y), expected)
    plain = F.binary_cross_entropy_with_logits(logits, y.double())
    torch.testing.assert_close(Asymmetric(0.0, 0.0, margin=0.0)(logits, y), plain)


@pytest.mark.parametrize("arguments", [(0.0, 4.0, 0.05), (1.0, 2.0, 0.0), (0.5, 0.5, 0.2)])
def test_asymmetric_gradients(arguments: tuple[float, float, float]) -> None:
    logits, y = draw()
    loss = Asymmetric(*arguments)
    assert torch.autograd.gradcheck(lambda z: loss(z, y), logits.requires_grad_())
    far = torch.tensor([[300.0, -300.0]], requires_grad=True)
    loss(far, torch.tensor([[0.0, 1.0]])).backward()
    assert far.grad is not None
    assert far.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(2))
def test_metrics_are_scikit_learns(seed: int) -> None:
    logits, y = draw(seed)
    task = MultiLabel(C, threshold=0.4)
    metrics = task.metrics()
    for part, target in zip(logits.split(15), y.split(15)):
        task.update(metrics, part, Batch(part, target))
    values = {name: value.item() for name, value in metrics.compute().items()}
    p = logits.sigmoid().numpy()
    assert values["map"] == pytest.approx(sk.average_precision_score(y, p, average="macro"), rel=1e-5)
    assert values["f1"] == pytest.approx(sk.f1_score(y, p > 0.4, average="macro"), rel=1e-5)
    assert values["exact_match"] == pytest.approx(sk.accuracy_score(y, p > 0.4))
    assert task.quick(logits, Batch(logits, y))["exact_match"].item() == pytest.approx(values["exact_match"])


def test_loss_and_balanced_weights() -> None:
    logits, y = draw()
    logits = logits.float()
    torch.testing.assert_close(MultiLabel(C).loss(logits, Batch(logits, y)), Asymmetric(0, 0, 0)(logits, y))
    task = MultiLabel(C, positive_weights="balanced")
    task.fit_targets(y)
    present = y.numpy().sum(0)
    np.testing.assert_allclose(task.state_dict()["criterion.pos_weight"], (N - present) / present, rtol=1e-6)
    weight = torch.rand(N, generator=torch.Generator().manual_seed(0))
    each = F.binary_cross_entropy_with_logits(logits, y.float(), reduction="none").mean(1)
    expected = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(MultiLabel(C).loss(logits, Batch(logits, y, weight=weight)), expected)


def test_it_learns_which_bits_a_number_has() -> None:
    x = torch.eye(16)
    y = (torch.arange(16)[:, None] >> torch.arange(4)) & 1
    loader: DataLoader[Any] = DataLoader(TensorDataset(x, y), 16)
    torch.manual_seed(0)
    module = MLP(16, MultiLabel(4, Asymmetric()), hidden=[32])
    module.optimizer_factories["network"] = lambda network: torch.optim.Adam(network.parameters(), lr=0.05)
    trainer = quiet_trainer(max_epochs=100)
    trainer.fit(module, loader, loader)
    values = trainer.callback_metrics
    assert values["val/exact_match"] == 1.0
    assert values["val/map"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiLabel(0), "MultiLabel needs at least one label, got num_classes=0"),
        (lambda: MultiLabel(3, threshold=1.0), r"threshold must lie in \(0, 1\), got 1.0"),
        (lambda: MultiLabel(3, positive_weights=[1.0]), "positive_weights has 1 entries for 3 labels"),
        (lambda: MultiLabel(3, Asymmetric(), positive_weights="balanced"), "give them to the loss itself"),
        (lambda: MultiLabel(3, Focal()), "Focal is a loss for one class a sample, but MultiLabel is about any number"),
        (lambda: Asymmetric(-1.0), "Asymmetric: exponents must be at least 0"),
        (lambda: Asymmetric(margin=1.0), r"Asymmetric: margin must lie in \[0, 1\)"),
    ],
)
def test_arguments_that_cannot_work(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            torch.tensor([0, 1]),
            r"Rows: targets have the shape \(2,\); MultiLabel takes zeros and ones of shape \(N, 2\)",
        ),
        (torch.tensor([[0, 1], [0, 2]]), "Rows: sample 1 has 2 for label 1; MultiLabel takes 0 or 1"),
        (torch.tensor([[0.0, float("nan")]]), "Rows: sample 0 has nan for label 1"),
    ],
)
def test_targets_that_it_cannot_take(y: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        MultiLabel(2).check_targets(y, "Rows")


def test_a_label_that_never_occurs_cannot_be_balanced() -> None:
    with pytest.raises(DataError, match=r"no sample with label \[1\]"):
        MultiLabel(2, positive_weights="balanced").fit_targets(torch.tensor([[1, 0], [0, 0]]))
