"""The tabular recipes over seeds, beside scikit-learn's gradient-boosted trees on the same split, in one table.

Each seed of a recipe is a `zoo fit` and a `zoo test` in a process of its own; the epoch, and the number of trees, are
chosen on the validation split. Nothing is chosen by the test split, which is measured once for each seed.

    python benchmarks/tabular.py                          # every recipe, 5 seeds (TabM 3)
    python benchmarks/tabular.py tabular/california_mlp --seeds 2 --threads 1
"""

import argparse
import os
import statistics
import time

import numpy as np
from recipes import run
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from datamodules.adult import Adult
from datamodules.california_housing import CaliforniaHousing
from datamodules.mixed_table import MixedTableDataModule

TABLES: dict[str, tuple[type[MixedTableDataModule], str]] = {
    "california": (CaliforniaHousing, "rmse"),
    "adult": (Adult, "accuracy"),
}
RECIPES = [
    f"tabular/{name}" for name in ("california_mlp", "california_tabm", "california_ft", "adult_mlp", "adult_tabm")
]


def boosted_trees(kind: type[MixedTableDataModule], seed: int) -> tuple[float, float]:
    """Test RMSE or accuracy of scikit-learn's trees, as many of 1,000 as do best on the validation split; seconds."""
    data = kind(scaling="standard")  # trees do not mind the scale
    data.setup("fit")
    (x, y), (x_val, y_val), (x_test, y_test) = [
        (data.splits[name].x.numpy(), data.splits[name].y.numpy()) for name in ("train", "val", "test")
    ]
    start = time.perf_counter()
    categorical = np.arange(data.in_features) >= data.num_numerical
    model = HistGradientBoostingClassifier if data.classes else HistGradientBoostingRegressor
    # Rows are put into an order of their own for each seed: with so few of them the trees draw nothing at random.
    order = np.random.default_rng(seed).permutation(len(x))
    trees = model(learning_rate=0.05, max_iter=1000, categorical_features=categorical, early_stopping=False,
                  random_state=seed).fit(x[order], y[order])  # fmt: skip

    def scores(x: np.ndarray, y: np.ndarray) -> list[float]:
        if data.classes:
            return [float((predicted == y).mean()) for predicted in trees.staged_predict(x)]
        return [float(((predicted - y) ** 2).mean() ** 0.5) for predicted in trees.staged_predict(x)]

    best = (np.argmax if data.classes else np.argmin)(scores(x_val, y_val))
    return scores(x_test, y_test)[best], time.perf_counter() - start


def line(name: str, metric: str, results: list[tuple[float, float]]) -> str:
    """A row of the table: mean, spread and median time."""
    values = [value for value, _ in results]
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    seconds = statistics.median([seconds for _, seconds in results])
    return f"| {name} | {metric} | {statistics.mean(values):.4f}{spread} | {len(values)} | {seconds:.0f} s |"


def main() -> None:
    """Train, test, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, help="of everything; by default 5, and 3 of TabM")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--option", action="append", default=[], help="passed on to zoo fit")
    arguments = parser.parse_args()
    print("| model | test | mean ± deviation | seeds | time |\n|---|---|---|---|---|", flush=True)
    for table, (kind, metric) in TABLES.items():
        chosen = [recipe for recipe in arguments.recipes if table in recipe]
        if chosen:
            results = [boosted_trees(kind, seed) for seed in range(arguments.seeds or 5)]
            print(line(f"{table}: HistGradientBoosting", metric, results), flush=True)
        for recipe in chosen:
            results = []
            for seed in range(arguments.seeds or (3 if "tabm" in recipe else 5)):
                metrics, seconds = run(recipe, seed, arguments.option, arguments.threads)
                results.append((metrics[f"test/{metric}"], seconds))
            print(line(recipe, metric, results), flush=True)


if __name__ == "__main__":
    main()
