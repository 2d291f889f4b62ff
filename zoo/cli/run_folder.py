"""The folder of a run: where it is, what describes it, and the link to the latest."""

import json
import os
import platform
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Processes that Lightning starts for DDP run the command again; they find the folder of the first one here.
VARIABLE = "ZOO_RUN_DIR"


def new_run_folder(recipe: str) -> Path:
    """A fresh folder ``runs/<recipe>/<stamp>``, shared by all processes of the run through the environment."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    parent = Path(os.environ.get("ZOO_RUNS", "runs")).resolve() / recipe
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, attempt = parent / stamp, 1
    while True:
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            attempt += 1
            folder = parent / f"{stamp}-{attempt}"
    os.environ[VARIABLE] = str(folder)
    return folder


def forget_if_empty() -> None:
    """Remove the folder of a run that came to nothing before it wrote anything, and empty folders above it."""
    folder = Path(os.environ.get(VARIABLE, ""))
    if VARIABLE in os.environ and folder.is_dir() and not any(folder.iterdir()):
        for path in (folder, *folder.parents[:2]):
            if any(path.iterdir()):
                break
            path.rmdir()


def use_run_folder(folder: Path) -> None:
    """Go on in a folder that exists."""
    os.environ[VARIABLE] = str(folder)


def link_latest(folder: Path) -> None:
    """Let ``latest`` beside the folder point to it; silently not on systems without links."""
    link, fresh = folder.parent / "latest", folder.parent / f".latest-{os.getpid()}"
    try:
        fresh.symlink_to(folder.name, target_is_directory=True)
        os.replace(fresh, link)
    except OSError:
        fresh.unlink(missing_ok=True)


def write_environment(folder: Path, seed: int, argv: list[str]) -> None:
    """Write ``env.json``: what a person needs to get the same numbers again."""
    (folder / "env.json").write_text(json.dumps(environment(seed, argv), indent=2) + "\n")


def add_seconds(seconds: float) -> None:
    """Add to ``seconds`` in ``env.json``: what all fits of the run have taken, those that were cut short included."""
    file = Path(os.environ.get(VARIABLE, ""), "env.json")
    if VARIABLE in os.environ and file.is_file():
        known = json.loads(file.read_text())
        known["seconds"] = round(known.get("seconds", 0) + seconds, 1)
        part = file.with_name(".env.json.part")
        part.write_text(json.dumps(known, indent=2) + "\n")
        os.replace(part, file)


def environment(seed: int, argv: list[str]) -> dict[str, Any]:
    """Versions, machine, git revision, command and seed, as plain data."""
    import torch

    packages = ("lightning-zoo", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "jsonargparse")
    return {
        "command": ["zoo", *argv],
        "seed": seed,
        "git": _git_revision(),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: _version(name) for name in packages},
    }


def processor() -> str:
    """What the processor is called, or its architecture where the system does not say."""
    described = Path("/proc/cpuinfo")
    for entry in described.read_text().splitlines() if described.exists() else []:
        if entry.startswith("model name"):
            return entry.split(":")[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
