"""The same factor in every step."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import ExponentialLR

from callbacks.schedules.exponential import Exponential, exponential
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates
from zoo.errors import ZooError


def test_equals_torch() -> None:
    expected = torch_rates(lambda o: ExponentialLR(o, gamma=0.01 ** (1 / 40)), 40)
    assert rates(Exponential(final=0.01), 40) == pytest.approx(expected)


def test_key_points() -> None:
    assert [exponential(p, final=0.01, warmup=0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0.0, 0.5, 1.0, 0.1, 0.01]
    )


def test_errors() -> None:
    with pytest.raises(ZooError, match="Exponential: final must be above 0; for a rate that reaches 0 use"):
        Exponential(final=0.0)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: Exponential(warmup=0.1), tmp_path)
