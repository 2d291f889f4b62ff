"""Measure what each technique does on small real tasks, and write the table into its card.

Every technique is plugged into the same recipes by its own fragment, with the settings that the fragment has (they are
usual values, not tuned for these tasks), over several seeds. The epoch is chosen on the validation split, the number
that is reported is of the test split. "without" is the same recipe without the fragment.

    python benchmarks/evidence.py                              # all techniques; about 40 minutes on one core
    python benchmarks/evidence.py --kind init --seeds 5        # one kind
    python benchmarks/evidence.py --write                      # only write the tables from evidence.json
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from zoo.cli.compose import find, names, read
from zoo.cli.main import main as zoo

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("evidence.json")
CARDS = ROOT / "docs" / "techniques"
BEGIN, END = "<!-- measured:", "<!-- /measured -->"

# What a run is judged by, and how the tables call it.
COLUMNS = {
    "accuracy": "test accuracy, %",
    "calibration_error": "test calibration error",
    "robust": "test accuracy under PGD, %",
    "modes": "modes of 8",
    "good": "good samples, %",
    "coverage": "test coverage",
    "class_kl": "test class divergence",
    "bits": "test bits per character",
    "loss": "last training loss",
}
LEADING = ("robust", "accuracy", "bits", "modes", "coverage")  # printed while measuring
DEEP = [
    "--model.norm=none",
    "--model.dropout=0",
    f"--model.hidden={[64] * 8}",
    "--optimizer=Momentum",
    "--optimizer.lr=0.02",
]
SHORT = ["--trainer.max_epochs=10"]
JUDGED = ["--trainer.callbacks+=Judge", "--trainer.callbacks.every_n_epochs=60"]
# 101 images to learn from, the other 1,336 to choose the epoch by: what a technique is worth when data are few.
FEW = ["--data.val_fraction=0.93", "--data.batch_size=32", "--trainer.max_epochs=60"]
# The tasks of most kinds.
GENERAL = [
    ("MLP, 10 epochs", "mlp/digits", SHORT),
    ("ResNet-8, 10 epochs", "cnn/digits", SHORT),
    ("MLP, 101 images, 60 epochs", "mlp/digits", FEW),
    ("ResNet-8, 101 images, 60 epochs", "cnn/digits", FEW),
]
# What a kind of technique is tried on: a title, a recipe, and options that make the technique matter.
TASKS: dict[str, list[tuple[str, str, list[str]]]] = {
    "init": [
        ("MLP, 8 hidden layers, no norm, 10 epochs", "mlp/digits", [*DEEP, *SHORT]),
        ("ResNet-8 with batch norm, 5 epochs", "cnn/digits", ["--trainer.max_epochs=5"]),
    ],
    "optimizers": [
        ("MLP, 10 epochs", "mlp/digits", SHORT),
        ("ResNet-8, 10 epochs", "cnn/digits", SHORT),
    ],
    "schedules": [
        ("MLP, 10 epochs", "mlp/digits", SHORT),
        ("ResNet-8, 10 epochs", "cnn/digits", SHORT),
    ],
    "averaging": GENERAL,
    "regularizers": GENERAL,
    "gradients": GENERAL,
    "augmentation": GENERAL,
    "sampling": GENERAL,
    "compression": GENERAL,
    "stopping": GENERAL,
    "calibration": GENERAL,
    "adversarial": [
        (
            "ResNet-8, 10 epochs, PGD-20 within Linf 0.15, in both rows the best epoch under attack",
            "cnn/digits",
            ["-c", "techniques/adversarial/robust_evaluation", *SHORT],
        )
    ],
    # Techniques for images are not for points and are left out.
    "gan": [("MLP pair, a ring of 8 Gaussians", "gan/ring_plain", [])],
    "gan_images": [("DCGAN pair, 1,293 digits of 8 x 8 pixels, 60 epochs", "gan/digits_plain", JUDGED)],
    "sequences": [("LSTM, JapaneseVowels", "rnn/japanese_vowels", [])],
    "text": [("LSTM, source of the standard library", "rnn/stdlib_char", [])],
    "gpt": [("GPT, source of the standard library", "transformer/stdlib_char", [])],
    "gpt_init": [("GPT, source of the standard library, torch's own init", "transformer/stdlib_char", ["--init=null"])],
}
# On these the techniques are tried whose fragment names the recipe, whatever their kind.
OF_RECIPE = ("sequences", "text", "gpt", "gpt_init", "gan_images")


def run(recipe: str, options: list[str], seed: int) -> dict[str, float]:
    """Train once in a folder of its own; test accuracy of the best epoch, and the last training loss."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ZOO_RUNS"] = folder
        os.environ.pop("ZOO_RUN_DIR", None)
        silence = io.StringIO()
        start = time.perf_counter()
        try:
            with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
                zoo(["fit", "-c", recipe, *options, f"--seed_everything={seed}", "--trainer.enable_progress_bar=false"])
                seconds = time.perf_counter() - start
                latest = Path(folder) / recipe / "latest"
                os.environ.pop("ZOO_RUN_DIR", None)
                zoo(["test", str(latest), "--trainer.enable_progress_bar=false"])
        except SystemExit as ended:
            if isinstance(ended.code, int) and ended.code > 128:
                raise  # a signal is for this program as a whole
            said = silence.getvalue().strip().splitlines()[-1]
            if "loss is" in said:  # not finite: that is a result as well
                return {"stopped": 1.0}
            print(f"left out: {said}", flush=True)  # not for this family
            return {}
        if recipe == "gan/ring_plain":
            return on_ring(latest) | {"seconds": seconds}
        tested = json.loads((latest / "test.json").read_text())
        if recipe == "gan/digits_plain":
            judged = {key: tested[f"test/{key}_digits_lenet"] for key in ("coverage", "class_kl")}
            return judged | {"seconds": seconds}
        rows = (latest / "metrics.csv").read_text().splitlines()
        columns = rows[0].split(",")
        losses = [row.split(",")[columns.index("train/loss")] for row in rows[1:]]
        found = {"loss": float([value for value in losses if value][-1]), "seconds": seconds}
        named = {
            "accuracy": "test/accuracy",
            "robust": "test/robust_accuracy",
            "calibration_error": "test/calibration_error",
        }
        named = {"bits": "test/bits_per_character"} if "test/bits_per_character" in tested else named
        found |= {key: tested[name] for key, name in named.items() if name in tested}
        for key in ("accuracy", "robust"):
            if key in found:
                found[key] *= 100
        return found


