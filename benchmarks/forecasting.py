"""Forecasts of ETTh1, 96 hours ahead: recipes over seeds beside forecasts that need no network, in one table.

The error is that of the literature: standardised by the training rows, over all 2,785 test windows and seven series.
Each seed of a recipe is a `zoo fit` and a `zoo test` in a process of its own; the epoch is chosen on the validation
split. Exits with status 1 when SegRNN's mean error is above ``--ceiling``.

    python benchmarks/forecasting.py                          # print
    python benchmarks/forecasting.py --write                  # and write the table into docs/handbook/forecasting.md
"""

import argparse
import statistics
import sys
from importlib import import_module

from recipes import reached, run
from recipes import write as write_recipe
from tables import machine, put, table

from datamodules.ett import ETTh1
from zoo.batch import as_batch
from zoo.cli.compose import find, read
from zoo.task import Forecasting

HORIZON, SEASON = 96, 24
RECIPES = ("rnn/etth1_nlinear", "rnn/etth1_dlinear", "rnn/etth1")
HEAD = ("forecast", "window", "parameters", "test MSE", "test MAE", "seeds", "time")
# Other people's figures for this horizon, each from the paper that is named.
PUBLISHED = [
    ("PatchTST/64, published (Nie et al. 2023)", "512", "", "0.370", "", "", ""),
    ("SegRNN, 512 wide, published (Lin et al. 2023)", "720", "", "0.341", "", "", ""),
]


def naive() -> list[list[str]]:
    """Rows of the forecasts that repeat the last value, the last day and the last week."""
    data = ETTh1(window=168, horizon=HORIZON)
    data.prepare_data()
    data.setup("test")
    batches = [as_batch(batch[:2]) for batch in data.test_dataloader()]
    names = {"last value": "the last value, repeated", "last season": "the last day, repeated"}
    rows = []
    for season, wanted in ((SEASON, names), (168, {"last season": "the last week, repeated"})):
        task = Forecasting(data.num_targets, HORIZON, season=season)
        task.fit_targets(data.train_targets)
        scores = task.naive(data.train_targets, batches)
        rows += [
            [what, str(1 if name == "last value" else season), "0", f"{scores[name]['mse']:.3f}",
             f"{scores[name]['mae']:.3f}", "", ""]
            for name, what in wanted.items()
        ]  # fmt: skip
    return rows


def size(recipe: str) -> tuple[int, int]:
    """(window, parameters) of a recipe."""
    config = read(find(recipe))
    module, _, name = config["model"]["class_path"].rpartition(".")
    arguments = {key: value for key, value in config["model"]["init_args"].items() if key != "task"}
    window, channels = config["data"]["init_args"]["window"], len(ETTh1.targets)
    model = getattr(import_module(module), name)(channels, window, Forecasting(channels, HORIZON), **arguments)
    return window, sum(parameter.numel() for parameter in model.parameters())


def row(recipe: str, results: list[tuple[dict[str, float], float]]) -> list[str]:
    """Mean and deviation over seeds."""
    window, parameters = size(recipe)
    cells = []
    for metric in ("test/mse", "test/mae"):
        values = [metrics[metric] for metrics, _ in results]
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.4f}{spread}")
    seconds = statistics.median([seconds for _, seconds in results])
    return [f"`{recipe}`", str(window), f"{parameters:,}", *cells, str(len(results)), f"{seconds:.0f} s"]


def main() -> None:
    """Train, test, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--option", action="append", default=[], help="passed on to zoo fit")
    parser.add_argument("--ceiling", type=float, default=0.370, help="largest mean MSE of rnn/etth1 that passes")
    parser.add_argument("--write", action="store_true", help="write the table into the handbook, and into each recipe")
    arguments = parser.parse_args()
    rows, errors = naive(), {}
    for recipe in arguments.recipes:
        results = []
        for seed in range(arguments.seeds):
            results.append(run(recipe, seed, arguments.option, arguments.threads))
            print(f"{recipe} seed {seed}: {results[-1][0]} in {results[-1][1]:.0f} s", flush=True)
        rows.append(row(recipe, results))
        errors[recipe] = statistics.mean(metrics["test/mse"] for metrics, _ in results)
        if arguments.write:
            write_recipe(recipe, reached(results, arguments.option, arguments.threads))
    text = f"{table(HEAD, [*rows, *PUBLISHED])}\n\nTimes are of whole runs, on {machine(arguments.threads)}."
    print(text)
    if arguments.write:
        put("docs/handbook/forecasting.md", "etth1", "python benchmarks/forecasting.py --write", text)
    if errors.get("rnn/etth1", 0.0) > arguments.ceiling:
        sys.exit(f"rnn/etth1: more than {arguments.ceiling:g}")


if __name__ == "__main__":
    main()
