"""Tasks about sequences: losses and metrics over valid steps against loops, forecasts in both units, baselines."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.losses import Focal, Quantile
from zoo.task import Forecasting, LanguageModeling, Tagging, Task
from zoo.tasks.forecasting import naive_forecasts

CLASSES = 4


def draw(rows: int = 5, steps: int = 7) -> tuple[Tensor, Tensor]:
    """Logits (B, T, C) and tags (B, T) with padding of different lengths."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, steps, CLASSES, generator=generator)
    y = torch.randint(CLASSES, (rows, steps), generator=generator)
    for row in range(1, rows):
        y[row, steps - row :] = -100
    return logits, y


def evaluate(task: Task, prediction: Tensor, y: Tensor) -> dict[str, float]:
    metrics = task.metrics()
    for part, target in zip(prediction.split(2), y.split(2)):
        task.update(metrics, part, Batch(part, target))
    return {name: value.item() for name, value in metrics.compute().items()}


# Tagging --------------------------------------------------------------------------------------------------------------


def test_tagging_is_classification_of_the_valid_steps() -> None:
    logits, y = draw()
    valid = [(logits[b, t], y[b, t]) for b in range(5) for t in range(7) if y[b, t] != -100]
    flat, labels = torch.stack([z for z, _ in valid]), torch.stack([c for _, c in valid])
    task, batch = Tagging(CLASSES), Batch(logits, y)
    torch.testing.assert_close(task.loss(logits, batch), F.cross_entropy(flat, labels))
    focal = Tagging(CLASSES, Focal())
    torch.testing.assert_close(focal.loss(logits, batch), Focal()(flat, labels))
    weights = Tagging(CLASSES, class_weights=[1.0, 2.0, 0.5, 3.0])
    expected = F.cross_entropy(flat, labels, torch.tensor([1.0, 2.0, 0.5, 3.0]))
    torch.testing.assert_close(weights.loss(logits, batch), expected)
    assert task.count(batch) == len(labels)
    guess = flat.argmax(1)
    values = evaluate(task, logits, y)
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(labels, guess))
    assert values["f1"] == pytest.approx(sk.f1_score(labels, guess, average="macro"), rel=1e-5)
    assert task.quick(logits, batch)["accuracy"].item() == pytest.approx(values["accuracy"])
    torch.testing.assert_close(task.decode(logits), logits.softmax(2))


def test_weights_of_sequences_count_for_each_of_their_steps() -> None:
    logits, y = draw()
    weight = torch.rand(5)
    losses = F.cross_entropy(logits.transpose(1, 2), y, reduction="none")  # 0 where padded
    expected = (losses * weight[:, None]).sum() / (weight[:, None] * (y != -100)).sum()
    torch.testing.assert_close(Tagging(CLASSES).loss(logits, Batch(logits, y, weight=weight)), expected)


@pytest.mark.parametrize("task", [Tagging(CLASSES), Tagging(CLASSES, Focal()), LanguageModeling(CLASSES)])
def test_the_loss_of_each_sequence_is_what_it_would_be_alone(task: Task) -> None:
    logits, y = draw()
    found = task.sample_losses(logits, Batch(logits, y))
    alone = [task.loss(logits[row : row + 1], Batch(logits, y[row : row + 1])) for row in range(len(y))]
    torch.testing.assert_close(found, torch.stack(alone))


def test_padding_has_no_gradient_and_balanced_weights_do_not_count_it() -> None:
    logits, y = draw()
    logits.requires_grad_()
    Tagging(CLASSES).loss(logits, Batch(logits, y)).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad.abs().sum(2) == 0, y == -100)
    task = Tagging(CLASSES, class_weights="balanced")
    task.fit_targets(y)
    counts = y[y != -100].bincount(minlength=CLASSES)
    torch.testing.assert_close(task.state_dict()["criterion.weight"], counts.sum() / (CLASSES * counts.float()))


