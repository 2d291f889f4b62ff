"""What the tests of techniques share: a small network on real digits, a fit, and a resume to the bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from callbacks.averaging.ema import EMA
from callbacks.optimizers.momentum import Momentum
from callbacks.schedules.cosine import Cosine
from datamodules.digits import Digits
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.mlp import MLP
from zoo.task import Classification


def make_mlp(norm: str = "batch", dropout: float = 0.1, hidden: tuple[int, ...] = (32, 32)) -> MLP:
    torch.manual_seed(0)
    return MLP(64, Classification(10), list(hidden), norm=norm, dropout=dropout)  # type: ignore[arg-type]


def fit(module: nn.Module, *callbacks: Callback, batch_size: int = 200, ckpt: Path | None = None,
        **settings: Any) -> Trainer:  # fmt: skip
    trainer = quiet_trainer(callbacks=list(callbacks), num_sanity_val_steps=0, **settings)
    trainer.fit(module, datamodule=Digits(batch_size=batch_size), ckpt_path=ckpt, weights_only=True if ckpt else None)
    return trainer


def copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def company() -> list[Callback]:
    """Techniques that others have to get on with: momentum, a schedule, an average of the weights."""
    return [Momentum(lr=0.05), Cosine(warmup=0.1), EMA(0.9)]


def assert_resumes(make: Callable[[], list[Callback]], folder: Path, epochs: int = 3, cut: int = 1) -> None:
    """A run in company, cut off in the middle of epoch ``cut``, ends like one that never was: weights and state."""

    def run(*more: Callback, ckpt: Path | None = None) -> tuple[MLP, Trainer]:
        module = make_mlp()
        return module, fit(module, *company(), *make(), *more, max_epochs=epochs, ckpt=ckpt)

    whole, trainer = run()
    with pytest.raises(Stopped):
        run(StopAt(folder / "cut.ckpt", cut, 1))
    resumed, other = run(ckpt=folder / "cut.ckpt")
    assert_same(copy(whole), copy(resumed))
    ours, theirs = (run.optimizers[0].state_dict()["state"] for run in (trainer, other))
    assert ours.keys() == theirs.keys()
    for key, state in ours.items():
        assert_same(_tensors(state), _tensors(theirs[key]))
    assert trainer.callback_metrics["train/loss"].item() == other.callback_metrics["train/loss"].item()


def _tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in state.items() if value is not None}


def accuracy_in_company(*callbacks: Callback, epochs: int = 6) -> float:
    """Validation accuracy on digits after a few epochs beside an optimizer, a schedule and an average."""
    trainer = fit(make_mlp(), *company(), *callbacks, batch_size=64, max_epochs=epochs)
    return trainer.callback_metrics["val/accuracy"].item()
