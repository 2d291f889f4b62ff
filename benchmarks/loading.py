"""How long ``zoo.load`` takes in a new process: what it imports, and the weights themselves.

    python benchmarks/loading.py [NAME ...]

Processor seconds, which other jobs on the machine hardly change; medians of 3 processes for each name. Families are
LightningModules, so torch is imported, and then Lightning with torchmetrics; what is left is reading, checking and
building.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 3
PROGRAM = """
import json, sys, time
marks = [time.process_time()]
def mark():
    marks.append(time.process_time())
import torch
mark()
import lightning.pytorch
mark()
import zoo.pretrained
mark()
zoo.load(sys.argv[1])
mark()
zoo.load(sys.argv[1])
mark()
print(json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""


def main() -> None:
    """Measure and print."""
    sys.path.insert(0, str(ROOT))
    import zoo

    columns = ("import torch", "lightning", "zoo.pretrained", "first load", "again")
    print(f"{'processor seconds':<26}" + "".join(f"{column:>16}" for column in columns))
    for name in sys.argv[1:] or zoo.list("pretrained"):
        rows = []
        for _ in range(PROCESSES):
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, name], cwd=ROOT, capture_output=True, text=True, check=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{name:<26}" + "".join(f"{statistics.median(column):>16.3f}" for column in zip(*rows)), flush=True)


if __name__ == "__main__":
    main()
