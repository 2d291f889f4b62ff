"""MixUp: equal to torchvision's, exact targets, shares as they are meant to be, and nothing in silence."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

from callbacks.augmentation.cutmix import CutMix
from callbacks.augmentation.mixing import draw_share, mix_targets
from callbacks.augmentation.mixup import MixUp, mixup
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    check_resume,
    check_second_fit,
    diabetes,
    diabetes_mlp,
    digits,
    digits_cnn,
    fit,
)
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Regression, Task

ROLLED = torch.arange(6).roll(1)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(6, 3, 8, 8), torch.tensor([0, 3, 1, 2, 2, 0])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_equals_torchvision(share: float) -> None:
    class Fixed(v2.MixUp):
        def make_params(self, flat_inputs):
            return {"lam": share}

    x, y = images()
    theirs_x, theirs_y = Fixed(num_classes=4)(x, y)
    ours = mixup(Batch(x, y), Classification(4), ROLLED, torch.tensor(share))
    torch.testing.assert_close(ours.x, theirs_x)
    torch.testing.assert_close(ours.y, theirs_y)


def test_loss_is_the_mean_of_two_losses() -> None:
    """Cross-entropy is linear in the target: l CE(z, y_i) + (1 - l) CE(z, y_j), with a share for each sample."""
    x, y = images()
    share, task, logits = torch.rand(6), Classification(4), torch.randn(6, 4)
    mixed = mixup(Batch(x, y), task, ROLLED, share)
    own, other = (F.cross_entropy(logits, labels, reduction="none") for labels in (y, y[ROLLED]))
    expected = (share * own + (1 - share) * other).mean()
    torch.testing.assert_close(task.loss(logits, mixed), expected)


def test_sample_weights_are_mixed_exactly() -> None:
    x, y = images()
    weight, share = torch.tensor([1.0, 0.0, 0.0, 2.0, 0.5, 1.0]), torch.rand(6)
    task, logits = Classification(4), torch.randn(6, 4)
    mixed = mix_targets(Batch(x, y, weight=weight), task, ROLLED, share)
    own, other = (F.cross_entropy(logits, labels, reduction="none") for labels in (y, y[ROLLED]))
    total = share * weight * own + (1 - share) * weight[ROLLED] * other
    expected = total.sum() / (share * weight + (1 - share) * weight[ROLLED]).sum()
    torch.testing.assert_close(task.loss(logits, mixed), expected)


def test_real_targets_mix_alike_in_both_units() -> None:
    task = Regression(2)
    y = torch.tensor([[1.0, 100.0], [2.0, 300.0], [4.0, 500.0]])
    task.fit_targets(y)
    permutation, share = torch.tensor([2, 0, 1]), torch.tensor(0.3)
    mixed = mixup(Batch(torch.rand(3, 4), y), task, permutation, share)
    torch.testing.assert_close(mixed.y[0], 0.3 * y[0] + 0.7 * y[2])
    standardised = task.target(y)
    torch.testing.assert_close(task.target(mixed.y), 0.3 * standardised + 0.7 * standardised[permutation])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_moments_of_beta(alpha: float) -> None:
    torch.manual_seed(0)
    shares, n = draw_share(alpha, 20_000), 20_000
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
    assert shares.mean().item() == pytest.approx(0.5, abs=5 * (variance / n) ** 0.5)
    assert shares.var().item() == pytest.approx(variance, rel=0.05)
    assert 0 <= shares.min() <= shares.max() <= 1


def transform_many(technique: MixUp, times: int) -> list[tuple[Batch, Batch]]:
    module = MLP(4, Classification(4), [4])
    batch = Batch(torch.rand(5, 4), torch.tensor([0, 1, 2, 3, 0]))
    found = []
    for seed in range(times):
        torch.manual_seed(seed)
        found.append((batch, technique.transform(module, batch)))
    return found


def test_p_is_the_share_of_batches() -> None:
    n = 2000
    mixed = sum(before is not after for before, after in transform_many(MixUp(1.0, p=0.3), n))
    assert mixed / n == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / n) ** 0.5)


@pytest.mark.parametrize("per_sample", [False, True])
def test_targets_stay_distributions_and_shares_are_per_sample_or_per_batch(per_sample: bool) -> None:
    for before, after in transform_many(MixUp(1.0, per_sample=per_sample), 20):
        assert after.y.min() >= 0
        torch.testing.assert_close(after.y.sum(1), torch.ones(5))
        # One share for the batch: at most two values beside 0 and 1 (and sums, where a class meets itself).
        values = after.y[(after.y > 1e-4) & (after.y < 1 - 1e-4)].mul(1e4).round().unique()
        assert per_sample or len(values) <= 2
        assert before.y.dtype == torch.int64  # the batch itself is left as it was


def test_mixup_and_cutmix_in_sequence() -> None:
    """Both may be listed: the second mixes what the first made, and targets say what is in the image."""
    module = digits_cnn()
    # Image i is white in channel i and black elsewhere, so that the mean of a channel is that image's share.
    batch = Batch(torch.eye(8)[:, :, None, None].expand(8, 8, 8, 8), torch.arange(8))
    parts: list[int] = []
    for seed in range(20):
        torch.manual_seed(seed)
        for first, second in [(MixUp(1.0), CutMix(1.0, p=1.0)), (CutMix(1.0, p=1.0), MixUp(1.0))]:
            mixed = second.transform(module, first.transform(module, batch))
            torch.testing.assert_close(mixed.y.sum(1), torch.ones(8))
            parts.append(int(mixed.y.gt(1e-6).sum(1).max()))
            if isinstance(second, MixUp):
                torch.testing.assert_close(mixed.x.mean((2, 3)), mixed.y[:, :8])
    assert max(parts) == 4  # a pair of pairs
    fit(digits_cnn(), digits(), MixUp(p=0.5), CutMix(p=0.5), epochs=1)


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    check_resume(digits_cnn, digits, lambda: MixUp(0.4, p=0.7, per_sample=True), tmp_path)


def test_second_fit() -> None:
    check_second_fit(digits_cnn(), digits(), MixUp(), "MixUp")


def test_learns_digits_and_diabetes() -> None:
    model = fit(MLP(64, Classification(10), [64]), digits(64), MixUp(0.2), epochs=8)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.9
    regression = fit(diabetes_mlp(), diabetes(), MixUp(0.2), epochs=15)
    assert regression.trainer.callback_metrics["val/r2"] > 0.2


@pytest.mark.parametrize("arguments", [{"alpha": 0.0}, {"p": 0.0}])
def test_no_effect_at_zero_strength(arguments: dict[str, float]) -> None:
    with pytest.raises(NoEffect, match=r"MixUp has changed nothing .* both have to be positive"):
        fit(digits_cnn(), digits(), MixUp(**arguments), epochs=1)


@pytest.mark.parametrize("arguments", [{"alpha": -1.0}, {"p": 1.5}, {"alpha": float("nan")}])
def test_bad_arguments(arguments: dict[str, float]) -> None:
    with pytest.raises(ZooError, match=r"MixUp: (alpha must not be negative|p is a probability)"):
        MixUp(**arguments)


def test_a_loss_without_soft_targets_is_refused() -> None:
    with pytest.raises(UnsupportedModule, match=r"MixUp needs a loss that takes soft targets .* MultiMarginLoss does"):
        fit(digits_cnn(nn.MultiMarginLoss()), digits(), MixUp())


def test_a_task_without_mixable_targets_is_refused() -> None:
    class Ranking(Regression):
        pass

    class Tokens(Task):
        out_features = 4
        metrics = check_targets = None

    model = MLP(4, Classification(4), [4])
    model.task = Tokens(nn.CrossEntropyLoss())
    with pytest.raises(UnsupportedModule, match=r"MixUp does not support the task Tokens; .* or drop MixUp"):
        MixUp().setup(quiet_trainer(), model, "fit")
    MixUp().attach(MLP(4, Ranking(), [4]))


def test_inputs_that_are_no_numbers_are_refused() -> None:
    model, y = MLP(4, Classification(4), [4]), torch.zeros(2).long()
    with pytest.raises(UnsupportedModule, match=r"one tensor of floats, got torch.int64"):
        MixUp().transform(model, Batch(torch.zeros(2, 4).long(), y))
    with pytest.raises(UnsupportedModule, match="padded sequences"):
        MixUp().transform(model, Batch(torch.zeros(2, 4, 3), y, lengths=torch.tensor([2, 4])))


def test_unsupported_module() -> None:
    assert issubclass(SupervisedModule, ZooModule)
    with pytest.raises(UnsupportedModule, match="MixUp does not support ZooModule: it needs a SupervisedModule"):
        MixUp().setup(None, ZooModule(), "fit")
