"""What the Trainer costs: one training step of the zoo against a bare PyTorch loop and the usual Lightning template.

All are run in turn in the same process, several times, on one thread; the medians and their ratios to the bare loop
with the default AdamW are printed. Everything that a run has by default is on: loss and accuracy, progress, CSV,
checkpoints.

    python benchmarks/training_step.py            # the tiny MLP and the small CNN
    python benchmarks/training_step.py --check    # exit status 1 when a bound is missed
"""

import argparse
import contextlib
import io
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from datamodules.base import TensorSplit, ZooDataModule
from zoo.cli.plumbing import default_callbacks
from zoo.cnn import ResNet
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.task import Classification

SETTINGS = {
    # name: (input shape, batch size, batches, bound on zoo / bare)
    "mlp": ((784,), 32, 1000, 1.7),
    "cnn": ((3, 32, 32), 128, 30, 1.08),
}


def build(name: str) -> SupervisedModule:
    """The network that all loops train."""
    torch.manual_seed(0)
    task = Classification(10)
    return MLP(784, task, [32]) if name == "mlp" else ResNet(3, task, [1, 1, 1], width=16)


def make_data(name: str) -> tuple[Tensor, Tensor]:
    """Random inputs: only the time matters here."""
    shape, batch_size, batches, _ = SETTINGS[name]
    generator = torch.Generator().manual_seed(0)
    size = batch_size * batches
    return torch.randn(size, *shape, generator=generator), torch.randint(10, (size,), generator=generator)


class Data(ZooDataModule):
    """The random inputs as a DataModule."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int) -> None:
        super().__init__(batch_size)
        self.x, self.y = x, y

    def load(self) -> dict[str, TensorSplit]:  # type: ignore[override]
        return {
            "train": TensorSplit(self.x, self.y),
            "val": TensorSplit(self.x[:256], self.y[:256]),
            "test": TensorSplit(self.x[:256], self.y[:256]),
        }


def bare(name: str, x: Tensor, y: Tensor, fused: bool = False) -> float:
    """A plain PyTorch loop: batches, forward, backward, step; nothing else."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"  # as torch has it; importing Lightning changes it
    network: nn.Module = build(name)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=fused or None)
    _, batch_size, batches, _ = SETTINGS[name]
    order = torch.randperm(len(x))
    start = time.perf_counter()
    for batch in range(batches):
        index = order[batch * batch_size : (batch + 1) * batch_size]
        loss = F.cross_entropy(network(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - start) / batches


def zoo(name: str, x: Tensor, y: Tensor) -> float:
    """What ``zoo fit`` builds."""
    model, folder = build(name), Path(tempfile.mkdtemp())
    settings = {"max_epochs": 1, "accelerator": "cpu", "callbacks": [], "enable_model_summary": False}
    trainer = Trainer(**default_callbacks({**settings, "num_sanity_val_steps": 0}, model, folder, "fit"))
    return _fit(trainer, model, Data(x, y, SETTINGS[name][1]))


class Template(LightningModule):
    """The module that tutorials show: a metric object and ``self.log`` in every step."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.accuracy = MulticlassAccuracy(10)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        logits = self.network(x)
        loss = F.cross_entropy(logits, y)
        self.accuracy(logits, y)
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log("train/accuracy", self.accuracy, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def template(name: str, x: Tensor, y: Tensor) -> float:
    """The usual Lightning template with its default progress bar, CSV logger and checkpoints."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # as Lightning has it
    folder = tempfile.mkdtemp()
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=CSVLogger(folder), callbacks=[ModelCheckpoint(folder)],
        enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(TensorDataset(x, y), SETTINGS[name][1], shuffle=True)
    return _fit(trainer, Template(build(name)), train_dataloaders=loader)


def _fit(trainer: Trainer, model: LightningModule, data: ZooDataModule | None = None, **loaders: object) -> float:
    """Seconds a step between the first batch of the epoch and its end, checkpoint and validation left out."""
    marks: list[float] = []
    timer = _Timer(marks)
    trainer.callbacks.insert(0, timer)  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.fit(model, datamodule=data, **loaders)  # type: ignore[arg-type]
    return (marks[-1] - marks[0]) / (len(marks) - 1)


class _Timer(Callback):
    def __init__(self, marks: list[float]) -> None:
        self.marks = marks

    def on_train_batch_start(self, *_: object) -> None:
        self.marks.append(time.perf_counter())


def main() -> None:
    """Measure, print, and with --check hold the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=list(SETTINGS))
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(f"{platform.processor() or platform.machine()}, 1 thread, torch {torch.__version__}")
    missed = False
    for name in [arguments.only] if arguments.only else SETTINGS:
        x, y = make_data(name)
        loops: dict[str, Callable[[], float]] = {
            "bare loop, default AdamW": partial(bare, name, x, y),
            "bare loop, fused AdamW": partial(bare, name, x, y, fused=True),
            "zoo": partial(zoo, name, x, y),
            "usual Lightning template": partial(template, name, x, y),
        }
        times: dict[str, list[float]] = {loop: [] for loop in loops}
        for _ in range(arguments.repeats):
            for loop, run in loops.items():
                times[loop].append(run())
        reference = times["bare loop, default AdamW"]
        print(f"\n{name}: batch {SETTINGS[name][1]}, {SETTINGS[name][2]} steps, median of {arguments.repeats}")
        for loop, seconds in times.items():
            ratio = statistics.median(s / r for s, r in zip(seconds, reference))
            print(f"  {loop:<28}{statistics.median(seconds) * 1e6:10.0f} us a step {ratio:8.2f} x")
            if loop == "zoo" and ratio > SETTINGS[name][3]:
                print(f"  missed: at most {SETTINGS[name][3]} x was wanted")
                missed = True
    sys.exit(1 if arguments.check and missed else 0)


if __name__ == "__main__":
    main()
