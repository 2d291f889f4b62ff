"""Ghost and synchronised batch norm: virtual batches by hand, running statistics, evaluation, several processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.digits import Digits
from tests.tools import quiet_trainer
from zoo.errors import ZooError
from zoo.layers.ghost_batch_norm import GhostBatchNorm
from zoo.mlp import MLP
from zoo.task import Classification


def normalised(part: Tensor) -> Tensor:
    dims = [0, *range(2, part.ndim)]
    centred = part - part.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("shape", [(), (3, 5)])
@pytest.mark.parametrize(("size", "parts"), [(8, [4, 4]), (9, [3, 3, 3]), (7, [4, 3]), (4, [4]), (2, [2]), (5, [3, 2])])
def test_each_virtual_batch_has_its_own_statistics(size: int, parts: list[int], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(size, 6, *shape) * 3 + 1, GhostBatchNorm(6, ghost_size=4)
    expected = torch.cat([normalised(part) for part in x.split(parts)])
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ghost_size", [2, 3, 4, 32])
def test_no_virtual_batch_has_a_single_sample_or_too_many(ghost_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    original = F.batch_norm

    def watched(x: Tensor, *rest: Any, **more: Any) -> Tensor:
        sizes.append(len(x))
        return original(x, *rest, **more)

    monkeypatch.setattr(F, "batch_norm", watched)
    norm = GhostBatchNorm(2, ghost_size)
    for size in range(2, 70):
        sizes.clear()
        norm(torch.randn(size, 2))
        assert sum(sizes) == size
        assert min(sizes) >= 2
        assert max(sizes) <= max(ghost_size, 3)  # an odd batch in pairs has one of three
        assert max(sizes) - min(sizes) <= 1


def test_running_statistics_are_those_of_batch_norm_fed_part_by_part() -> None:
    torch.manual_seed(0)
    x, norm, plain = torch.randn(12, 3) * 2 + 5, GhostBatchNorm(3, 4), nn.BatchNorm1d(3)
    norm(x)
    for part in x.chunk(3):
        plain(part)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), buffer)
    assert norm.num_batches_tracked == 3
    torch.testing.assert_close(norm.eval()(x), plain.eval()(x))


def test_a_small_batch_is_batch_norm_and_evaluation_is_exact() -> None:
    torch.manual_seed(0)
    x, norm, plain = torch.randn(6, 3, 4, 4), GhostBatchNorm(3), nn.BatchNorm2d(3)
    torch.testing.assert_close(norm(x), plain(x))
    big = torch.randn(100, 3, 4, 4)
    torch.testing.assert_close(norm.eval()(big), plain.eval()(big))
    torch.testing.assert_close(norm(big)[:1], norm(big[:1]))


def test_gradients_of_ghost_batch_norm() -> None:
    norm = GhostBatchNorm(2, 3).double()
    assert torch.autograd.gradcheck(norm, torch.randn(7, 2, dtype=torch.double, requires_grad=True))


@pytest.mark.parametrize("make", [GhostBatchNorm, nn.SyncBatchNorm])
def test_one_sample_without_pixels_has_no_variance(make: Any) -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        make(3)(torch.randn(1, 3))
    assert make(3).eval()(torch.randn(1, 3)).shape == (1, 3)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 4)])
def test_synchronised_batch_norm_is_batch_norm_in_one_process(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(shape) * 2 + 1, nn.SyncBatchNorm(3)
    plain: Any = nn.BatchNorm1d(3) if len(shape) == 2 else nn.BatchNorm2d(3)
    assert torch.equal(norm(x), plain(x))
    for name, buffer in plain.named_buffers():
        assert torch.equal(norm.get_buffer(name), buffer)
    assert torch.equal(norm.eval()(x), plain.eval()(x))


def test_two_processes_on_a_cpu_are_told(tmp_path: Path) -> None:
    """The error of the first process reaches the caller with its text."""
    module: LightningModule = MLP(64, Classification(10), [8], norm="sync_batch")
    trainer = quiet_trainer(tmp_path, strategy="ddp_fork", devices=2, num_sanity_val_steps=0)
    with pytest.raises(
        Exception, match=r"backbone\.0\.norm is a SyncBatchNorm, which works over several processes on GPUs"
    ):
        trainer.fit(module, datamodule=Digits(batch_size=200))


def test_arguments_that_cannot_work() -> None:
    with pytest.raises(ZooError, match="ghost_size must be at least 2 samples, got 1"):
        GhostBatchNorm(3, 1)
    with pytest.raises(ZooError, match=r"GhostBatchNorm takes \(B, C, ...\), got the shape \(3,\)"):
        GhostBatchNorm(3)(torch.randn(3))
    assert "ghost_size=5" in repr(GhostBatchNorm(3, 5))
