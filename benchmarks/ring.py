"""Eight Gaussians on a ring: what the relativistic loss with R1 and R2 learns, and what the plain game forgets.

Each game is trained as its recipe says, over several seeds, and judged by samples of the generator that it keeps: how
many of the eight modes have at least a quarter of their share of good samples, and which part of all samples is good,
that is within three standard deviations of a mode. The last line of each game counts the seeds that reach all modes
and 90 %.

    python benchmarks/ring.py                 # 5 seeds of both games, some minutes
    python benchmarks/ring.py --seeds 1 --check
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from datamodules.ring import covered_modes, good_fraction, mode_centres
from zoo.cli.main import main as zoo
from zoo.cli.sample import load_game

SAMPLES, MODES, RADIUS, STD = 8_000, 8, 2.0, 0.05
# What makes the plain game of the recipe: the logistic loss alone, at the same rates and in the same time.
PLAIN: dict[str, Any] = {"trainer": {"callbacks": []}}
GAMES = {"RpGAN + R1 + R2": [], "plain GAN": [PLAIN]}


def train(game: str, seed: int, folder: Path, options: list[str]) -> tuple[int, float, float]:
    """(modes covered, share of good samples, seconds) of one run of the recipe."""
    fragments = []
    for number, fragment in enumerate(GAMES[game]):
        file = folder / f"fragment{number}.yaml"
        file.write_text(f"# {game}\n{yaml.safe_dump(fragment)}")
        fragments += ["-c", str(file)]
    os.environ.pop("ZOO_RUN_DIR", None)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        zoo(["fit", "-c", "gan/ring", *fragments, f"--seed_everything={seed}", *options])
    seconds = time.perf_counter() - start
    points = load_game(Path(os.environ["ZOO_RUN_DIR"])).sample(SAMPLES, batch_size=SAMPLES)
    centres = mode_centres(MODES, RADIUS)
    return covered_modes(points, centres, STD), good_fraction(points, centres, STD), seconds


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=list(GAMES))
    parser.add_argument("--check", action="store_true", help="exit status 1 unless the first game succeeds every time")
    arguments, options = parser.parse_known_args()
    torch.set_num_threads(1)
    failed = False
    for game in [arguments.only] if arguments.only else GAMES:
        reached = 0
        print(f"{game}\n  seed  modes   good  seconds")
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["ZOO_RUNS"] = folder
                modes, good, seconds = train(game, seed, Path(folder), options)
            reached += modes == MODES and good >= 0.9
            print(f"  {seed:4d}  {modes:5d}  {good:5.1%}  {seconds:7.0f}", flush=True)
        print(f"  all modes and at least 90 % good: {reached} of {arguments.seeds} seeds\n")
        failed |= game == "RpGAN + R1 + R2" and reached < arguments.seeds
    sys.exit(1 if arguments.check and failed else 0)


if __name__ == "__main__":
    main()
