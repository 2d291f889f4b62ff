"""Losses for classes against formulas of their own in numpy, torchvision, and cross-entropy where they reduce to it."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.losses import (
    LDAM,
    Asymmetric,
    BinaryCrossEntropy,
    BiTempered,
    ClassBalanced,
    ClassificationLoss,
    Focal,
    GeneralizedCrossEntropy,
    LogCosh,
    LogitAdjusted,
    Poly1,
)
from zoo.losses.bi_tempered import tempered_log_softmax
from zoo.losses.class_balanced import class_balanced_weights
from zoo.task import Classification

N, C = 12, 4
COUNTS = [50, 20, 5, 1]
Array = NDArray[np.float64]


def draw(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, C), labels (N,), soft targets (N, C), in double precision."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, C, generator=generator, dtype=torch.float64) * 3
    soft = torch.rand(N, C, generator=generator, dtype=torch.float64)
    return logits, torch.randint(C, (N,), generator=generator), soft / soft.sum(1, keepdim=True)


def effective_number_weights(beta: float) -> Array:
    weights = np.array([(1 - beta) / (1 - beta**n) for n in COUNTS])
    return weights * C / weights.sum()


def ldam(z: Array, y: Array) -> Array:
    margins = np.array(COUNTS) ** -0.25
    margins *= 0.5 / margins.max()
    moved = z.copy()
    for row, label in zip(moved, y):
        row[label] -= margins[label]
    return -log_softmax(2.0 * moved, axis=1)[np.arange(N), y]


def bi_tempered(z: Array, y: Array, t1: float = 0.5, t2: float = 1.5) -> Array:
    def exp_t(x: Array) -> Array:
        return np.maximum(1 + (1 - t2) * x, 0) ** (1 / (1 - t2))

    def log_t(x: Array) -> Array:
        return (x ** (1 - t1) - 1) / (1 - t1)

    p = np.stack([exp_t(row - brentq(lambda m: exp_t(row - m).sum() - 1, row.max(), row.max() + 50, xtol=1e-14))  # noqa: B023
                  for row in z])  # fmt: skip
    y_hot = np.eye(C)[y]
    bregman = y_hot * (log_t(y_hot) - log_t(p)) - (y_hot ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
    return np.asarray(bregman.sum(1))


def picked(values: Array, y: Array) -> Array:
    return values[np.arange(N), y]


FORMULAS: dict[str, tuple[Callable[[], ClassificationLoss], Callable[[Array, Array], Array]]] = {
    "focal": (
        lambda: Focal(1.5, alpha=[1.0, 2.0, 0.5, 3.0]),
        lambda z, y: (
            np.array([1.0, 2.0, 0.5, 3.0])[y]
            * (1 - picked(softmax(z, 1), y)) ** 1.5
            * -np.log(picked(softmax(z, 1), y))
        ),
    ),
    "poly1": (lambda: Poly1(2.0), lambda z, y: -picked(log_softmax(z, 1), y) + 2 * (1 - picked(softmax(z, 1), y))),
    "generalized": (lambda: GeneralizedCrossEntropy(0.7), lambda z, y: (1 - picked(softmax(z, 1), y) ** 0.7) / 0.7),
    "class_balanced": (
        lambda: ClassBalanced(0.9, class_counts=COUNTS),
        lambda z, y: effective_number_weights(0.9)[y] * -picked(log_softmax(z, 1), y),
    ),
    "logit_adjusted": (
        lambda: LogitAdjusted(1.5, class_counts=COUNTS),
        lambda z, y: -picked(log_softmax(z + 1.5 * np.log(np.array(COUNTS) / sum(COUNTS)), 1), y),
    ),
    "ldam": (lambda: LDAM(0.5, scale=2.0, class_counts=COUNTS), ldam),
    "bi_tempered": (lambda: BiTempered(0.5, 1.5), bi_tempered),
    "binary": (
        BinaryCrossEntropy,
        lambda z, y: -np.log(np.where(np.eye(C)[y] == 1, 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)))).mean(1),
    ),
}
LOSSES = {name: make for name, (make, _) in FORMULAS.items()}
SOFT = [name for name, make in LOSSES.items() if make().soft_targets]


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("seed", range(2))
def test_the_formula(name: str, seed: int) -> None:
    make, formula = FORMULAS[name]
    logits, y, _ = draw(seed)
    loss = make()
    loss.reduction = "none"
    np.testing.assert_allclose(loss(logits, y), formula(logits.numpy(), y.numpy()), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_reductions(name: str) -> None:
    logits, y, _ = draw()
    loss = LOSSES[name]()
    values = {}
    for loss.reduction in ("none", "mean", "sum"):
        values[loss.reduction] = loss(logits, y)
    assert values["none"].shape == (N,)
    torch.testing.assert_close(values["mean"], values["none"].mean())
    torch.testing.assert_close(values["sum"], values["none"].sum())


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients(name: str) -> None:
    logits, y, soft = draw()
    loss = LOSSES[name]()
    assert torch.autograd.gradcheck(lambda z: loss(z, y), logits.requires_grad_())
    if loss.soft_targets:
        assert torch.autograd.gradcheck(lambda z: loss(z, soft), logits)


@pytest.mark.parametrize("name", SOFT)
def test_one_hot_targets_are_labels(name: str) -> None:
    logits, y, _ = draw()
    loss = LOSSES[name]()
    torch.testing.assert_close(loss(logits, F.one_hot(y, C).double()), loss(logits, y))


@pytest.mark.parametrize("name", [name for name in SOFT if name != "bi_tempered"])
def test_a_mixed_sample_costs_the_mixture(name: str) -> None:
    """What MixUp asks for: the loss is linear in the targets."""
    logits, a, _ = draw()
    b = a.roll(1)
    mixed = 0.3 * F.one_hot(a, C) + 0.7 * F.one_hot(b, C).double()
    loss = LOSSES[name]()
    torch.testing.assert_close(loss(logits, mixed), 0.3 * loss(logits, a) + 0.7 * loss(logits, b))


SAME_COUNTS = [7] * C
CROSS_ENTROPIES: dict[str, Callable[[], ClassificationLoss]] = {
    "focal": lambda: Focal(gamma=0.0),
    "poly1": lambda: Poly1(epsilon=0.0),
    "generalized": lambda: GeneralizedCrossEntropy(q=0.0),
    "beta 0": lambda: ClassBalanced(beta=0.0, class_counts=COUNTS),
    "balanced already": lambda: ClassBalanced(beta=0.99, class_counts=SAME_COUNTS),
    "tau 0": lambda: LogitAdjusted(tau=0.0, class_counts=COUNTS),
    "equal priors": lambda: LogitAdjusted(class_counts=SAME_COUNTS),
    "no margin": lambda: LDAM(max_margin=0.0, class_counts=COUNTS),
    "bi_tempered": lambda: BiTempered(t1=1.0, t2=1.0),
}


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_what_reduces_to_cross_entropy(name: str) -> None:
    logits, y, _ = draw()
    loss = CROSS_ENTROPIES[name]()
    torch.testing.assert_close(loss(logits, y), F.cross_entropy(logits, y))
    torch.testing.assert_close(loss.probabilities(logits), logits.softmax(1))


def test_limits_of_the_weights() -> None:
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    inverse = 1 / counts
    torch.testing.assert_close(class_balanced_weights(counts, 1 - 1e-9), inverse / inverse.mean(), rtol=1e-5, atol=0)
    assert class_balanced_weights(counts, 0.999).mean().item() == pytest.approx(1.0)
    weights = class_balanced_weights(torch.tensor([1e7, 1e3, 1.0]), 0.9999)
    assert weights.isfinite().all()
    assert weights[0] < weights[1] < weights[2]


def test_focal_of_two_classes_is_the_sigmoid_focal_loss() -> None:
    z, y, _ = draw()
    margin = z[:, 0]
    label = y % 2
    expected = sigmoid_focal_loss(margin, label.double(), alpha=-1, gamma=2.0)
    loss = Focal(2.0, reduction="none")
    torch.testing.assert_close(loss(torch.stack([torch.zeros(N), margin], 1), label), expected)


@pytest.mark.parametrize("gamma", [0.3, 0.5, 1.0, 2.0])
def test_focal_gradients_are_finite_where_all_is_right(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    Focal(gamma)(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("t", "classes"), [(1.2, 3), (1.5, 1000), (2.0, 1000), (4.0, 50), (1.0, 10)])
def test_the_tempered_softmax_is_a_distribution(t: float, classes: int) -> None:
    for spread in (0.0, 1.0, 30.0):
        logits = torch.randn(8, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * spread
        p = tempered_log_softmax(logits, t).exp()
        torch.testing.assert_close(p.sum(1), torch.ones(8, dtype=torch.float64))
        assert torch.equal(p.argmax(1), logits.argmax(1))


def test_bi_tempered_is_bounded_and_least_at_its_target() -> None:
    far = torch.tensor([[0.0, 1e4]], dtype=torch.float64)
    assert BiTempered(0.5, 1.5)(far, torch.tensor([0])) < 1 / 0.5 + 1
    _, _, soft = draw()
    fitting = soft.log().requires_grad_()  # softmax of it is soft itself
    loss = BiTempered(0.6, 1.0)(fitting, soft)
    assert loss.item() == pytest.approx(0, abs=1e-9)
    assert torch.autograd.grad(loss, fitting)[0].abs().max() < 1e-9


def test_binary_cross_entropy_is_torchs() -> None:
    logits, y, soft = draw()
    one_hot = F.one_hot(y, C).double()
    torch.testing.assert_close(BinaryCrossEntropy()(logits, soft), F.binary_cross_entropy_with_logits(logits, soft))
    present = F.binary_cross_entropy_with_logits(logits, (soft > 0.3).double())
    torch.testing.assert_close(BinaryCrossEntropy(target_threshold=0.3)(logits, soft), present)
    summed = BinaryCrossEntropy(sum_classes=True)(logits, y)
    torch.testing.assert_close(summed, F.binary_cross_entropy_with_logits(logits, one_hot) * C)
    expected = logits.sigmoid() / logits.sigmoid().sum(1, keepdim=True)
    torch.testing.assert_close(BinaryCrossEntropy().probabilities(logits), expected)


def test_generalized_cross_entropy_at_one_is_half_the_absolute_error() -> None:
    logits, y, _ = draw()
    error = (logits.softmax(1) - F.one_hot(y, C)).abs().sum(1).mean()
    torch.testing.assert_close(GeneralizedCrossEntropy(1.0)(logits, y), error / 2)


@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_logits_are_lifted(name: str) -> None:
    logits, y, _ = draw()
    loss = LOSSES[name]()
    half = logits.bfloat16()
    value = loss(half, y)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.float(), y))


# In a task ------------------------------------------------------------------------------------------------------------


def counting() -> list[ClassificationLoss]:
    return [ClassBalanced(0.9), LogitAdjusted(), LDAM(), ClassBalanced(0.9, loss=LogitAdjusted())]


@pytest.mark.parametrize("place", range(4))
def test_counts_come_from_the_training_targets_and_travel_in_the_checkpoint(place: int) -> None:
    y = torch.repeat_interleave(torch.arange(C), torch.tensor(COUNTS))
    logits, labels, _ = draw()
    task = Classification(C, counting()[place])
    with pytest.raises(ZooError, match="does not know how many samples each class has; give it class_counts"):
        task.loss(logits, Batch(logits, labels))
    task.fit_targets(y)
    value = task.loss(logits, Batch(logits, labels))
    restored = Classification(C, counting()[place])
    restored.load_state_dict(task.state_dict())
    assert torch.equal(restored.loss(logits, Batch(logits, labels)), value)
    one_hot = Classification(C, counting()[place])
    one_hot.fit_targets(F.one_hot(y, C).float())
    assert torch.equal(one_hot.loss(logits, Batch(logits, labels)), value)
    assert pickle.loads(pickle.dumps(task)).loss(logits, Batch(logits, labels)) == value


def test_counts_that_were_given_stay() -> None:
    task = Classification(C, LogitAdjusted(class_counts=COUNTS))
    task.fit_targets(torch.arange(C))
    assert task.state_dict()["criterion.counts.values"].tolist() == COUNTS


@pytest.mark.parametrize("name", FORMULAS)
def test_sample_weights_reach_the_loss(name: str) -> None:
    logits, y, _ = draw()
    weight = torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    task, each = Classification(C, LOSSES[name]()), LOSSES[name]()
    each.reduction = "none"
    expected = (each(logits, y) * weight).sum() / weight.sum()
    torch.testing.assert_close(task.loss(logits, Batch(logits, y, weight=weight)), expected)


def test_logit_adjustment_moves_the_boundary_towards_rare_classes() -> None:
    """Two overlapping normals, 19 to 1: the adjusted network has the midpoint as its boundary."""
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([torch.zeros(1900), torch.ones(100)]).long()
    x = torch.randn(2000, generator=generator) + 2.0 * y - 1.0
    boundary = {}
    for loss in (nn.CrossEntropyLoss(), LogitAdjusted()):
        task, line = Classification(2, loss), nn.Linear(1, 2)
        nn.init.zeros_(line.weight)
        nn.init.zeros_(line.bias)
        task.fit_targets(y)
        optimizer = torch.optim.LBFGS(line.parameters(), max_iter=100, line_search_fn="strong_wolfe")

        def closure(
            task: Classification = task, line: nn.Linear = line, optimizer: torch.optim.LBFGS = optimizer
        ) -> float:
            optimizer.zero_grad()
            value = task.loss(line(x[:, None]), Batch(x, y))
            value.backward()
            return value.item()

        optimizer.step(closure)
        slope, offset = line.weight[1] - line.weight[0], line.bias[1] - line.bias[0]
        boundary[type(loss).__name__] = (-offset / slope).item()
    assert boundary["CrossEntropyLoss"] > 1.0  # log(19) / 2 = 1.47 in the limit
    assert abs(boundary["LogitAdjusted"]) < 0.35


def test_torchs_hinge_fits_in() -> None:
    logits, y, _ = draw()
    task = Classification(C, nn.MultiMarginLoss(margin=0.5))
    task.check_targets(y, "here")
    gaps = (0.5 - logits[torch.arange(N), y][:, None] + logits).clamp_min(0)
    gaps[torch.arange(N), y] = 0
    torch.testing.assert_close(task.loss(logits, Batch(logits, y)), (gaps.sum(1) / C).mean())


@pytest.mark.parametrize("loss", [LDAM(class_counts=COUNTS), nn.MultiMarginLoss(), nn.NLLLoss()])
def test_soft_targets_are_refused_where_they_make_no_sense(loss: nn.Module) -> None:
    logits, _, soft = draw()
    task = Classification(C, loss)
    line = (
        rf"^{type(loss).__name__} takes class indices, not soft targets; leave out .*, such as cross-entropy or Focal$"
    )
    with pytest.raises(ZooError, match=line):
        task.loss(logits, Batch(logits, soft))
    with pytest.raises(ZooError, match=line):
        task.check_targets(soft, "here")


@pytest.mark.parametrize("name", SOFT)
def test_soft_targets_are_taken_where_they_do(name: str) -> None:
    logits, _, soft = draw()
    task = Classification(C, LOSSES[name]())
    task.check_targets(soft, "here")
    assert task.loss(logits, Batch(logits, soft)).isfinite()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Focal(-1.0), "Focal: gamma must be at least 0, got -1.0"),
        (lambda: Focal(alpha=[1.0, 0.0]), "Focal: alpha must be positive"),
        (lambda: Classification(3, Focal(alpha=[1.0, 2.0])), "Focal: alpha has 2 entries for 3 classes"),
        (lambda: Poly1(-2.0), "Poly1: epsilon must be at least -1"),
        (lambda: GeneralizedCrossEntropy(1.5), r"GeneralizedCrossEntropy: q must lie in \[0, 1\]"),
        (lambda: ClassBalanced(1.0), r"ClassBalanced: beta must lie in \[0, 1\)"),
        (lambda: LogitAdjusted(-1.0), "LogitAdjusted: tau must be at least 0"),
        (lambda: LDAM(scale=0.0), "LDAM: scale must be positive"),
        (lambda: BiTempered(t1=1.2), r"BiTempered: t1 must lie in \[0, 1\]"),
        (lambda: BiTempered(t2=0.9), "BiTempered: t2 must be at least 1"),
        (lambda: BinaryCrossEntropy(1.0), r"BinaryCrossEntropy: target_threshold must lie in \[0, 1\)"),
        (lambda: Focal(reduction="average"), "Focal: reduction must be mean, sum or none, got 'average'"),  # type: ignore[arg-type]
        (lambda: LDAM(class_counts=[1, 0]), "LDAM: class_counts must be positive"),
        (lambda: Classification(3, LDAM(class_counts=[1, 2])), "LDAM: class_counts has 2 entries for 3 classes"),
        (
            lambda: Classification(3, Focal(reduction="sum")),
            "Classification needs the mean of Focal, got reduction=sum",
        ),
        (
            lambda: Classification(3, LogCosh()),
            "LogCosh is a loss for real values, but Classification is about one class",
        ),
        (
            lambda: Classification(3, Asymmetric()),
            "Asymmetric is a loss for any number of labels a sample, but Classif",
        ),
    ],
)
def test_arguments_that_cannot_work(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make()


def test_a_class_without_samples() -> None:
    with pytest.raises(DataError, match=r"LogitAdjusted: the training split has no sample of class \[1, 3\]"):
        Classification(4, LogitAdjusted()).fit_targets(torch.tensor([0, 2, 2]))
