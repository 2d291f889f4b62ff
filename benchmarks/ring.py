"""Eight Gaussians on a ring: what the relativistic loss with R1 and R2 learns, and what the plain game forgets.

Each game is trained as its recipe says, over several seeds, and judged by samples of the generator that it keeps: how
many of the eight modes have at least a quarter of their share of good samples, and which part of all samples is good,
that is within three standard deviations of a mode. Beside it stands when the guard against collapse gave an alarm, and
what it saw at the end. The last line of each game counts the seeds that reach all modes and 90 %, and those with an
alarm.

    python benchmarks/ring.py                 # 5 seeds of both games, 4 minutes on one core
    python benchmarks/ring.py --seeds 1 --check
    python benchmarks/ring.py --write         # also the table and the figure of docs/handbook/gans.md
"""

import argparse
import contextlib
import csv
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from callbacks.reporting.plots import BLUE, VERMILLION
from datamodules.ring import covered_modes, good_fraction, mode_centres
from zoo.cli.main import main as zoo
from zoo.cli.sample import load_game

SAMPLES, MODES, RADIUS, STD = 8_000, 8, 2.0, 0.05
# What makes the plain game of the recipe: the logistic loss alone, at the same rates and in the same time.
PLAIN: dict[str, Any] = {"trainer": {"callbacks": []}}
GAMES = {"RpGAN + R1 + R2": [], "plain GAN": [PLAIN]}
ROOT = Path(__file__).resolve().parents[1]
CHAPTER, FIGURE = ROOT / "docs" / "handbook" / "gans.md", ROOT / "docs" / "images" / "gan_ring.png"
BEGIN, END = "<!-- ring: python benchmarks/ring.py --write -->", "<!-- /ring -->"


class Result(NamedTuple):
    """One run: modes covered, share of good samples, epoch of the guard's first alarm (0 for none), and its last look.

    Attributes:
        coverage: over epochs, as the guard saw it.
        points: samples of the generator that was kept.
    """

    modes: int
    good: float
    alarm: int
    still: bool
    class_kl: float
    coverage: list[float]
    seconds: float
    points: Tensor

    @property
    def reached(self) -> bool:
        """Whether the game has learnt what there is."""
        return self.modes == MODES and self.good >= 0.9


def train(game: str, seed: int, folder: Path, options: list[str]) -> Result:
    """One run of the recipe."""
    fragments = []
    for number, fragment in enumerate(GAMES[game]):
        file = folder / f"fragment{number}.yaml"
        file.write_text(f"# {game}\n{yaml.safe_dump(fragment)}")
        fragments += ["-c", str(file)]
    os.environ.pop("ZOO_RUN_DIR", None)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        zoo(["fit", "-c", "gan/ring", *fragments, f"--seed_everything={seed}", *options])
    seconds, run = time.perf_counter() - start, Path(os.environ["ZOO_RUN_DIR"])
    points, centres = load_game(run).sample(SAMPLES, batch_size=SAMPLES), mode_centres(MODES, RADIUS)
    with (run / "metrics.csv").open(newline="") as text:
        looks = [row for row in csv.DictReader(text) if row.get("val/alarm")]
    alarms = [int(row["epoch"]) + 1 for row in looks if float(row["val/alarm"])]
    return Result(
        covered_modes(points, centres, STD),
        good_fraction(points, centres, STD),
        alarms[0] if alarms else 0,
        bool(float(looks[-1]["val/alarm"])),
        float(looks[-1]["val/guard_class_kl_ring_points"]),
        [float(row["val/guard_coverage_ring_points"]) for row in looks],
        seconds,
        points,
    )


def row(seed: int, result: Result) -> list[str]:
    """The columns of a run."""
    alarm = f"epoch {result.alarm}{'' if result.still else ', withdrawn'}" if result.alarm else "none"
    return [
        str(seed), f"{result.modes} of {MODES}", f"{result.good:.1%}", alarm, f"{result.coverage[-1]:.2f}",
        f"{result.class_kl:.2f}",
    ]  # fmt: skip


HEAD = ["seed", "modes", "good", "alarm", "coverage", "class divergence"]


def write(results: dict[str, list[Result]]) -> None:
    """Put the table into the handbook, and draw the samples and the coverage over epochs."""
    lines = [BEGIN, "| game | " + " | ".join(HEAD) + " |", "|---" * (len(HEAD) + 1) + "|"]
    lines += [f"| {game} | " + " | ".join(row(s, r)) + " |" for game in results for s, r in enumerate(results[game])]
    text = CHAPTER.read_text()
    start, stop = text.index(BEGIN), text.index(END)
    CHAPTER.write_text(text[:start] + "\n".join(lines) + "\n" + text[stop:])
    from matplotlib.figure import Figure

    figure = Figure((10, 3.4), 120, facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(results) + 1)
    for ax, (game, of_game), colour in zip(axes, results.items(), (BLUE, VERMILLION)):
        ax.scatter(*mode_centres(MODES, RADIUS).T, s=220, facecolors="none", edgecolors="#999999")
        ax.scatter(*of_game[0].points[:2000].T, s=3, color=colour, alpha=0.4, linewidths=0)
        ax.set(aspect="equal", xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), xticks=[], yticks=[])
        ax.set_title(f"{game}, seed 0: {of_game[0].modes} of {MODES} modes", fontsize=9)
        for number, result in enumerate(of_game):
            epochs = range(1, len(result.coverage) + 1)
            axes[-1].plot(epochs, result.coverage, color=colour, linewidth=1.2, label=game if number == 0 else None)
    axes[-1].set(xlabel="epoch", ylim=(0, 1))
    axes[-1].set_title("coverage, each seed", fontsize=9)
    axes[-1].legend(frameon=False, fontsize=8)
    figure.savefig(FIGURE)


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=list(GAMES))
    parser.add_argument("--write", action="store_true", help="table and figure of the handbook, from both games")
    parser.add_argument(
        "--check", action="store_true",
        help="exit status 1 unless the first game succeeds every time without alarm, and lost modes give one",
    )  # fmt: skip
    arguments, options = parser.parse_known_args()
    torch.set_num_threads(1)
    results: dict[str, list[Result]] = {}
    for game in [arguments.only] if arguments.only else GAMES:
        print(f"{game}\n  seconds  " + "  ".join(f"{name:>18}" if name == "alarm" else f"{name:>8}" for name in HEAD))
        results[game] = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["ZOO_RUNS"] = folder
                results[game].append(train(game, seed, Path(folder), options))
            last = results[game][-1]
            cells = (f"{c:>18}" if n == "alarm" else f"{c:>8}" for n, c in zip(HEAD, row(seed, last)))
            print(f"  {last.seconds:7.0f}  " + "  ".join(cells), flush=True)
        reached, alarms = (sum(getattr(r, fact) > 0 for r in results[game]) for fact in ("reached", "alarm"))
        print(f"  all modes and at least 90 % good: {reached} of {arguments.seeds} seeds; alarm: {alarms}\n")
    if arguments.write and len(results) == len(GAMES):
        write(results)
    first = results.get("RpGAN + R1 + R2", [])
    failed = not all(r.reached and not r.alarm for r in first)
    failed |= any(r.modes < MODES and not r.alarm for of_game in results.values() for r in of_game)
    sys.exit(1 if arguments.check and failed else 0)


if __name__ == "__main__":
    main()