def test_tags_that_are_none() -> None:
    _, y = draw()
    Tagging(CLASSES).check_targets(y, "train")
    y[2, 1] = 9
    with pytest.raises(
        DataError, match=r"^train: label 9 at \[2, 1\] lies outside 0..3 \(1 such labels in all\); -100"
    ):
        Tagging(CLASSES).check_targets(y, "train")
    with pytest.raises(DataError, match=r"^train: targets are torch.float32; Tagging takes integer labels"):
        Tagging(CLASSES).check_targets(y.float(), "train")
    with pytest.raises(ZooError, match=r"answers for the steps \(5, 6\), the labels are \(5, 7\)"):
        Tagging(CLASSES).loss(torch.zeros(5, 6, CLASSES), Batch(None, y))


def test_the_commonest_tag_is_the_naive_answer() -> None:
    train, y = torch.tensor([0, 1, 1, -100, -100, -100]), torch.tensor([[1, 0], [1, -100]])
    naive = Tagging(3).naive(train, [Batch(y, part) for part in y.split(1)])
    assert naive == {"a constant answer": {"accuracy": pytest.approx(2 / 3)}}


# Language modelling ---------------------------------------------------------------------------------------------------


def test_perplexity_and_bits_are_means_over_all_tokens() -> None:
    logits, y = draw()
    task = LanguageModeling(CLASSES, "character", label_smoothing=0.1)
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100).item()
    values = evaluate(task, logits, y)
    assert values == {
        "perplexity": pytest.approx(math.exp(loss), rel=1e-5),
        "bits_per_character": pytest.approx(loss / math.log(2), rel=1e-5),
    }
    smoothed = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100, label_smoothing=0.1)
    torch.testing.assert_close(task.loss(logits, Batch(logits, y)), smoothed)
    assert "bits_per_token" in LanguageModeling(CLASSES).metrics()


def test_unigrams_are_the_naive_answer() -> None:
    train, y = torch.tensor([0, 0, 1, 0, 2]), torch.tensor([[0, 1, 3]])
    p = np.array([4, 2, 2, 1]) / 9  # one of each added
    loss = -np.log(p[[0, 1, 3]]).mean()
    naive = LanguageModeling(4).naive(train, [Batch(y, y)])["a constant answer"]
    assert naive == pytest.approx({"loss": loss, "perplexity": math.exp(loss), "bits_per_token": loss / math.log(2)})


# Forecasting ----------------------------------------------------------------------------------------------------------


