"""AgainstNaive: it speaks once, in time, with the right numbers, and only where the network is worse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from callbacks.diagnostics.against_naive import AgainstNaive
from datamodules.char_text import CharText
from datamodules.forecasting_csv import ForecastingCSV
from tests.tools import quiet_trainer
from zoo.errors import ZooError
from zoo.forecasting import NLinear
from zoo.rnn_language_model import RNNLanguageModel
from zoo.task import Forecasting, LanguageModeling


def weeks(folder: Path) -> ForecastingCSV:
    """A rhythm of seven days, which the last week foretells without a mistake."""
    (folder / "weeks.csv").write_text("\n".join(["sales", *[str([3, 1, 4, 1, 5, 9, 2][i % 7]) for i in range(300)]]))
    return ForecastingCSV(str(folder / "weeks.csv"), ["sales"], window=14, horizon=7, batch_size=16)


def fit(data: Any, module: Any, *callbacks: Callback, **settings: Any) -> None:
    quiet_trainer(callbacks=list(callbacks), **{"max_epochs": 10, **settings}).fit(module, datamodule=data)


def forecaster(season: int | None = 7, spoil: bool = False) -> NLinear:
    module = NLinear(1, 14, Forecasting(1, 7, season=season))
    if spoil:
        with torch.no_grad():
            module.linear.weight.fill_(5.0)
    return module


def test_it_speaks_once_after_a_fifth_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(weeks(tmp_path), forecaster(spoil=True), AgainstNaive(), num_sanity_val_steps=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "worse than" in line]
    assert len(lines) == 1
    assert lines[0].startswith("zoo: after 20% of the run validation is worse than last season: mse ")
    assert "against 0; try a lower learning rate, normalization=last or revin" in lines[0]


def test_the_numbers_are_those_of_the_last_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = weeks(tmp_path)
    fit(data, forecaster(None, spoil=True), AgainstNaive(after=0.0), max_epochs=1)
    said = capsys.readouterr().out
    rows = data.series.values[:, 0].numpy()
    y = np.stack([rows[start + 14 : start + 21] for start in range(210 - 14, 240 - 20)])
    last = np.stack([np.full(7, rows[start + 13]) for start in range(210 - 14, 240 - 20)])
    expected = ((y - last) ** 2).mean() / rows[:210].var()
    assert f"worse than last value: mse {float(said.split('mse ')[1].split()[0]):.4g} against {expected:.4g};" in said


def test_a_network_that_is_better_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(weeks(tmp_path), forecaster(None), AgainstNaive())
    assert "worse than" not in capsys.readouterr().out


def test_other_tasks_are_held_against_a_constant(capsys: pytest.CaptureFixture[str]) -> None:
    data = CharText(limit=20_000, window=16)
    data.setup("fit")
    size = data.vocabulary_size
    module = RNNLanguageModel(size, LanguageModeling(size), 8, 8)
    with torch.no_grad():
        module.head.bias.copy_(torch.linspace(-20, 20, size))
    fit(data, module, AgainstNaive(), max_epochs=2, limit_train_batches=2, limit_val_batches=2)
    said = capsys.readouterr().out
    assert "validation is worse than a constant answer: perplexity" in said
    assert "look at the labels" in said


def test_a_run_is_the_same_with_and_without(tmp_path: Path) -> None:
    ends = []
    for callbacks in ([], [AgainstNaive()]):
        torch.manual_seed(0)
        module = forecaster(spoil=True)
        fit(weeks(tmp_path), module, *callbacks, max_epochs=3)
        ends.append((module.state_dict(), torch.get_rng_state()))
    assert torch.equal(ends[0][1], ends[1][1])
    assert all(torch.equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0])


def test_arguments() -> None:
    with pytest.raises(ZooError, match=r"AgainstNaive: after must lie in \[0, 1\], got 2"):
        AgainstNaive(2)
