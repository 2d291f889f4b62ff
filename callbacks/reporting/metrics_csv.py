"""``metrics.csv``: every logged number of a run, one row a step, readable while the run goes on."""

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class MetricsCSV(Logger):
    """Appends to ``<folder>/metrics.csv`` and, when a run is resumed, goes on where the checkpoint was saved.

    Lightning's CSVLogger deletes the file that it finds.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.file = Path(folder) / "metrics.csv"
        self._rows: list[dict[str, Any]] = []
        self._columns: list[str] = []
        self._started = False

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.file.parent)

    @property
    def log_dir(self) -> str:
        return str(self.file.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration lies beside the file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self._started:
            self._take_up(step or 0)
        if self._rows and self._rows[-1]["step"] == step:
            self._rows[-1].update(metrics)  # a row that is not complete yet: rewritten with what came later
            self._write()
            return
        self._rows.append({"step": step, **metrics})
        if set(metrics) <= set(self._columns):
            self._append(self._rows[-1])
        else:
            self._write()

    def _take_up(self, step: int) -> None:
        """Keep the rows of before; those that a stopped run wrote after its checkpoint come again."""
        self._started = True
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            with self.file.open(newline="") as file:
                rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
            self._rows = [{**row, "step": int(row["step"])} for row in rows if int(row["step"]) < step]

    def _append(self, row: dict[str, Any]) -> None:
        with self.file.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _write(self) -> None:
        names = {name for row in self._rows for name in row}
        self._columns = ["epoch", "step", *sorted(names - {"epoch", "step"})]
        part = self.file.with_suffix(".csv.part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(part, self.file)
