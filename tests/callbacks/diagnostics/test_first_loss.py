"""The first loss beside that of a guess: said when it is far above, once, and at no other time."""

import math

import pytest
import torch

from callbacks.diagnostics.first_loss import FirstLoss, guess
from tests.callbacks.technique_checks import make_mlp
from tests.callbacks.transformer_checks import gpt, train
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.task import Regression


def test_what_a_guess_costs() -> None:
    assert guess(make_mlp()) == pytest.approx(math.log(10))
    assert guess(gpt()) == pytest.approx(math.log(gpt().head.out_features))
    assert guess(MLP(4, Regression())) is None


def test_it_speaks_of_large_weights_alone(capfd) -> None:
    train(gpt(), FirstLoss(), epochs=1)
    assert "the first loss" not in "".join(capfd.readouterr())
    module = gpt()
    with torch.no_grad():
        module.head.weight.mul_(50)
    train(module, FirstLoss(), epochs=2)
    assert "".join(capfd.readouterr()).count("the first loss is") == 1


def test_errors() -> None:
    with pytest.raises(ZooError, match="tolerance must be positive, got 0"):
        FirstLoss(0)
