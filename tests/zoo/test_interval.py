"""Intervals from the command line to the table: coverage and width equal a count, predictions hold both ends."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.cli.main import main
from zoo.losses import BetaNLL, GaussianNLL, LaplaceNLL, Quantile
from zoo.mlp import MLP
from zoo.task import Regression


@pytest.mark.parametrize(
    ("loss", "coverage"),
    [
        (None, None), (nn.L1Loss(), None), (GaussianNLL(), 0.9), (BetaNLL(), 0.9), (LaplaceNLL(), 0.9),
        (Quantile([0.05, 0.5, 0.95]), 0.9), (Quantile([0.1, 0.25, 0.5, 0.75, 0.9]), 0.8), (Quantile([0.5]), None),
        (Quantile([0.1, 0.5, 0.95]), None),
    ],
)  # fmt: skip
def test_which_losses_give_an_interval(loss: nn.Module | None, coverage: float | None) -> None:
    task = Regression(2, loss)
    assert task.coverage == (None if coverage is None else pytest.approx(coverage))
    assert ("coverage" in task.metrics()) == ("interval_width" in task.metrics()) == (coverage is not None)
    prediction = task.predict(torch.randn(4, task.out_features))
    assert prediction.shape == (4, len(task.columns))
    assert task.columns[:2] == (["value_0", "value_1"] if coverage is None else ["value_0", "lower_0"])


def test_metrics_count_and_measure() -> None:
    task = Regression(2, GaussianNLL())
    task.mean.copy_(torch.tensor([10.0, -3.0]))
    task.std.copy_(torch.tensor([4.0, 0.5]))
    torch.manual_seed(0)
    prediction, y = torch.randn(40, 4), torch.randn(40, 2) * task.std + task.mean
    metrics = task.metrics()
    for rows in torch.arange(40).split([7, 33]):
        task.update(metrics, prediction[rows], Batch(None, y[rows])._replace(x=y[rows]))
    low, high = task.interval(prediction, 0.9)
    inside = sum(bool(a <= t <= b) for t, a, b in zip(y.flatten(), low.flatten(), high.flatten()))
    values = metrics.compute()
    assert 0 < inside < 80
    assert values["coverage"].item() == pytest.approx(inside / 80)
    assert values["interval_width"].item() == pytest.approx((high - low).mean().item(), rel=1e-5)
    assert values["mae"].item() == pytest.approx((task.decode(prediction) - y).abs().mean().item(), rel=1e-5)
    written = task.predict(prediction).view(40, 2, 3)
    assert torch.equal(written, torch.stack([task.decode(prediction), low, high], -1))
    assert (written[..., 1] < written[..., 0]).all()
    assert (written[..., 0] < written[..., 2]).all()


def test_a_constant_answer_has_an_interval_too() -> None:
    train = torch.arange(1001.0)
    y = torch.tensor([-1.0, 51.0, 500.0, 949.0, 951.0])
    (found,) = Regression(1, GaussianNLL()).naive(train, [Batch(y, y)]).values()
    assert found["coverage"] == pytest.approx(0.6)
    assert found["interval_width"] == pytest.approx(900)
    assert "coverage" not in Regression().naive(train, [Batch(y, y)])["a constant answer"]


def test_learns_an_interval_that_holds_what_it_promises() -> None:
    """Noise grows with x: a good interval grows with it, and holds nine targets of ten."""
    torch.manual_seed(0)
    x = torch.rand(3000, 1)
    y = (2 * x + (0.1 + x) * torch.randn(3000, 1)).float()
    task = Regression(1, Quantile())
    task.fit_targets(y[:2000])
    model = MLP(1, task, [32])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        task.loss(model(x[:2000]), Batch(x[:2000], y[:2000])).backward()
        optimizer.step()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x[2000:], y[2000:]), 256)
    tested = quiet_trainer().test(model, loader, verbose=False)[0]
    assert tested["test/coverage"] == pytest.approx(0.9, abs=0.04)
    low, high = task.interval(model(torch.tensor([[0.1], [0.9]])))
    assert (high - low)[1] > 2 * (high - low)[0]


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.enable_progress_bar=false"]
    main(["fit", "-c", "mlp/diabetes", "--model.task.loss=zoo.losses.GaussianNLL", "--trainer.max_epochs=2", *quick])
    run = Path("runs/mlp/diabetes/latest")
    monkeypatch.delenv("ZOO_RUN_DIR")
    main(["test", str(run), *quick])
    tested = json.loads((run / "test.json").read_text())
    assert "test/interval_width" in capsys.readouterr().out
    main(["predict", str(run), "--out", "p.csv", *quick])
    with Path("p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample", "value_0", "lower_0", "upper_0"]
    widths = [float(row["upper_0"]) - float(row["lower_0"]) for row in rows]
    assert sum(widths) / len(widths) == pytest.approx(tested["test/interval_width"], rel=1e-4)
