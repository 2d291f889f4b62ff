"""Two processes train one network: equal weights on both, and one robust accuracy over both shares of the split."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.adversarial.free_training import FreeTraining
from callbacks.adversarial.robust_evaluation import RobustEvaluation
from callbacks.adversarial.strategy import AdversarialTraining
from callbacks.adversarial.trades import TRADES
from datamodules.digits import Digits
from tests.callbacks.adversarial.adversarial_checks import EPSILON, small_cnn
from tests.tools import quiet_trainer


class Report(Callback):
    """Leaves in a folder what each process holds at the end, and which examples it made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        weights = {name: p.detach() for name, p in pl_module.named_parameters()}
        robust = trainer.callback_metrics["val/robust_accuracy"]
        judged = next(c for c in trainer.callbacks if isinstance(c, RobustEvaluation))._meter.count
        torch.save((weights, robust, judged), self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.parametrize("technique", [TRADES(EPSILON, steps=1), FreeTraining(EPSILON, replays=2)])
def test_processes_stay_equal(technique: AdversarialTraining, tmp_path: Path) -> None:
    callbacks = [technique, RobustEvaluation(EPSILON, steps=1, val_samples=100), Report(tmp_path)]
    trainer = quiet_trainer(callbacks=callbacks, strategy="ddp_fork", devices=2, num_sanity_val_steps=0)
    trainer.fit(small_cnn(), datamodule=Digits(batch_size=200))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(weight, second[0][name]) for name, weight in first[0].items())
    assert torch.equal(first[1], second[1])
    assert first[2] == second[2] == 50
