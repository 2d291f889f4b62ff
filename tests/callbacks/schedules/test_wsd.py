"""Warm-up, stable, decay."""

from pathlib import Path

import pytest
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR

from callbacks.schedules.wsd import WSD, Shape, wsd
from tests.callbacks.schedules.schedule_checks import assert_resumes, rates, torch_rates
from zoo.errors import ZooError


def test_linear_shape_equals_torch() -> None:
    def make(o):  # type: ignore[no-untyped-def]
        parts = [LinearLR(o, 1e-12, total_iters=4), ConstantLR(o, 1.0), LinearLR(o, 1.0, 0.1, total_iters=8)]
        return SequentialLR(o, parts, [4, 32])

    schedule = WSD(warmup=0.1, decay=0.2, final=0.1, shape="linear")
    assert rates(schedule, 40) == pytest.approx(torch_rates(make, 40), abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "half"), [("linear", 0.55), ("cosine", 0.55), ("one_minus_sqrt", 1 - 0.9 * 0.5**0.5)]
)
def test_key_points(shape: Shape, half: float) -> None:
    found = [wsd(p, 0.1, 0.2, 0.1, shape) for p in (0.0, 0.05, 0.1, 0.5, 0.8, 0.9, 1.0)]
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, half, 0.1])


def test_without_decay() -> None:
    assert wsd(1.0, decay=0.0) == 1.0


def test_errors() -> None:
    with pytest.raises(ZooError, match=r"WSD: warmup=0.6 and decay=0.5 are together longer than the run"):
        WSD(warmup=0.6, decay=0.5)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(WSD, tmp_path)
