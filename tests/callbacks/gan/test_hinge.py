"""The hinge loss against its gradient."""

from pathlib import Path

import torch

from callbacks.gan.hinge import Hinge
from callbacks.gan.non_saturating import NonSaturating
from tests.callbacks.gan.step_checks import FAKE, REAL, assert_gradients, check_in_a_game


def test_gradient() -> None:
    # On the kinks themselves (a real logit of 1, which REAL holds) torch takes 0 as the slope.
    assert_gradients(Hinge(), -(REAL < 1).double(), (FAKE > -1).double(), -torch.ones_like(FAKE))


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(Hinge, NonSaturating(), tmp_path)
