"""A power of the time that is left."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import PolynomialLR

from callbacks.schedules.polynomial import Polynomial, polynomial
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates
from zoo.errors import ZooError


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_equals_torch(power: float) -> None:
    expected = torch_rates(lambda o: PolynomialLR(o, total_iters=40, power=power), 40)
    assert rates(Polynomial(power), 40) == pytest.approx(expected)


def test_key_points() -> None:
    found = [polynomial(p, power=2.0, final=0.2, warmup=0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 0.4, 0.2])


def test_errors() -> None:
    with pytest.raises(ZooError, match="Polynomial: power must be above 0, got 0"):
        Polynomial(power=0)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: Polynomial(warmup=0.1), tmp_path)
