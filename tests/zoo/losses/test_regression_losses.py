"""Losses for values against scikit-learn, torch and numpy; predictions and intervals in original units."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk
from torch import Tensor, nn

from datamodules.diabetes import Diabetes
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.losses import (
    BetaNLL,
    Expectile,
    Focal,
    GaussianNLL,
    LaplaceNLL,
    LogCosh,
    Quantile,
    RegressionLoss,
    Tweedie,
)
from zoo.mlp import MLP
from zoo.task import Regression

N, T = 30, 2
Array = NDArray[np.float64]


def draw(loss: RegressionLoss, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Raw outputs (N, T k) and positive targets (N, T), in double precision."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(N, T * loss.outputs_per_target, generator=generator, dtype=torch.float64)
    return outputs, torch.randn(N, T, generator=generator, dtype=torch.float64).exp()


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


FORMULAS: dict[str, tuple[Callable[[], RegressionLoss], Callable[[Array, Array], Array]]] = {
    "log_cosh": (lambda: LogCosh(0.5), lambda o, y: 0.25 * np.log(np.cosh((o[..., 0] - y) / 0.5))),
    "expectile": (
        lambda: Expectile(0.8),
        lambda o, y: np.where(y > o[..., 0], 0.8, 0.2) * (y - o[..., 0]) ** 2,
    ),
    "gaussian": (
        lambda: GaussianNLL(0.01),
        lambda o, y: -stats.norm.logpdf(y, o[..., 0], np.sqrt(softplus(o[..., 1]) + 0.01)),
    ),
    "beta": (
        lambda: BetaNLL(0.5, 0.01),
        lambda o, y: (
            -stats.norm.logpdf(y, o[..., 0], np.sqrt(softplus(o[..., 1]) + 0.01)) * np.sqrt(softplus(o[..., 1]) + 0.01)
        ),
    ),
    "laplace": (
        lambda: LaplaceNLL(0.1),
        lambda o, y: -stats.laplace.logpdf(y, o[..., 0], softplus(o[..., 1]) + 0.1),
    ),
    "quantile": (
        Quantile,
        lambda o, y: np.mean(
            [
                np.maximum(tau * (y - q), (tau - 1) * (y - q))
                for tau, q in (
                    (0.05, o[..., 1] - softplus(o[..., 0])),
                    (0.5, o[..., 1]),
                    (0.95, o[..., 1] + softplus(o[..., 2])),
                )
            ],
            0,
        ),
    ),
    "tweedie": (
        lambda: Tweedie(1.5),
        lambda o, y: 4 * (np.sqrt(y) - np.exp(o[..., 0] / 2)) ** 2 / np.exp(o[..., 0] / 2),
    ),
}
LOSSES = {name: make for name, (make, _) in FORMULAS.items()}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("seed", range(2))
def test_the_formula_and_its_reductions(name: str, seed: int) -> None:
    make, formula = FORMULAS[name]
    loss = make()
    outputs, y = draw(loss, seed)
    k = loss.outputs_per_target
    loss.reduction = "none"
    values = loss(outputs, y)
    assert values.shape == y.shape
    np.testing.assert_allclose(values, formula(outputs.numpy().reshape(N, T, k), y.numpy()), rtol=1e-7, atol=1e-10)
    for loss.reduction, expected in (("mean", values.mean()), ("sum", values.sum())):
        torch.testing.assert_close(loss(outputs, y), expected)
    first = loss(outputs[:, :k], y[:, 0])  # targets (B,) with outputs (B, k)
    torch.testing.assert_close(first, loss(outputs[:, :k], y[:, :1]))


@pytest.mark.parametrize("make", [*[make for name, make in LOSSES.items() if name != "beta"],
                                  lambda: Tweedie(1.0), lambda: Tweedie(2.0)])  # fmt: skip
def test_gradients(make: Callable[[], RegressionLoss]) -> None:
    loss = make()
    outputs, y = draw(loss)
    assert torch.autograd.gradcheck(lambda o: loss(o, y), outputs.requires_grad_())


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_gradient_of_beta_nll(beta: float) -> None:
    """No gradient flows through the weight: that of the mean is v^(beta - 1) times the error."""
    loss = BetaNLL(beta, reduction="sum")
    outputs, y = draw(loss)
    (gradient,) = torch.autograd.grad(loss(outputs.requires_grad_(), y), outputs)
    raw = outputs.detach().reshape(N, T, 2)
    variance = F.softplus(raw[..., 1]) + 1e-4
    error = raw[..., 0] - y
    torch.testing.assert_close(gradient.reshape(N, T, 2)[..., 0], variance ** (beta - 1) * error)
    of_variance = 0.5 * variance**beta * (1 / variance - error**2 / variance**2) * raw[..., 1].sigmoid()
    torch.testing.assert_close(gradient.reshape(N, T, 2)[..., 1], of_variance)


def test_gaussian_nll_is_torchs() -> None:
    loss = GaussianNLL()
    outputs, y = draw(loss)
    raw = outputs.reshape(N, T, 2)
    expected = F.gaussian_nll_loss(raw[..., 0], y, loss.variance(raw), full=True)
    torch.testing.assert_close(loss(outputs, y), expected)


@pytest.mark.parametrize("power", [1.0, 1.2, 1.5, 1.9, 2.0])
def test_tweedie_is_scikit_learns(power: float) -> None:
    outputs, y = draw(Tweedie())
    if power < 2:
        y[::3] = 0
    expected = sk.mean_tweedie_deviance(y.flatten(), outputs.exp().flatten(), power=power)
    assert Tweedie(power)(outputs, y).item() == pytest.approx(expected, rel=1e-9)
    positive = y.clamp_min(0.1)
    assert Tweedie(power)(positive.log(), positive).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_a_single_quantile_is_scikit_learns(tau: float) -> None:
    loss = Quantile([tau])
    outputs, y = draw(loss)
    assert loss(outputs, y).item() == pytest.approx(sk.mean_pinball_loss(y, outputs, alpha=tau))
    assert torch.equal(loss.point(outputs[..., None]), outputs)


@pytest.mark.parametrize("quantiles", [[0.5], [0.5, 0.9], [0.1, 0.5], [0.05, 0.25, 0.5, 0.75, 0.95]])
def test_quantiles_cannot_cross(quantiles: list[float]) -> None:
    loss = Quantile(quantiles)
    outputs = torch.randn(200, len(quantiles), generator=torch.Generator().manual_seed(0)) * 10
    values = loss.values(outputs)
    assert (values.diff(dim=-1) >= 0).all()
    assert torch.equal(values[..., quantiles.index(0.5)], loss.point(outputs))


def minimise(loss: RegressionLoss, y: Tensor) -> Tensor:
    """The outputs that fit a sample of targets (M,) best, (k,)."""
    outputs = torch.zeros(loss.outputs_per_target, dtype=y.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([outputs], lr=0.05)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 600)
        optimizer.zero_grad()
        loss(outputs.expand(len(y), -1), y).backward()
        optimizer.step()
    return outputs.detach()


def test_what_each_loss_finds_in_a_sample() -> None:
    """Quantiles, mean and spread of a skewed sample, as numpy has them."""
    y = torch.randn(1001, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(0.5).exp()
    found = minimise(Quantile([0.1, 0.5, 0.9]), y)
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=y.dtype)
    torch.testing.assert_close(Quantile([0.1, 0.5, 0.9]).values(found), y.quantile(levels), rtol=0, atol=0.02)
    for loss in (GaussianNLL(), BetaNLL()):
        found = minimise(loss, y)
        torch.testing.assert_close(found[0], y.mean(), rtol=0, atol=2e-3)
        torch.testing.assert_close(loss.variance(found), y.var(correction=0), rtol=0.01, atol=0)
    found = minimise(LaplaceNLL(), y)
    torch.testing.assert_close(found[0], y.median(), rtol=0, atol=0.02)
    torch.testing.assert_close(LaplaceNLL().scale(found), (y - y.median()).abs().mean(), rtol=0.02, atol=0)
    torch.testing.assert_close(minimise(Expectile(), y)[0], y.mean(), rtol=0, atol=1e-3)
    assert minimise(Expectile(0.9), y)[0] == pytest.approx(stats.expectile(y.numpy(), 0.9), abs=1e-3)
    torch.testing.assert_close(minimise(Tweedie(), y).exp()[0], y.mean(), rtol=0, atol=1e-3)


def test_extreme_errors_stay_finite() -> None:
    for error in (1e-8, 1e4, -1e4):
        outputs = torch.tensor([[error]], requires_grad=True)
        value = LogCosh()(outputs, torch.zeros(1, 1))
        value.backward()
        assert value.item() == pytest.approx(max(abs(error) - math.log(2), 0), rel=1e-6, abs=1e-6)
        assert outputs.grad is not None
        assert outputs.grad.item() == pytest.approx(math.tanh(error), abs=1e-6)


# In a task ------------------------------------------------------------------------------------------------------------


def fitted(loss: nn.Module, y: Tensor) -> Regression:
    task = Regression(y[0].numel(), loss)
    task.fit_targets(y)
    return task


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_are_in_original_units(coverage: float) -> None:
    y = torch.randn(50, T, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 40.0]) + 100
    mean, std = y.numpy().mean(0), y.numpy().std(0)
    for loss, distribution in ((GaussianNLL(), stats.norm), (LaplaceNLL(), stats.laplace)):
        task = fitted(loss, y)
        assert task.out_features == 4
        prediction = torch.randn(N, 4, generator=torch.Generator().manual_seed(1))
        raw = prediction.reshape(N, T, 2)
        spread = loss.variance(raw).sqrt() if isinstance(loss, GaussianNLL) else loss.scale(raw)
        centre = raw[..., 0].numpy() * std + mean
        expected = distribution.interval(coverage, centre, spread.numpy() * std)
        np.testing.assert_allclose(task.decode(prediction), centre, rtol=1e-5)
        np.testing.assert_allclose(
            np.stack(task.interval(prediction, coverage)), np.stack(expected), rtol=1e-5, atol=1e-3
        )


def test_quantiles_are_in_original_units() -> None:
    y = torch.randn(50, generator=torch.Generator().manual_seed(0)) * 20 + 100
    task = fitted(Quantile([0.05, 0.25, 0.5, 0.75, 0.95]), y)
    outputs = torch.tensor([[1.0, -1.0, 0.3, 0.0, 2.0]])
    mean, std = y.double().mean().item(), y.double().std(correction=0).item()
    low, high = task.interval(outputs, 0.9)
    below, above = (math.log1p(math.exp(a)) + math.log1p(math.exp(b)) for a, b in ((1.0, -1.0), (0.0, 2.0)))
    assert low.item() == pytest.approx((0.3 - below) * std + mean, rel=1e-5)
    assert high.item() == pytest.approx((0.3 + above) * std + mean, rel=1e-5)
    assert task.decode(outputs).item() == pytest.approx(0.3 * std + mean, rel=1e-5)
    with pytest.raises(
        ZooError, match=r"coverage 0.8 lies between the quantiles 0.1 and 0.9, but Quantile was trained"
    ):
        task.interval(outputs, 0.8)


@pytest.mark.parametrize("loss", [Tweedie(1.5), nn.PoissonNLLLoss()])
def test_where_zero_has_a_meaning_targets_are_only_divided(loss: nn.Module) -> None:
    y = torch.poisson(torch.full((40,), 4.0), generator=torch.Generator().manual_seed(0))
    task = fitted(loss, y)
    assert task.mean.item() == 0.0
    torch.testing.assert_close(task.target(y), (y / y.mean())[:, None])
    torch.testing.assert_close(task.decode(torch.tensor([[0.0], [1.0]])), y.mean() * torch.tensor([[1.0], [math.e]]))
    assert task.loss(torch.zeros(40, 1), Batch(y, y)).isfinite()
    with pytest.raises(DataError, match=r"Rows: sample 1 has the target -2; .* takes values of at least 0"):
        task.check_targets(torch.tensor([1.0, -2.0]), "Rows")


@pytest.mark.parametrize("name", FORMULAS)
def test_sample_weights_reach_the_loss(name: str) -> None:
    task, each = Regression(T, LOSSES[name]()), LOSSES[name]()
    outputs, y = draw(each)
    weight = torch.rand(N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    each.reduction = "none"
    expected = (each(outputs, y).mean(1) * weight).sum() / weight.sum()
    torch.testing.assert_close(task.loss(outputs, Batch(outputs, y, weight=weight)), expected)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.SmoothL1Loss()])
def test_torchs_losses_fit_in(loss: nn.Module) -> None:
    y = torch.randn(50, generator=torch.Generator().manual_seed(0)) * 20 + 100
    task = fitted(loss, y)
    prediction = torch.randn(50, 1, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        task.loss(prediction, Batch(y, y)), loss(prediction, (y[:, None] - task.mean) / task.std)
    )
    with pytest.raises(ZooError, match=f"^{type(loss).__name__} gives one number and no interval; use GaussianNLL"):
        task.interval(prediction)


def test_diabetes_with_uncertainty_in_original_units() -> None:
    torch.manual_seed(0)
    data = Diabetes(batch_size=64)
    module = MLP(10, Regression(loss=GaussianNLL()), hidden=[])
    assert module.head.out_features == 2
    module.optimizer_factories["network"] = lambda network: torch.optim.Adam(network.parameters(), lr=0.03)
    trainer = quiet_trainer(max_epochs=25)
    trainer.fit(module, datamodule=data)
    task = module.task
    assert isinstance(task, Regression)
    rmse = trainer.callback_metrics["val/rmse"].item()
    assert 40 < rmse < 65  # scores run from 25 to 346, with a standard deviation of 77
    x, y = (torch.cat(parts) for parts in zip(*[(batch[0], batch[1]) for batch in data.val_dataloader()]))
    with torch.no_grad():
        prediction = module(x)
        low, high = task.interval(prediction, 0.9)
    assert ((task.decode(prediction)[:, 0] - y) ** 2).mean().sqrt().item() == pytest.approx(rmse, rel=1e-4)
    covered = ((y >= low[:, 0]) & (y <= high[:, 0])).float().mean()
    assert 0.8 <= covered <= 1.0
    assert 100 < (high - low).mean() < 250
    predicted = quiet_trainer().predict(module, datamodule=data)
    assert torch.cat(predicted).shape[1] == 3  # type: ignore[arg-type]  # the value and both ends of its interval


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogCosh(0.0), "LogCosh: delta must be positive, got 0.0"),
        (lambda: Quantile([]), r"Quantile: quantiles must rise and lie in \(0, 1\), got \[\]"),
        (lambda: Quantile([0.5, 0.1]), r"must rise and lie in \(0, 1\), got \[0.5, 0.1\]"),
        (lambda: Quantile([0.5, 1.0]), r"must rise and lie in \(0, 1\)"),
        (lambda: Quantile([0.1, 0.9]), "several quantiles must hold 0.5, which is the prediction"),
        (lambda: Expectile(1.0), r"Expectile: tau must lie in \(0, 1\)"),
        (lambda: GaussianNLL(0.0), "GaussianNLL: min_variance must be positive"),
        (lambda: BetaNLL(2.0), r"BetaNLL: beta must lie in \[0, 1\]"),
        (lambda: LaplaceNLL(0.0), "LaplaceNLL: min_scale must be positive"),
        (lambda: Tweedie(0.5), r"Tweedie: power must lie in \[1, 2\]"),
        (
            lambda: Regression(loss=Focal()),
            "Focal is a loss for one class a sample, but Regression is about real values",
        ),
        (lambda: Regression(loss=nn.GaussianNLLLoss()), "wants the variance as a third argument; use zoo.losses.Gauss"),
        (
            lambda: Regression(loss=nn.MSELoss(reduction="sum")),
            "Regression needs the mean of MSELoss, got reduction=sum",
        ),
        (
            lambda: GaussianNLL()(torch.zeros(4, 1), torch.zeros(4, 1)),
            r"GaussianNLL needs 2 output\(s\) for each target",
        ),
        (lambda: LogCosh().interval(torch.zeros(4, 1), 0.9), "LogCosh gives one number and no interval; use Gaussian"),
        (
            lambda: GaussianNLL().interval(torch.zeros(4, 2), 1.0),
            r"coverage of an interval must lie in \(0, 1\), got 1.0",
        ),
    ],
)
def test_arguments_that_cannot_work(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make()


def test_gamma_deviance_wants_values_above_zero() -> None:
    with pytest.raises(DataError, match="sample 0 has the target 0; Tweedie with power 2 takes values above 0"):
        Regression(loss=Tweedie(2.0)).check_targets(torch.tensor([0.0, 1.0]), "Rows")
