"""Train recipes over seeds, measure the test split, and write what they reached into their YAML.

Each seed is a `zoo fit` and a `zoo test` in a process of its own; the epoch is chosen on the validation split.

    python benchmarks/recipes.py cnn/digits mlp/digits mlp/diabetes --seeds 5
    python benchmarks/recipes.py cnn/fashion_mnist --seeds 1 --threads 2 --keep runs
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from callbacks.reporting.translations import bleu
from zoo.cli import catalog
from zoo.cli.run_folder import processor

BEGIN, END = "<!-- recipes: python benchmarks/recipes.py -->", "<!-- /recipes -->"
METRICS = (
    ("accuracy", 100, " %"), ("robust_accuracy", 100, " %"), ("mse", 1, ""), ("rmse", 1, ""), ("r2", 1, ""),
    ("bits_per_character", 1, ""), ("bleu", 1, ""), ("bleu_of_copying", 1, ""),
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]


def run(
    recipe: str, seed: int, options: list[str], threads: int, keep: Path | None = None, also: tuple[str, ...] = ()
) -> tuple[dict[str, float], float]:
    """Metrics of the test split, and the seconds that the whole `zoo fit` took, start-up included.

    Args:
        recipe, seed, options: of `zoo fit`.
        threads: of torch.
        keep: folder for the run, in place of one that is removed.
        also: commands such as "validate", whose metrics are added.
    """
    with tempfile.TemporaryDirectory() as passing:
        folder = keep or Path(passing)
        environment = {**os.environ, "ZOO_RUNS": str(folder), "OMP_NUM_THREADS": str(threads)}
        environment.pop("ZOO_RUN_DIR", None)
        start = time.perf_counter()
        zoo = [sys.executable, "-m", "zoo"]
        subprocess.run(
            [*zoo, "fit", "-c", recipe, f"--seed_everything={seed}", *options],
            check=True, env=environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        latest, metrics = Path(folder, recipe, "latest"), dict[str, float]()
        for command in ("test", *also):
            subprocess.run([*zoo, command, str(latest)], check=True, env=environment, stdout=subprocess.DEVNULL)
            metrics |= json.loads((latest / f"{command}.json").read_text())
        return metrics, seconds


def reached(results: list[tuple[dict[str, float], float]], options: list[str], threads: int) -> str:
    """One line: the metrics that matter with their spread, the time, and where it was measured."""
    parts = []
    # What a game is judged by has data and features in its name.
    judged = [n.removeprefix("test/") for n in results[0][0] if n.startswith(("test/coverage_", "test/class_kl_"))]
    for name, factor, unit in [*METRICS, *((name, 1, "") for name in judged)]:
        values = [factor * metrics[f"test/{name}"] for metrics, _ in results if f"test/{name}" in metrics]
        if name == "rmse" and "test/mse" in results[0][0]:
            continue  # forecasts are judged by their standardised error, as in the literature
        if values:
            digits = 4 if abs(statistics.mean(values)) < 1 else 2
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            parts.append(f"test {name} {statistics.mean(values):.{digits}f}{spread}{unit}")
    if "test/bleu" in results[0][0]:
        parts.append(f"sacrebleu {bleu(['a'], ['a']).signature}")
    seconds = statistics.median([seconds for _, seconds in results])
    spent = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
    seeds = f"{len(results)} seeds" if len(results) > 1 else "1 seed"
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{threads} core{'s' * (threads > 1)} of a {processor()}"
    )
    extra = f", with {' '.join(options)}" if options else ""
    return f"reached: {', '.join(parts)} ({seeds}), {spent} on {device}{extra}"


def write(recipe: str, line: str) -> None:
    """Put the line behind the other comments at the head of the recipe, in place of an older one."""
    file = ROOT / "configs" / f"{recipe}.yaml"
    text = re.sub(r"^# reached: .*\n", "", file.read_text(), flags=re.MULTILINE)
    lines = text.splitlines(keepends=True)
    place = next(number for number, content in enumerate(lines) if not content.startswith("#"))
    file.write_text("".join([*lines[:place], f"# {line}\n", *lines[place:]]))


def write_readme() -> None:
    """Put the table of all recipes into the README, from the lines that this command wrote into them."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    rows = [f"| `{e.name}` | {e.summary} | {e.reached.replace('|', '/')} |" for e in catalog.recipes() if e.reached]
    table = "\n".join([BEGIN, "| recipe | what it is | test split |", "|---|---|---|", *rows, END])
    start, stop = text.index(BEGIN), text.index(END) + len(END)
    readme.write_text(text[:start] + table + text[stop:])


def main() -> None:
    """Train, test, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="none: only write the table into the README")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--option", action="append", default=[], help="passed on to zoo fit")
    parser.add_argument("--keep", type=Path, help="folder for the runs, which are removed otherwise")
    parser.add_argument("--dry", action="store_true", help="print, but write nothing")
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        results = []
        for seed in range(arguments.seeds):
            results.append(run(recipe, seed, arguments.option, arguments.threads, arguments.keep))
            print(f"{recipe} seed {seed}: {results[-1][0]} in {results[-1][1]:.0f} s", flush=True)
        line = reached(results, arguments.option, arguments.threads)
        print(f"{recipe}: {line}", flush=True)
        if not arguments.dry:
            write(recipe, line)
    if not arguments.dry:
        write_readme()


if __name__ == "__main__":
    main()
