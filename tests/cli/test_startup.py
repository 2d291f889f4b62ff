"""What can be answered from files alone is answered without importing torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "lightning", "torchvision", "torchmetrics", "jsonargparse", "sklearn", "matplotlib", "wandb", "numpy"}
PROGRAM = """
import json, sys
from zoo.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def packages_after(arguments: list[str], folder: Path) -> set[str]:
    """Run a command in a new process; the top-level packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "techniques"],
        ["list", "techniques", "--for", "cnn"],
        ["show", "techniques/augmentation/mixup"],
        ["show", "cnn/digits"],
        ["show", "nothing/of/the/kind"],
        ["fit", "-c", "cnn/digit"],
        ["fitt"],
    ],
    ids=" ".join,
)
def test_the_answer_does_not_import_torch(arguments: list[str], tmp_path: Path) -> None:
    packages = packages_after(arguments, tmp_path)
    assert "zoo" in packages
    assert not packages & HEAVY
