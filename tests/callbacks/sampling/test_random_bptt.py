"""Random back-propagation lengths: their distribution, a text in one piece, learning rates, resume and refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from callbacks.averaging.ema import EMA
from callbacks.optimizers.sam import SAM
from callbacks.optimizers.sgd import SGD
from callbacks.sampling.random_bptt import RandomBPTT, random_length
from callbacks.schedules.linear_schedule import LinearSchedule
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.sequence_checks import check_resume, fit, language_model, text
from tests.callbacks.technique_checks import make_mlp
from zoo.errors import ZooError


def test_the_distribution_of_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([random_length(70, 0.95, 5.0, generator) for _ in range(5000)]).float()
    base = 70 / 0.975
    halves = lengths < 0.75 * base
    assert lengths.mean().item() == pytest.approx(70, abs=4 * lengths.std().item() / 5000**0.5)
    assert halves.float().mean().item() == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 5000) ** 0.5)
    assert lengths[~halves].mean().item() == pytest.approx(base, abs=0.4)
    assert lengths[halves].mean().item() == pytest.approx(base / 2, abs=1.5)
    assert lengths[~halves].std().item() == pytest.approx(5, rel=0.05)
    assert random_length(1, 0.5, 50.0, generator) >= 1


class Look(Callback):
    """Tokens and targets of each step, learning rates before, in and after it."""

    def __init__(self) -> None:
        self.x: list[Tensor] = []
        self.seen: list[Tensor] = []
        self.rates: list[tuple[float, float]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.handle = pl_module.embedding.register_forward_pre_hook(
            lambda layer, args: self.x.append(args[0]) if layer.training else None
        )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch[0])

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.inside = optimizer.param_groups[0]["lr"]
        self.before = [p.detach().clone() for p in pl_module.parameters()]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.rates.append((self.inside, trainer.optimizers[0].param_groups[0]["lr"]))
        for before, p in zip(self.before, pl_module.parameters(), strict=True):
            torch.testing.assert_close(p.detach(), before - self.inside * p.grad)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.handle.remove()


def test_the_text_stays_in_one_piece_and_each_step_has_its_rate() -> None:
    look = Look()
    fit(language_model(dropout=0.0), text(), SGD(lr=0.1), RandomBPTT(0.7, 3.0), look, epochs=2)
    steps = len(look.x) // 2
    lengths = [x.shape[1] for x in look.x]
    assert len(set(lengths)) > 5
    assert lengths[:steps] != lengths[steps:]  # another epoch, other places
    for epoch in (slice(0, steps), slice(steps, None)):
        read, given = torch.cat(look.x[epoch], 1), torch.cat(look.seen[epoch], 1)
        assert torch.equal(read, given[:, : read.shape[1]])
        assert read.shape[1] > 0.8 * given.shape[1]
    for length, (inside, after) in zip(lengths, look.rates, strict=True):
        assert inside == pytest.approx(0.1 * length / 32)
        assert after == 0.1


def test_without_scaling_and_with_a_schedule() -> None:
    plain, scaled = Look(), Look()
    fit(language_model(), text(), SGD(lr=0.1), LinearSchedule(), RandomBPTT(scale_lr=False), plain, epochs=1)
    fit(language_model(), text(), SGD(lr=0.1), LinearSchedule(), RandomBPTT(), scaled, epochs=1)
    assert [x.shape for x in plain.x] == [x.shape for x in scaled.x]
    total = len(plain.x)
    for step, (x, unscaled, with_it) in enumerate(zip(plain.x, plain.rates, scaled.rates, strict=True)):
        assert unscaled[0] == pytest.approx(0.1 * (1 - step / total))
        assert with_it[0] == pytest.approx(unscaled[0] * x.shape[1] / 32)
        assert with_it[1] == pytest.approx(0.1 * (1 - (step + 1) / total), abs=1e-9)


def test_an_accumulated_step_has_the_mean_of_its_rates() -> None:
    look = Look()
    look.on_train_batch_end = lambda *_: None  # type: ignore[method-assign]
    rates: list[float] = []
    look.on_before_optimizer_step = lambda t, m, o: rates.append(o.param_groups[0]["lr"])  # type: ignore[method-assign]
    fit(language_model(), text(), SGD(lr=0.1), RandomBPTT(), look, epochs=1, accumulate_grad_batches=2)
    lengths = torch.tensor([x.shape[1] for x in look.x]).float()
    assert rates[:3] == pytest.approx((0.1 * lengths[:6].view(3, 2).mean(1) / 32).tolist())


def test_both_looks_of_sam_read_the_same() -> None:
    look = Look()
    look.on_train_batch_end = lambda *_: None  # type: ignore[method-assign]
    fit(language_model(), text(), SGD(lr=0.1), SAM(0.05), RandomBPTT(), look, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(look.x[::2], look.x[1::2], strict=True))
    read = torch.cat(look.x[::2], 1)
    assert torch.equal(read, torch.cat(look.seen, 1)[:, : read.shape[1]])


@pytest.mark.parametrize("cut", [(0, 3), (1, 12)])
def test_resumes_to_the_bit(tmp_path: Path, cut: tuple[int, int]) -> None:
    check_resume(language_model, text, lambda: [SGD(lr=0.5), RandomBPTT(0.8, 4.0), EMA(0.9)], tmp_path, cut=cut)


def test_without_what_waited_a_resumed_run_would_differ(tmp_path: Path) -> None:
    waited = []

    class Forgetful(RandomBPTT):
        def on_load_checkpoint(self, *arguments: Any) -> None:
            super().on_load_checkpoint(*arguments)
            waited.append(self._rest[0].shape[1])
            self._rest = None

    with pytest.raises(AssertionError):
        check_resume(language_model, text, lambda: [SGD(lr=0.5), Forgetful(0.5, 8.0)], tmp_path, cut=(1, 12))
    assert waited[0] > 0


class Leave(Callback):
    """Leave in a folder what each process ends with, and a checkpoint on the way."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.name == "whole" and (trainer.current_epoch, batch_idx) == (1, 12):
            trainer.save_checkpoint(self.folder / "cut.ckpt")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        torch.save(pl_module.state_dict(), self.folder / f"{self.name}-{trainer.global_rank}.pt")


