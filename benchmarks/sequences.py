"""A bidirectional LSTM on padded sequences: two fused passes and a flip against torch's on packed sequences.

Both have the same weights and take turns, forward and backward, on one thread, and are timed by the processor's clock;
outputs and gradients are compared. Exits with status 1 when the padded way is less than ``--floor`` times as fast.

    python benchmarks/sequences.py
"""

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.layers.recurrent import RecurrentEncoder


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=256, help="of the longest sequence; others have 1 or more")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--floor", type=float, default=4.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lengths = torch.randint(1, options.steps + 1, (options.batch,))
    lengths[0] = options.steps
    x = torch.randn(options.batch, options.steps, options.channels, requires_grad=True)
    theirs = nn.LSTM(options.channels, options.hidden, options.layers, batch_first=True, bidirectional=True)
    ours = RecurrentEncoder(options.channels, options.hidden, options.layers, bidirectional=True)
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

    seconds = {name: statistics.median(values) for name, values in times.items()}
    ratio = seconds["packed"] / seconds["padded"]
    print(f"batch {options.batch}, up to {options.steps} steps (mean {lengths.float().mean():.0f}), {options.channels}"
          f" channels, {options.hidden} wide, {options.layers} layer(s); torch {torch.__version__},"
          f" {platform.machine()}, 1 thread")  # fmt: skip
    for name, value in seconds.items():
        print(f"{name}  {value * 1e3:8.1f} ms forward and backward")
    print(f"padded is {ratio:.1f} times as fast; outputs and gradients agree")
    if ratio < options.floor:
        sys.exit(f"less than {options.floor:g} times")


if __name__ == "__main__":
    main()
