"""Useful steps in padded batches, and useful steps per second of an LSTM: random batches against length buckets.

Sequences of 7 to 29 steps, each length as likely, as many channels as Japanese vowels have. Prints one table, and exits
with status 1 when the useful share of the buckets is less than ``--floor`` times that of random batches.

    python benchmarks/length_buckets.py               # print
    python benchmarks/length_buckets.py --write       # and write the table into docs/handbook/sequences.md
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tables import machine, put, table

from datamodules.length_buckets import LengthBuckets
from datamodules.ragged import Sequences, SequenceSplit, add_padding

HEAD = ("useful steps", "ratio", "loader alone, useful steps/s", "training, useful steps/s", "ratio")
SHORTEST, LONGEST, CHANNELS = 7, 29, 12


def make_split(count: int) -> SequenceSplit:
    """Sequences of random numbers."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (count,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    values = torch.randn(int(offsets[-1]), CHANNELS, generator=generator)
    sequences = Sequences(values, offsets, torch.zeros(count, dtype=torch.int64))
    return SequenceSplit(add_padding(sequences), torch.arange(count))


def read(split: SequenceSplit, order: LengthBuckets) -> tuple[float, float]:
    """(useful share of an epoch's steps, useful steps per second of the loader alone)."""
    start, steps = time.perf_counter(), 0
    for indices in order:
        x, *_ = split[indices]
        steps += x.shape[0] * x.shape[1]
    useful = int(split.lengths.sum())
    return useful / steps, useful / (time.perf_counter() - start)


def train(split: SequenceSplit, order: LengthBuckets, network: nn.LSTM) -> float:
    """Useful steps per second of an epoch with forward and backward of a recurrent layer."""
    start = time.perf_counter()
    for indices in order:
        x, *_ = split[indices]
        output: Tensor = network(x)[0]
        network.zero_grad()
        output.square().mean().backward()
    return int(split.lengths.sum()) / (time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--pools", type=int, nargs="+", default=[5, 20, 50], help="batches that are sorted together")
    parser.add_argument("--width", type=int, default=64, help="of the LSTM")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each order, which take turns")
    parser.add_argument("--floor", type=float, default=1.4, help="smallest ratio of the last pool that passes")
    parser.add_argument("--write", action="store_true", help="write the table into the handbook")
    args = parser.parse_args()
    torch.set_num_threads(1)
    split = make_split(args.sequences)
    network = nn.LSTM(CHANNELS, args.width, batch_first=True)
    orders = {pool: LengthBuckets(split.lengths, args.batch_size, pool) for pool in (1, *args.pools)}
    measured: dict[int, list[tuple[float, float, float]]] = {pool: [] for pool in orders}
    for epoch in range(args.rounds):
        for pool, order in orders.items():
            order.set_epoch(epoch)
            measured[pool].append((*read(split, order), train(split, order, network)))

    measured_rows = {pool: [statistics.median(values) for values in zip(*rounds)] for pool, rounds in measured.items()}
    plain = measured_rows[1]
    cells = [
        [
            "random" if pool == 1 else f"pools of {pool}",
            f"{useful:.1%}", f"{useful / plain[0]:.2f}", f"{loaded:,.0f}", f"{trained:,.0f}",
            f"{trained / plain[2]:.2f}",
        ]
        for pool, (useful, loaded, trained) in measured_rows.items()
    ]  # fmt: skip
    about = (
        f"{args.sequences:,} sequences of {SHORTEST} to {LONGEST} steps, {CHANNELS} channels, an LSTM {args.width} wide"
        f" read forwards;\nmedian of {args.rounds} epochs; {machine(1)}."
    )
    text = f"{about}\n\n{table((f'batches of {args.batch_size}', *HEAD), cells)}"
    print(text)
    if args.write:
        put("docs/handbook/sequences.md", "buckets", "python benchmarks/length_buckets.py --write", text)
    ratio = measured_rows[args.pools[-1]][0] / plain[0]
    if ratio < args.floor:
        print(f"the useful share is {ratio:.2f} times that of random batches, below {args.floor:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
