"""One learning rate all along."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import LinearLR

from callbacks.schedules.constant_schedule import ConstantSchedule, constant
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates


def test_values() -> None:
    assert [constant(p) for p in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    assert rates(ConstantSchedule(), 3) == [1.0, 1.0, 1.0]


def test_warm_up_equals_torch() -> None:
    # torch cannot start at 0, so the first step is left out
    expected = torch_rates(lambda o: LinearLR(o, start_factor=1e-12, total_iters=5), 20)
    assert rates(ConstantSchedule(warmup=0.25), 20) == pytest.approx(expected, abs=1e-9)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: ConstantSchedule(warmup=0.5), tmp_path)
