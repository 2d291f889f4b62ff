"""The tabular recipes over seeds, beside linear models and gradient-boosted trees of scikit-learn on the same split.

Each seed of a recipe is a `zoo fit` and a `zoo test` in a process of its own; the epoch, and the number of trees, are
chosen on the validation split. Nothing is chosen by the test split, which is measured once for each seed. Results are
kept in `benchmarks/tabular.json` as they come, and what is there already is not measured again while recipe and options
are the same.

    python benchmarks/tabular.py --write                  # every recipe, 5 seeds (TabM 3), then the handbook's table
    python benchmarks/tabular.py tabular/california_mlp --seeds 2 --threads 1
    python benchmarks/tabular.py none --write             # only write the table
    python benchmarks/tabular.py --steps                  # how long a training step of TabM takes, and why
"""

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from recipes import reached, run, write
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from torch import nn

from datamodules.adult import Adult
from datamodules.california_housing import CaliforniaHousing
from datamodules.diabetes import Diabetes
from datamodules.tabular import TabularDataModule
from zoo.batch import Batch
from zoo.layers.quick_dropout import QuickDropout
from zoo.tabular import TabM
from zoo.task import Regression

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("tabular.json")
PAGE = ROOT / "docs" / "handbook" / "tables.md"
BEGIN, END = "<!-- measured: python benchmarks/tabular.py --write -->", "<!-- /measured -->"
TABLES: dict[str, tuple[str, str, list[str]]] = {  # title, metric, recipes
    "california": (
        "California housing",
        "rmse",
        [f"tabular/california_{name}" for name in ("mlp", "tabm", "periodic", "ft", "quantile")],
    ),
    "adult": ("Adult", "accuracy", ["tabular/adult_mlp", "tabular/adult_tabm"]),
    "diabetes": ("Diabetes", "rmse", ["tabular/diabetes_linear", "mlp/diabetes"]),
}
METRICS = {"rmse": "RMSE", "accuracy": "accuracy"}
BASELINES = ("linear", "trees")
RECIPES = [recipe for _, _, recipes in TABLES.values() for recipe in recipes]
Result = dict[str, float]  # "seed", "seconds", and the metrics of the test split


def data_of(table: str, for_trees: bool) -> TabularDataModule:
    """The data of a table; trees take codes, a linear model one column for each category."""
    if table == "diabetes":
        return Diabetes()
    kind = CaliforniaHousing if table == "california" else Adult
    return kind(scaling="standard", categories="codes" if for_trees else "one_hot")


def of_baseline(table: str, name: str, seed: int) -> Result:
    """A linear model, or as many of 1,000 trees as do best on the validation split."""
    data = data_of(table, name == "trees")
    data.setup("fit")
    (x, y), (x_val, y_val), (x_test, y_test) = [
        (data.splits[name].x.numpy(), data.splits[name].y.numpy()) for name in ("train", "val", "test")
    ]
    start = time.perf_counter()

    def score(predicted: np.ndarray, y: np.ndarray) -> float:
        return float((predicted == y).mean() if data.classes else ((predicted - y) ** 2).mean() ** 0.5)

    if name == "linear":
        model = LogisticRegression(max_iter=1000) if data.classes else LinearRegression()
        value = score(model.fit(x, y).predict(x_test), y_test)
    else:
        categorical = np.arange(data.in_features) >= getattr(data, "num_numerical", data.in_features)
        kind = HistGradientBoostingClassifier if data.classes else HistGradientBoostingRegressor
        trees = kind(learning_rate=0.05, max_iter=1000, categorical_features=categorical, early_stopping=False,
                     random_state=seed).fit(x, y)  # fmt: skip
        on_val = [score(predicted, y_val) for predicted in trees.staged_predict(x_val)]
        best = int((np.argmax if data.classes else np.argmin)(on_val))
        value = score(list(trees.staged_predict(x_test))[best], y_test)
    return {"seed": seed, "seconds": time.perf_counter() - start, TABLES[table][1]: value}


def of_recipe(recipe: str, options: list[str], threads: int, seed: int) -> Result:
    """A seed of a recipe."""
    metrics, seconds = run(recipe, seed, options, threads)
    tested = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    return {"seed": seed, "seconds": seconds, **tested}


def measure(key: str, text: str, seeds: int, once: Callable[[int], Result]) -> None:
    """Make and keep the results of the seeds that are missing, or all where those kept belong to another ``text``."""
    for seed in range(seeds):
        entry = _stored().get(key, {})
        runs = entry.get("runs", []) if entry.get("digest") == _digest(text) else []
        if seed not in [result["seed"] for result in runs]:
            result = once(seed)
            print(f"{key} {json.dumps(result)}", flush=True)
            store = {**_stored(), key: {"digest": _digest(text), "runs": [*runs, result]}}
            RESULTS.write_text(json.dumps(store, indent=1, sort_keys=True) + "\n")


