"""The ring: its moments, its splits, and the two numbers that judge samples."""

import math

import pytest
import torch

from datamodules.ring import Ring, covered_modes, good_fraction, good_samples, mode_centres
from zoo.errors import DataError

CENTRES = mode_centres(8, 2.0)


def test_points_are_where_they_should_be() -> None:
    data = Ring(size=8000)
    data.setup("fit")
    split = data.splits["train"]
    assert (data.in_features, data.num_classes, data.sample_shape, data.sample_range) == (2, 8, [2], None)
    assert torch.bincount(split.y).tolist() == [1000] * 8  # type: ignore[attr-defined]
    offset = split.x - CENTRES[split.y]  # type: ignore[attr-defined]
    assert offset.std().item() == pytest.approx(0.02, rel=0.05)
    torch.testing.assert_close(CENTRES.norm(dim=1), torch.full((8,), 2.0))
    assert len({len(split) for name, split in data.splits.items() if name != "train"} - {2000}) == 0
    assert not torch.equal(data.splits["val"].x, data.splits["test"].x)  # type: ignore[attr-defined]


def test_real_points_are_good_as_often_as_the_formula_says() -> None:
    data = Ring(size=40_000)
    points = data.load()["train"].x  # type: ignore[attr-defined]
    assert good_fraction(points, CENTRES, 0.02) == pytest.approx(1 - math.exp(-4.5), abs=0.003)
    assert covered_modes(points, CENTRES, 0.02) == 8


def test_what_counts_as_good_and_covered() -> None:
    points = torch.tensor([[2.0, 0.0], [2.0, 0.059], [2.0, 0.061], [0.0, 2.0], [0.0, 0.0]])
    assert good_samples(points, CENTRES, 0.02).tolist() == [0, 0, -1, 2, -1]
    assert good_fraction(points, CENTRES, 0.02) == pytest.approx(0.6)
    collapsed = CENTRES[:1].repeat(800, 1)
    assert covered_modes(collapsed, CENTRES, 0.02) == 1
    # 24 of 800 are a quarter of the share of 100, less one.
    assert covered_modes(torch.cat([collapsed[:776], CENTRES[1:2].repeat(24, 1)]), CENTRES, 0.02) == 1
    assert covered_modes(torch.cat([collapsed[:775], CENTRES[1:2].repeat(25, 1)]), CENTRES, 0.02) == 2


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="modes, radius, std and size"):
        Ring(std=0.0)
