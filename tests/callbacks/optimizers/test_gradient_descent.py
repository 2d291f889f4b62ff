"""Full-batch gradient descent: the gradient of the whole split, or an error."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from callbacks.optimizers.gradient_descent import GradientDescent
from datamodules.digits import Digits
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_resumes,
    loss_ratio_on_a_quadratic,
    make_mlp,
)
from tests.tools import quiet_trainer
from zoo.errors import ZooError


class Gradients(Callback):
    """Keeps the gradient of the head at every step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen.append(pl_module.head.weight.grad.clone())


def fit(data: Digits, **settings: Any) -> list[torch.Tensor]:
    gradients = Gradients()
    trainer = quiet_trainer(callbacks=[GradientDescent(lr=0.1), gradients], **settings)
    trainer.fit(make_mlp(), datamodule=data)
    return gradients.seen


def test_the_gradient_is_that_of_the_whole_training_split() -> None:
    data, model = Digits(batch_size="full"), make_mlp()
    seen = fit(data, max_epochs=2)
    assert len(seen) == 2
    split: Any = data.splits["train"]
    nn.functional.cross_entropy(model(data.transform_batch(split.x)), split.y).backward()
    torch.testing.assert_close(seen[0], model.head.weight.grad, rtol=1e-4, atol=1e-6)


def test_equal_batches_may_be_accumulated() -> None:
    data = Digits(batch_size="full")
    whole = fit(data)[0]
    size = len(data.splits["train"])  # type: ignore[arg-type]
    assert size % 5 == 0
    parts = fit(Digits(batch_size=size // 5), accumulate_grad_batches=5)
    assert len(parts) == 1
    torch.testing.assert_close(parts[0], whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ({"batch_size": 256}, {}, r"an epoch has \d batches and a step takes 1; set --data.batch_size full"),
        ({"batch_size": 256}, {"limit_train_batches": 1}, r"split of \d+ samples in a step, but batch 0 holds 256"),
        ({"batch_size": 900, "drop_last": True}, {}, "batch 0 holds 900"),
        ({"batch_size": 900}, {"accumulate_grad_batches": 2}, r"batch 1 holds \d+ of the \d+ that are its share"),
    ],
)
def test_anything_less_is_refused(data: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        fit(Digits(**data), **settings)


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(GradientDescent(lr=0.1)) < 1e-6
    assert accuracy_on_digits(GradientDescent(), epochs=60, batch_size="full") > 0.8
    assert_resumes(GradientDescent, tmp_path, batch_size="full")
