"""How long a person waits for an answer: what is read from files, and `zoo fit --help` beside importing Lightning.

python benchmarks/startup.py            # medians of 5
python benchmarks/startup.py --check    # exit status 1 when a bound is missed
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "zoo list": ["-m", "zoo", "list"],
    "zoo list --for cnn": ["-m", "zoo", "list", "techniques", "--for", "cnn"],
    "zoo show mixup": ["-m", "zoo", "show", "mixup"],
    "zoo fit --help": ["-m", "zoo", "fit", "--help"],
    "import lightning.pytorch": ["-c", "import lightning.pytorch"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure in turn, print medians, and with --check hold the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():
        seconds(command)  # warms the file cache
    for _ in range(arguments.repeats):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        print(f"{name:<26}{statistics.median(values):8.3f} s")
    help_, lightning = times["zoo fit --help"], times["import lightning.pytorch"]
    more = statistics.median(a - b for a, b in zip(help_, lightning))
    print(f"{'help beyond the import':<26}{more:8.3f} s")
    from_files = [name for name in COMMANDS if name.startswith(("zoo list", "zoo show"))]
    missed = any(statistics.median(times[name]) > 0.15 for name in from_files) or more > 0.7
    sys.exit(1 if arguments.check and missed else 0)


if __name__ == "__main__":
    main()
