"""MagnitudePruning: torch's masks, the paper's schedule, zeros that stay, exact resume, a sparse best epoch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn.utils import prune

from callbacks.averaging.ema import EMA
from callbacks.compression.magnitude_pruning import MagnitudePruning, cubic_sparsity, magnitude_masks
from callbacks.optimizers.adamw import AdamW
from callbacks.optimizers.momentum import Momentum
from callbacks.optimizers.sam import SAM
from callbacks.reporting.checkpoint import Checkpoint
from callbacks.schedules.cosine import Cosine
from callbacks.technique import Conflict, NoEffect
from tests.callbacks.technique_checks import assert_same, copy, fit, make_mlp
from tests.tools import StopAt, Stopped
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Classification


def layers() -> list[nn.Linear]:
    torch.manual_seed(0)
    return [nn.Linear(10, 8), nn.Linear(8, 6)]


@pytest.mark.parametrize("structure", ["global", "layer", "channel"])
def test_masks_equal_torch(structure: Any) -> None:
    ours = magnitude_masks([layer.weight for layer in layers()], 0.5, structure)
    theirs = layers()
    if structure == "global":
        prune.global_unstructured([(layer, "weight") for layer in theirs], prune.L1Unstructured, amount=0.5)
    for layer in theirs:
        if structure == "layer":
            prune.l1_unstructured(layer, "weight", 0.5)
        elif structure == "channel":
            prune.ln_structured(layer, "weight", 0.5, n=2, dim=0)
    for mask, layer in zip(ours, theirs):
        assert torch.equal(mask, layer.weight_mask.bool())


def test_schedule_is_cubic() -> None:
    shares = [cubic_sparsity(p / 4, 0.8) for p in range(-1, 6)]
    assert shares == pytest.approx([0, 0, 0.8 * (1 - 0.75**3), 0.8 * 0.875, 0.8 * (1 - 0.25**3), 0.8, 0.8])


def sparsity(module: nn.Module) -> float:
    weights = [block.linear.weight for block in module.backbone]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


class Note(Callback):
    """Notes the sparsity after each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.seen.append(sparsity(pl_module))


@pytest.mark.parametrize(
    "optimizer",
    [Momentum(lr=0.05, weight_decay=0.01), AdamW(lr=3e-3), SAM()],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_zeros_grow_as_the_schedule_says_and_stay(optimizer: Callback, capsys: pytest.CaptureFixture[str]) -> None:
    note, module = Note(), make_mlp()
    fit(module, optimizer, MagnitudePruning(0.7, begin=0.2, end=0.6, every=3), note, batch_size=64, max_epochs=2)
    total = len(note.seen)  # 42 steps
    for step, seen in enumerate(note.seen, 1):
        pruned_at = step if step >= 0.6 * total else step - step % 3
        expected = cubic_sparsity((pruned_at / total - 0.2) / 0.4, 0.7)
        assert seen == pytest.approx(expected, abs=1e-3), step
    assert (module.head.weight != 0).all()
    assert "(70.0%), 70.0% were asked for" in capsys.readouterr().out


def test_channels_go_as_a_whole() -> None:
    module = make_mlp()
    fit(module, MagnitudePruning(0.5, "channel", 0.0, 0.5, 1), max_epochs=2)
    for block in module.backbone:
        assert int((block.linear.weight == 0).all(1).sum()) == 16


def test_what_is_left_recovers() -> None:
    trainer = fit(make_mlp(hidden=(128,)), AdamW(lr=5e-3), Cosine(), MagnitudePruning(0.9), batch_size=64, max_epochs=8)
    assert trainer.callback_metrics["val/accuracy"] > 0.9


def test_the_best_checkpoint_is_a_sparse_one(tmp_path: Path) -> None:
    """Every epoch before the last pruning counts as better here, and yet none of them is kept."""

    class Falling(Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("score", 1.0 / (trainer.current_epoch + 1))

    keeper = Checkpoint(tmp_path, "score", "max")
    fit(make_mlp(), MagnitudePruning(0.5, end=0.6), Falling(), keeper, enable_checkpointing=True, max_epochs=6)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["epoch"] == 3
    assert (best["state_dict"]["backbone.0.linear.weight"] == 0).float().mean() > 0.3


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_resumes_to_the_bit(tmp_path: Path, cut: int) -> None:
    def run(*more: Callback, ckpt: Path | None = None) -> dict[str, torch.Tensor]:
        module = make_mlp()
        fit(module, Momentum(lr=0.05), MagnitudePruning(0.7, every=2), *more, max_epochs=3, ckpt=ckpt)
        return copy(module)

    with pytest.raises(Stopped):
        run(StopAt(tmp_path / "cut.ckpt", cut, 3))
    assert_same(run(), run(ckpt=tmp_path / "cut.ckpt"))


def test_gradients_may_be_accumulated() -> None:
    note = Note()
    fit(make_mlp(), MagnitudePruning(0.5, begin=0.0, end=0.5, every=1), note, accumulate_grad_batches=2, batch_size=64,
        max_epochs=2)  # fmt: skip
    assert note.seen[0] == 0 < note.seen[1] == note.seen[2] < note.seen[3]
    assert note.seen[-1] == pytest.approx(0.5, abs=1e-3)


def test_second_fit() -> None:
    module, technique = make_mlp(), MagnitudePruning(0.5, every=1)
    fit(module, technique)
    fit(module, technique, max_epochs=2)
    assert sparsity(module) == pytest.approx(0.5, abs=1e-3)
    fit(module)
    assert sparsity(module) < 0.01, "a fit without it trains all weights"


def test_errors_say_what_to_do() -> None:
    for arguments, message in (
        ({"sparsity": 1.0}, r"sparsity is a share in \[0, 1\), got 1.0"),
        ({"begin": 0.5, "end": 0.5}, "0 <= begin < end <= 1 are shares of the run, got 0.5 and 0.5"),
        ({"every": 0}, "every counts optimizer steps"),
    ):
        with pytest.raises(ZooError, match=message):
            MagnitudePruning(**arguments)  # type: ignore[arg-type]
    with pytest.raises(NoEffect, match="sparsity is 0, which prunes nothing"):
        fit(make_mlp(), MagnitudePruning(0.0))
    with pytest.raises(NoEffect, match="MLP has no trainable linear or convolutional layer before its head"):
        MagnitudePruning().attach(MLP(4, Classification(3), []))
    with pytest.raises(NoEffect, match="ZooModule has no trainable linear"):
        MagnitudePruning().attach(ZooModule())
    with pytest.raises(Conflict, match="MagnitudePruning and EMA do not go together: pruned weights fade"):
        fit(make_mlp(), EMA(), MagnitudePruning())
