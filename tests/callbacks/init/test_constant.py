import pytest
import torch

from callbacks.init.constant import Constant, constant_
from zoo.errors import ZooError


def test_every_weight_is_the_value() -> None:
    assert constant_(torch.empty(3, 4, 3, 3), 0.5).unique().tolist() == [0.5]


def test_zero_stops_the_hidden_layers(trainer, mlp, data) -> None:
    trainer(Constant(), max_epochs=2).fit(mlp, datamodule=data)
    assert all(not block.linear.weight.any() for block in mlp.backbone)
    assert mlp.head.bias.any()  # class frequencies are all that it can learn


def test_equal_weights_stay_equal(trainer, mlp, data) -> None:
    trainer(Constant(0.01), max_epochs=2).fit(mlp, datamodule=data)
    weight = mlp.backbone[1].linear.weight
    torch.testing.assert_close(weight, weight[:1, :1].expand_as(weight))
    assert abs(weight[0, 0].item() - 0.01) > 1e-4


def test_a_zero_head_makes_uniform_first_predictions(start, mlp) -> None:
    start(mlp, Constant(0.0, head_only=True))
    assert (mlp(torch.randn(5, 64)) == 0).all()


def test_a_value_that_is_not_finite() -> None:
    with pytest.raises(ZooError, match="Constant: value must be finite, got nan"):
        Constant(float("nan"))
