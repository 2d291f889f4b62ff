"""The step of a running mean against the formula, and networks whose buffers hold infinities."""

import math

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.averaging.ema import EMA
from callbacks.averaging.mean import has_infinite_buffers, move_towards_
from callbacks.averaging.swa import SWA
from tests.composition import network, run


def test_the_formula() -> None:
    mean, value = torch.randn(5), torch.randn(5)
    expected = mean + 0.3 * (value - mean)
    for infinities in (False, True):
        moved = mean.clone()
        move_towards_([moved], [value], 0.3, infinities)
        torch.testing.assert_close(moved, expected)


def test_counters_are_taken_over() -> None:
    mean = torch.tensor(3)
    move_towards_([mean], [torch.tensor(8)], 0.3)
    assert mean == 8


def test_where_the_formula_has_no_value() -> None:
    mean = torch.tensor([-math.inf, math.inf, 0.0, 0.0, 2.0])
    value = torch.tensor([-math.inf, -math.inf, math.inf, 1.0, 2.0])
    move_towards_([mean], [value], 0.5, infinities=True)
    assert mean.tolist() == [-math.inf, -math.inf, math.inf, 0.5, 2.0]


@pytest.mark.parametrize("technique", [EMA(), SWA(0.0, "step")], ids=["EMA", "SWA"])
def test_open_bins_are_averaged(technique: Callback) -> None:
    """A table's bins are open at their ends; their mean was NaN, and so was every prediction of the average."""
    module = network("tabular")
    assert has_infinite_buffers(module)
    run(module, "tabular", [technique])
    assert module.numerical.low[:, 0].eq(-math.inf).all()
    assert not any(tensor.isnan().any() for tensor in module.state_dict().values())


def test_networks_without_infinities_need_no_care() -> None:
    assert not has_infinite_buffers(network("cnn"))
