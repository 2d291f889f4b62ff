"""Least squares against its gradient."""

from pathlib import Path

import pytest

from callbacks.gan.hinge import Hinge
from callbacks.gan.least_squares import LeastSquares
from tests.callbacks.gan.step_checks import FAKE, REAL, assert_gradients, check_in_a_game
from zoo.errors import ZooError


@pytest.mark.parametrize("label", [1.0, 0.9])
def test_gradient(label: float) -> None:
    assert_gradients(LeastSquares(label), REAL - label, FAKE, FAKE - 1)


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(LeastSquares, Hinge(), tmp_path)


def test_bad_label() -> None:
    with pytest.raises(ZooError, match="LeastSquares: real_label must lie in"):
        LeastSquares(2.0)
