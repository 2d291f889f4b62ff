"""Drops at chosen points."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import MultiStepLR

from callbacks.schedules.multistep import MultiStep
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates
from zoo.errors import ZooError


@pytest.mark.parametrize(("steps", "milestones"), [(10, [5, 7]), (30, [9, 21, 27]), (100, [29, 57, 58]), (7, [3])])
def test_equals_torch(steps: int, milestones: list[int]) -> None:
    expected = torch_rates(lambda o: MultiStepLR(o, milestones, gamma=0.2), steps)
    fractions = [milestone / steps for milestone in milestones]
    assert rates(MultiStep(fractions, gamma=0.2), steps) == pytest.approx(expected)


@pytest.mark.parametrize("milestones", [[], [0.5, 0.5], [0.7, 0.5], [0.0, 0.5], [30.0, 60.0]])
def test_errors(milestones: list[float]) -> None:
    with pytest.raises(ZooError, match="MultiStep: milestones are shares of the run that rise between 0 and 1"):
        MultiStep(milestones)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: MultiStep([0.3, 0.6], warmup=0.1), tmp_path)
