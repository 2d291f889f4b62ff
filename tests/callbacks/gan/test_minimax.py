"""The minimax loss against its gradient; the generator maximises what the discriminator minimises."""

from pathlib import Path

import pytest
import torch

from callbacks.gan.hinge import Hinge
from callbacks.gan.minimax import Minimax
from tests.callbacks.gan.step_checks import FAKE, REAL, assert_gradients, check_in_a_game
from zoo.errors import ZooError


@pytest.mark.parametrize("label", [1.0, 0.9])
def test_gradient(label: float) -> None:
    assert_gradients(Minimax(label), REAL.sigmoid() - label, FAKE.sigmoid(), -FAKE.sigmoid())


def test_one_value_for_both_players() -> None:
    step = Minimax()
    confident = torch.full((4,), 50.0)
    # Real samples are beyond doubt, so that all of the loss is about the fakes.
    both = step.discriminator_loss(confident, FAKE[:4].float()) + step.generator_loss(
        FAKE[:4].float(), lambda: confident
    )
    assert both.item() == pytest.approx(0, abs=1e-6)


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(Minimax, Hinge(), tmp_path)


def test_bad_label() -> None:
    with pytest.raises(ZooError, match="Minimax: real_label must lie in"):
        Minimax(0.2)
