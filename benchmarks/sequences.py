"""A bidirectional LSTM on padded sequences: two fused passes and a flip against torch's on packed sequences.

Both have the same weights and take turns, forward and backward, on one thread, and are timed by the processor's clock;
outputs and gradients are compared. Exits with status 1 when the padded way is less than ``--floor`` times as fast at
any width.

    python benchmarks/sequences.py                    # print
    python benchmarks/sequences.py --write            # and write the table into docs/handbook/sequences.md
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tables import machine, put, table

from zoo.layers.recurrent import RecurrentEncoder

HEAD = ("LSTM, both directions", "packed", "padded", "times as fast")


def same_weights(ours: RecurrentEncoder, theirs: nn.LSTM) -> None:
    """Copy the weights of torch's network into ours."""
    for depth, layer in enumerate(ours.layers):
        for direction, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
            for name, parameter in direction.named_parameters():
                parameter.data.copy_(getattr(theirs, name.replace("_l0", f"_l{depth}{suffix}")).data)


def packed(network: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    """The way of the manual: pack, read, unpack."""
    outputs, _ = network(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0]


def compare(width: int, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a forward and backward pass, packed and padded; raises when they differ in what they say."""
    torch.manual_seed(0)
    lengths = torch.randint(1, options.steps + 1, (options.batch,))
    lengths[0] = options.steps
    x = torch.randn(options.batch, options.steps, options.channels, requires_grad=True)
    theirs = nn.LSTM(options.channels, width, options.layers, batch_first=True, bidirectional=True)
    ours = RecurrentEncoder(options.channels, width, options.layers, bidirectional=True)
    same_weights(ours, theirs)

    sides = {"packed": lambda: packed(theirs, x, lengths), "padded": lambda: ours(x, lengths)[0]}
    times: dict[str, list[float]] = {name: [] for name in sides}
    gradients, outputs = {}, {}
    for repeat in range(options.repeats + 1):
        for name, side in sides.items():
            x.grad = None
            start = time.process_time()
            out = side()
            out.square().mean().backward()
            if repeat:  # the first one warms up
                times[name].append(time.process_time() - start)
            outputs[name], gradients[name] = out.detach(), x.grad
    torch.testing.assert_close(outputs["padded"], outputs["packed"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients["padded"], gradients["packed"], atol=1e-6, rtol=1e-4)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Compare at each width, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=256, help="of the longest sequence; others have 1 or more")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--floor", type=float, default=8.0)
    parser.add_argument("--write", action="store_true", help="write the table into the handbook")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, least = [], float("inf")
    for width in options.hidden:
        seconds = compare(width, options)
        ratio = seconds["packed"] / seconds["padded"]
        least = min(least, ratio)
        times = [f"{seconds[name] * 1e3:.0f} ms" for name in ("packed", "padded")]
        rows.append([f"{width} wide, {options.layers} layer(s)", *times, f"{ratio:.1f}"])
    about = (
        f"Forward and backward of {options.batch} sequences of 1 to {options.steps} steps, each length as likely,"
        f" {options.channels} channels;\nmedian of {options.repeats}; outputs and gradients agree; {machine(1)}."
    )
    text = f"{about}\n\n{table(HEAD, rows)}"
    print(text)
    if options.write:
        put("docs/handbook/sequences.md", "padding", "python benchmarks/sequences.py --write", text)
    if least < options.floor:
        sys.exit(f"less than {options.floor:g} times")


if __name__ == "__main__":
    main()