def fitted(loss: nn.Module | None = None, season: int | None = None) -> Forecasting:
    task = Forecasting(2, 3, loss, season=season)
    rows = torch.randn(500, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([5.0, 0.1]) + 40
    task.check_targets(rows, "train")
    task.fit_targets(rows)
    return task


@pytest.mark.parametrize("shape", [(6, 6), (6, 3, 2), (6, 3, 2, 1)])
def test_forecasts_are_scored_in_both_units(shape: tuple[int, ...]) -> None:
    task = fitted()
    y = torch.randn(6, 3, 2) * torch.tensor([5.0, 0.1]) + 40
    z = torch.randn(shape)
    mean, std = task.mean.numpy(), task.std.numpy()
    truth, guess = (y.numpy() - mean) / std, z.reshape(6, 3, 2).numpy()
    assert task.loss(z, Batch(y, y)).item() == pytest.approx(((truth - guess) ** 2).mean(), rel=1e-4)
    values = evaluate(task, z, y)
    assert values["mse"] == pytest.approx(((truth - guess) ** 2).mean(), rel=1e-3)
    assert values["mae"] == pytest.approx(abs(truth - guess).mean(), rel=1e-3)
    own = guess * std + mean
    assert values["rmse"] == pytest.approx(((y.numpy() - own) ** 2).mean() ** 0.5, rel=1e-4)
    np.testing.assert_allclose(task.decode(z).numpy(), own, rtol=1e-5)
    weight = torch.rand(6)
    expected = (((truth - guess) ** 2).mean((1, 2)) * weight.numpy()).sum() / weight.sum().item()
    assert task.loss(z, Batch(y, y, weight=weight)).item() == pytest.approx(expected, rel=1e-4)


def test_quantiles_give_an_interval_in_original_units() -> None:
    loss = Quantile([0.1, 0.5, 0.9])
    task = fitted(loss)
    assert task.out_features == 3 * 2 * 3
    z = torch.randn(6, 3, 2, 3)
    quantiles = loss.values(z) * task.std[:, None] + task.mean[:, None]
    low, high = task.interval(z.flatten(1), 0.8)
    torch.testing.assert_close(low, quantiles[..., 0])
    torch.testing.assert_close(high, quantiles[..., 2])
    torch.testing.assert_close(task.decode(z), quantiles[..., 1])
    y = torch.randn(6, 3, 2)
    torch.testing.assert_close(task.loss(z, Batch(y, y)), loss(z, task.target(y)))


def test_naive_forecasts_repeat_the_past() -> None:
    x = torch.arange(2 * 5 * 3).view(2, 5, 3).float()
    found = naive_forecasts(x, 7, 2, season=3)
    for row in range(2):
        for step in range(7):
            assert torch.equal(found["last value"][row, step], x[row, 4, :2])
            assert torch.equal(found["last season"][row, step], x[row, 2 + step % 3, :2])
    assert list(naive_forecasts(x, 7, 2)) == ["last value"]
    behind_a_gap = naive_forecasts(x, 7, 2, season=3, gap=4)["last season"]
    assert torch.equal(behind_a_gap, naive_forecasts(x, 11, 2, season=3)["last season"][:, 4:])
    with pytest.raises(ZooError, match="a season of 6 steps does not fit into a window of 5"):
        naive_forecasts(x, 7, 2, season=6)


def test_the_baselines_are_scored_as_the_network_is() -> None:
    task = fitted(season=2)
    x, y = torch.randn(6, 4, 5) + 40, torch.randn(6, 3, 2) + 40
    naive = task.naive(y, [Batch(a, b) for a, b in zip(x.split(4), y.split(4))])
    assert list(naive) == ["last value", "last season"]
    for name, forecast in naive_forecasts(x, 3, 2, 2).items():
        assert naive[name] == pytest.approx(evaluate(task, task.standardize(forecast), y), rel=1e-3)


def test_a_season_is_exact_for_a_series_that_repeats_itself() -> None:
    series = torch.sin(torch.arange(60) * 2 * math.pi / 12)[:, None] + torch.zeros(1, 2)
    windows = torch.stack([series[i : i + 27] for i in range(30)])
    naive = fitted(season=12).naive(series, [Batch(windows[:, :24], windows[:, 24:])])
    assert naive["last season"]["mae"] < 1e-4 < naive["last value"]["mae"]


def test_what_forecasting_cannot_take() -> None:
    for arguments, message in (
        ((2, 0), "horizon must be at least 1 step, got 0"),
        ((0, 3), "Forecasting needs at least one target, got num_targets=0"),
        ((2, 3, None, True, 0), "season must be at least 1 step, got 0"),
    ):
        with pytest.raises(ZooError, match=message):
            Forecasting(*arguments)
    with pytest.raises(
        DataError, match=r"^train: targets are torch.float32 of shape \(9, 3\); forecasting takes floats"
    ):
        Forecasting(2, 3).check_targets(torch.zeros(9, 3), "train")
    with pytest.raises(DataError, match="sample 4 has a target that is NaN"):
        Forecasting(1, 3).check_targets(torch.tensor([0, 0, 0, 0, math.nan])[:, None], "train")
    with pytest.raises(ZooError, match=r"3 steps of 2 series with 1 output\(s\) each were asked for; the network's"):
        Forecasting(2, 3).loss(torch.zeros(6, 5), Batch(torch.zeros(6, 4, 2), torch.zeros(6, 3, 2)))
