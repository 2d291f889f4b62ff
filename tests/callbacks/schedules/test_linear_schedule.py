"""A straight line."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import LinearLR

from callbacks.schedules.linear_schedule import LinearSchedule, linear
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates


@pytest.mark.parametrize("final", [0.0, 0.3])
def test_equals_torch(final: float) -> None:
    expected = torch_rates(lambda o: LinearLR(o, start_factor=1.0, end_factor=final, total_iters=40), 40)
    assert rates(LinearSchedule(final), 40) == pytest.approx(expected)


def test_key_points() -> None:
    assert [linear(p, final=0.2, warmup=0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0.0, 0.5, 1.0, 0.6, 0.2]
    )


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: LinearSchedule(warmup=0.1), tmp_path)