def test_two_processes_cut_alike_and_resume_to_the_bit(tmp_path: Path) -> None:
    for name in ("whole", "resumed"):
        ckpt = tmp_path / "cut.ckpt" if name == "resumed" else None
        techniques = [SGD(lr=0.5), RandomBPTT(0.5, 8.0), Leave(tmp_path, name)]
        fit(language_model(), text(batch_size=4), *techniques, ckpt=ckpt, strategy="ddp_fork", devices=2)
    rest = torch.load(tmp_path / "cut.ckpt", weights_only=True)["random_bptt"]["rest"]
    assert rest.shape[:3] == (2, 2, 4)
    assert rest.shape[3] > 0
    assert not torch.equal(rest[0], rest[1])
    files = [tmp_path / f"{name}-{rank}.pt" for name in ("whole", "resumed") for rank in (0, 1)]
    first, *others = [torch.load(file, weights_only=True) for file in files]
    weights = [name for name in first if not name.startswith("_metrics")]
    assert all(torch.equal(first[name], other[name]) for name in weights for other in others)


def test_second_fit() -> None:
    module, technique = language_model(), RandomBPTT()
    for _ in range(2):
        fit(module, text(), technique, epochs=1)
        assert not module.batch_transforms
        assert not module.optimizer_wrappers


def test_refusals() -> None:
    with pytest.raises(ZooError, match=r"RandomBPTT: p is a probability in \[0, 1\], got 2"):
        RandomBPTT(2)
    with pytest.raises(ZooError, match="RandomBPTT: std is in steps and must not be negative, got -1"):
        RandomBPTT(std=-1)
    with pytest.raises(NoEffect, match="RandomBPTT: with p=1 and std=0 all lengths are equal"):
        fit(language_model(), text(), RandomBPTT(1, 0))
    with pytest.raises(UnsupportedModule, match="this model carries no state from batch to batch"):
        fit(language_model(stateful=False), text("shuffle"), RandomBPTT())
    with pytest.raises(UnsupportedModule, match="RandomBPTT does not support MLP: it needs a CarriesState"):
        RandomBPTT().setup(None, make_mlp(), "fit")  # type: ignore[arg-type]
