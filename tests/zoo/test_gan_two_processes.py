"""Two processes play one game: equal weights, buffers and averages on both, and the step of one process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from callbacks.diagnostics.collapse_guard import CollapseGuard
from callbacks.gan.ada import ADA
from callbacks.gan.generator_ema import GeneratorEMA
from callbacks.gan.lecam import LeCam
from callbacks.gan.r1 import R1
from callbacks.gan.relativistic import Relativistic
from callbacks.reporting.judge import Judge
from datamodules.digits import Digits
from tests.gan_checks import ring
from tests.tools import quiet_trainer
from zoo.gan import GAN
from zoo.generators.dcgan import DCGANDiscriminator, DCGANGenerator
from zoo.generators.mlp import MLPDiscriminator, MLPGenerator

PAIR: dict[str, Any] = {"strategy": "ddp_fork", "devices": 2}  # plain DDP: nothing is searched for unused parameters


class Report(Callback):
    """Leaves in a folder what each process holds when training ends."""

    def __init__(self, folder: Path, ema: GeneratorEMA | None = None, state: Callback | None = None) -> None:
        self.folder, self.ema, self.state = folder, ema, state
        self.noise: list[Tensor] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.noise.append(torch.get_rng_state())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        average = self.ema.average if self.ema is not None else None
        content = {
            "weights": pl_module.state_dict(),
            "average": None if average is None else average.state_dict(),
            "metrics": dict(trainer.callback_metrics),
            "noise": torch.stack(self.noise),
            "state": None if self.state is None else self.state.state_dict(),
            "steps": trainer.global_step,
        }
        torch.save(content, self.folder / f"{trainer.global_rank}.pt")


def run(folder: Path, gan: GAN, data: Any, *callbacks: Callback, **settings: Any) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    ema = next((c for c in callbacks if isinstance(c, GeneratorEMA)), None)
    state = next((c for c in callbacks if isinstance(c, ADA | LeCam)), None)
    trainer = quiet_trainer(callbacks=[*callbacks, Report(folder, ema, state)], num_sanity_val_steps=0, **settings)
    trainer.fit(gan, datamodule=data)
    return [torch.load(file, weights_only=True) for file in sorted(folder.glob("*.pt"))]


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def images(**settings: Any) -> Digits:
    return Digits(normalize="symmetric", drop_last=True, **settings)


def test_ranks_stay_equal_with_batch_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    gan = GAN(DCGANGenerator([1, 8, 8], width=4), DCGANDiscriminator([1, 8, 8], width=4), discriminator_steps=2)
    first, second = run(tmp_path, gan, images(batch_size=128), GeneratorEMA(500), max_epochs=2, **PAIR)
    assert_equal(first["weights"], second["weights"])  # buffers too
    assert_equal(first["average"], second["average"])
    assert first["metrics"] == second["metrics"]
    assert first["steps"] == 2 * (646 // 128)
    assert not any(torch.equal(a, b) for a, b in zip(first["noise"], second["noise"]))
    means = first["weights"]["generator.norms.0.norm.running_mean"]
    assert means.abs().max() > 0


def test_ranks_stay_equal_without_batch_norm_and_with_what_follows_the_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    gan = GAN(MLPGenerator([1, 8, 8], hidden=[32]), MLPDiscriminator([1, 8, 8], hidden=[32], spectral_norm=True))
    techniques = [Relativistic(), R1(), ADA(speed=2000, interval=2), GeneratorEMA(500)]
    first, second = run(tmp_path, gan, images(batch_size=128), *techniques, max_epochs=1, **PAIR)
    assert_equal(first["weights"], second["weights"])
    assert_equal(first["average"], second["average"])
    assert first["state"] == second["state"]


def test_the_step_of_two_processes_is_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Noise differs by rank, so that the fakes are made from the real samples here.
    monkeypatch.setattr(GAN, "_fakes", lambda gan, batch: gan.generator(batch.x.repeat(1, 2)))
    results = []
    for world, settings in ((1, {}), (2, PAIR)):
        torch.manual_seed(0)
        gan = GAN(MLPGenerator([2], latent_dim=4, hidden=[16]), MLPDiscriminator([2], hidden=[16]))
        data = ring(batch_size=64 // world, size=320)
        results.append(run(tmp_path / str(world), gan, data, R1(), LeCam(0.5, warmup=0), max_epochs=1, **settings)[0])
    one, two = results
    torch.testing.assert_close(one["weights"], two["weights"], rtol=1e-3, atol=1e-5)
    assert one["state"]["anchors"] == pytest.approx(two["state"]["anchors"], rel=1e-3)
    assert one["steps"] == two["steps"] == 5
    one["metrics"].pop("val/fake_logit")  # of samples from noise, which is another in each process
    for name, value in one["metrics"].items():
        assert two["metrics"][name].item() == pytest.approx(value.item(), rel=1e-3, abs=1e-4), name


def test_two_processes_judge_and_guard_as_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # pictures go to the run's folder
    torch.manual_seed(0)
    gan = GAN(MLPGenerator([2], latent_dim=4, hidden=[16]), MLPDiscriminator([2], hidden=[16]))
    data = ring(batch_size=32, size=800)
    first, second = run(tmp_path / "two", gan, data, Judge(num=100), CollapseGuard(), max_epochs=2, **PAIR)
    assert_equal(first["weights"], second["weights"])
    assert first["metrics"] == second["metrics"]
    gan.load_state_dict(first["weights"])
    alone = quiet_trainer(callbacks=[Judge(num=100)])
    (values,) = alone.validate(gan, datamodule=data, verbose=False)
    for name in ("val/frechet_ring_points", "val/coverage_ring_points", "val/class_kl_ring_points"):
        assert first["metrics"][name].item() == pytest.approx(values[name], rel=1e-4), name
    assert any(name.startswith("val/guard_") for name in first["metrics"])
