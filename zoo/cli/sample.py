"""``zoo sample``: pictures from the generator that a run has kept."""

import argparse
from pathlib import Path

import numpy as np
import torch

from callbacks.reporting.samples import sample_grid
from zoo.cli.arguments import run_folder
from zoo.cli.plumbing import import_all_pieces
from zoo.errors import ZooError
from zoo.from_run import model_from_run
from zoo.gan import GAN


def load_game(run: Path) -> GAN:
    """The game of a run, with the weights that it has kept.

    Raises:
        ZooError: the run trained something else.
    """
    import_all_pieces([])
    module = model_from_run(run)
    if not isinstance(module, GAN):
        raise ZooError(
            f"{run} trained a {type(module).__name__}, which makes no samples; zoo predict {run} writes its predictions"
        )
    return module


def sample(argv: list[str]) -> None:
    """Write a grid of samples as PNG, or the samples themselves as .npy."""
    parser = argparse.ArgumentParser(prog="zoo sample", description=sample.__doc__, allow_abbrev=False)
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("--num", type=int, default=64, help="how many samples")
    parser.add_argument("--truncation", type=float, help="bound of the latent noise; smaller is more typical")
    parser.add_argument("--label", type=int, help="class of all samples; by default all classes in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the latent noise")
    parser.add_argument(
        "--out", type=Path, help="a .png with a grid, or a .npy with the samples; default RUN/samples.png"
    )
    arguments = parser.parse_args(argv)
    run = run_folder(arguments.run)
    out: Path = arguments.out or run / "samples.png"
    if out.suffix not in (".png", ".npy"):
        raise ZooError(f"--out {out}: samples are written as .png (a grid) or .npy (the numbers)")
    labels = None if arguments.label is None else torch.full((arguments.num,), arguments.label)
    module = load_game(run)
    samples = module.sample(arguments.num, labels, arguments.truncation, arguments.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npy":
        np.save(out, samples.numpy())
    else:
        from PIL.Image import fromarray

        fromarray(sample_grid(samples)).save(out)
    print(f"{arguments.num} samples in {out}")
