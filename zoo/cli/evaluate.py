"""``zoo evaluate``: do the weights that come with the package reach what the index says of them?"""

import argparse
import time
from pathlib import Path

from zoo.errors import ZooError
from zoo.weights import index
from zoo.weights.index import Entry


def evaluate(argv: list[str], folder: Path = index.FOLDER) -> None:
    """Measure the metric of the index anew, on its split, and compare.

    Raises:
        SystemExit: status 1 when a measurement lies beyond its tolerance.
    """
    parser = argparse.ArgumentParser(prog="zoo evaluate", description=evaluate.__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help="see `zoo list pretrained`; missing data are fetched")
    parser.add_argument("--all", action="store_true", help="all whose data are at hand; nothing is downloaded")
    arguments = parser.parse_args(argv)
    if bool(arguments.names) == arguments.all:
        raise ZooError("name the weights to evaluate, or say --all (`zoo list pretrained` shows their names)")
    chosen = list(index.entries(folder).values()) if arguments.all else [index.find(n, folder) for n in arguments.names]
    width = max((len(entry.name) for entry in chosen), default=0) + 2
    passed = True
    for entry in chosen:
        verdict, success = _judge(entry, folder, arguments.all)
        print(f"{entry.name:<{width}}{verdict}", flush=True)
        passed &= success
    if not passed:
        raise SystemExit(1)


def _judge(entry: Entry, folder: Path, only_present: bool) -> tuple[str, bool]:
    """The verdict in words, and whether it is none to fail by."""
    from zoo.cli.measure import OtherData, measure
    from zoo.pretrained import read_entry

    stored = read_entry(entry, folder)
    if only_present and (why := _absent(stored.config, entry.name)):
        return f"skipped: {why}", True
    start = time.perf_counter()
    expected = entry.measured
    try:
        found = measure(stored, entry.name, expected.split)
    except OtherData as error:
        if only_present:
            return f"skipped: {error}", True
        raise
    if expected.name not in found:
        raise ZooError(f"{entry.name}: {expected.split} has no metric {expected.name} ({', '.join(sorted(found))})")
    value = found[expected.name]
    success = expected.agrees(value)
    said = f"{expected.split} {expected.name} {value:.6g}, the index says {expected.value:.6g} ± {expected.tolerance:g}"
    return f"{'pass' if success else 'FAIL'}  {said}  ({time.perf_counter() - start:.1f} s)", success


def _absent(config: dict, name: str) -> str | None:
    """Why the data of a configuration are not at hand; None when they are."""
    from lightning.pytorch import LightningDataModule

    from zoo.cli.plumbing import import_all_pieces
    from zoo.from_run import build

    import_all_pieces([])
    data = build(config.get("data"), "data", LightningDataModule, name)
    missing: list[Path] = getattr(data, "missing", list)()
    if not missing:
        return None
    return f"no {missing[0].name} in {missing[0].parent} (`zoo evaluate {name}` downloads what is missing)"
