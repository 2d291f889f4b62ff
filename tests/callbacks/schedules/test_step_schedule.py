"""Drops at regular intervals."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import StepLR

from callbacks.schedules.step_schedule import StepSchedule
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates
from zoo.errors import ZooError


@pytest.mark.parametrize(("steps", "size"), [(10, 1), (10, 3), (30, 9), (70, 7), (100, 29)])
def test_equals_torch(steps: int, size: int) -> None:
    expected = torch_rates(lambda o: StepLR(o, size, gamma=0.5), steps)
    assert rates(StepSchedule(every=size / steps, gamma=0.5), steps) == pytest.approx(expected)


def test_warm_up_leaves_the_drops_in_place() -> None:
    found = rates(StepSchedule(every=0.5, gamma=0.1, warmup=0.2), 10)
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1])


def test_errors() -> None:
    with pytest.raises(ZooError, match="StepSchedule: every and gamma must be above 0, got every=0"):
        StepSchedule(every=0)
    with pytest.raises(ZooError, match=r"StepSchedule: every is a fraction in \[0, 1\], got 30"):
        StepSchedule(every=30)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: StepSchedule(warmup=0.1), tmp_path)
