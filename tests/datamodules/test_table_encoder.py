"""Scaling, missing values and categories: learned from the rows given, applied to any."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from datamodules.table_encoder import Table, TableEncoder
from zoo.errors import DataError

NAN = float("nan")


def table(numbers: list[list[float]], categories: list[list[str]] | None = None) -> Table:
    words = np.array(categories, dtype=np.str_) if categories else np.empty((len(numbers), 0), dtype=np.str_)
    return Table(np.array(numbers, dtype=np.float64), words)


def test_standard() -> None:
    encoder = TableEncoder("standard").fit(table([[1.0, 5.0], [3.0, 5.0]]))
    assert encoder.encode(table([[1.0, 5.0], [3.0, 5.0], [5.0, 7.0]])).tolist() == [[-1, 0], [1, 0], [3, 2]]


def test_quantile_is_the_mid_rank() -> None:
    values = np.random.default_rng(0).integers(0, 40, (300, 1)).astype(float)
    encoded = TableEncoder("quantile").fit(table(values.tolist())).encode(table(values.tolist()))
    expected = stats.norm.ppf((stats.rankdata(values[:, 0]) - 0.5) / 300)  # average ranks of ties
    np.testing.assert_allclose(encoded[:, 0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_quantile_makes_long_tails_normal_and_stays_within_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    column = np.exp(2 * rng.standard_normal((20_000, 1)))
    encoder = TableEncoder("quantile").fit(table(column.tolist()))
    fresh = np.exp(2 * rng.standard_normal((20_000, 1)))
    encoded = encoder.encode(table(fresh.tolist()))[:, 0].numpy()
    # Kolmogorov's distance of two samples of 20,000 is below 0.0195 in 999 of 1,000 cases.
    assert stats.kstest(encoded, "norm").statistic < 0.02
    low, high = encoder.encode(table([[-1e9], [1e9]]))[:, 0].tolist()
    seen = encoder.encode(table(column.tolist()))
    assert (low, high) == (seen.min().item(), seen.max().item())
    assert len(encoder.landmarks[0][0]) <= 1000


def test_a_constant_column_becomes_zero() -> None:
    for scaling in ("standard", "quantile"):
        encoder = TableEncoder(scaling).fit(table([[4.0]] * 5))  # type: ignore[arg-type]
        assert encoder.encode(table([[4.0], [4.0]])).abs().max() == 0


def test_missing_numbers_take_the_median_and_a_flag() -> None:
    encoder = TableEncoder("standard").fit(table([[1.0, 0.0], [NAN, 2.0], [3.0, 4.0], [8.0, 6.0]]))
    assert (encoder.medians, encoder.flagged, encoder.num_numerical) == ([3.0, 3.0], [0], 3)
    out = encoder.encode(table([[NAN, NAN], [3.0, 3.0]]))
    assert torch.equal(out[0, :2], out[1, :2])
    assert out[:, 2].tolist() == [1, 0], "only the column that lacked values has a flag"


def test_categories() -> None:
    rows = table([[0.0]] * 4, [["b", "x"], ["a", ""], ["b", "x"], ["c", "x"]])
    encoder = TableEncoder("standard").fit(rows)
    assert encoder.cardinalities == [4, 3]
    new = table([[0.0]] * 3, [["a", ""], ["never seen", "x"], ["", "y"]])
    assert encoder.encode(new)[:, 1:].tolist() == [[1, 1], [0, 2], [0, 0]]
    one_hot = TableEncoder("standard", "one_hot").fit(rows)
    assert (one_hot.cardinalities, one_hot.num_numerical) == ([], 6)
    assert one_hot.encode(new)[:, 1:].tolist() == [[1, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("settings", [("standard", "codes"), ("quantile", "one_hot")])
def test_state(settings: Any) -> None:
    rng = np.random.default_rng(0)
    rows = Table(rng.standard_normal((50, 3)), rng.choice(["a", "b", "c"], (50, 2)))
    rows.numbers[3, 1] = NAN
    encoder, other = TableEncoder(*settings).fit(rows), TableEncoder()
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other.encode(rows), encoder.encode(rows))
    assert other.cardinalities == encoder.cardinalities


def test_tables_of_one_kind_only() -> None:
    words = Table(np.empty((2, 0)), np.array([["a"], ["b"]]))
    assert TableEncoder().fit(words).encode(words).tolist() == [[1], [2]]


def test_a_column_without_values() -> None:
    with pytest.raises(DataError, match=r"^number column 1 \(counted from 0\) has no value in any training row"):
        TableEncoder().fit(table([[1.0, NAN], [2.0, NAN]]))