def on_ring(run: Path) -> dict[str, float]:
    """How many modes the generator that a run kept has learnt, and how many of its samples are good, in percent."""
    from datamodules.ring import covered_modes, good_fraction, mode_centres
    from zoo.cli.sample import load_game

    points, centres = load_game(run).sample(8_000, batch_size=8_000), mode_centres(8, 2.0)
    return {"modes": covered_modes(points, centres, 0.05), "good": 100 * good_fraction(points, centres, 0.05)}


def fragments_of(kind: str, recipe: str) -> list[str]:
    """The fragments that are tried on a task: those of a kind, or those that name its recipe."""
    known = [name for name in names() if name.startswith("techniques/")]
    if kind in OF_RECIPE:
        found = [name for name in known if f" {recipe} " in find(name).read_text().splitlines()[0]]
        if kind in ("gpt", "gpt_init"):  # a scheme is held against none, all else against the recipe with its own
            found = [name for name in found if ("init" in read(find(name))) == (kind == "gpt_init")]
        return [name for name in found if "/efficiency/" not in name]  # those change no number
    return [name for name in known if name.startswith(f"techniques/{kind}/")]


def measure(kinds: list[str], seeds: int, only: list[str]) -> None:
    """Run what is asked for and keep the results, one task after the other, so that nothing is lost."""
    for kind in kinds:
        for title, recipe, options in TASKS[kind]:
            for fragment in [None, *fragments_of(kind, recipe)]:
                if only and fragment and not any(part in fragment for part in only):
                    continue
                argv = (["-c", fragment] if fragment else []) + options
                if fragment and kind == "gpt_init":
                    argv = [option for option in argv if not option.startswith("--init")]
                if fragment and kind == "optimizers":
                    # The recipe's own rate belongs to its own optimizer.
                    argv = [option for option in argv if not option.startswith("--optimizer")]
                results = [run(recipe, argv, seed) for seed in range(seeds)]
                if not results[0]:
                    continue  # the technique is not for this family
                store = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                entry = {"command": f"zoo fit -c {recipe} {' '.join(argv)}", "runs": results, "machine": machine()}
                store.setdefault(f"{kind}: {title}", {})[fragment or "without"] = entry
                RESULTS.write_text(json.dumps(store, indent=1, sort_keys=True) + "\n")
                by = next(key for key in (*LEADING, "stopped") if key in results[0])
                print(f"{title:<42} {fragment or 'without':<40} {summary(results, by)}", flush=True)


