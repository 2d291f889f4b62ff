"""Max-norm: rows by hand, the bound after every step and in the average, and its words when it never acts."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from callbacks.averaging.ema import EMA
from callbacks.optimizers.sgd import SGD
from callbacks.regularizers.max_norm import MaxNorm, project_rows_
from callbacks.technique import NoEffect
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.errors import ZooError
from zoo.module import SupervisedModule


@pytest.mark.parametrize("shape", [(5, 4), (6, 2, 3, 3)])
def test_projects_long_rows_and_leaves_short_ones(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    weight[0] *= 0.01
    before = weight.clone()
    if weight.ndim == 4:
        weight = weight.contiguous(memory_format=torch.channels_last)
    project_rows_(weight, 1.0)
    lengths = before.flatten(1).norm(dim=1)
    factor = (1 / lengths).clamp(max=1).view(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(weight, before * factor, rtol=1e-5, atol=1e-6)
    assert torch.equal(weight[0], before[0])


def test_no_row_is_longer_after_any_step() -> None:
    class Longest(Callback):
        lengths: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            self.lengths.append(
                max(p.flatten(1).norm(dim=1).max().item() for p in pl_module.parameters() if p.ndim > 1)
            )

    longest = Longest()
    fit(make_mlp(), SGD(lr=0.5), longest, MaxNorm(0.5), max_epochs=1)
    assert longest.lengths
    assert max(longest.lengths) < 0.5 + 1e-5


def test_an_average_sees_projected_weights() -> None:
    """The mean of vectors in a ball lies in the ball, wherever EMA stands in the list."""
    for order in ([EMA(0.5), MaxNorm(0.4)], [MaxNorm(0.4), EMA(0.5)]):
        module = make_mlp()
        fit(module, SGD(lr=0.5), *order, max_epochs=2)
        assert module.head.weight.norm(dim=1).max() < 0.4 + 1e-3


def test_identity_within_a_wide_bound(capsys: pytest.CaptureFixture[str]) -> None:
    plain, bounded = make_mlp(), make_mlp()
    fit(plain, SGD(lr=0.1), max_epochs=1)
    fit(bounded, SGD(lr=0.1), MaxNorm(100), max_epochs=1)
    assert_same(copy(plain), copy(bounded))
    assert "MaxNorm: no row has length 100 at the end" in capsys.readouterr().out


def test_logs_the_share_at_the_bound(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    technique = MaxNorm(0.05)
    fit(make_mlp(), technique, logger=logger, log_every_n_steps=2, max_epochs=1)
    logger.finalize("success")
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").open()))
    shares = [float(row["train/max_norm_share"]) for row in rows if row["train/max_norm_share"]]
    assert len(shares) == 3
    assert all(0.5 < share <= 1 for share in shares)
    assert technique.share_at_bound() == shares[-1]


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="max_norm must be positive and finite, got 0"):
        MaxNorm(0)
    with pytest.raises(NoEffect, match=r"MaxNorm\[conv\]: no trainable matrix or filter of MLP"):
        fit(make_mlp(), MaxNorm(1, match="conv"), max_steps=1)
    assert_resumes(lambda: [MaxNorm(0.6)], tmp_path)
    assert accuracy_in_company(MaxNorm(2.0)) > 0.93


def for_matrix(module: SupervisedModule, folder: Path) -> MaxNorm:
    """Rows of a tiny network are short."""
    return MaxNorm(0.5)
