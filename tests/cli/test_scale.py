"""One network over two processes by the commands of docs/handbook/scale.md, and its checkpoint on one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CPU = [
    "--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy.process_group_backend=gloo",
    "--trainer.precision=32-true",
]  # fmt: skip
SMALL = [
    "--data.limit=20000", "--data.window=32", "--model.width=16", "--model.layers=2", "--model.block.heads=2",
    "--trainer.max_epochs=1",
]  # fmt: skip
SHARDS = ["-c", "trainer/fsdp", "--trainer.strategy.data_parallel_size=2"]
PARTS = [
    "-c", "trainer/tensor_parallel", "--trainer.strategy.data_parallel_size=1",
    "--trainer.strategy.tensor_parallel_size=2", "--model.block.qk_norm=false",
]  # fmt: skip


def zoo(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "zoo", *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("spread", [SHARDS, PARTS], ids=["fsdp", "tensor_parallel"])
def test_the_documented_command_and_its_checkpoint(spread: list[str], tmp_path: Path) -> None:
    said = zoo("fit", "-c", "transformer/stdlib_char", *spread, *CPU, *SMALL, cwd=tmp_path)
    assert "\nGPT on CharText" in said
    assert "2 x cpu" in said
    assert "failed" not in said
    run = tmp_path / "runs" / "transformer" / "stdlib_char" / "latest"
    assert {path.name for path in (run / "figures").iterdir()} == {"learning_curves.png"}
    alone = ["--trainer.devices=1", "--trainer.strategy=auto", "--trainer.enable_progress_bar=false"]
    zoo("test", str(run), *alone, cwd=tmp_path)
    assert json.loads((run / "test.json").read_text())["test/bits_per_character"] < 7
