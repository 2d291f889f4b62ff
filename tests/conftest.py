"""Fixtures that every test may use."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Tests train tiny networks; more threads than that only get in each other's way.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts from seed 0 and outside any run."""
    for name in ("PL_GLOBAL_SEED", "ZOO_RUN_DIR", "ZOO_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_run_left_open() -> Iterator[None]:
    """A W&B run that a test leaves open would be joined by the next test of the process."""
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()
        wandb.teardown()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Where larger real data sets lie, when they are at hand."""
    return Path(os.environ.get("ZOO_DATA", "~/.cache/zoo")).expanduser()
