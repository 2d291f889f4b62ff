"""``zoo sample``: pictures from a trained generator."""

import argparse
from pathlib import Path

import numpy as np
import torch

from callbacks.reporting.samples import sample_grid
from zoo.cli.trained import network
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.pretrained import Pretrained


def load_game(source: str | Path) -> GAN:
    """A game with the weights that it has kept, by its run or its name.

    Raises:
        ZooError: the network is something else.
    """
    return _game(network(str(source)))


def sample(argv: list[str]) -> None:
    """Write a grid of samples as PNG, or the samples themselves as .npy."""
    parser = argparse.ArgumentParser(prog="zoo sample", description=sample.__doc__, allow_abbrev=False)
    parser.add_argument("source", metavar="RUN|NAME", help="folder of a run, or a name of `zoo list pretrained`")
    parser.add_argument("--num", type=int, default=64, help="how many samples")
    parser.add_argument("--truncation", type=float, help="bound of the latent noise; smaller is more typical")
    parser.add_argument("--label", help="class of all samples, a name or number; by default all classes in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the latent noise")
    parser.add_argument(
        "--out", type=Path, help="a .png with a grid, or a .npy with the samples; default RUN/samples.png or NAME.png"
    )
    arguments = parser.parse_args(argv)
    path = Path(arguments.source)
    out: Path = arguments.out or (path / "samples.png" if path.is_dir() else Path(f"{path.stem}.png"))
    if out.suffix not in (".png", ".npy"):
        raise ZooError(f"--out {out}: samples are written as .png (a grid) or .npy (the numbers)")
    loaded, labels = network(arguments.source), None
    game = _game(loaded)
    if arguments.label is not None:
        label = int(arguments.label) if arguments.label.isdecimal() else arguments.label
        labels = torch.tensor(loaded.class_numbers(label, arguments.num))
    samples = game.sample(arguments.num, labels, arguments.truncation, arguments.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npy":
        np.save(out, samples.numpy())
    else:
        from PIL.Image import fromarray

        fromarray(sample_grid(samples)).save(out)
    print(f"{arguments.num} samples in {out}")


def _game(loaded: Pretrained) -> GAN:
    if not isinstance(loaded.module, GAN):
        raise ZooError(
            f"{loaded.name} is a {type(loaded.module).__name__}, which makes no samples; zoo predict writes predictions"
        )
    return loaded.module
