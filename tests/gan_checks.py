"""What the tests of the game share: a small pair on the ring or on digits, a fit, and a resume to the bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from datamodules.base import ZooDataModule
from datamodules.digits import Digits
from datamodules.ring import Ring
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.gan import GAN
from zoo.generators.mlp import MLPDiscriminator, MLPGenerator


def ring(batch_size: int = 64, size: int = 320, **settings: Any) -> Ring:
    """Five batches an epoch."""
    return Ring(size=size, batch_size=batch_size, **settings)


def digits(batch_size: int = 256, **settings: Any) -> Digits:
    return Digits(batch_size=batch_size, normalize="symmetric", drop_last=True, **settings)


def ring_gan(seed: int = 0, conditioning: str = "none", spectral_norm: bool = False, **settings: Any) -> GAN:
    torch.manual_seed(seed)
    joined: Any = "none" if conditioning == "none" else "concatenation"
    return GAN(
        MLPGenerator([2], 8, latent_dim=4, hidden=[16], conditioning=joined),
        MLPDiscriminator([2], 8, hidden=[16], spectral_norm=spectral_norm, conditioning=conditioning),  # type: ignore
        **settings,
    )


def digits_gan(seed: int = 0, norm: str = "batch", **settings: Any) -> GAN:
    """Perceptrons on images, with batch norm in the generator."""
    torch.manual_seed(seed)
    generator = MLPGenerator([1, 8, 8], latent_dim=8, hidden=[32], norm=norm)  # type: ignore[arg-type]
    return GAN(generator, MLPDiscriminator([1, 8, 8], hidden=[32]), **settings)


def fit(
    module: GAN, *callbacks: Callback, data: ZooDataModule | None = None, ckpt: Path | None = None, **settings: Any
) -> Trainer:
    trainer = quiet_trainer(callbacks=list(callbacks), num_sanity_val_steps=0, **settings)
    trainer.fit(module, datamodule=data or ring(), ckpt_path=ckpt, weights_only=True if ckpt else None)
    return trainer


def copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def assert_resumes(
    make: Callable[[], list[Callback]],
    folder: Path,
    build: Callable[[], GAN] = ring_gan,
    data: Callable[[], ZooDataModule] = ring,
) -> None:
    """A run that is cut off in the middle of its second epoch ends like one that never was.

    Compared are the weights, the samples, the state of both optimizers, the metrics and the state of the callbacks.
    """

    def run(*more: Callback, ckpt: Path | None = None) -> tuple[GAN, Trainer, list[Callback]]:
        module, callbacks = build(), make()
        return module, fit(module, *callbacks, *more, data=data(), ckpt=ckpt, max_epochs=3), callbacks

    whole, trainer, callbacks = run()
    with pytest.raises(Stopped):
        run(StopAt(folder / "cut.ckpt", 1, 2))
    resumed, other, others = run(ckpt=folder / "cut.ckpt")
    assert_same(copy(whole), copy(resumed))
    assert torch.equal(whole.sample(16), resumed.sample(16))
    assert trainer.global_step == other.global_step
    for ours, theirs in zip(trainer.optimizers, other.optimizers, strict=True):
        states = ours.state_dict()["state"], theirs.state_dict()["state"]
        assert states[0].keys() == states[1].keys()
        assert states[0]
        for key, state in states[0].items():
            assert_same(*({n: torch.as_tensor(v) for n, v in s.items()} for s in (state, states[1][key])))
    assert {k: v.item() for k, v in trainer.callback_metrics.items()} == {
        k: v.item() for k, v in other.callback_metrics.items()
    }
    for ours, theirs in zip(callbacks, others, strict=True):
        assert ours.state_dict() == theirs.state_dict()
