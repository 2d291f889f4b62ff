"""Tables that benchmarks write into documents, between markers that name the command."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def put(document: str, name: str, command: str, text: str) -> None:
    """Replace what stands in a document between ``<!-- measured NAME: ... -->`` and ``<!-- /measured NAME -->``.

    Raises:
        SystemExit: the document has no such place.
    """
    file = ROOT / document
    content = file.read_text()
    begin, end = f"<!-- measured {name}:", f"<!-- /measured {name} -->"
    if begin not in content or end not in content:
        raise SystemExit(f"{document} has no place between '{begin} ... -->' and '{end}'")
    start, stop = content.index(begin), content.index(end)
    file.write_text(f"{content[:start]}{begin} {command} -->\n{text}\n{content[stop:]}")


def machine(threads: int) -> str:
    """What a time was measured on."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"torch {torch.__version__}, {threads} core{'s' * (threads > 1)} of a {(names or [platform.machine()])[0]}"
