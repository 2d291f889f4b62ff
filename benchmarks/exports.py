"""How far exported networks are from their originals, and how large they are: all packed weights, by `zoo export`.

python benchmarks/exports.py            # print
python benchmarks/exports.py --write    # and write the table of docs/handbook/export_and_sharing.md
"""

import argparse
import io
import re
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

import zoo
from zoo.cli.export import export
from zoo.errors import ZooError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "handbook" / "export_and_sharing.md"
BEGIN, END = "<!-- exports: python benchmarks/exports.py --write -->", "<!-- /exports -->"
ABOUT = "All weights that come with the package; kB of the file; int8 where there are matrix products to shrink:"
FORMATS = {"pt2": ["--format=pt2"], "onnx": ["--format=onnx"], "int8": ["--format=onnx", "--int8"]}


def exported(name: str, options: list[str], folder: Path) -> tuple[str, str]:
    """The difference that the command prints, and the size of the file in kB; of a refusal why, and nothing."""
    said, file = io.StringIO(), folder / f"{name.replace('/', '_')}.{options[0].rpartition('=')[2]}"
    try:
        with redirect_stdout(said), redirect_stderr(said):
            export([name, *options, f"--out={file}"])
    except ZooError as error:
        return str(error).partition(":")[0], ""
    difference = re.search(r"^difference +([^,]+),", said.getvalue(), re.MULTILINE)
    assert difference is not None
    return difference[1], f"{file.stat().st_size / 1000:,.0f}"


def main() -> None:
    """Export everything, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    heads = [head for name in FORMATS for head in (f"{name}: difference", "kB")]
    table = [f"| weights | {' | '.join(heads)} |", f"|{'---|' * (1 + len(heads))}"]
    print("\n".join(table))
    with tempfile.TemporaryDirectory() as folder:
        for name in zoo.list("pretrained"):
            cells = [cell for options in FORMATS.values() for cell in exported(name, options, Path(folder))]
            table.append(f"| `{name}` | {' | '.join(cells)} |")
            print(table[-1], flush=True)
    if arguments.write:
        text = PAGE.read_text()
        start, stop = text.index(BEGIN), text.index(END)
        PAGE.write_text(text[:start] + "\n".join([BEGIN, ABOUT, "", *table]) + "\n" + text[stop:])


if __name__ == "__main__":
    main()
