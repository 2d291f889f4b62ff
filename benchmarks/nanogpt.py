"""Nanogpt's CPU setting and our own recipe of its size and tokens: the loss over the last tenth of Shakespeare.

That tenth is what nanoGPT calls val (published: 1.88); here its halves are val and test, of one size, and windows of 64
characters lie end to end.

    ZOO_DATA=... python benchmarks/nanogpt.py --seeds 3
"""

import argparse
import statistics

from recipes import reached, run, write, write_readme

RECIPES = ("transformer/shakespeare_char_nanogpt", "transformer/shakespeare_char")


def main() -> None:
    """Train both, print the table, and write what they reached into the recipes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="print, but write nothing")
    arguments = parser.parse_args()
    for recipe in RECIPES:
        results = [run(recipe, seed, [], arguments.threads, also=("validate",)) for seed in range(arguments.seeds)]
        losses = [(metrics["val/loss"] + metrics["test/loss"]) / 2 for metrics, _ in results]
        spread = f" ± {statistics.stdev(losses):.3f}" if len(losses) > 1 else ""
        print(
            f"{recipe}: loss {statistics.mean(losses):.3f}{spread} over the last tenth, {len(losses)} seeds", flush=True
        )
        if not arguments.dry:
            write(recipe, reached(results, [], arguments.threads))
    if not arguments.dry:
        write_readme()


if __name__ == "__main__":
    main()
