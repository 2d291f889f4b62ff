"""Half a cosine."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from callbacks.schedules.cosine import Cosine, cosine
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_equals_torch(final: float) -> None:
    expected = torch_rates(lambda o: CosineAnnealingLR(o, 40, eta_min=final), 40)
    assert rates(Cosine(warmup=0.0, final=final), 40) == pytest.approx(expected)


def test_warm_up_and_cosine_equal_torch() -> None:
    expected = torch_rates(
        lambda o: SequentialLR(o, [LinearLR(o, 1e-12, total_iters=10), CosineAnnealingLR(o, 30)], [10]), 40
    )
    assert rates(Cosine(warmup=0.25), 40) == pytest.approx(expected, abs=1e-9)


def test_key_points() -> None:
    assert [cosine(p, final=0.2, warmup=0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0.0, 0.5, 1.0, 0.6, 0.2]
    )


def test_resume(tmp_path: Path) -> None:
    assert_resumes(lambda: Cosine(warmup=0.2), tmp_path)
