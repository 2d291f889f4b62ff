"""What the choices of a transformer block are worth on a small text: the table of docs/handbook/transformers.md.

Each row changes one thing about a plain GPT-2 with AdamW of the size of transformer/stdlib_char and trains it over
seeds; the settings are tuned for none of the rows. The last row is the recipe itself.

    python benchmarks/transformers.py --seeds 2            # print; about half a minute a run on one core
    python benchmarks/transformers.py --seeds 2 --write    # and write the table
"""

import argparse
from pathlib import Path

import torch
from evidence import machine, run, summary

RECIPE = "transformer/stdlib_char"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "handbook" / "transformers.md"
BEGIN, END = "<!-- measured blocks:", "<!-- /measured blocks -->"
PLAIN = [
    "--model.position=learned", "--model.block.norm=layer", "--model.block.activation=gelu",
    "--model.block.qk_norm=false", "-c", "techniques/optimizers/adamw", "--optimizer.lr=2e-3",
]  # fmt: skip
WHOLE = "all of the recipe: rotary, RMSNorm, squared ReLU, QK-norm, Muon"
VARIANTS: dict[str, list[str]] = {
    "GPT-2: pre-norm, LayerNorm, GELU, learned positions, AdamW": [],
    "post-norm": ["--model.block.norm_place=post"],
    "post-norm, no warm-up": ["--model.block.norm_place=post", "--schedule.warmup=0"],
    "deep norm with its init": ["-c", "techniques/init/deep_norm"],
    "no norm, T-Fixup": ["--model.block.norm=none", "-c", "techniques/init/t_fixup"],
    "no norm, GPT-2's init": ["--model.block.norm=none"],
    "RMSNorm": ["--model.block.norm=rms"],
    "squared ReLU": ["--model.block.activation=relu_squared"],
    "SwiGLU": ["--model.block.activation=swiglu"],
    "rotary positions": ["--model.position=rotary"],
    "QK-norm": ["--model.block.qk_norm=true"],
    "Muon for hidden matrices": ["--optimizer=Muon", "--optimizer.lr=0.02", "--optimizer.adamw_lr=3e-3"],
    "learning rate 10 times as high": ["--optimizer.lr=2e-2"],
    "learning rate 10 times as high, QK-norm": ["--optimizer.lr=2e-2", "--model.block.qk_norm=true"],
    WHOLE: [],
}


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", help="part of a row's name")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for title, options in VARIANTS.items():
        if arguments.only and arguments.only not in title:
            continue
        options = options if title == WHOLE else [*PLAIN, *options]
        results = [run(RECIPE, options, seed) for seed in range(arguments.seeds)]
        rows.append(f"| {title} | {summary(results, 'bits')} | {summary(results, 'loss')} |")
        print(rows[-1], flush=True)
    if arguments.write:
        head = f"{BEGIN} python benchmarks/transformers.py --seeds {arguments.seeds} --write, {machine()} -->"
        table = ["| one change | test bits per character | last training loss |", "|---|---|---|", *rows]
        text = PAGE.read_text()
        start, stop = text.index(BEGIN), text.index(END)
        PAGE.write_text(text[:start] + "\n".join([head, *table]) + "\n" + text[stop:])


if __name__ == "__main__":
    main()
