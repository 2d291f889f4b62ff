"""Train one network with gradient descent, SGD, momentum and Adam, and draw their learning curves side by side.

The recipes `mlp/digits_*` differ in the optimizer alone (gradient descent also takes the whole training split as one
batch). The learning rate of each is the one of its grid with the lowest validation loss of any epoch, mean over three
seeds; the recipes state these rates. What is reported is over other seeds: test accuracy of the epoch that validation
chose, and how many epochs the network needed to get nine of ten validation samples right.

    python benchmarks/optimizers.py               # about 3 minutes on one core; grid, table and figure
    python benchmarks/optimizers.py --no-grid     # with the rates of the recipes
"""

import argparse
import contextlib
import io
import json
import math
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from callbacks.reporting.figures import read_curves
from callbacks.reporting.plots import Curve
from zoo.cli.compose import find, read
from zoo.cli.main import main as zoo

FIGURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "optimizers_side_by_side.png"
GRIDS = {
    "gradient_descent": [0.1, 0.3, 1.0],
    "sgd": [0.1, 0.3, 1.0],
    "momentum": [0.03, 0.1, 0.3],
    "adam": [0.001, 0.003, 0.01, 0.03],
}
GRID_SEEDS = [100, 101, 102]  # none of those that are reported
COLORS = {"gradient_descent": "#D55E00", "sgd": "#E69F00", "momentum": "#0072B2", "adam": "#009E73"}


def run(name: str, lr: float, seed: int, test: bool) -> tuple[dict[str, Curve], float]:
    """Curves of one fit, and its test accuracy if asked for; no curves where the loss was not finite."""
    recipe = f"mlp/digits_{name}"
    quiet = "--trainer.enable_progress_bar=false"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as said:
        os.environ["ZOO_RUNS"] = folder
        os.environ.pop("ZOO_RUN_DIR", None)
        latest = Path(folder, recipe, "latest")
        try:
            with contextlib.redirect_stderr(said):
                zoo(["fit", "-c", recipe, f"--optimizer.lr={lr}", f"--seed_everything={seed}", quiet])
        except SystemExit:
            if "loss is" in said.getvalue():
                return {}, math.nan
            raise
        curves = read_curves(latest / "metrics.csv")
        if not test:
            return curves, math.nan
        os.environ.pop("ZOO_RUN_DIR", None)
        zoo(["test", str(latest), quiet])
        return curves, json.loads((latest / "test.json").read_text())["test/accuracy"]


def choose(name: str) -> float:
    """The rate of the grid with the lowest validation loss."""
    losses = {}
    for lr in GRIDS[name]:
        best = [min(c["val/loss"].values) if c else math.inf for c, _ in (run(name, lr, s, False) for s in GRID_SEEDS)]
        losses[lr] = statistics.mean(best)
        print(f"{name:<17} lr {lr:<7g} validation loss {losses[lr]:.4f}", flush=True)
    return min(losses, key=lambda lr: losses[lr])


def row(name: str, lr: float, results: list[tuple[dict[str, Curve], float]]) -> str:
    """One line of the table."""
    accuracies = [100 * accuracy for _, accuracy in results]
    epochs = [np.flatnonzero(curves["val/accuracy"].values >= 0.9) for curves, _ in results]
    reached = [float(found[0]) + 1 for found in epochs if len(found)]
    quick = f"{statistics.median(reached):.0f}" if len(reached) == len(results) else "not reached by all"
    loss = statistics.mean(curves["train/loss"].values[-1] for curves, _ in results)
    return (
        f"| {name} | {lr:g} | {statistics.mean(accuracies):.1f} ± {statistics.stdev(accuracies):.1f} | {loss:.4f} |"
        f" {quick} |"
    )


def draw(curves: dict[str, list[dict[str, Curve]]], rates: dict[str, float]) -> None:
    """Training loss and validation accuracy over epochs: mean over seeds, and from the lowest to the highest."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.6), 130, facecolor="white", layout="constrained")
    panels = (("train/loss", "training loss"), ("val/accuracy", "validation accuracy"))
    for axes, (key, title) in zip(figure.subplots(1, 2), panels):
        for name, runs in curves.items():
            values = np.stack([run[key].values for run in runs])
            epochs = runs[0][key].epochs
            label = f"{name.replace('_', ' ')}, lr {rates[name]:g}"
            axes.plot(epochs, values.mean(0), color=COLORS[name], linewidth=1.5, label=label)
            axes.fill_between(epochs, values.min(0), values.max(0), color=COLORS[name], alpha=0.15, linewidth=0)
        axes.set(xlabel="epoch", title=title)
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if key == "train/loss":
            axes.set_yscale("log")
        else:
            axes.legend(frameon=False, fontsize=8)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE)


def main() -> None:
    """Choose, train, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-grid", action="store_true", help="take the rates that the recipes state")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stated = {name: read(find(f"mlp/digits_{name}"))["optimizer"]["init_args"]["lr"] for name in GRIDS}
    rates = stated if arguments.no_grid else {name: choose(name) for name in GRIDS}
    results = {name: [run(name, rates[name], seed, True) for seed in range(arguments.seeds)] for name in GRIDS}
    draw({name: [curves for curves, _ in runs] for name, runs in results.items()}, rates)
    print(f"\n| optimizer | learning rate | test accuracy, %, {arguments.seeds} seeds | last training loss |"
          " epochs to 90 % of validation |\n|---|---|---|---|---|")  # fmt: skip
    for name, runs in results.items():
        print(row(name, rates[name], runs))
    for name in rates:
        if rates[name] != stated[name]:
            print(f"mlp/digits_{name} states lr {stated[name]:g}, the grid chose {rates[name]:g}")


if __name__ == "__main__":
    main()
