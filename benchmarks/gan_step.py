"""What the Trainer costs a game: rounds per second of the zoo against a bare loop that makes the same updates.

Both play the relativistic game with R1 and R2 and an average of the generator, on the same networks and batches, in
turn in the same process, on one thread, and are timed by the CPU time that they use, which other programs on the
machine hardly change; the median of the ratios is printed. All that a run has by default is on: progress, CSV,
checkpoints, samples.

    python benchmarks/gan_step.py             # perceptrons on the ring, DCGANs of 8 x 8 and of 28 x 28 pixels
    python benchmarks/gan_step.py --check     # exit status 1 below 0.97 for 28 x 28 pixels
"""

import argparse
import contextlib
import copy
import io
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.nn import functional as F

from callbacks.gan.generator_ema import GeneratorEMA, half_life_decay
from callbacks.gan.r1 import R1
from callbacks.gan.r2 import R2
from callbacks.gan.relativistic import Relativistic
from callbacks.optimizers.adam import Adam
from datamodules.base import ZooDataModule
from datamodules.digits import Digits
from datamodules.images import ImageDataModule
from datamodules.ring import Ring
from zoo.cli.plumbing import default_callbacks
from zoo.gan import GAN
from zoo.generators.dcgan import DCGANDiscriminator, DCGANGenerator
from zoo.generators.mlp import MLPDiscriminator, MLPGenerator

BOUND = 0.97
GAMES = {"ring": 1, "digits": 2, "28 x 28": 2}  # and the epochs that each is played
HALF_LIFE = 5000.0


def build(name: str) -> GAN:
    """The two players; the DCGANs are those of gan/digits and gan/mnist."""
    torch.manual_seed(0)
    if name == "ring":
        return GAN(MLPGenerator([2], latent_dim=16, hidden=[128] * 3), MLPDiscriminator([2], hidden=[128] * 3))
    shape, latent_dim, width, depth = ([1, 8, 8], 32, 64, 1) if name == "digits" else ([1, 28, 28], 64, 32, 2)
    generator = DCGANGenerator(shape, latent_dim=latent_dim, width=width, depth=1)
    return GAN(generator, DCGANDiscriminator(shape, width=width, norm="none", depth=depth))


class Noise(ImageDataModule):
    """Random images of MNIST's size: only the time matters here."""

    channels, size, classes, mean, std = 1, 28, tuple("0123456789"), (0.5,), (0.5,)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """900 images twice."""
        x = torch.randint(256, (900, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        return (x, torch.arange(900) % 10), (x, torch.arange(900) % 10)


def make_data(name: str) -> ZooDataModule:
    """What they play about."""
    if name == "ring":
        return Ring(batch_size=256, drop_last=True)
    images = Digits if name == "digits" else Noise
    return images(batch_size=64, normalize="symmetric", drop_last=True)


def bare(name: str, epochs: int) -> float:
    """Seconds a round of a loop as one would write it down for speed."""
    gan, data = build(name), make_data(name)
    data.setup("fit")
    split = data.splits["train"]
    generator, discriminator = gan.generator, gan.discriminator
    average = copy.deepcopy(generator).requires_grad_(False).eval()
    of_generator, of_discriminator = (
        torch.optim.Adam(network.parameters(), 1e-3, (0.0, 0.99), fused=True) for network in (generator, discriminator)
    )
    means, weights = ([*network.parameters(), *network.buffers()] for network in (average, generator))
    floats = [k for k, tensor in enumerate(means) if tensor.is_floating_point()]
    size, rounds, seen = int(data.batch_size), 0, 0  # type: ignore[call-overload]
    start = time.process_time()
    for _ in range(epochs):
        for indices in torch.randperm(len(split)).split(size):  # type: ignore[arg-type]
            if len(indices) < size:
                break
            real = data.transform_batch(split[indices][0])
            with torch.no_grad():
                fake = generator(torch.randn(size, generator.latent_dim))
            real, fake = real.requires_grad_(), fake.requires_grad_()
            on_real, on_fake = discriminator(real).logits, discriminator(fake).logits
            loss = F.softplus(on_fake - on_real).mean() + slope(on_real, real) / 2 + slope(on_fake, fake) / 2
            of_discriminator.zero_grad()
            loss.backward(inputs=list(discriminator.parameters()))
            of_discriminator.step()
            on_fake = discriminator(generator(torch.randn(size, generator.latent_dim))).logits
            with torch.no_grad():
                on_real = discriminator(real).logits
            of_generator.zero_grad()
            F.softplus(on_real - on_fake).mean().backward(inputs=list(generator.parameters()))
            of_generator.step()
            rounds, seen = rounds + 1, seen + size
            with torch.no_grad():
                decay = half_life_decay(size, HALF_LIFE, seen, 0.05)
                torch._foreach_lerp_([means[k] for k in floats], [weights[k] for k in floats], 1 - decay)
    return (time.process_time() - start) / rounds


def slope(logits: Tensor, x: Tensor) -> Tensor:
    """Mean squared length of the gradient."""
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


class Timer(Callback):
    """When each training batch began."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.marks.append(time.process_time())


def zoo(name: str, epochs: int) -> float:
    """Seconds a round of what ``zoo fit`` builds, validation, pictures and checkpoints between epochs left out."""
    gan, data, timer = build(name), make_data(name), Timer()
    techniques = [Relativistic(), R1(1.0), R2(1.0), GeneratorEMA(HALF_LIFE)]
    optimizers = [Adam(1e-3, (0.0, 0.99), network=network) for network in gan.networks()]
    settings = {
        "max_epochs": epochs, "accelerator": "cpu", "enable_model_summary": False, "num_sanity_val_steps": 0,
        "callbacks": [timer, *optimizers, *techniques],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(**default_callbacks(settings, gan, Path(folder), "fit"))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.fit(gan, datamodule=data)
    each = len(timer.marks) // epochs
    within = [timer.marks[(k + 1) * each - 1] - timer.marks[k * each] for k in range(epochs)]
    return sum(within) / (epochs * (each - 1))


def main() -> None:
    """Measure, print, and with --check hold the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=list(GAMES), help="one of the games")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(f"1 thread, torch {torch.__version__}, median of {arguments.repeats}")
    missed = False
    for name, epochs in GAMES.items():
        if arguments.only not in (None, name):
            continue
        loops: dict[str, Callable[[], float]] = {
            "bare": lambda name=name, epochs=epochs: bare(name, epochs),  # type: ignore[misc]
            "zoo": lambda name=name, epochs=epochs: zoo(name, epochs),  # type: ignore[misc]
        }
        times: dict[str, list[float]] = {loop: [] for loop in loops}
        for _ in range(arguments.repeats):
            for loop, run in loops.items():
                times[loop].append(run())
        speed = statistics.median(b / z for b, z in zip(times["bare"], times["zoo"]))
        per_second = {loop: 1 / statistics.median(seconds) for loop, seconds in times.items()}
        print(
            f"{name:<8} bare {per_second['bare']:7.1f}  zoo {per_second['zoo']:7.1f} rounds/s, zoo / bare {speed:.3f}"
        )
        missed |= name == "28 x 28" and speed < BOUND
    sys.exit(1 if arguments.check and missed else 0)


if __name__ == "__main__":
    main()
