"""What a person reads after a command: the numbers, where they are kept, and what to type next."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from datamodules.base import TensorSplit, ZooDataModule
from zoo.batch import Batch, as_batch
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
    texts = sorted((folder / "texts").glob("*.txt"))
    if texts:
        console.print(f"texts        {run}/texts/: the last is {texts[-1].name}", highlight=False, soft_wrap=True)
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
    for answer in naive:
        table.add_column(answer, justify="right")
    for name in sorted(values):
        others = [scores.get(name.partition("/")[2]) for scores in naive.values()]
        table.add_row(name, f"{values[name]:.4g}", *["" if other is None else f"{other:.4g}" for other in others])
    console.print(table)
    if (folder / "config.yaml").is_file():
        file = folder / f"{stage}.json"
        file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        console.print(f"kept in {_shown(file)}", highlight=False, soft_wrap=True)


def _naive(trainer: Trainer, split: str) -> dict[str, dict[str, float]]:
    """Metrics of answers that need no network, where the data know their training targets as a tensor."""
    data, module = trainer.datamodule, trainer.lightning_module  # type: ignore[attr-defined]
    if not isinstance(data, ZooDataModule) or not isinstance(module, SupervisedModule) or split not in data.splits:
        return {}
    train = data.train_targets
    return {} if train is None else module.task.naive(train, _batches(data, split))


def _batches(data: ZooDataModule, split: str) -> Iterator[Batch]:
    """A split as the network gets it; where it is in memory as a whole, without the way through a loader."""
    known = data.splits[split]
    if isinstance(known, TensorSplit):
        yield Batch(known.x, known.y)
        return
    for raw in data.val_dataloader() if split == "val" else data.test_dataloader():
        yield as_batch(data.on_after_batch_transfer(raw, 0))


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


def write_predictions(predictions: list[torch.Tensor], file: Path, columns: list[str] | None = None) -> None:
    """One row a sample: class probabilities with the likeliest class, or values in original units.

    Of predictions of classes at each step of a sequence, one row a step, which says which sample's it is.

    Args:
        predictions: batches of what a module predicts.
        file: where to.
        columns: names of the values, where the task knows them.
    """
    import csv

    if predictions[0].ndim == 3 and _are_probabilities(predictions[0][~predictions[0].isnan().any(2)]):
        _write_steps(predictions, file)
        return
    rows = torch.cat([p.float().cpu().reshape(len(p), -1) for p in predictions])
    file.parent.mkdir(parents=True, exist_ok=True)
    is_classes = columns is None and _are_probabilities(rows)
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        if is_classes:
            writer.writerow(["sample", "class", *[f"probability_{k}" for k in range(rows.shape[1])]])
            for sample, (row, label) in enumerate(zip(rows.tolist(), rows.argmax(1).tolist())):
                writer.writerow([sample, label, *[f"{value:.6g}" for value in row]])
        else:
            writer.writerow(["sample", *(columns or [f"value_{k}" for k in range(rows.shape[1])])])
            for sample, row in enumerate(rows.tolist()):
                writer.writerow([sample, *[f"{value:.7g}" for value in row]])
    _console().print(f"{len(rows):,} predictions in {_shown(file)}", highlight=False, soft_wrap=True)


def write_texts(texts: list[str], file: Path) -> None:
    """One line a text, whose own ends of lines become spaces."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{' '.join(text.splitlines())}\n" for text in texts), "utf-8")
    _console().print(f"{len(texts):,} texts in {_shown(file)}", highlight=False, soft_wrap=True)


def _are_probabilities(rows: torch.Tensor) -> bool:
    """Whether each row (C,) of several adds up to 1."""
    return rows.shape[1] > 1 and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-3)


def _write_steps(predictions: list[torch.Tensor], file: Path) -> None:
    """Class probabilities (B, T, C) of batches of different T, NaN where padded."""
    import csv

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["sample", "step", "class", *[f"probability_{k}" for k in range(predictions[0].shape[2])]])
        samples = 0
        for batch in predictions:
            valid = ~batch[..., 0].isnan()
            for (row, step), values in zip(valid.nonzero().tolist(), batch[valid].float().tolist()):
                label = max(range(len(values)), key=values.__getitem__)
                writer.writerow([samples + row, step, label, *[f"{value:.6g}" for value in values]])
            samples += len(batch)
    _console().print(f"predictions of {samples:,} sequences in {_shown(file)}", highlight=False, soft_wrap=True)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _shown(path: Path) -> str:
    """The path as a person would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
