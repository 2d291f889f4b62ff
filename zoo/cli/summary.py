"""What a person reads after a command: the numbers, where they are kept, and what to type next."""

import json
import os
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from datamodules.base import ZooDataModule
from zoo.gan import GAN
from zoo.module import SupervisedModule

_WIDTH = 110


def after_fit(trainer: Trainer, folder: Path) -> None:
    """Print the metrics of the best epoch beside those of the last, and what can be done with the run."""
    console = _console()
    checkpoint = trainer.checkpoint_callback
    best = _best_row(folder, checkpoint) if isinstance(checkpoint, ModelCheckpoint) else {}
    last = {name: float(value) for name, value in trainer.callback_metrics.items()}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    table.add_column(f"best epoch ({best['epoch'] + 1:.0f})" if best else "best epoch", justify="right")
    table.add_column(f"last epoch ({trainer.current_epoch})", justify="right")
    for name in sorted(last):
        table.add_row(name, f"{best[name]:.4g}" if name in best else "", f"{last[name]:.4g}")
    console.print(table)
    run = _shown(folder)
    console.print(f"run folder   {run}", highlight=False, soft_wrap=True)
    figures = sorted(path.name for path in (folder / "figures").glob("*.png"))
    if figures:
        console.print(f"figures      {run}/figures/: {', '.join(figures)}", highlight=False, soft_wrap=True)
    if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path:
        console.print(f"next         zoo test {run}", highlight=False, soft_wrap=True)
        further = (
            f"zoo sample {run} --out samples.png"
            if isinstance(trainer.lightning_module, GAN)
            else f"zoo predict {run} --out predictions.csv"
        )
        console.print(f"             {further}", highlight=False, soft_wrap=True)


def after_test(trainer: Trainer, folder: Path, stage: str) -> None:
    """Print the metrics of a split and keep them as ``<stage>.json`` in the run's folder."""
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    naive = _naive(trainer, "test" if stage == "test" else "val")
    console = _console()
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("a constant answer", justify="right")
    for name in sorted(values):
        constant = naive.get(name.partition("/")[2])
        table.add_row(name, f"{values[name]:.4g}", "" if constant is None else f"{constant:.4g}")
    console.print(table)
    if (folder / "config.yaml").is_file():
        file = folder / f"{stage}.json"
        file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        console.print(f"kept in {_shown(file)}", highlight=False, soft_wrap=True)


def _naive(trainer: Trainer, split: str) -> dict[str, float]:
    """Metrics of the best constant answer, where the data are at hand as tensors."""
    data, module = trainer.datamodule, trainer.lightning_module  # type: ignore[attr-defined]
    splits = data.splits if isinstance(data, ZooDataModule) else {}
    train, measured = (getattr(splits.get(name), "y", None) for name in ("train", split))
    if not isinstance(module, SupervisedModule) or train is None or measured is None:
        return {}
    return module.task.naive(train, measured)


def _best_row(folder: Path, checkpoint: ModelCheckpoint) -> dict[str, float]:
    """Metrics of the epoch whose weights were kept, as ``metrics.csv`` has them."""
    import csv

    file, monitor = folder / "metrics.csv", checkpoint.monitor
    if monitor is None or not file.is_file():
        return {}
    with file.open(newline="") as handle:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(handle)]
    rows = [row for row in rows if monitor in row]
    if not rows:
        return {}
    # The last of equals, as the checkpoint callback keeps it.
    choose = min if checkpoint.mode == "min" else max
    return choose(reversed(rows), key=lambda row: row[monitor])


def write_predictions(predictions: list[torch.Tensor], file: Path) -> None:
    """One row a sample: class probabilities with the likeliest class, or values in original units."""
    import csv

    rows = torch.cat([p.float().cpu().reshape(len(p), -1) for p in predictions])
    file.parent.mkdir(parents=True, exist_ok=True)
    is_classes = rows.shape[1] > 1 and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-3)
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        if is_classes:
            writer.writerow(["sample", "class", *[f"probability_{k}" for k in range(rows.shape[1])]])
            for sample, (row, label) in enumerate(zip(rows.tolist(), rows.argmax(1).tolist())):
                writer.writerow([sample, label, *[f"{value:.6g}" for value in row]])
        else:
            writer.writerow(["sample", *[f"value_{k}" for k in range(rows.shape[1])]])
            for sample, row in enumerate(rows.tolist()):
                writer.writerow([sample, *[f"{value:.7g}" for value in row]])
    _console().print(f"{len(rows):,} predictions in {_shown(file)}", highlight=False, soft_wrap=True)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _shown(path: Path) -> str:
    """The path as a person would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
