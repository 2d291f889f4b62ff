"""``zoo export``: a trained network as one file for other programs, compared with the network before it is kept."""

import argparse
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.cli.plumbing import quieten
from zoo.cli.trained import network
from zoo.errors import ZooError
from zoo.export import formats
from zoo.export.inputs import Inputs, inputs_of
from zoo.module import SupervisedModule
from zoo.preprocessing import describe
from zoo.pretrained import Pretrained, load
from zoo.sharing import write_weights

TOLERANCE, TOLERANCE_INT8 = 1e-4, 0.1
_TENSOR_IN_FACTS = 4096  # longer tables of a preprocessing stay in the .safetensors file

_SIZES = " and ".join(str(batch) for batch, _ in formats.COMPARED)
_ABOUT = f"""\
Write a trained network as one file for other programs.

  onnx          for onnxruntime and other engines; sizes that may vary (batch, steps of a sequence) are left open
  pt2           for torch.export.load, which needs none of this project's code
  safetensors   weights, configuration and preprocessing, for zoo.load

What goes in is what the network's forward takes, preprocessed; the facts of the preprocessing are in the file (metadata
of an onnx, zoo.json of a pt2). What comes out is in a user's units: class probabilities, or values on the scale of the
data. --raw leaves out this last step: logits, standardised values.

Before the file is kept, it is read back and asked by onnxruntime or torch, at {_SIZES} samples, while
{formats.TRACED[0]} were traced. A difference from the network's own answers above the tolerance is an error,
and leaves no file.
"""


def export(argv: list[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="zoo export", description=_ABOUT, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="RUN|NAME", help="folder of a run, or a name of `zoo list pretrained`")
    parser.add_argument("--format", required=True, choices=["onnx", "pt2", "safetensors"])
    parser.add_argument("--out", type=Path, help="file; default RUN/model.FORMAT, or NAME.FORMAT here")
    parser.add_argument("--int8", action="store_true", help="onnx only: quantise the weights to 8 bits")
    parser.add_argument("--raw", action="store_true", help="onnx and pt2: the network's output as it is")
    parser.add_argument(
        "--tolerance",
        type=float,
        help="greatest difference, as a share of the greatest answer or absolute where that is below 1; default"
        f" {TOLERANCE:g}, with --int8 {TOLERANCE_INT8:g}",
    )
    arguments = parser.parse_args(argv)
    if arguments.int8 and arguments.format != "onnx":
        raise ZooError(f"--int8 is for --format onnx, not {arguments.format}")
    if arguments.raw and arguments.format == "safetensors":
        raise ZooError("--raw is for onnx and pt2; a .safetensors file holds weights and no output")
    quieten()
    loaded = network(arguments.source)
    out = arguments.out or _default_out(arguments.source, arguments.format, arguments.int8)
    out.parent.mkdir(parents=True, exist_ok=True)
    tolerance = arguments.tolerance or (TOLERANCE_INT8 if arguments.int8 else TOLERANCE)
    parameters = sum(parameter.numel() for parameter in loaded.module.parameters())
    print(f"network     {type(loaded.module).__name__} of {loaded.name}, {parameters:,} parameters")
    inputs = inputs_of(loaded.module)
    if arguments.format == "safetensors":
        found = _write_weights(loaded, inputs, out, tolerance)
    else:
        found = _write_graph(loaded, inputs, out, tolerance, arguments)
    print(f"difference  {found:.2g}, at {_SIZES} samples (tolerance {tolerance:g})")
    print(f"file        {out}, {out.stat().st_size:,} bytes")


def _default_out(source: str, format: str, int8: bool) -> Path:
    suffix = f"{'int8.' if int8 else ''}{format}"
    path = Path(source)
    return path / f"model.{suffix}" if path.is_dir() else Path(f"{path.stem if path.is_file() else path.name}.{suffix}")


def _write_graph(
    loaded: Pretrained, inputs: Inputs, out: Path, tolerance: float, arguments: argparse.Namespace
) -> float:
    for name, sizes, of_one in zip(inputs.names, inputs.draw(*formats.TRACED), inputs.dynamic):
        shape = ", ".join(of_one.get(dimension, str(size)) for dimension, size in enumerate(sizes.shape))
        print(f"input       {name}: {str(sizes.dtype).removeprefix('torch.')} ({shape})")
    with _kept_if_right(out) as part:
        formats.write(arguments.format, inputs, part, arguments.raw, facts(loaded, arguments.raw))
        whole = formats.difference(inputs, formats.read(arguments.format, part, inputs), arguments.raw)
        if not arguments.int8:
            _require_near(whole, tolerance, arguments.source)
            return whole
        _require_near(whole, TOLERANCE, arguments.source)
        before = part.stat().st_size
        formats.quantize(part, part)
        after = part.stat().st_size
        print(f"int8        {before:,} bytes before, {after:,} after")
        if after >= before:
            raise ZooError(f"8 bits make {arguments.source} no smaller: it has few weights in matrix products")
        found = formats.difference(inputs, formats.read("onnx", part, inputs), arguments.raw)
        _require_near(found, tolerance, arguments.source)
        return found


def _write_weights(loaded: Pretrained, inputs: Inputs, out: Path, tolerance: float) -> float:
    if out.suffix != ".safetensors":
        raise ZooError(f"--out {out}: a weights file ends in .safetensors, or zoo.load does not know it")
    with _kept_if_right(out) as part:
        write_weights(loaded, part)
        again = formats.Answer(load(part).module).eval()
        found = formats.difference(inputs, lambda given: again(*given))
        _require_near(found, tolerance, loaded.name)
    return found


def facts(loaded: Pretrained, raw: bool) -> dict[str, str]:
    """What a reader of the file has to know, as plain text."""
    module = loaded.module
    output = "as the network gives it" if raw else "class probabilities or values in original units"
    if not isinstance(module, SupervisedModule):
        output = "samples; images lie in [-1, 1]"
    known = {
        "network": type(module).__name__,
        "weights": str(loaded.config.get("recipe") or Path(loaded.name).name),
        "output": output,
    }
    if loaded.preprocessing is not None:
        known["preprocessing"] = json.dumps(_plain(describe(loaded.preprocessing)))
    return known


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist() if value.numel() <= _TENSOR_IN_FACTS else f"a table of {value.numel():,} numbers"
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _require_near(found: float, tolerance: float, source: str) -> None:
    if not found <= tolerance:
        raise ZooError(
            f"the file of {source} answers {found:.2g} away from the network, more than the tolerance of"
            f" {tolerance:g}; nothing was kept"
        )


@contextmanager
def _kept_if_right(out: Path) -> Iterator[Path]:
    """A file beside ``out`` that takes its place when the block ends well, and is gone when it does not."""
    part = out.with_name(f".{os.getpid()}.part.{re.sub(r'^[.]+', '', out.name)}")
    try:
        with torch.random.fork_rng(devices=[]):
            yield part
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
