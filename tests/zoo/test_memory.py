"""Freed memory stays: a second large block costs no page faults; what the environment sets wins."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from zoo.memory import keep_freed_memory

faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
assert keep_freed_memory() == (sys.argv[1] == "kept")
for _ in range(20):
    torch.ones(4_000_000)  # 16 MB
before = faults()
for _ in range(20):
    torch.ones(4_000_000)
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told to keep memory")
def test_the_next_step_pays_for_no_page() -> None:
    def faults(wanted: str, environment: dict[str, str]) -> int:
        command = [sys.executable, "-c", FAULTS, wanted]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)

    assert faults("kept", {}) < 100
    assert faults("left alone", {"MALLOC_TRIM_THRESHOLD_": "131072"}) > 20 * 1000  # 16 MB in pages of 4 kB, each time
