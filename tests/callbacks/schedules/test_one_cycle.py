"""One cycle of learning rate and momentum."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from callbacks.schedules.one_cycle import OneCycle
from tests.callbacks.schedules.schedule_checks import assert_resumes, make_optimizer, rates
from tests.tools import quiet_trainer
from zoo.errors import ZooError


def test_equals_torch() -> None:
    schedule, total = OneCycle(warmup=0.3), 50
    optimizer = make_optimizer()
    reference = OneCycleLR(optimizer, max_lr=1.0, total_steps=total, pct_start=0.3)
    peak, last = 0.3 * total - 1, total - 1  # torch ends its phases one step early, so that the last step is the end
    for step in range(total):
        progress = 0.3 * step / peak if step <= peak else 0.3 + 0.7 * (step - peak) / (last - peak)
        group = optimizer.param_groups[0]
        assert schedule.multiplier(progress) == pytest.approx(group["lr"], abs=1e-12)
        assert schedule.momentum(progress) == pytest.approx(group["momentum"])
        optimizer.step()
        if step < last:
            reference.step()


def test_key_points() -> None:
    schedule = OneCycle(warmup=0.5, div_factor=10, final_div_factor=100)
    assert [schedule.multiplier(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 1.0, 0.001])
    assert [schedule.momentum(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.95, 0.85, 0.95])
    assert rates(schedule, 4)[2] == 1.0


def momenta(optimizer: Optimizer, cycle: bool = True) -> list[dict]:
    scheduler = OneCycle(warmup=0.5, cycle_momentum=cycle).build(optimizer, 2, quiet_trainer())
    assert isinstance(scheduler, LRScheduler)
    seen = []
    for _ in range(2):
        seen.append({key: optimizer.param_groups[0].get(key) for key in ("momentum", "betas")})
        optimizer.step()
        scheduler.step()
    return seen


def test_momentum_moves_where_there_is_one() -> None:
    weights = [nn.Parameter(torch.zeros(1))]
    assert [m["momentum"] for m in momenta(torch.optim.SGD(weights, momentum=0.5))] == [0.95, 0.85]
    assert [m["momentum"] for m in momenta(torch.optim.SGD(weights))] == [0, 0]
    assert [m["betas"] for m in momenta(torch.optim.AdamW(weights, betas=(0.5, 0.99)))] == [(0.95, 0.99), (0.85, 0.99)]
    assert [m["momentum"] for m in momenta(torch.optim.SGD(weights, momentum=0.5), cycle=False)] == [0.5, 0.5]


def test_errors() -> None:
    with pytest.raises(ZooError, match=r"OneCycle: base_momentum <= max_momentum < 1 must hold, got 0.99 and 0.95"):
        OneCycle(base_momentum=0.99)
    with pytest.raises(ZooError, match=r"OneCycle: div_factor and final_div_factor must be at least 1, got 0.5"):
        OneCycle(div_factor=0.5)


def test_resume(tmp_path: Path) -> None:
    assert_resumes(OneCycle, tmp_path)
