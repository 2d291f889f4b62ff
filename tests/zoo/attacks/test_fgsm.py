"""FGSM by hand on a linear network, where it is the best attack there is."""

import pytest
import torch
from torch import nn

from tests.zoo.attacks.attack_checks import accuracy, images, trained
from zoo.attacks.fgsm import fgsm
from zoo.errors import ZooError


def test_equals_the_formula_on_a_linear_network() -> None:
    """Two classes: the gradient of the loss is (p_other)(w_other - w_y), so each pixel moves along that sign."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 2)
    x, y = torch.rand(5, 6) * 0.2 + 0.4, torch.tensor([0, 1, 0, 1, 1])
    towards = layer.weight[1 - y] - layer.weight[y]
    torch.testing.assert_close(fgsm(layer, x, y, 0.1), (x + 0.1 * towards.sign()).detach())
    torch.testing.assert_close(
        fgsm(layer, x, y, 0.1, norm="l2"), (x + 0.1 * towards / towards.norm(dim=1, keepdim=True)).detach()
    )


def test_zero_strength_is_the_identity() -> None:
    x, y = images(10)
    assert torch.equal(fgsm(trained(), x, y, 0.0), x)


def test_more_is_worse() -> None:
    model, (x, y) = trained(), images()
    reached = [accuracy(model, fgsm(model, x, y, epsilon), y) for epsilon in (0.0, 0.05, 0.1, 0.2)]
    assert reached == sorted(reached, reverse=True)
    assert reached[-1] < 0.3


@pytest.mark.parametrize(
    ("epsilon", "norm", "text"),
    [(-0.1, "linf", "epsilon must not be negative"), (8.0, "linf", "divide levels by 255"), (0.1, "l1", "linf or l2")],
)
def test_errors(epsilon: float, norm: str, text: str) -> None:
    x, y = images(1)
    with pytest.raises(ZooError, match=text):
        fgsm(trained(), x, y, epsilon, norm)  # type: ignore[arg-type]