def machine() -> str:
    """Where the numbers come from."""
    return f"{os.cpu_count()} cores {platform.machine()}, torch {torch.__version__.split('+')[0]}"


def summary(results: list[dict[str, float]], key: str) -> str:
    """Mean ± standard deviation over seeds, and how many runs were stopped."""
    values = [result[key] for result in results if key in result]
    stopped = sum("stopped" in result for result in results)
    if not values:
        return "stopped: loss not finite" if stopped else "not measured"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    digits = 1 if key in ("accuracy", "robust", "modes", "good") else 3
    text = f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"
    return f"{text} ({stopped} stopped)" if stopped else text


def write_cards() -> None:
    """Put a table into every card whose technique was measured, between the two marks."""
    store: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())
    for fragment in names():
        if not fragment.startswith("techniques/"):
            continue
        card = CARDS / f"{fragment.rsplit('/', 1)[-1]}.md"
        known = {
            key for entries in store.values() for result in entries.get(fragment, {}).get("runs", []) for key in result
        }
        columns = {key: title for key, title in COLUMNS.items() if key in known}
        lines, digits = [], False
        for task, entries in store.items():
            if fragment in entries and "without" in entries:
                digits |= not task.startswith((*OF_RECIPE, "gan"))
                title = task.partition(": ")[2]
                for label, name in (("without", "without"), ("with", fragment)):
                    runs = entries[name]["runs"]
                    measured = " | ".join(summary(runs, key) for key in columns)
                    lines.append(f"| {title} | {label} | {measured} | {len(runs)} |")
        if not lines:
            continue
        head = f"{BEGIN} python benchmarks/evidence.py, {entries_machine(store, fragment)} -->"
        table = [
            head,
            f"{'Handwritten digits (scikit-learn), the' if digits else 'The'} fragment's own settings against the"
            " recipe without it; mean ± standard deviation over seeds.",
            "",
            f"| task | technique | {' | '.join(columns.values())} | seeds |",
            "|---" * (len(columns) + 3) + "|",
            *lines,
            END,
        ]
        text = card.read_text()
        start = text.index(BEGIN)
        stop = text.index(END) + len(END) if END in text else text.index("-->", start) + 3
        card.write_text(text[:start] + "\n".join(table) + text[stop:])


def entries_machine(store: dict[str, dict[str, Any]], fragment: str) -> str:
    """The machine on which a fragment was measured."""
    return next(entries[fragment]["machine"] for entries in store.values() if fragment in entries)


def main() -> None:
    """Measure, then write the cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(TASKS), action="append")
    parser.add_argument("--only", action="append", default=[], help="part of a fragment's name; may come several times")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="measure nothing, write the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.write:
        measure(arguments.kind or list(TASKS), arguments.seeds, arguments.only)
    write_cards()


if __name__ == "__main__":
    main()
