"""The logistic loss against its gradient and torch's cross-entropy; one-sided label smoothing."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from callbacks.gan.hinge import Hinge
from callbacks.gan.non_saturating import NonSaturating
from tests.callbacks.gan.step_checks import FAKE, REAL, assert_gradients, check_in_a_game
from tests.gan_checks import assert_same, copy, fit, ring_gan
from zoo.errors import ZooError


@pytest.mark.parametrize("label", [1.0, 0.9])
def test_gradient(label: float) -> None:
    """sigmoid - target for the discriminator; sigmoid - 1 for the generator, largest where the fake is found out."""
    assert_gradients(NonSaturating(label), REAL.sigmoid() - label, FAKE.sigmoid(), FAKE.sigmoid() - 1)


@pytest.mark.parametrize("label", [1.0, 0.8])
def test_equals_cross_entropy(label: float) -> None:
    expected = F.binary_cross_entropy_with_logits(REAL, torch.full_like(REAL, label))
    expected = expected + F.binary_cross_entropy_with_logits(FAKE, torch.zeros_like(FAKE))
    torch.testing.assert_close(NonSaturating(label).discriminator_loss(REAL, FAKE), expected)


def test_is_what_a_game_plays_by_default() -> None:
    plain, named = ring_gan(), ring_gan()
    fit(plain)
    fit(named, NonSaturating())
    assert_same(copy(plain), copy(named))


def test_in_a_game(tmp_path: Path) -> None:
    check_in_a_game(lambda: NonSaturating(0.9), Hinge(), tmp_path)


@pytest.mark.parametrize("label", [0.5, 1.1])
def test_bad_label(label: float) -> None:
    with pytest.raises(ZooError, match=rf"NonSaturating: real_label must lie in \(0.5, 1\], got {label}"):
        NonSaturating(label)
