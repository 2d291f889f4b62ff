"""What weights from elsewhere are worth with few images: cnn/digits_from_mnist beside the same network from scratch.

Every seed draws other images. Each way to train has the same epochs, and its learning rate from the same three, by the
mean validation loss; the test split is read once, with the chosen ones.

    python benchmarks/transfer.py                # 5 seeds, writes the table into docs/handbook/export_and_sharing.md
    python benchmarks/transfer.py --dry --seeds 2
"""

import argparse
import csv
import json
import os
import statistics
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import torch

from zoo.cli.main import main as zoo

RECIPE = "cnn/digits_from_mnist"
BEGIN, END = "<!-- transfer: python benchmarks/transfer.py -->", "<!-- /transfer -->"
KEPT = Path(__file__).with_suffix(".json")
HANDBOOK = Path(__file__).resolve().parents[1] / "docs" / "handbook" / "export_and_sharing.md"
RATES = (1e-3, 3e-3, 1e-2)
ARMS = {
    "from scratch": ["--init_from", "none", "--optimizer.layer_decay", "1"],
    "MNIST's weights, backbone frozen": ["--freeze", "backbone", "--optimizer.layer_decay", "1"],
    "MNIST's weights, one rate for all layers": ["--optimizer.layer_decay", "1"],
    "MNIST's weights, `layer_decay` 0.8": [],
}


class Outcome(NamedTuple):
    """Of one way to train, at the learning rate that validation chose."""

    rate: float
    accuracies: list[float]


def fit(options: list[str], seed: int, rate: float) -> tuple[Path, float]:
    """A run: its folder, and its validation loss at the end."""
    os.environ.pop("ZOO_RUN_DIR", None)
    with redirect_stdout(StringIO()):
        zoo(
            ["fit", "-c", RECIPE, f"--seed_everything={seed}", f"--data.split_seed={seed}", f"--optimizer.lr={rate}",
             "--trainer.enable_progress_bar=false", *options]
        )  # fmt: skip
    run = Path(os.environ["ZOO_RUN_DIR"])
    with (run / "metrics.csv").open(newline="") as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row.get("val/loss")]
    return run, losses[-1]


def measure(options: list[str], seeds: int) -> Outcome:
    """Train with every rate, choose one, test."""
    runs = {rate: [fit(options, seed, rate) for seed in range(seeds)] for rate in RATES}
    losses = {rate: statistics.mean(loss for _, loss in runs[rate]) for rate in RATES}
    rate = min(RATES, key=lambda rate: losses[rate])
    accuracies = []
    for run, _ in runs[rate]:
        os.environ.pop("ZOO_RUN_DIR", None)
        with redirect_stdout(StringIO()):
            zoo(["test", str(run)])
        accuracies.append(100 * json.loads((run / "test.json").read_text())["test/accuracy"])
    print(f"validation loss {losses}, test accuracy {accuracies}", flush=True)
    return Outcome(rate, accuracies)


def table(outcomes: dict[str, Outcome]) -> str:
    """The outcomes as Markdown."""
    rows = [
        f"| {arm} | {o.rate:g} | {statistics.mean(o.accuracies):.2f} ± {statistics.stdev(o.accuracies):.2f} % |"
        for arm, o in outcomes.items()
    ]
    seeds = len(next(iter(outcomes.values())).accuracies)
    head = f"| 100 images, 30 epochs | rate | test accuracy, mean ± sd of {seeds} seeds |"
    return "\n".join([BEGIN, head, "|---|---|---|", *rows, END])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--arm", choices=list(ARMS), help="this one alone; the others as they were measured before")
    parser.add_argument("--table", action="store_true", help="train nothing, write what was measured before")
    parser.add_argument("--init_from", help="weights other than the recipe's")
    parser.add_argument("--dry", action="store_true", help="print, but write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    given = ["--init_from", arguments.init_from] if arguments.init_from else []
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_RUNS"] = folder
        for arm in [] if arguments.table else [arguments.arm] if arguments.arm else ARMS:
            print(f"{arm}: ", end="", flush=True)
            kept[arm] = measure([*given, *ARMS[arm]], arguments.seeds)._asdict()
            if not arguments.dry:
                KEPT.write_text(json.dumps(kept, indent=2) + "\n")
    found = table({arm: Outcome(**kept[arm]) for arm in ARMS if arm in kept})
    print(found)
    if not arguments.dry:
        text = HANDBOOK.read_text()
        start, stop = text.index(BEGIN), text.index(END) + len(END)
        HANDBOOK.write_text(text[:start] + found + text[stop:])


if __name__ == "__main__":
    main()
