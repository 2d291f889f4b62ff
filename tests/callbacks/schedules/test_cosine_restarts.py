"""Several cosines in a row."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from callbacks.schedules.cosine import cosine
from callbacks.schedules.cosine_restarts import CosineRestarts, cosine_restarts
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates
from zoo.errors import ZooError


@pytest.mark.parametrize(("cycles", "multiplier", "steps"), [(3, 2, 70), (4, 1, 40), (3, 3, 39), (1, 2, 10)])
def test_equals_torch(cycles: int, multiplier: int, steps: int) -> None:
    first = steps // sum(multiplier**i for i in range(cycles))
    expected = torch_rates(lambda o: CosineAnnealingWarmRestarts(o, first, multiplier, eta_min=0.1), steps)
    assert rates(CosineRestarts(cycles, multiplier, final=0.1), steps) == pytest.approx(expected)


def test_key_points() -> None:
    assert [cosine_restarts(p, cycles=2, period_multiplier=1.0, warmup=0.25) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == (
        pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    )
    assert cosine_restarts(0.3, cycles=1) == pytest.approx(cosine(0.3))


def test_errors() -> None:
    with pytest.raises(ZooError, match=r"cycles and period_multiplier must be at least 1, got 0 and 2.0"):
        CosineRestarts(cycles=0)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(CosineRestarts, tmp_path)
