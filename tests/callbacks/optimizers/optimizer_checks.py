"""What every optimizer has to pass: a quadratic, its formula, real digits, and a resume to the bit."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from callbacks.optimizers.selection import OptimizerSelection
from datamodules.digits import Digits
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.mlp import MLP
from zoo.task import Classification

State = TypeVar("State")


def make_mlp(norm: str = "none") -> MLP:
    torch.manual_seed(0)
    return MLP(64, Classification(10), hidden=[32, 32], norm=norm)  # type: ignore[arg-type]


def loss_ratio_on_a_quadratic(selection: OptimizerSelection, steps: int = 200) -> float:
    """Final over first value of ``sum |w - 1|^2 / 2`` over all weights of a small network."""
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = selection.build(network)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = sum(((p - 1) ** 2).sum() / 2 for p in network.parameters())  # type: ignore[assignment]
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(steps)]  # type: ignore[arg-type, call-overload]
    return losses[-1] / losses[0]


class OneMatrix(nn.Module):
    """A network that is a single matrix, in double precision."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2, dtype=torch.float64))


def assert_follows(
    selection: OptimizerSelection,
    step: Callable[[Tensor, Tensor, State], tuple[Tensor, State]],
    start: Callable[[Tensor], State],
    rtol: float = 1e-10,
) -> None:
    """The optimizer that ``selection`` builds, fused and not, walks the path of the formula ``step``."""
    for fuse in (False, True):
        network = OneMatrix()
        optimizer = selection.build(network, fuse)
        expected = network.weight.detach().clone()
        state = start(torch.zeros_like(expected))
        for _ in range(12):
            gradient = torch.randn_like(expected)
            network.weight.grad = gradient.clone()
            optimizer.step()
            expected, state = step(expected, gradient, state)
            torch.testing.assert_close(network.weight.detach(), expected, rtol=rtol, atol=rtol / 100)


def accuracy_on_digits(selection: OptimizerSelection, epochs: int = 4, batch_size: int | str = 64) -> float:
    """Validation accuracy of a small MLP after a few epochs."""
    trainer = quiet_trainer(max_epochs=epochs, callbacks=[selection], num_sanity_val_steps=0)
    trainer.fit(make_mlp(), datamodule=Digits(batch_size=batch_size))  # type: ignore[arg-type]
    return trainer.callback_metrics["val/accuracy"].item()


def assert_resumes(make: Callable[[], OptimizerSelection], folder: Path, batch_size: int | str = 200) -> None:
    """A run that is cut off in the second epoch and goes on has the same weights and state as one that is not."""

    def fit(*more: StopAt, ckpt: Path | None = None) -> tuple[MLP, torch.optim.Optimizer]:
        model = make_mlp(norm="batch")
        trainer = quiet_trainer(max_epochs=3, callbacks=[make(), *more], num_sanity_val_steps=0)
        data = Digits(batch_size=batch_size)  # type: ignore[arg-type]
        trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
        return model, trainer.optimizers[0]

    whole, optimizer = fit()
    with pytest.raises(Stopped):
        fit(StopAt(folder / "cut.ckpt", 1, 0))
    resumed, other = fit(ckpt=folder / "cut.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    states, others = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert states.keys() == others.keys()
    for key, state in states.items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(others[key][name])), name
