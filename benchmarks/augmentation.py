"""Images per second of crop + flip + normalise: torchvision v2 on each tensor against the whole batch at once.

Prints one table and exits with status 1 when the whole batch is less than ``--floor`` times as fast. Both sides give
every image its own draw, run on one thread on the same bytes, and take turns, so that a busy machine slows both.

    python benchmarks/augmentation.py
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datamodules.augment import HorizontalFlip, RandomCrop, normalize
from datamodules.augment_policies import RandAugment, TrivialAugment

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def per_sample(images: Tensor, policy: v2.Transform) -> Callable[[], Tensor]:
    """What a data set's ``transform`` and the default collate do."""
    scale = v2.ToDtype(torch.float32, scale=True)
    transform = v2.Compose(
        [v2.RandomCrop(images.shape[-1], padding=4), v2.RandomHorizontalFlip(), policy, scale, v2.Normalize(MEAN, STD)]
    )
    return lambda: torch.stack([transform(image) for image in images])


def whole_batch(images: Tensor, policy: RandAugment | TrivialAugment | None) -> Callable[[], Tensor]:
    """What a DataModule of this project does in ``on_after_batch_transfer``."""
    transforms = [RandomCrop(padding=4), HorizontalFlip(), *([policy] if policy else [])]
    index = torch.arange(len(images))

    def run() -> Tensor:
        x = images
        for transform in transforms:
            x = transform(x, index, seed=0, epoch=0)
        return normalize(x, MEAN, STD)

    return run


def rates(sides: list[Callable[[], Tensor]], images: int, seconds: float) -> list[float]:
    """Median images per second of each side; the sides take turns until the time is used up."""
    for side in sides:
        side()
    times: list[list[float]] = [[] for _ in sides]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for side, spent in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            spent.append(time.perf_counter() - start)
    return [images / statistics.median(spent) for spent in times]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line of the table")
    parser.add_argument(
        "--floor", type=float, default=12.0, help="smallest ratio of crop + flip + normalise that passes"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    shape = (args.batch_size, 3, args.size, args.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    lines = [
        ("crop + flip + normalise", v2.Identity(), None),
        ("... with RandAugment(2, 9)", v2.RandAugment(2, 9), RandAugment(2, 9)),
        ("... with TrivialAugment", v2.TrivialAugmentWide(), TrivialAugment()),
    ]
    print(f"images per second, uint8 {shape}, 1 thread, torch {torch.__version__}")
    print(f"{'':<28}{'per sample':>12}{'whole batch':>13}{'ratio':>8}")
    ratios = []
    for name, theirs, ours in lines:
        slow, fast = rates([per_sample(images, theirs), whole_batch(images, ours)], len(images), args.seconds)
        ratios.append(fast / slow)
        print(f"{name:<28}{slow:>12,.0f}{fast:>13,.0f}{ratios[-1]:>8.1f}")
    if ratios[0] < args.floor:
        print(f"crop + flip + normalise: {ratios[0]:.1f} times is below the floor of {args.floor:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