def content(recipe: str, options: list[str]) -> str:
    """What decides a recipe's results: its YAML without comments, and the options."""
    text = (ROOT / "configs" / f"{recipe}.yaml").read_text()
    return "".join(line for line in text.splitlines(True) if not line.startswith("#")) + str(options)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stored() -> dict[str, dict]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def lines() -> list[str]:
    """The table, from what is kept."""
    store, rows = _stored(), ["| data | model | test | seeds | fit, 1 core |", "|---|---|---|---|---|"]
    for table, (title, metric, recipes) in TABLES.items():
        linear = "logistic regression" if metric == "accuracy" else "linear regression"
        keys = {f"{table}: linear": f"scikit-learn's {linear}", f"{table}: trees": "HistGradientBoosting"}
        keys |= {recipe: f"`{recipe}`" for recipe in recipes}
        for key, name in keys.items():
            if key in store and (":" in key or store[key]["digest"] == _digest(content(key, []))):
                runs = store[key]["runs"]
                value = f"{METRICS[metric]} {_spread([result[metric] for result in runs])}"
                if "coverage" in runs[0]:
                    coverage, width = (_spread([r[of] for r in runs], 3) for of in ("coverage", "interval_width"))
                    value += f"; 90 % interval: coverage {coverage}, width {width}"
                seconds = statistics.median(result["seconds"] for result in runs)
                rows.append(f"| {title} | {name} | {value} | {len(runs)} | {seconds:.0f} s |")
    return rows


def _spread(values: list[float], digits: int = 4) -> str:
    if statistics.mean(values) > 10:
        digits = 2
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def write_all(threads: int) -> None:
    """Put the table between the markers of the handbook's page, and into each tabular recipe what it reached."""
    text = PAGE.read_text()
    start, stop = text.index(BEGIN), text.index(END)
    PAGE.write_text("\n".join([text[:start] + BEGIN, *lines(), text[stop:]]))
    for recipe, entry in _stored().items():
        if recipe.startswith("tabular/") and entry["digest"] == _digest(content(recipe, [])):
            results = [({f"test/{name}": value for name, value in r.items()}, r["seconds"]) for r in entry["runs"]]
            write(recipe, reached(results, [], threads))


def step_times() -> None:
    """Print the time of a training step of TabM with torch's dropout and with the zoo's, turn by turn."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as a run does
    times: dict[str, list[float]] = {}
    module = TabM(8, Regression(), hidden=[256, 256, 256], members=16)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    batch = Batch(torch.randn(256, 8), torch.randn(256, 1))
    quick = QuickDropout.forward
    for turn in range(42):
        name = ("torch's dropout", "QuickDropout")[turn % 2]
        QuickDropout.forward = quick if turn % 2 else nn.Dropout.forward  # type: ignore[method-assign]
        start = time.perf_counter()
        optimizer.zero_grad()
        module.objective(module, batch).loss.backward()
        optimizer.step()
        times.setdefault(name, []).append(time.perf_counter() - start)
    QuickDropout.forward = quick  # type: ignore[method-assign]
    for name, seconds in times.items():
        print(f"{name:<16} {1000 * statistics.median(seconds[2:]):.1f} ms a step")


def main() -> None:
    """Train, test, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES, help="'none' measures nothing")
    parser.add_argument("--seeds", type=int, help="of everything; by default 5, and 3 of TabM")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--option", action="append", default=[], help="passed on to zoo fit")
    parser.add_argument("--write", action="store_true", help="the table into the handbook, and recipes' `reached`")
    parser.add_argument("--steps", action="store_true", help="only time a training step of TabM")
    arguments = parser.parse_args()
    if arguments.steps:
        step_times()
        return
    for recipe in [recipe for recipe in arguments.recipes if recipe != "none"]:
        table = next(table for table in TABLES if table in recipe)
        for name in BASELINES:
            measure(f"{table}: {name}", "", 1, partial(of_baseline, table, name))  # nothing in them is random
        seeds = arguments.seeds or (3 if "tabm" in recipe else 5)
        once = partial(of_recipe, recipe, arguments.option, arguments.threads)
        measure(recipe, content(recipe, arguments.option), seeds, once)
    print("\n".join(lines()))
    if arguments.write:
        write_all(arguments.threads)


if __name__ == "__main__":
    main()
